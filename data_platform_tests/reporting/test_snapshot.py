"""The published snapshot: whole, verified, incremental, and replaced in one step."""

from datetime import UTC, date, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from data_platform.reporting.marts import refresh_daily_sentiment
from data_platform.reporting.report import write_report
from data_platform.reporting.snapshot import publish
from data_platform.schemas import CLEANED_FEEDBACK, DAILY_SENTIMENT, SOURCE_HEALTH
from data_platform.storage.days import DaySpan

DAYS = (date(2026, 3, 1), date(2026, 3, 2))

# duckdb.org/docs/stable/internals/storage.html
HEADER_BYTES, BLOCK_BYTES = 12_288, 262_144


def put_day(warehouse, day, posts):
    row = dict.fromkeys(DAILY_SENTIMENT.column_names, 0) | {
        "date": day,
        "feed": "shop",
        "language": "en",
        "post_count": posts,
        "mean_compound": None,
        "net_sentiment_share": None,
        "negative_share": None,
        "negative_low_share": None,
        "negative_high_share": None,
    }
    rows = pa.Table.from_pylist([row], schema=DAILY_SENTIMENT.arrow_schema)
    with warehouse.transaction() as transaction:
        counts = transaction.merge_days(DAILY_SENTIMENT, DaySpan.of(day), rows)
        transaction.seal_days(DAILY_SENTIMENT, DaySpan.of(day), counts, {})


def read(path, sql="SELECT date, post_count FROM daily_sentiment ORDER BY date"):
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def snapshot(home):
    return home / "published" / "feedback.duckdb"


def test_only_days_that_changed_are_copied(warehouse, snapshot):
    for day in DAYS:
        put_day(warehouse, day, 1)
    assert publish(warehouse, snapshot).changed_days == 2
    assert publish(warehouse, snapshot).changed_days == 0
    put_day(warehouse, DAYS[1], 5)
    assert publish(warehouse, snapshot).changed_days == 1
    assert read(snapshot) == [(DAYS[0], 1), (DAYS[1], 5)]


def delete_first_post(warehouse, day):
    """As a refresh that has come as far as cleaned_feedback."""
    with warehouse.transaction() as transaction:
        transaction.connection.execute(
            "DELETE FROM cleaned_feedback WHERE feedback_id = (SELECT min(feedback_id)"
            f" FROM cleaned_feedback WHERE posted_at::DATE = '{day}')"
        )
        transaction.seal_days(CLEANED_FEEDBACK, DaySpan.of(day), {}, {})


COUNTS = """
    SELECT (SELECT count(*) FROM cleaned_feedback WHERE posted_at::DATE = date),
        (SELECT row_count FROM day_versions WHERE table_name = 'cleaned_feedback' AND day = date),
        sum(post_count) FROM daily_sentiment GROUP BY date ORDER BY date
"""


def test_a_day_that_is_being_refreshed_stays_as_it_was_until_all_of_its_tables_agree(
    warehouse, snapshot, fill
):
    for day in DAYS:
        fill(day, 3)
    publish(warehouse, snapshot)
    fill(DAYS[0], 1)
    delete_first_post(warehouse, DAYS[1])
    publish(warehouse, snapshot)
    assert read(snapshot, COUNTS) == [(4, 4, 4), (3, 3, 3)]
    with warehouse.transaction() as transaction:
        refresh_daily_sentiment(transaction, DaySpan.of(DAYS[1]))
    publish(warehouse, snapshot)
    assert read(snapshot, COUNTS) == [(4, 4, 4), (2, 2, 2)]


def test_a_day_whose_refresh_has_come_to_nothing_is_published_as_it_is_after_an_hour(
    warehouse, snapshot, fill
):
    fill(DAYS[0], 3)
    publish(warehouse, snapshot)
    delete_first_post(warehouse, DAYS[0])
    with warehouse.transaction() as transaction:
        transaction.connection.execute(
            "UPDATE day_versions SET refreshed_at = ?", [datetime.now(UTC) - timedelta(minutes=61)]
        )
    publish(warehouse, snapshot)
    assert read(snapshot, COUNTS) == [(2, 2, 3)]


