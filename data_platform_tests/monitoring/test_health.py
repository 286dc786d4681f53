"""source_health: every record that was read is found again, also when days open and close."""

import json
from datetime import timedelta

import pytest

from data_platform.ingestion.feeds import Feeds
from data_platform.monitoring.health import measure_sources
from data_platform_tests.ingestion.platforms.stored import load

SHOP = {
    "name": "shop",
    "kind": "file",
    "path": "incoming/*.ndjson",
    "settle": "0s",
    "fields": {"source_id": "id", "posted_at": "at", "body": "text"},
}


def line(number: int, day: str) -> str:
    return json.dumps({"id": str(number), "at": day, "text": "fine"}) + "\n"


@pytest.fixture
def counted(configured, home):
    """Collect, load and measure under a start date; return loaded, quarantined and pending."""

    def count(start, **files):
        written = {f"incoming/{name}.ndjson": text for name, text in files.items()}
        feeds = Feeds(configured({"start_date": start, "feeds": [SHOP]}, written))
        feeds.collect("shop")
        warehouse = load(feeds, home)
        measure_sources(warehouse, feeds, timedelta(hours=1))
        with warehouse.transaction() as transaction:
            return transaction.connection.execute(
                "SELECT inserted_count + unchanged_count, quarantined_count, pending_count"
                " FROM source_health"
            ).fetchone()

    return count


def test_records_add_up_when_a_day_opens_and_closes_again(counted):
    a = line(1, "2026-02-15") + line(2, "2026-01-15")
    assert counted("2026-02-01", a=a) == (1, 1, 0)
    assert counted("2026-01-01") == (2, 0, 0)
    assert counted("2026-02-01") == (2, 0, 0)


def test_records_add_up_when_more_arrive_for_a_day_that_was_closed_again(counted):
    a = line(1, "2026-02-15") + line(2, "2026-01-15")
    assert counted("2026-01-01", a=a) == (2, 0, 0)
    b = line(3, "2026-01-15") + line(4, "2026-01-16")
    assert counted("2026-02-01", b=b) == (2, 1, 1)
