"""What every connector to an interface on the network is: which listings it has, and one page of them at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Generic, Literal, TypeVar

from data_platform.errors import TransientSourceError
from data_platform.feed_settings import ApiFeed
from data_platform.ingestion.connectors.http import Http

Item = Mapping[str, Any]
Token = Mapping[str, Any]
Record = Mapping[str, object]
KNOWN_ONLY = "known_only"
FeedT = TypeVar("FeedT", bound=ApiFeed)


@dataclass(frozen=True)
class Traits:
    """What a platform allows; the sentences are for people.

    Attributes:
        title: name of the platform.
        reach: how far back its listings go.
        edits: how an edited post is noticed.
        deletions: how a deleted post is noticed.
        overlap: what each collection reads again by default.
        id_type: what its ids look like, and why they are text here.
        cost: what a page costs, and what limits there are.
        needs: what a user has to get before the first request.
        listed_by: what a window is a stretch of: the time of posting, so that a known post that is
            missing from a window may be deleted; the time of the last change; or of events.
    """

    title: str
    reach: str
    edits: str
    deletions: str
    overlap: timedelta
    id_type: str
    cost: str
    needs: str
    listed_by: Literal["posted", "changed", "events"] = "posted"


@dataclass(frozen=True)
class Window:
    """A stretch of time of one listing, half-open, in UTC.

    Attributes:
        stream: one of `Connector.streams`.
        position: what an earlier exhausted window of the stream ended with, from at least an
            overlap ago; None where there is none yet, and where a day is collected by its date.
    """

    stream: str
    since: datetime
    until: datetime
    position: Token | None = None

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, datetime) and self.since <= moment < self.until


@dataclass(frozen=True)
class Listing:
    """One page of a window.

    Attributes:
        items: what the platform listed, as it wrote them; objects, if the platform keeps its word.
            Items beyond the window are welcome.
        next: where the next page is; JSON. None: the window is exhausted.
        position: where a later window of this stream may begin; JSON. Kept when the window is
            exhausted.
        gone_prefixes: beginnings of ids whose posts are all gone, such as those of an account.
        unreachable_before: the platform lists nothing older than this, though the window begins
            earlier; with `unreachable_reason`.
    """

    items: Sequence[object]
    next: Token | None = None
    position: Token | None = None
    gone_prefixes: Sequence[str] = ()
    unreachable_before: datetime | None = None
    unreachable_reason: str = ""


@dataclass(frozen=True)
class Known:
    """A post that was collected before, for a second look.

    Attributes:
        native_id: what the platform is asked for it with; see `Connector.native_id`.
    """

    source_id: str
    native_id: str
    posted_at: datetime | None


@dataclass
class Rechecked:
    """What a second look at known posts found.

    Attributes:
        items: those that are still there, as the platform writes them.
        gone: source ids of those that are not.
    """

    items: list[Item] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class Connector(ABC, Generic[FeedT]):
    """Reads one feed's platform, one page at a time; it keeps no state between calls.

    Errors are classified, never retried here: see `Http`. Where to go on stands in the tokens, so
    a run that is killed is continued by another process from the last page that was stored.

    Args:
        feed: configuration of the feed.
        http: how requests are made.
    """

    traits: ClassVar[Traits]
    # How long posts are remembered after they were last seen; None: for ever.
    remembers: ClassVar[timedelta | None] = timedelta(days=60)
    # How many posts `recheck` asks for with one request.
    asked_at_once: ClassVar[int] = 1

    def __init__(self, feed: FeedT, http: Http) -> None:
        self.feed = feed
        self.http = http

    @abstractmethod
    def streams(self) -> list[str]:
        """Return the listings of the feed; each has its own windows, gaps and positions.

        The name of a listing tells the place that is asked, such as a server, where a feed may be
        pointed at another: what is known of one place says nothing about the other, and a post
        that is not found there is not deleted.
        """

    @abstractmethod
    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return one page of `window`: the first for None, else the one that `token` leads to.

        Raises:
            SourceError: in one of its kinds; nothing is known of the page then.
        """

    @abstractmethod
    def record(self, item: Item) -> Record | None:
        """Return an item under the names of the post contract; None if it is no feedback.

        Values may be text, numbers, booleans or null; a date is ISO 8601 text. A deletion is
        {"source_id": …, "change": "delete"}. Fields that are not there are null; whether that is
        allowed, the contract judges. With `KNOWN_ONLY` true, it is dropped unless the post was
        collected before: a platform may tell deletions of everybody's posts.
        """

    def native_id(self, item: Item, stream: str) -> str:  # noqa: ARG002 (some need to know it)
        """Return what `recheck` asks the platform for this item of a stream with."""
        return str(item.get("id", ""))

    def overlap(self, stream: str) -> timedelta:  # noqa: ARG002 (some need to know it)
        """Return what each collection of a stream reads again, unless the feed says otherwise."""
        return self.traits.overlap

    def lists_all(self, stream: str) -> bool:  # noqa: ARG002 (some need to know it)
        """True if a window of the stream lists every post of that time: one that is missing may be gone.

        Only for platforms that can be asked for single posts, to make sure.
        """
        return self.traits.listed_by == "posted" and self.can_recheck()

    @classmethod
    def can_recheck(cls) -> bool:
        """True if the platform can be asked for single posts."""
        return cls.recheck is not Connector.recheck

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        """Ask for posts that are known, to see which were edited or deleted.

        Raises:
            SourceError: nothing is known of any of them then.
        """
        raise NotImplementedError

    @abstractmethod
    def probe(self) -> str:
        """Prove with one cheap request that the platform answers and the credentials are good.

        Returns:
            What was seen, in a few words.

        Raises:
            SourceError: why not, and what to do.
            ConfigurationError: an environment variable is missing.
        """


def utc(moment: object) -> datetime | None:
    """Return an ISO 8601 text, or seconds since 1970, as a time in UTC; None if it is neither."""
    try:
        if isinstance(moment, str) and not moment.replace(".", "", 1).isdigit():
            read = datetime.fromisoformat(moment)
            return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
        if isinstance(moment, int | float | str) and not isinstance(moment, bool):
            return datetime.fromtimestamp(float(moment), UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def iso(moment: object) -> object:
    """Return seconds since 1970 as ISO 8601 text; anything else as it is, for the contract to judge."""
    if isinstance(moment, bool) or not isinstance(moment, int | float | str):
        return moment
    read = (
        utc(moment) if not isinstance(moment, str) or moment.replace(".", "", 1).isdigit() else None
    )
    return read.isoformat() if read else moment


def objects(items: Iterable[object]) -> Iterator[Item]:
    """Yield the items that are objects."""
    return (item for item in items if isinstance(item, dict))


def part(item: object, *keys: str | int) -> Any:
    """Return what stands below `keys` of nested objects and lists; None where the way ends."""
    for key in keys:
        if isinstance(item, dict) and isinstance(key, str):
            item = item.get(key)
        elif isinstance(item, list) and isinstance(key, int) and -len(item) <= key < len(item):
            item = item[key]
        else:
            return None
    return item


def required_list(answer: object, *keys: str | int) -> list[object]:
    """Return the list below keys of an answer.

    Raises:
        TransientSourceError: there is none: what is no listing must not pass for an empty one.
    """
    found = part(answer, *keys)
    if isinstance(found, list):
        return found
    message = f"the platform answered without the list {'.'.join(map(str, keys))!r}"
    raise TransientSourceError(message)


def list_at(answer: object, *keys: str | int) -> list[object]:
    """Return the list below `keys` of an answer; empty where there is none."""
    found = part(answer, *keys)
    return found if isinstance(found, list) else []