def test_a_file_that_is_made_anew_holds_every_day_and_waits_a_while_for_those_being_refreshed(
    warehouse, snapshot, fill, monkeypatch
):
    fill(DAYS[0], 3)
    publish(warehouse, snapshot)
    delete_first_post(warehouse, DAYS[0])
    monkeypatch.setattr("data_platform.reporting.snapshot.CALM_SECONDS", 1.5)
    assert publish(warehouse, snapshot, is_anew=True).seconds > 1.5
    assert read(snapshot, COUNTS) == [(2, 2, 3)]


def test_a_reader_keeps_the_state_that_it_opened(warehouse, snapshot):
    put_day(warehouse, DAYS[0], 1)
    publish(warehouse, snapshot)
    with duckdb.connect(str(snapshot), read_only=True) as reader:
        put_day(warehouse, DAYS[0], 2)
        publish(warehouse, snapshot)
        assert reader.execute("SELECT post_count FROM daily_sentiment").fetchall() == [(1,)]
    assert read(snapshot) == [(DAYS[0], 2)]


def test_what_a_killed_publish_left_does_not_matter(warehouse, snapshot):
    put_day(warehouse, DAYS[0], 1)
    publish(warehouse, snapshot)
    (snapshot.parent / ".feedback.duckdb.draft").write_bytes(b"half a file")
    put_day(warehouse, DAYS[0], 2)
    publish(warehouse, snapshot)
    assert read(snapshot) == [(DAYS[0], 2)]
    assert sorted(p.name for p in snapshot.parent.iterdir() if "draft" in p.name) == []


def test_a_damaged_snapshot_is_built_anew(warehouse, snapshot):
    put_day(warehouse, DAYS[0], 1)
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(b"this is no database")
    publish(warehouse, snapshot)
    assert read(snapshot) == [(DAYS[0], 1)]


def test_a_snapshot_that_is_damaged_inside_is_built_anew(warehouse, snapshot):
    """What says that it is a snapshot can be read; the warehouse is not to be blamed for the rest."""
    put_day(warehouse, DAYS[0], 1)
    publish(warehouse, snapshot)
    whole = snapshot.read_bytes()
    put_day(warehouse, DAYS[0], 2)
    for block in range(HEADER_BYTES, len(whole), BLOCK_BYTES):
        snapshot.write_bytes(whole[:block] + bytes(4096) + whole[block + 4096 :])
        publish(warehouse, snapshot)
        assert read(snapshot) == [(DAYS[0], 2)]


def test_columns_carry_their_descriptions(warehouse, snapshot):
    publish(warehouse, snapshot)
    missing = read(
        snapshot,
        "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL"
        " AND NOT internal AND table_name NOT IN ('current_sentiment', 'schema_version')",
    )
    assert missing == []


def test_the_report_opens_without_data_and_escapes_what_it_shows(warehouse, snapshot, home):
    publish(warehouse, snapshot)
    report = home / "report" / "index.html"
    write_report(snapshot, report, [])
    assert "No feedback yet" in report.read_text(encoding="utf-8")
    assert list(report.parent.iterdir()) == [report], "it is one file"
    put_day(warehouse, DAYS[0], 1)
    row = dict.fromkeys(SOURCE_HEALTH.column_names, 0) | {
        "feed": "shop",
        "quarantined_share": None,
        "first_posted_at": datetime(2026, 3, 1, tzinfo=UTC),
        "last_posted_at": None,
        "last_collected_at": None,
        "last_error": "<script>alert(1)</script>",
    }
    with warehouse.transaction() as transaction:
        rows = pa.Table.from_pylist([row], schema=SOURCE_HEALTH.arrow_schema)
        transaction.merge(SOURCE_HEALTH, rows, delete_where="TRUE")
    publish(warehouse, snapshot)
    write_report(snapshot, report, [])
    html = report.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "&lt;script&gt;" in html
