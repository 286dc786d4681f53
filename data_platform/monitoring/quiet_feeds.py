"""Feeds of which nothing is heard: not collected for too long, or collected without a new post."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from data_platform.feed_settings import interval
from data_platform.ingestion.feeds import Feeds
from data_platform.monitoring.alerts import FEED_NOT_COLLECTED, FEED_STALE, feed_subject
from data_platform.storage.warehouse import Transaction, Trouble

MISSED_TIMES = 3
LEAST_PAUSE = timedelta(hours=2)  # a feed that fails is tried again after an hour at the latest


def uncollected_feeds(feeds: Feeds, now: datetime) -> Iterator[Trouble]:
    """Yield the feeds on the network whose last collection is older than three times their `every`.

    Two hours are the least. Not a feed that pauses because its platform asked for it, nor one
    that was never collected. Feeds of files are looked at without a collection.
    """
    for name in filter(feeds.is_pulled, feeds.names):
        allowed = max(MISSED_TIMES * interval(feeds.every(name)), LEAST_PAUSE)
        finished_at = feeds.ledger.feed(name).finished_at
        pause = feeds.ledger.pause(name)
        waits = any(at and at > now for at in (pause.throttled_until, pause.retry_at))
        if finished_at and now - finished_at > allowed and not waits:
            evidence = (
                f"last collected {finished_at:%Y-%m-%d %H:%M} UTC; every: {feeds.every(name)}"
            )
            yield Trouble(FEED_NOT_COLLECTED, feed_subject(name), evidence)


def stale_feeds(transaction: Transaction, feeds: Feeds, now: datetime) -> Iterator[Trouble]:
    """Yield the feeds whose latest post is older than their `stale_after`."""
    latest = dict(
        transaction.connection.execute(
            "SELECT feed, last_posted_at FROM source_health WHERE last_posted_at IS NOT NULL"
        ).fetchall()
    )
    for feed in feeds.settings.feeds:
        at = latest.get(feed.name)
        if at and feed.stale_after and now - at > interval(feed.stale_after):
            evidence = (
                f"the latest post is of {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC;"
                f" stale_after: {feed.stale_after}"
            )
            subject = feed_subject(feed.name)
            yield Trouble(FEED_STALE, subject, evidence, severity="warning")
