"""Late, edited, deleted and re-dated posts reach every table, and only what changed is done again."""

import copy
import os
from datetime import UTC, datetime

from data_platform_tests.pipeline.conftest import SHOP

FIRST = [
    {"id": "1", "at": "2026-03-02T10:00:00Z", "text": "I love the new shop", "user": "ann"},
    {"id": "2", "at": "2026-03-02T11:00:00Z", "text": "The parcel came in time", "user": "bo"},
    {"id": "3", "at": "2026-03-03T10:00:00Z", "text": "Canary zyxgloop is terrible", "user": "cy"},
]
EDIT = {"id": "1", "at": "2026-03-02T10:00:00Z", "text": "I hate the new shop", "user": "ann"}
DELETION = {"id": "3", "at": "2026-03-03T10:00:00Z", "deleted": "true"}
LATE = {"id": "4", "at": "2026-03-02T23:59:59Z", "text": "Late but lovely", "user": "dee"}


def versions(platform):
    """Digest of each table-day, to see which were touched."""
    return {
        (table, day.isoformat()): digest
        for table, day, digest in platform.rows("SELECT table_name, day, digest FROM day_versions")
    }


def test_an_edit_scores_that_post_again_and_no_other(shop):
    shop.deliver("a.csv", FIRST, day=1)
    shop.run()
    scored = dict(shop.rows("SELECT feedback_id, scored_at FROM sentiment_scores"))
    before = versions(shop)
    shop.deliver("b.csv", [EDIT], day=2)
    assert shop.run()["refreshed_days"] == 1
    again = dict(shop.rows("SELECT feedback_id, scored_at FROM current_sentiment"))
    assert {post for post in scored if again[post] != scored[post]} == {"shop:1"}
    assert shop.rows("SELECT count(*) FROM sentiment_scores") == [(4,)]  # the old score is kept
    changed = {place for place, digest in versions(shop).items() if before.get(place) != digest}
    assert {day for _, day in changed} == {"2026-03-02"}
    assert shop.published(
        "SELECT positive_count, negative_count FROM daily_sentiment WHERE date = '2026-03-02'"
    ) == [(0, 1)]


def test_a_late_post_refreshes_its_own_old_day(shop):
    shop.deliver("a.csv", FIRST, day=1)
    shop.run()
    before = versions(shop)
    shop.deliver("b.csv", [LATE], day=20)
    shop.run()
    changed = {place for place, digest in versions(shop).items() if before.get(place) != digest}
    assert {day for _, day in changed} == {"2026-03-02"}
    assert shop.published(
        "SELECT date::VARCHAR, sum(post_count)::INT FROM daily_sentiment GROUP BY 1 ORDER BY 1"
    ) == [("2026-03-02", 3), ("2026-03-03", 1)]


def test_a_deletion_empties_every_table_and_does_not_come_back(shop):
    shop.deliver("a.csv", FIRST, day=1)
    shop.run()
    shop.deliver("b.csv", [DELETION], day=2)
    shop.run()
    shop.deliver("c.csv", FIRST[2:], day=3)  # an old export, delivered again
    shop.cli("backfill", "--from", "2026-03-01", "--to", "2026-03-04")
    for query in (shop.rows, shop.published):
        tables = query("SELECT table_name FROM duckdb_tables()")
        for (table,) in tables:
            assert query(
                f"SELECT count(*) FROM {table} t WHERE contains(t::VARCHAR, 'zyxgloop')"
            ) == [(0,)], table
    assert shop.rows(
        "SELECT is_deleted, body, author_id FROM raw_feedback WHERE source_id = '3'"
    ) == [(True, None, None)]
    for table in ("cleaned_feedback", "fct_feedback", "sentiment_scores", "current_sentiment"):
        assert shop.rows(f"SELECT count(*) FROM {table} WHERE feedback_id = 'shop:3'") == [(0,)]
    assert shop.rows("SELECT count(*) FROM dim_author") == [(2,)]


def test_a_change_record_deletes_a_post_of_whatever_day_before_or_after_it_came(platform_in):
    """A delete event names an id and nothing else; another feed of the platform brings it."""
    config = copy.deepcopy(dict(SHOP))
    deletions = {
        **config["feeds"][0],
        "name": "shop_changes",
        "source": "shop",
        "path": "changes/*.ndjson",
        "fields": {"source_id": "id", "change": "event"},
    }
    config["feeds"].append(deletions)
    digests = []
    for number, is_first in enumerate((False, True)):
        platform = platform_in(str(number), config)
        (platform.folder / "changes").mkdir()

        def change(platform=platform):
            path = platform.folder / "changes" / "1.ndjson"
            path.write_text('{"id": 3, "event": "delete"}\n{"id": 9, "event": "delete"}\n')
            moment = datetime(2026, 4, 2, 12, tzinfo=UTC).timestamp()
            os.utime(path, (moment, moment))

        if is_first:
            change()
            platform.run()
        platform.deliver("a.csv", FIRST, day=1)
        platform.run()
        if not is_first:
            change()
            platform.run()
        for table in ("cleaned_feedback", "fct_feedback", "current_sentiment"):
            assert platform.rows(f"SELECT count(*) FROM {table}") == [(2,)]
        assert platform.rows(
            "SELECT source_id, body, posted_at::DATE::VARCHAR FROM raw_feedback WHERE is_deleted"
            " ORDER BY source_id"
        ) == [("3", None, "2026-04-02"), ("9", None, "2026-04-02")]
        assert platform.published(
            "SELECT date::VARCHAR, sum(post_count)::INT FROM daily_sentiment GROUP BY 1"
        ) == [("2026-03-02", 2)]
        digests.append({k: v for k, v in platform.digest().items() if k != "source_health"})
    assert digests[0] == digests[1]


def test_a_corrected_date_moves_the_post_between_days(shop):
    shop.deliver("a.csv", FIRST, day=1)
    shop.run()
    shop.deliver("b.csv", [{**FIRST[0], "at": "2026-03-03T09:00:00Z"}], day=2)
    shop.run()
    for table in ("raw_feedback", "cleaned_feedback", "fct_feedback", "current_sentiment"):
        assert shop.rows(
            f"SELECT posted_at::VARCHAR FROM {table} WHERE feedback_id = 'shop:1'"
        ) == [("2026-03-03 09:00:00+00",)]
    assert shop.published(
        "SELECT date::VARCHAR, sum(post_count)::INT FROM daily_sentiment GROUP BY 1 ORDER BY 1"
    ) == [("2026-03-02", 1), ("2026-03-03", 2)]
    assert shop.run()["changed_table_days"] == 0


def test_any_order_of_deliveries_ends_with_the_same_content(platform_in):
    deliveries = {"a.csv": (FIRST, 1), "b.csv": ([EDIT, LATE], 2), "c.csv": ([DELETION], 3)}
    digests = []
    for number, order in enumerate((["a.csv", "b.csv", "c.csv"], ["c.csv", "b.csv", "a.csv"])):
        platform = platform_in(str(number), SHOP)
        for name in order:
            rows, day = deliveries[name]
            platform.deliver(name, rows, day)
            platform.run()
        digests.append(platform.digest())
    assert digests[0] == digests[1]
