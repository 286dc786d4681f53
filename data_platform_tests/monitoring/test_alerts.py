"""Alerts: each trouble once, until it is over; told again when it comes back."""

from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from data_platform.errors import WarehouseVersionError
from data_platform.monitoring.alerts import (
    CHECK_FAILED,
    OPEN_GAP,
    RUN_FAILED,
    Recovery,
    update_alerts,
)
from data_platform.schemas import SCHEMA_VERSION, TABLES
from data_platform.storage.migrations import _ALERTS_2
from data_platform.storage.warehouse import Trouble, Warehouse

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = date(2026, 2, 1)
NEXT = DAY + timedelta(days=1)
FAILED = Trouble(RUN_FAILED, "raw_feedback", "disk full", DAY)
UNUSUAL = Trouble(CHECK_FAILED, "daily_sentiment: volume_is_usual", "4.2x", DAY, "warning")


def update(warehouse, *events, present=(), at=NOW):
    with warehouse.transaction() as transaction:
        return update_alerts(transaction, events, present, [OPEN_GAP], at)


def rows(warehouse, columns="kind, subject, day, resolved_at IS NULL"):
    with warehouse.transaction() as transaction:
        return transaction.connection.execute(
            f"SELECT {columns} FROM alerts ORDER BY raised_at, kind, day"
        ).fetchall()


def test_the_same_trouble_is_told_once_and_its_latest_evidence_is_kept(warehouse):
    assert update(warehouse, FAILED).raised == [FAILED]
    again = Trouble(RUN_FAILED, "raw_feedback", "still full", DAY)
    later = NOW + timedelta(hours=1)
    assert update(warehouse, again, again, at=later).raised == []
    assert rows(warehouse, "evidence, raised_at, last_seen_at") == [("still full", NOW, later)]


def test_a_trouble_that_comes_back_is_told_again(warehouse):
    update(warehouse, FAILED)
    over = update(warehouse, Recovery(RUN_FAILED, "raw_feedback", DAY, DAY))
    assert over.resolved == [(RUN_FAILED, "raw_feedback", DAY)]
    assert over.open_count == 0
    assert update(warehouse, FAILED, at=NOW + timedelta(hours=1)).raised == [FAILED]
    assert [is_open for *_, is_open in rows(warehouse)] == [False, True]


@pytest.mark.parametrize(
    ("recovery", "is_over"),
    [
        (Recovery(CHECK_FAILED, UNUSUAL.subject, DAY, NEXT), True),
        (Recovery(CHECK_FAILED, UNUSUAL.subject, NEXT, NEXT), False),
        (Recovery(CHECK_FAILED, UNUSUAL.subject, DAY, NEXT, frozenset({DAY})), False),
        (Recovery(CHECK_FAILED, UNUSUAL.subject), False),
        (Recovery(CHECK_FAILED, "another: check", DAY, NEXT), False),
        (Recovery(RUN_FAILED, UNUSUAL.subject, DAY, NEXT), False),
    ],
)
def test_a_trouble_of_a_day_ends_when_that_day_went_well(warehouse, recovery, is_over):
    update(warehouse, UNUSUAL)
    assert (update(warehouse, recovery).open_count == 0) == is_over


def test_a_trouble_of_no_day_ends_with_the_first_good_run(warehouse):
    update(warehouse, Trouble(RUN_FAILED, "raw_feedback", "killed"))
    assert update(warehouse, Recovery(RUN_FAILED, "raw_feedback", NEXT, NEXT)).open_count == 0


def test_what_is_no_longer_the_case_is_over_and_other_kinds_stay(warehouse):
    gap = Trouble(OPEN_GAP, "feed/shop: a.csv", "no header")
    assert update(warehouse, FAILED, present=[gap]).open_count == 2
    assert update(warehouse, present=[gap]).raised == []
    assert update(warehouse).resolved == [(OPEN_GAP, "feed/shop: a.csv", None)]
    assert [kind for kind, *_, is_open in rows(warehouse) if is_open] == [RUN_FAILED]


def test_events_count_in_their_order(warehouse):
    well = Recovery(RUN_FAILED, "raw_feedback", DAY, DAY)
    assert update(warehouse, FAILED, well).open_count == 0
    assert update(warehouse, well, FAILED, at=NOW + timedelta(hours=1)).open_count == 1


COLUMNS_OF_VERSION_2 = f"""
    ALTER TABLE quarantined_feedback DROP COLUMN observed_at;
    ALTER TABLE source_health DROP COLUMN drifted_count;
    DROP TABLE feed_coverage;
    DROP TABLE alerts;
    {_ALERTS_2};
"""


def columns(transaction):
    return transaction.connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns()"
        " WHERE NOT internal ORDER BY table_name, column_index"
    ).fetchall()


def test_a_warehouse_of_version_2_gets_the_columns_of_a_new_one(home):
    with Warehouse(home / "new.duckdb").transaction() as transaction:
        expected = columns(transaction)
    with Warehouse(home / "old.duckdb").transaction() as transaction:
        transaction.connection.execute(COLUMNS_OF_VERSION_2)
        transaction.connection.execute("UPDATE schema_version SET version = 2")
    with Warehouse(home / "old.duckdb").transaction() as transaction:
        assert columns(transaction) == expected


def test_a_warehouse_of_version_1_is_migrated_with_its_alerts(home):
    path = home / "warehouse.duckdb"
    with Warehouse(path).transaction() as transaction:
        transaction.connection.execute("DROP TABLE sentiment_evaluation")
        transaction.connection.execute(COLUMNS_OF_VERSION_2)
        transaction.connection.execute("DROP TABLE alerts")
        transaction.connection.execute(
            "CREATE TABLE alerts (alert_id VARCHAR NOT NULL, raised_at TIMESTAMPTZ NOT NULL,"
            " kind VARCHAR NOT NULL, subject VARCHAR NOT NULL, day DATE, evidence VARCHAR NOT NULL)"
        )
        transaction.connection.execute(
            "INSERT INTO alerts VALUES ('x', ?, 'rule_violation', 'raw_feedback', ?, '1 row')",
            [NOW, DAY],
        )
        transaction.connection.execute("UPDATE schema_version SET version = 1")
    migrated = Warehouse(path)
    assert rows(migrated, "alert_id, raised_at, status, told_status, severity, evidence") == [
        ("x", NOW, "open", "open", "error", "1 row")
    ]
    assert update(migrated, FAILED).raised == [FAILED]
    with migrated.transaction() as transaction:
        found = transaction.count("SELECT version FROM schema_version")
        tables = transaction.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert found == SCHEMA_VERSION
    assert {name for (name,) in tables} >= set(TABLES)


def test_a_warehouse_of_a_newer_version_is_refused_and_left_as_it_is(home):
    path = home / "warehouse.duckdb"
    with Warehouse(path).transaction() as transaction:
        transaction.connection.execute("UPDATE schema_version SET version = 99")
    before = path.read_bytes()
    with (
        pytest.raises(WarehouseVersionError, match="schema version 99"),
        Warehouse(path).transaction(),
    ):
        pass
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(99,)]
    assert path.read_bytes() == before
