"""Which posts of platforms are to be asked for again, and by when."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, time, timedelta

import pytest

from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.windows import stamp
from data_platform.monitoring.sweep import GRACE, plan_sweep, refresh_sweep
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.ingestion.platforms.mastodon import MastodonPlatform

TODAY = datetime.combine(datetime.now(UTC).date(), time(), UTC)
START = (TODAY - timedelta(days=5)).date().isoformat()


@pytest.fixture
def platform():
    made = MastodonPlatform()
    for number in range(90):
        made.add(number, TODAY - timedelta(days=3) + timedelta(minutes=number))
    yield made
    made.close()


@pytest.fixture
def feeds(platform, configured):
    block = {"name": "brand", "kind": "mastodon", **platform.block(), "overlap": "1s"}
    return lambda **changes: Feeds(
        configured({"start_date": START, "feeds": [{**block, **changes}]})
    )


def totals(plan):
    rows = plan.to_pylist()
    return [sum(row[n] for row in rows) for n in ("post_count", "due_count", "overdue_count")]


def test_known_posts_are_due_and_then_overdue(feeds, home):
    watched = feeds(recheck_after="2h")
    watched.collect("brand")
    now = datetime.now(UTC)
    assert totals(plan_sweep(watched, now)) == [90, 0, 0]
    assert totals(plan_sweep(watched, now + timedelta(hours=3))) == [90, 90, 0]
    plan = plan_sweep(watched, now + timedelta(hours=3) + GRACE)
    assert totals(plan) == [90, 90, 90]
    row = plan.to_pylist()[0]
    assert row["deadline_at"] - row["due_at"] == GRACE
    assert timedelta(hours=1.9) < row["due_at"] - now < timedelta(hours=2)
    assert sum(row["request_count"] for row in plan.to_pylist()) == 90
    with Warehouse(home / "warehouse.duckdb").transaction() as transaction:
        _, rules = refresh_sweep(transaction, plan)
        assert {rule.row_count for rule in rules} == {1}


def test_without_a_time_it_is_said_that_nothing_is_asked_for(feeds):
    watched = feeds()
    watched.collect("brand")
    plan = plan_sweep(watched, datetime.now(UTC) + timedelta(days=400))
    assert totals(plan) == [90, 0, 0]
    assert "recheck_after is not set" in plan["reason"][0].as_py()
    assert plan["due_at"].null_count == len(plan)


def test_a_small_budget_gets_through_a_sweep_bit_by_bit(feeds, platform):
    """What was found before the budget is spent is stored, and not asked for again."""
    feeds().collect("brand")
    for number in range(0, 90, 9):
        platform.delete(number)
    watched = feeds(recheck_after="1d", requests_per_run=30)
    with closing(sqlite3.connect(watched.ledger.path)) as ledger, ledger:
        ledger.execute("UPDATE items SET observed_at = ?", [stamp(TODAY - timedelta(days=2))])
    due = []
    for _ in range(4):
        due.append(totals(plan_sweep(watched, datetime.now(UTC)))[:2])
        watched.collect("brand")
    assert due[0] == [90, 90]
    assert 0 < due[1][1] < 50
    assert due[-1] == [80, 0]
