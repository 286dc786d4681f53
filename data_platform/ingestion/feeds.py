"""The configured feeds together with the places that they land in: what the stages of ingestion are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from hashlib import sha256

from data_platform.ingestion.authors import load_author_key
from data_platform.ingestion.collect import (
    Collection,
    OpenDays,
    PendingFiles,
    collect_files,
    pending_files,
)
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.ledger import FeedLedger, Gap, Ledger
from data_platform.ingestion.replay import Replay, replay_quarantine
from data_platform.settings import Settings
from data_platform.storage.days import DaySpan, utc_today
from data_platform.storage.landing import LandingZone
from data_platform.storage.refusals import explained


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
        return LandingZone(self.settings.landing_path)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.landing_path / "ledger.sqlite")

    @property
    def open_days(self) -> OpenDays:
        """The days whose posts are let in now: from the start date to today (UTC)."""
        return OpenDays(self.settings.config.start_date, utc_today())

    def connector(self, name: str) -> FileConnector:
        return FileConnector(self.settings.feed(name), self.settings.base)

    def collect(self, name: str) -> Collection:
        """Land what is new in the feed `name`.

        Raises:
            SourceError: the feed as a whole cannot be read; see `collect_files`.
            BusyError: another process is collecting it.
            StorageError: the machine refuses to keep what was read.
        """
        with explained(self.landing.root):
            return collect_files(
                self.connector(name),
                self.landing,
                self.ledger,
                author_key=self._author_key(),
                open_days=self.open_days,
            )

    def replay(self, name: str) -> Replay:
        """Land what passes the contract now of the feed's records in quarantine.

        Raises:
            BusyError: another process is collecting the feed.
            StorageError: the machine refuses to keep what passes.
        """
        with explained(self.landing.root):
            return replay_quarantine(
                self.connector(name),
                self.landing,
                self.ledger,
                author_key=self._author_key(),
                open_days=self.open_days,
            )

    def _author_key(self) -> bytes:
        configured = self.settings.author_key
        return load_author_key(
            self.settings.home / "author.key",
            configured.get_secret_value() if configured else None,
        )

    def pending(self, name: str, now: datetime, deadline: float) -> PendingFiles:
        """Return what a collection of the feed `name` would find to do; see `pending_files`."""
        return pending_files(self.connector(name), self.ledger, now, deadline)

    def gaps(self) -> list[Gap]:
        """Return what the sources offered and is not stored, feed by feed, oldest first."""
        return [gap for name in self.names for gap in self.ledger.gaps(name).values()]

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
