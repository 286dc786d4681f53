"""The configured feeds together with the places that they land in: what the stages of ingestion are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property, partial
from hashlib import sha256
from typing import Any

from data_platform.feed_settings import (
    ApiFeed,
    FileFeed,
    WebhookFeed,
    XFeed,
    YouTubeFeed,
    interval,
    secrets_in,
)
from data_platform.ingestion.authors import load_author_key
from data_platform.ingestion.collect import (
    Collection,
    PendingFiles,
    collect_files,
    finish_removals,
    held_feed,
    pending_files,
)
from data_platform.ingestion.connectors.connector import Connector
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform.ingestion.connectors.mapping import mapped_record
from data_platform.ingestion.connectors.registry import make_connector
from data_platform.ingestion.contract import OpenDays
from data_platform.ingestion.ledger import FeedLedger, Gap
from data_platform.ingestion.pull import KeptRecords, preview, pull
from data_platform.ingestion.replay import Replay, Replayed, replay_quarantine
from data_platform.ingestion.windows import WindowLedger
from data_platform.settings import Settings
from data_platform.storage.days import DaySpan, utc_today
from data_platform.storage.landing import LandingZone
from data_platform.storage.refusals import explained


@dataclass(frozen=True)
class PendingWindows:
    """Whether a feed on the network may be collected now; whether it is due, its `every` says.

    Attributes:
        finished_at: end of its last collection.
        paused_until: the platform asked for a pause, or collections fail.
    """

    finished_at: datetime | None
    has_work: bool
    paused_until: datetime | None = None
    unsettled_count: int = 0

    @property
    def state(self) -> str:
        """Identifies this work in this state."""
        return str(self.finished_at)


@dataclass(frozen=True)
class Feeds:
    """Every configured feed, its landing zone and its ledger.

    Attributes:
        settings: where data lives, and the feeds.
    """

    settings: Settings

    @property
    def names(self) -> list[str]:
        return [feed.name for feed in self.settings.feeds]

    @cached_property
    def landing(self) -> LandingZone:
        return LandingZone(self.settings.landing_path, self.settings.restore_journal_path)

    @cached_property
    def ledger(self) -> WindowLedger:
        return WindowLedger(self.settings.landing_path / "ledger.sqlite")

    @property
    def open_days(self) -> OpenDays:
        """The days whose posts are let in now: from the start date to today (UTC)."""
        return OpenDays(self.settings.config.start_date, utc_today())

    def is_of_files(self, name: str) -> bool:
        """True for a feed of files; the others come over the network."""
        return isinstance(self.settings.feed(name), FileFeed)

    def is_pulled(self, name: str) -> bool:
        """True for a feed that a connector collects from an interface on the network."""
        return isinstance(self.settings.feed(name), ApiFeed)

    def every(self, name: str) -> str:
        """Return how often a feed is looked at, as written in feedback.yaml."""
        return self.settings.feed(name).every

    @property
    def webhooks(self) -> list[str]:
        """The feeds that take in what others send."""
        return [feed.name for feed in self.settings.feeds if isinstance(feed, WebhookFeed)]

    def webhook(self, name: str) -> WebhookFeed:
        """Return the configuration of a feed of kind webhook."""
        feed = self.settings.feed(name)
        assert isinstance(feed, WebhookFeed)
        return feed

    def files(self, name: str) -> FileConnector:
        """Return the connector of a feed of files."""
        feed = self.settings.feed(name)
        assert isinstance(feed, FileFeed)
        return FileConnector(feed, self.settings.base)

    def connector(self, name: str) -> Connector[Any]:
        """Return the connector of a feed on the network, with what it may use now.

        Raises:
            ConfigurationError: an environment variable that the feed names is not set.
        """
        feed = self.settings.feed(name)
        assert isinstance(feed, ApiFeed)
        return make_connector(feed, feed.kind, self._http(feed))

    def probe(self, name: str) -> str:
        """Reach the source of a feed, storing nothing; return what was seen, in a few words.

        Raises:
            SourceError: it cannot be reached, or refuses the credentials.
            ConfigurationError: an environment variable that the feed names is not set.
        """
        feed = self.settings.feed(name)
        if isinstance(feed, FileFeed):
            return f"{len(self.files(name).files())} file(s)"
        if isinstance(feed, WebhookFeed):
            feed.secret.read()
            return "takes requests while data-platform webhook runs"
        connector = self.connector(name)
        try:
            return connector.probe()
        finally:
            connector.http.close()

    def preview(self, name: str, count: int) -> list[dict[str, Any]]:
        """Return the first posts that the latest page of each listing holds, storing nothing.

        Raises:
            SourceError: the platform cannot be read.
        """
        if isinstance(self.settings.feed(name), WebhookFeed):
            return []
        connector = self.connector(name)
        try:
            return preview(connector, count, self.open_days)
        finally:
            connector.http.close()

    def _http(self, feed: ApiFeed) -> Http:
        requests, units = self.ledger.used(feed.name, utc_today())
        left = feed.requests_per_run
        if feed.requests_per_day is not None:
            left = min(left, max(feed.requests_per_day - requests, 0))
        budget = Budget(left)
        if isinstance(feed, YouTubeFeed):
            budget.units_left = max(feed.units_per_day - units, 0.0)
        elif isinstance(feed, XFeed):
            budget.units_left, budget.unit = max(feed.usd_per_day - units, 0.0), "USD"
        return Http(
            budget,
            timeout=interval(feed.timeout).total_seconds(),
            not_before=self.ledger.pause(feed.name).throttled_until,
            secrets=secrets_in(feed),
        )

    def collect(self, name: str, days: Sequence[date] = ()) -> Collection:
        """Land what is new in the feed `name`; of an interface also exactly the given days.

        Raises:
            SourceError: the feed as a whole cannot be read; see `collect_files`.
            BusyError: another process is collecting the feed.
            StorageError: the machine refuses to keep what was read.
        """
        feed = self.settings.feed(name)
        if isinstance(feed, WebhookFeed):
            with explained(self.landing.root), held_feed(self.landing, name):
                finish_removals(self.landing, self.ledger, name)
                self.ledger.finish(name, datetime.now(UTC), None)
            return Collection()
        with explained(self.landing.root):
            if isinstance(feed, ApiFeed):
                return pull(
                    self.connector(name),
                    self.landing,
                    self.ledger,
                    author_key=self.author_key(),
                    open_days=self.open_days,
                    days=days,
                )
            return collect_files(
                self.files(name),
                self.landing,
                self.ledger,
                author_key=self.author_key(),
                open_days=self.open_days,
            )

    def replay(self, name: str) -> Replay:
        """Land what passes the contract now of the feed's records in quarantine.

        Raises:
            BusyError: another process is collecting the feed.
            StorageError: the machine refuses to keep what passes.
        """
        feed = self.settings.feed(name)
        reader: Replayed
        if isinstance(feed, WebhookFeed):
            reader = KeptRecords(feed, partial(mapped_record, feed))
        elif isinstance(feed, ApiFeed):
            reader = KeptRecords(feed, self.connector(name).record)
        else:
            reader = self.files(name)
        with explained(self.landing.root):
            return replay_quarantine(
                reader,
                self.landing,
                self.ledger,
                author_key=self.author_key(),
                open_days=self.open_days,
            )

    def author_key(self) -> bytes:
        configured = self.settings.author_key
        return load_author_key(
            self.settings.home / "author.key",
            configured.get_secret_value() if configured else None,
        )

    def pending(self, name: str, now: datetime, deadline: float) -> PendingFiles | PendingWindows:
        """Return what a collection of the feed `name` would find to do; see `pending_files`."""
        feed = self.settings.feed(name)
        if isinstance(feed, FileFeed):
            return pending_files(self.files(name), self.ledger, now, deadline)
        if isinstance(feed, WebhookFeed):
            return PendingWindows(None, has_work=False)
        pause = self.ledger.pause(name)
        waits = [at for at in (pause.throttled_until, pause.retry_at) if at and at > now]
        finished_at = self.ledger.feed(name).finished_at
        return PendingWindows(
            finished_at, has_work=not waits, paused_until=max(waits, default=None)
        )

    def gaps(self) -> list[Gap]:
        """Return what the sources offered and is not stored, feed by feed, oldest first."""
        now = datetime.now(UTC)
        found: list[Gap] = []
        for name in self.names:
            found += self.ledger.gaps(name).values()
            found += [w.as_gap() for w in self.ledger.open_windows(name) if w.is_gap(now)]
        return found

    def ledgers(self) -> list[FeedLedger]:
        return [self.ledger.feed(name) for name in self.names]

    def version(self, name: str, day: date) -> str:
        """Return the data version of one day of a feed: it follows the day's segments."""
        return segments_digest([s.path for s in self.landing.segments([name], day)])

    def landed_counts(self, days: DaySpan) -> dict[date, int]:
        """Return the records that are landed for each of `days`, as the footers say."""
        return {
            day: sum(map(self.landing.row_count, self.landing.segments(self.names, day)))
            for day in days
        }

    def landed_days(self) -> dict[date, list[str]]:
        """Return the open days that have segments, with the paths of these segments."""
        found: dict[date, list[str]] = {}
        for name in self.names:
            for day in self.landing.days(name):
                if day in self.open_days:
                    paths = [segment.path for segment in self.landing.segments([name], day)]
                    found.setdefault(day, []).extend(paths)
        return found


def segments_digest(paths: Sequence[str]) -> str:
    """Return what identifies a set of segments: the count and their names' hashes, in order."""
    return f"{len(paths)}-{sha256('|'.join(sorted(paths)).encode()).hexdigest()[:24]}"
