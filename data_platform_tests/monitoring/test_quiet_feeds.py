"""Feeds of which nothing is heard."""

from datetime import UTC, datetime, timedelta

import pytest

from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.windows import Pause
from data_platform.monitoring.quiet_feeds import stale_feeds, uncollected_feeds
from data_platform.schemas import SOURCE_HEALTH
from data_platform_tests.reporting.conftest import insert

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
FIELDS = {"source_id": "id", "posted_at": "at", "body": "text"}
FILES = {"name": "shop", "kind": "file", "path": "*.csv", "fields": FIELDS}
PULLED = {"name": "social", "kind": "mastodon", "hashtags": ["shop"], "every": "5m"}


@pytest.fixture
def feeds(configured):
    return lambda *told: Feeds(configured({"start_date": "2026-01-01", "feeds": list(told)}))


@pytest.mark.parametrize(
    ("changes", "hours", "is_told"),
    [
        ({}, 1.9, False),
        ({}, 2.1, True),
        ({"every": "1h"}, 2.9, False),
        ({"every": "1h"}, 3.1, True),
    ],
)
def test_a_feed_that_is_not_collected_for_long_is_told(feeds, changes, hours, is_told):
    watched = feeds({**PULLED, **changes}, FILES)
    for name in watched.names:
        watched.ledger.finish(name, NOW - timedelta(hours=hours), None)
    found = list(uncollected_feeds(watched, NOW))
    assert [trouble.subject for trouble in found] == (["feed/social"] if is_told else [])


def test_a_feed_that_pauses_or_was_never_collected_is_not_missed(feeds):
    watched = feeds(PULLED, {**PULLED, "name": "never"})
    watched.ledger.finish("social", NOW - timedelta(days=1), None)
    watched.ledger.set_pause("social", Pause(throttled_until=NOW + timedelta(hours=1)))
    assert list(uncollected_feeds(watched, NOW)) == []
    watched.ledger.set_pause("social", Pause(throttled_until=NOW - timedelta(hours=1)))
    assert [t.subject for t in uncollected_feeds(watched, NOW)] == ["feed/social"]


def test_a_feed_without_a_new_post_is_told_by_its_own_measure(feeds, warehouse):
    watched = feeds(
        FILES,
        {**FILES, "name": "daily", "stale_after": "2d"},
        PULLED,
        {**PULLED, "name": "rare", "stale_after": "30d"},
        {**PULLED, "name": "silent", "stale_after": None},
    )
    with warehouse.transaction() as transaction:
        for name in watched.names:
            posted = {"feed": name, "last_posted_at": NOW - timedelta(days=4)}
            insert(transaction, SOURCE_HEALTH, posted)
        found = list(stale_feeds(transaction, watched, NOW))
    assert [trouble.subject for trouble in found] == ["feed/daily", "feed/social"]
    assert {trouble.severity for trouble in found} == {"warning"}
    assert found[0].evidence == "the latest post is of 2026-03-06 12:00 UTC; stale_after: 2d"
