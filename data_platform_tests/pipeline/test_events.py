"""What Dagster is told: each day's own counts and data version, and never a word of feedback."""

import dagster as dg

from data_platform_tests.pipeline.test_changes import EDIT, FIRST

TABLES = (
    "raw_feedback",
    "cleaned_feedback",
    "fct_feedback",
    "sentiment_scores",
    "daily_sentiment",
    "topic_sentiment",
)
VERSION_TAG = "dagster/data_version"


def latest(platform):
    """Latest materialization of each table-day."""
    found = {}
    with dg.DagsterInstance.from_config(str(platform.home / "dagster")) as instance:
        for table in TABLES:
            records = instance.fetch_materializations(dg.AssetKey(table), limit=500).records
            for record in reversed(records):
                event = record.asset_materialization
                found[table, event.partition] = event
    return found


def test_the_last_event_of_a_day_has_its_own_counts_and_version(shop):
    shop.deliver("a.csv", FIRST, day=1)
    shop.cli("backfill", "--from", "2026-03-01", "--to", "2026-03-04")
    stored = {
        (table, day.isoformat()): (digest, row_count)
        for table, day, digest, row_count in shop.rows(
            "SELECT table_name, day, digest, row_count FROM day_versions"
        )
    }
    events = latest(shop)
    assert set(events) == set(stored)
    for place, event in events.items():
        digest, row_count = stored[place]
        assert event.tags[VERSION_TAG] == digest, place
        assert event.metadata["dagster/partition_row_count"].value == row_count, place


def test_a_run_that_changes_nothing_keeps_all_data_versions(shop):
    shop.deliver("a.csv", FIRST, day=1)
    shop.run()
    before = {place: event.tags[VERSION_TAG] for place, event in latest(shop).items()}
    shop.cli("backfill", "--from", "2026-03-02", "--to", "2026-03-03")
    assert {place: event.tags[VERSION_TAG] for place, event in latest(shop).items()} == before
    shop.deliver("b.csv", [EDIT], day=2)
    shop.run()
    after = {place: event.tags[VERSION_TAG] for place, event in latest(shop).items()}
    assert {day for (_, day), version in after.items() if before[_, day] != version} == {
        "2026-03-02"
    }


def test_no_feedback_and_no_handle_reaches_the_history(shop):
    """They would outlive an erasure there."""
    rows = [
        {"id": "7", "at": "2026-03-02T10:00:00Z", "text": "zyxgloop parcel", "user": "qvandle"},
        {"id": "8", "at": "never", "text": "zyxgloop again", "user": "qvandle"},
    ]
    shop.deliver("a.csv", rows, day=1)
    shop.run()
    files = [path for path in (shop.home / "dagster").rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert b"zyxgloop" not in content, path
        assert b"qvandle" not in content, path


def test_a_file_without_a_header_is_refused_without_quoting_its_first_row(shop):
    """Its column names are a row of feedback, and the message goes to history, ledger and alerts."""
    path = shop.folder / "incoming" / "a.csv"
    path.write_text('7,2026-03-02T10:00:00Z,"zyxgloop parcel, again",qvandle,\n')
    output = shop.cli("run", code=1)
    assert "5 columns found, which do not look like names" in output
    for file in shop.home.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert b"zyxgloop" not in content, file
        assert b"qvandle" not in content, file


def test_days_that_a_lost_history_forgot_are_recorded_again(shop):
    import shutil

    shop.deliver("a.csv", FIRST, day=1)
    shop.run()
    versions = {place: event.tags[VERSION_TAG] for place, event in latest(shop).items()}
    shutil.rmtree(shop.home / "dagster")
    shop.run()
    assert {place: event.tags[VERSION_TAG] for place, event in latest(shop).items()} == versions
