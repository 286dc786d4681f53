"""The first run: the embedded sample, from nothing to a scored warehouse, finds what was planted."""

import duckdb
import pytest

from data_platform.sample import write_sample


@pytest.fixture(scope="module")
def planted(sample, tmp_path_factory):
    platform, _ = sample
    [(last_day,)] = platform.rows("SELECT max(date) FROM dim_date")
    return write_sample(tmp_path_factory.mktemp("planted"), last_day)


def test_every_record_has_a_fate(sample, planted):
    """Nothing lost: what was read is inserted, merged, unchanged or in quarantine, per feed."""
    platform, _ = sample
    for feed, read, inserted, merged, unchanged, quarantined, pending, deleted in platform.rows(
        "SELECT feed, read_count, inserted_count, merged_count, unchanged_count,"
        " quarantined_count, pending_count, deleted_count FROM source_health"
    ):
        expected = planted.feeds[feed]
        assert read == expected.rows
        assert read == inserted + merged + unchanged + quarantined + pending
        assert quarantined == sum(expected.broken_rows.values())
        # what a deletion took with it before it was loaded counts as unchanged
        assert unchanged == expected.redelivered + expected.deletions
        assert deleted == expected.deletions


def test_the_summary_says_what_is_stored(sample, planted):
    platform, summary = sample
    deletions = sum(feed.deletions for feed in planted.feeds.values())
    assert summary["post_count"] == planted.posts - deletions
    assert summary["day_count"] == 30
    assert summary["quarantined_count"] == sum(planted.broken_rows.values())
    assert summary["failures"] == []
    assert platform.published("SELECT sum(post_count) FROM daily_sentiment") == [
        (summary["post_count"],)
    ]


def test_quarantine_names_the_reason_that_was_planted(sample, planted):
    platform, _ = sample
    found = dict(platform.rows("SELECT reason, count(*) FROM quarantined_feedback GROUP BY reason"))
    broken = planted.broken_rows
    assert found == {
        "source_id is missing": broken["missing_id"],
        "posted_at cannot be read as a date and time": broken["unreadable_date"],
        "the day of posting is not open": broken["future_date"] + broken["date_before_first_day"],
        "body is empty": broken["empty_body"],
        "3 columns instead of 10": broken["too_few_columns"],
        "not a JSON object": broken["malformed_json"],
    }


def test_a_deleted_post_leaves_its_key_only(sample):
    platform, _ = sample
    assert platform.rows(
        "SELECT count(*) FROM raw_feedback WHERE is_deleted AND (body IS NOT NULL OR author_id"
        " IS NOT NULL OR url IS NOT NULL)"
    ) == [(0,)]
    for table in ("cleaned_feedback", "fct_feedback", "sentiment_scores"):
        assert platform.rows(
            f"SELECT count(*) FROM {table} SEMI JOIN (SELECT feedback_id FROM raw_feedback"
            " WHERE is_deleted) USING (feedback_id)"
        ) == [(0,)]


def test_texts_in_other_languages_are_counted_and_never_scored(sample):
    platform, _ = sample
    scored = dict(
        platform.published(
            "SELECT language, sum(scored_count) FROM daily_sentiment GROUP BY language"
        )
    )
    assert scored["en"] > 3000
    assert {language for language, count in scored.items() if count} == {"en"}


def test_scores_are_compared_with_labels_and_with_stars(sample):
    platform, _ = sample
    found = platform.published(
        "SELECT feed, truth, sample_count, f1_share FROM sentiment_evaluation"
        " WHERE language = 'all' AND label = 'macro' ORDER BY feed"
    )
    assert [row[:2] for row in found] == [
        ("kaffeklar_reviews", "rating"),
        ("larkwing_social", "label"),
    ]
    assert all(count > 100 and f1 > 0.4 for _, _, count, f1 in found)


def test_the_incident_shows_in_volume_and_sentiment(sample, planted):
    platform, _ = sample
    days = ", ".join(f"DATE '{day}'" for day in planted.incident_days)
    [(loud, quiet, sad, usual)] = platform.published(
        f"""SELECT avg(posts) FILTER (date IN ({days})), avg(posts) FILTER (date NOT IN ({days})),
        avg(net) FILTER (date IN ({days})), avg(net) FILTER (date NOT IN ({days})) FROM (
            SELECT date, sum(post_count) AS posts,
                (sum(positive_count) - sum(negative_count)) / sum(scored_count) AS net
            FROM daily_sentiment WHERE feed = 'larkwing_social' GROUP BY date)"""
    )
    assert loud > 3 * quiet
    assert sad < usual - 0.4


def test_a_second_run_changes_nothing_and_says_so(sample):
    platform, _ = sample
    before = platform.digest()
    assert "nothing changed" in platform.cli("run")
    assert platform.digest() == before


def test_the_snapshot_holds_no_person_and_no_raw_text(sample):
    platform, _ = sample
    columns = platform.published("SELECT table_name, column_name FROM duckdb_columns()")
    tables = {table for table, _ in columns}
    assert not {"raw_feedback", "quarantined_feedback", "dim_author"} & tables
    assert not {"author_id", "url", "source_metadata", "payload"} & {name for _, name in columns}


def test_status_preview_check_and_doctor_are_well(sample):
    platform, _ = sample
    assert "Out of date: 0 day(s)" in platform.cli("status")
    assert "larkwing_social: 18 file(s), readable: well" in platform.cli("check")
    assert "chirper:" in platform.cli("preview", "larkwing_social", "--rows", "2")
    assert "trouble" not in platform.cli("doctor")


def test_a_writer_does_not_hold_up_a_reader_of_the_snapshot(sample):
    """A reader has the published file open, read-only, while a run publishes it again."""
    platform, _ = sample
    path = platform.home / "published" / "feedback.duckdb"
    count = "SELECT sum(post_count) FROM daily_sentiment"
    with duckdb.connect(str(path), read_only=True) as reader:
        before = reader.execute(count).fetchall()
        platform.cli("publish")
        platform.cli("run")
        assert reader.execute(count).fetchall() == before


def test_every_materialization_of_the_run_is_measured(sample):
    platform, _ = sample
    found = dict(
        platform.rows("SELECT asset, count(*) FROM pipeline_metrics GROUP BY asset ORDER BY asset")
    )
    for table in ("raw_feedback", "cleaned_feedback", "sentiment_scores", "daily_sentiment"):
        assert found[table] == 30, "one row for each day"
    [(inserted,)] = platform.rows(
        "SELECT sum(inserted_count) FROM pipeline_metrics WHERE asset = 'cleaned_feedback'"
    )
    assert [(inserted,)] == platform.rows("SELECT count(*) FROM cleaned_feedback")
    [(lags, memory)] = platform.rows(
        "SELECT count(median_lag_seconds), min(peak_memory_bytes) FROM pipeline_metrics"
        " WHERE asset = 'sentiment_scores'"
    )
    assert lags == 30
    assert memory > 50e6


def test_the_planted_incident_is_found_and_nothing_else_is(sample, planted):
    platform, _ = sample
    found = platform.published(
        "SELECT feed, measure, direction, first_date, last_date, is_over FROM incidents ORDER BY ALL"
    )
    assert {row[0] for row in found} == {"larkwing_social"}
    assert {row[1:3] for row in found} == {("post_count", "up"), ("negative_share", "up")}
    assert {row[3:] for row in found} == {
        (planted.incident_days[0], planted.incident_days[-1], True)
    }
