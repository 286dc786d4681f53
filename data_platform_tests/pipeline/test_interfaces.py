"""Feeds on the network in the whole graph: days by date, gaps, many feeds at once, and a week under faults."""

import random
import time as clock
from datetime import UTC, datetime, time, timedelta

import dagster as dg
import pytest

from data_platform.automation.sensors import COLLECT_FEEDS_SENSOR
from data_platform.definitions import build_definitions
from data_platform.ingestion.assets import COLLECT_NEW, COLLECT_TAG, NO_WINDOW_IS_OPEN, feed_key
from data_platform.ingestion.connectors.connector import Listing
from data_platform.ingestion.connectors.mastodon import MastodonConnector
from data_platform.ingestion.feeds import Feeds
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.ingestion.platforms.mastodon import MastodonPlatform
from data_platform_tests.ingestion.platforms.server import cut, html, status, truncated

TODAY = datetime.combine(datetime.now(UTC).date(), time(), UTC)
START = (TODAY - timedelta(days=7)).date()


class Graph:
    """The definitions of some feeds, on an instance in memory."""

    def __init__(self, settings, instance):
        self.settings, self.instance = settings, instance
        self.definitions = build_definitions(settings)
        self.feeds = Feeds(settings)

    def run(self, job, first, last, keys=None, **tags):
        days = {
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        }
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags={**days, **tags},
            asset_selection=keys,
            raise_on_error=False,
        )

    def collect_new(self, *names):
        keys = [feed_key(name) for name in names]
        return self.run(
            "collect_job", TODAY.date(), TODAY.date(), keys, **{COLLECT_TAG: COLLECT_NEW}
        )

    def materialized(self, name):
        return self.instance.get_materialized_partitions(feed_key(name))

    def rows(self, sql):
        with Warehouse(self.settings.warehouse_path).transaction() as transaction:
            return transaction.connection.execute(sql).fetchall()


@pytest.fixture
def graph(configured):
    with dg.DagsterInstance.ephemeral() as instance:
        yield lambda *blocks: Graph(
            configured({"start_date": START.isoformat(), "feeds": list(blocks)}), instance
        )


@pytest.fixture
def mastodon(monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.01)
    made = MastodonPlatform()
    yield made
    made.close()


def brand(platform, name="brand", **changes):
    return {"name": name, "kind": platform.kind, **platform.block(), **changes}


def days_ago(count):
    return (TODAY - timedelta(days=count)).date()


def test_a_backfill_collects_exactly_its_days(graph, mastodon):
    for n in range(7):
        mastodon.add(n, TODAY - timedelta(days=7 - n) + timedelta(hours=12))
    platform = graph(brand(mastodon))
    assert platform.run("refresh_job", days_ago(5), days_ago(4)).success
    days = {days_ago(5).isoformat(), days_ago(4).isoformat()}
    assert days <= platform.materialized("brand")
    found = platform.rows(
        "SELECT DISTINCT CAST(timezone('UTC', posted_at) AS DATE) FROM fct_feedback"
    )
    assert {day for (day,) in found} == {days_ago(5), days_ago(4)}


def test_a_day_that_a_budget_leaves_open_is_red_and_is_closed_by_the_next_collection(
    graph, mastodon
):
    for n in range(300):
        mastodon.add(n, TODAY - timedelta(days=3) + timedelta(minutes=n))
    platform = graph(brand(mastodon, requests_per_run=2))
    ended = platform.run("collect_job", days_ago(3), days_ago(3))
    assert not ended.success
    assert days_ago(3).isoformat() not in platform.materialized("brand")
    assert platform.feeds.gaps()
    while not ended.success:
        assert len(mastodon.server.requests) < 30
        ended = platform.run("collect_job", days_ago(3), days_ago(3))
    assert days_ago(3).isoformat() in platform.materialized("brand")
    assert platform.feeds.gaps() == []


def test_a_gap_is_a_check_that_fails_and_says_why(graph, mastodon):
    mastodon.add(1, TODAY - timedelta(days=1))
    platform = graph(brand(mastodon))
    mastodon.server.fault = html
    assert not platform.collect_new("brand").success
    key = dg.AssetCheckKey(feed_key("brand"), NO_WINDOW_IS_OPEN)
    (record,) = platform.instance.event_log_storage.get_asset_check_execution_history(key, 1)
    evaluation = record.event.dagster_event.event_specific_data
    assert not evaluation.passed
    assert "no JSON" in evaluation.metadata["open_1"].value
    mastodon.server.fault = None
    assert platform.collect_new("brand").success
    (record,) = platform.instance.event_log_storage.get_asset_check_execution_history(key, 1)
    assert record.event.dagster_event.event_specific_data.passed


