"""Days that closed after they were loaded: what happens to their posts still reaches every table."""

import csv
import io

import pytest

from data_platform.automation.closed_days import refresh_closed_days
from data_platform.automation.staleness import Staleness
from data_platform.definitions import cleaning_of, scoring_of
from data_platform.ingestion.feeds import Feeds
from data_platform.schemas import CLEANED_FEEDBACK, FCT_FEEDBACK, RAW_FEEDBACK, SENTIMENT_SCORES
from data_platform_tests.ingestion.platforms.stored import load

FIELDS = {"source_id": "id", "posted_at": "at", "body": "text", "is_deleted": "deleted"}
SHOP = {"name": "shop", "kind": "file", "path": "*.csv", "settle": "0s", "default_language": "en"}
TABLES = (CLEANED_FEEDBACK, FCT_FEEDBACK, SENTIMENT_SCORES)


@pytest.fixture
def collected(configured, home):
    """Collect files under a start date and load the days that are open; return what is behind."""

    def collect(start, **files):
        written = {}
        for name, rows in files.items():
            text = io.StringIO()
            writer = csv.DictWriter(text, [*FIELDS.values()], restval="")
            writer.writeheader()
            writer.writerows(rows)
            written[f"{name}.csv"] = text.getvalue()
        config = {"start_date": start, "feeds": [{**SHOP, "fields": FIELDS}]}
        settings = configured(config, written)
        feeds = Feeds(settings)
        feeds.collect("shop")
        return load(feeds, home), Staleness(feeds, cleaning_of(settings), scoring_of(settings))

    return collect


def post(number, day, text="I love this shop"):
    return {"id": str(number), "at": f"2026-03-{day:02}T10:00:00Z", "text": text}


def kept(warehouse, table):
    with warehouse.transaction() as transaction:
        rows = transaction.connection.execute(
            f"SELECT feedback_id FROM {table.name} ORDER BY ALL"
        ).fetchall()
    return [feedback_id for (feedback_id,) in rows]


def test_a_deletion_reaches_every_table_of_a_day_that_closed(collected):
    warehouse, _ = collected("2026-03-01", a=[post(1, 2), post(2, 2)])
    warehouse, closed = collected("2026-03-04")
    refresh_closed_days(closed, warehouse)
    assert [kept(warehouse, table) for table in TABLES] == [["shop:1", "shop:2"]] * 3
    deletion = {"id": "1", "at": "2026-03-02T10:00:00Z", "deleted": "true"}
    warehouse, closed = collected("2026-03-04", b=[deletion])
    assert closed.stale_days(warehouse) != []  # the day on which the deletion stands
    assert {write.day.day for write in refresh_closed_days(closed, warehouse)} == {2}
    assert [kept(warehouse, table) for table in TABLES] == [["shop:2"]] * 3
    assert refresh_closed_days(closed, warehouse) == []


def test_what_is_new_of_a_day_that_closed_is_loaded_and_other_closed_days_wait(collected):
    warehouse, _ = collected("2026-03-01", a=[post(1, 2)])
    warehouse, closed = collected("2026-03-04", b=[post(2, 2), post(3, 3)])
    assert kept(warehouse, RAW_FEEDBACK) == ["shop:1"]
    refresh_closed_days(closed, warehouse)
    assert [kept(warehouse, table) for table in (RAW_FEEDBACK, *TABLES)] == [
        ["shop:1", "shop:2"]
    ] * 4
    assert refresh_closed_days(closed, warehouse) == []