def test_feeds_of_one_run_are_collected_at_the_same_time_and_one_that_fails_holds_up_none(
    graph, mastodon
):
    servers = []
    slow = []
    for n in range(3):
        made = MastodonPlatform()
        made.add(n, TODAY - timedelta(hours=1))

        def handle(request, made=made):
            slow.append(clock.monotonic())
            clock.sleep(1.0)
            return MastodonPlatform.handle(made, request)

        made.server.handle = handle
        servers.append(made)
    mastodon.server.fault = status(401)
    blocks = [brand(made, f"slow{n}") for n, made in enumerate(servers)]
    platform = graph(*blocks, brand(mastodon, "closed"))
    names = [f"slow{n}" for n in range(3)]
    ended = platform.collect_new("closed", *names)
    for made in servers:
        made.close()
    assert not ended.success
    assert max(slow[:3]) - min(slow[:3]) < 0.9  # one after the other they would be 2 s apart
    for name in names:
        assert platform.feeds.ledger.feed(name).read_count == 1
        assert platform.materialized(name)
    assert platform.materialized("closed") == set()


@pytest.mark.parametrize("choice", ["fail", "skip"])
def test_a_day_that_the_platform_cannot_serve_is_never_empty_and_green(
    graph, mastodon, monkeypatch, choice
):
    reach = TODAY - timedelta(days=3)
    original = MastodonConnector.fetch

    def short(self, window, token):
        page = original(self, window, token)
        if window.since < reach:
            return Listing(
                page.items,
                unreachable_before=min(reach, window.until),
                unreachable_reason="only four days",
            )
        return page

    monkeypatch.setattr(MastodonConnector, "fetch", short)
    for n in range(7):
        mastodon.add(n, TODAY - timedelta(days=7 - n) + timedelta(hours=12))
    platform = graph(brand(mastodon, unreachable_days=choice))
    ended = platform.run("collect_job", days_ago(5), days_ago(2))
    assert ended.success is (choice == "skip")
    assert platform.materialized("brand") >= {days_ago(3).isoformat(), days_ago(2).isoformat()}
    assert days_ago(5).isoformat() not in platform.materialized("brand")
    ended = platform.run("collect_job", days_ago(5), days_ago(5))
    assert ended.success is (choice == "skip")
    assert days_ago(5).isoformat() not in platform.materialized("brand")
    platform.run("publish_job", days_ago(5), days_ago(5))
    states = dict(platform.rows("SELECT date, status FROM feed_coverage"))
    assert states[days_ago(5)] == "unreachable"
    assert states[days_ago(2)] == "complete"
    assert states[days_ago(7)] == "not collected"


def test_a_pause_that_the_platform_asked_for_is_no_failure_and_the_sensor_waits(graph, mastodon):
    mastodon.add(1, TODAY - timedelta(hours=1))
    platform = graph(brand(mastodon, every="1s"))
    mastodon.server.fault = status(429, Retry_After="1800")
    assert platform.collect_new("brand").success
    clock.sleep(1.1)
    (sensor,) = (s for s in platform.definitions.sensors if s.name == COLLECT_FEEDS_SENSOR)
    with dg.build_sensor_context(platform.instance, definitions=platform.definitions) as context:
        result = sensor(context)
    assert result.run_requests == []
    assert "paused until" in result.skip_reason.skip_message


def test_a_week_of_a_server_under_faults_ends_with_exactly_what_it_holds(graph, mastodon):
    """Every sixth of a day, seven days: new, late, edited and deleted posts, one request in eight fails."""
    chance = random.Random(20260801)
    faults = [status(500), status(503), cut(), truncated, html, status(429, Retry_After="0")]

    def trouble(request, reply):
        return chance.choice(faults)(request, reply) if chance.random() < 0.12 else reply

    platform = graph(brand(mastodon, overlap="7d"))
    mastodon.server.fault = trouble
    moment = TODAY - timedelta(days=7)
    number = 0
    while moment < TODAY:
        for _ in range(chance.randrange(10, 60)):
            number += 1
            late = chance.random() < 0.05
            at = moment - timedelta(minutes=chance.randrange(1, 600 if late else 200))
            if at >= TODAY - timedelta(days=7):
                mastodon.add(number, at)
        alive = [post.number for post in mastodon.alive]
        for other in chance.sample(alive, min(len(alive), 3)):
            mastodon.edit(other, f"Edited at {moment:%d %H}: I hate it")
        for other in chance.sample(alive, min(len(alive), 2)):
            mastodon.delete(other)
        platform.collect_new("brand")
        moment += timedelta(hours=8)
    for _ in range(3):
        platform.collect_new("brand")
    assert platform.feeds.gaps() == []
    requests = len(mastodon.server.requests)
    assert platform.run("refresh_job", START, TODAY.date()).success
    stored = dict(
        platform.rows(
            "SELECT source_id, body FROM raw_feedback WHERE is_current AND NOT is_deleted"
        )
    )
    assert stored == mastodon.truth()
    assert len(stored) > 400
    scored = platform.rows("SELECT count(*) FROM current_sentiment")
    cleaned = platform.rows("SELECT count(*) FROM fct_feedback")
    assert scored[0][0] == cleaned[0][0] == len(stored)
    assert requests < 24 * (len(stored) / 40 + 20) * 2, requests
