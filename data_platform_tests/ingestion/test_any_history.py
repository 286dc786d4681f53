"""Whatever happens to the posts of a platform, and however it is collected meanwhile, ends in what is true then."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_platform.errors import (
    BudgetSpentError,
    PermanentSourceError,
    ThrottledError,
    TokenExpiredError,
    TransientSourceError,
    UnreachableError,
)
from data_platform.feed_settings import RestFeed
from data_platform.ingestion.collect import Collection, OpenDays
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Known,
    Listing,
    Rechecked,
    Record,
    Token,
    Traits,
    Window,
)
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform.ingestion.pull import pull
from data_platform.ingestion.raw import load_days
from data_platform.ingestion.windows import WindowLedger
from data_platform.schemas import RAW_FEEDBACK, TABLES
from data_platform.storage.days import DaySpan, days_between
from data_platform.storage.landing import LandingZone
from data_platform.storage.warehouse import Transaction
from data_platform_tests.examples import examples
from data_platform_tests.ingestion.test_raw import drop_temporary_tables

NOW = datetime.now(UTC)
HOURS_AGO = (1, 2, 26, 27, 50)  # the first two are within the overlap of every collection
FIRST_DAY = (NOW - timedelta(days=4)).date()
FEED = RestFeed.model_validate(
    {
        "kind": "rest",
        "name": "shop",
        "url": "http://shop.example/",
        "fields": {"source_id": "id", "posted_at": "at", "body": "text"},
    }
)
FAULTS: tuple[tuple[type[BaseException], tuple[Any, ...]], ...] = (
    (TransientSourceError, ("cut",)),
    (PermanentSourceError, ("refused",)),
    (TokenExpiredError, ("never heard of it",)),
    (ThrottledError, ("later", NOW)),
    (BudgetSpentError, ("spent",)),
    (UnreachableError, ("too far back",)),
    (KeyError, ("an answer of an odd shape",)),
    (KeyboardInterrupt, ()),
)
STREAMS = ("bags", "shoes")


@dataclass
class Post:
    """A post as the platform holds it; without text it breaks the contract."""

    posted_at: datetime
    text: str
    streams: frozenset[str]
    changed_at: datetime
    edited_at: datetime | None = None
    like_count: int = 0
    is_deleted: bool = False
    is_hidden: bool = False  # no listing shows it for a while


@dataclass
class Network:
    """A platform whose posts change.

    Attributes:
        tells_edits: posts carry the time of their last edit.
        faults: what becomes of the next requests, by their number from now on.
        stop: the ledger's transaction from now on that a process is ended at, and whether behind it.
    """

    tells_edits: bool
    posts: list[Post] = field(default_factory=list)
    faults: Mapping[int, tuple[type[BaseException], tuple[Any, ...]]] = field(default_factory=dict)
    request_count: int = 0
    stop: tuple[int, bool] | None = None

    def answer(self) -> None:
        """Count a request; raise what is to become of it."""
        self.request_count += 1
        if self.request_count in self.faults:
            kind, told = self.faults[self.request_count]
            raise kind(*told)

    def change(self, number: int, **changes: Any) -> None:
        """Change a post that is not deleted, if there is one of that number."""
        if not self.posts or self.posts[number % len(self.posts)].is_deleted:
            return
        post = self.posts[number % len(self.posts)]
        for name, value in changes.items():
            setattr(post, name, value)
        post.changed_at = datetime.now(UTC)
        if "text" in changes and self.tells_edits:
            post.edited_at = post.changed_at

    def item(self, number: int) -> Item:
        post = self.posts[number]
        return {
            "id": f"p{number}",
            "at": post.posted_at.isoformat(),
            "text": post.text,
            "edited": post.edited_at.isoformat() if post.edited_at else None,
            "likes": post.like_count,
            "is_deleted": post.is_deleted,
        }


def traits(listed_by: Any) -> Traits:
    words = ("a network", "", "", "")
    return Traits(*words, timedelta(hours=6), "", "", "", listed_by)


class ListedByPosting(Connector[RestFeed]):
    """Lists posts by the time of posting, newest first; deleted ones are missing, and can be asked for."""

    traits: ClassVar[Traits] = traits("posted")

    def __init__(self, network: Network, page_size: int = 2) -> None:
        super().__init__(FEED, Http(Budget()))
        self.network, self.page_size = network, page_size

    def streams(self) -> list[str]:
        return list(STREAMS)

    def place(self, post: Post) -> datetime:
        return post.posted_at

    def is_listed(self, post: Post, window: Window) -> bool:
        return not (post.is_deleted or post.is_hidden) and post.posted_at in window

    def fetch(self, window: Window, token: Token | None) -> Listing:
        self.network.answer()
        listed = [
            ([self.place(post).isoformat(), number], number)
            for number, post in enumerate(self.network.posts)
            if window.stream in post.streams and self.is_listed(post, window)
        ]
        listed.sort(reverse=self.is_newest_first)
        if token is not None:
            after = token["after"]
            listed = [
                (place, number)
                for place, number in listed
                if (place < after if self.is_newest_first else place > after)
            ]
        page = listed[: self.page_size]
        following = {"after": page[-1][0]} if len(listed) > len(page) else None
        return Listing([self.network.item(number) for _, number in page], following)

    is_newest_first: ClassVar[bool] = True

    def record(self, item: Item) -> Record:
        if item["is_deleted"]:
            return {"source_id": item["id"], "change": "delete"}
        return {
            "source_id": item["id"],
            "posted_at": item["at"],
            "body": item["text"],
            "edited_at": item["edited"],
            "like_count": item["likes"],
        }

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        self.network.answer()
        found = Rechecked()
        for known in posts:
            number = int(known.native_id.removeprefix("p"))
            if self.network.posts[number].is_deleted:
                found.gone.append(known.source_id)
            else:
                found.items.append(self.network.item(number))
        return found

    def probe(self) -> str:
        return ""


class ListedByChange(ListedByPosting):
    """Lists what was changed since the window's begin, up to the present, deletions too."""

    traits: ClassVar[Traits] = traits("changed")
    is_newest_first: ClassVar[bool] = False

    def place(self, post: Post) -> datetime:
        return post.changed_at

    def is_listed(self, post: Post, window: Window) -> bool:
        return post.changed_at >= window.since


class EndedLedger(WindowLedger):
    """A ledger whose process is ended at one of its transactions, as the network says."""

    network: Network

    def advance(self, *told: Any) -> None:
        if self.network.stop == (0, False):
            raise KeyboardInterrupt
        super().advance(*told)
        if self.network.stop == (0, True):
            raise KeyboardInterrupt
        if self.network.stop:
            self.network.stop = (self.network.stop[0] - 1, self.network.stop[1])


class Home:
    """A landing zone, its ledger and raw_feedback, filled from a network."""

    def __init__(
        self, folder: Path, network: Network, kind: type[ListedByPosting], warehouse: Any
    ) -> None:
        self.landing = LandingZone(folder / "landing")
        self.ledger = EndedLedger(folder / "landing" / "ledger.sqlite")
        self.ledger.network = network
        self.network, self.kind, self.warehouse = network, kind, warehouse

    def collect(self, days: Sequence[date] = (), page_size: int = 2) -> Collection:
        result = pull(
            self.kind(self.network, page_size),
            self.landing,
            self.ledger,
            author_key=b"k" * 32,
            open_days=OpenDays(FIRST_DAY, datetime.now(UTC).date()),
            days=days,
        )
        assert result.read_count == sum(result.landed_by_day.values()) + result.refused_count
        return result

    def load(self, days: DaySpan) -> None:
        load_days(Transaction(self.warehouse), self.landing, ["shop"], days)
        drop_temporary_tables(self.warehouse)

    def rows(self) -> tuple[list[tuple[Any, ...]], set[str]]:
        """Load every day; return the current versions, and the ids of deleted posts."""
        for day in self.landing.days("shop"):
            self.load(DaySpan.of(day))
        columns = ", ".join(c.name for c in RAW_FEEDBACK.columns if not c.is_volatile)
        alive = self.warehouse.execute(
            f"SELECT {columns} FROM raw_feedback WHERE is_current AND NOT is_deleted ORDER BY ALL"
        ).fetchall()
        gone = self.warehouse.execute("SELECT source_id FROM raw_feedback WHERE is_deleted")
        return alive, {row[0] for row in gone.fetchall()}


@contextmanager
def home_of(network: Network, kind: type[ListedByPosting]) -> Iterator[Home]:
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        for table in TABLES.values():
            warehouse.execute(table.ddl)
        yield Home(Path(folder), network, kind, warehouse)


def all_days() -> list[date]:
    return list(days_between(FIRST_DAY, datetime.now(UTC).date()))


NUMBERS = st.integers(0, 2)
HOURS = st.sampled_from(HOURS_AGO)
TEXTS = st.sampled_from(["good", "bad"])
SHOWN_IN = st.sampled_from([frozenset(STREAMS[:1]), frozenset(STREAMS[1:]), frozenset(STREAMS)])
COLLECTED = ("collect", (), 2, {}, None)
COLLECTS = st.tuples(
    st.just("collect"),
    st.one_of(st.just(()), st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True)),
    st.integers(1, 3),
    st.dictionaries(st.integers(1, 9), st.sampled_from(FAULTS), max_size=2),
    st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 3), st.booleans())),
)
WRITES = st.tuples(st.just("write"), HOURS, st.one_of(TEXTS, TEXTS, TEXTS, st.just("")), SHOWN_IN)
CHANGES = st.one_of(
    WRITES,
    st.tuples(st.just("edit"), NUMBERS, TEXTS),
    st.tuples(st.just("like"), NUMBERS, st.integers(0, 1)),
    st.tuples(st.just("delete"), NUMBERS),
    st.tuples(st.just("redate"), NUMBERS, HOURS),
    st.tuples(st.just("move"), NUMBERS, SHOWN_IN),
    st.tuples(st.just("hide"), NUMBERS),
    st.tuples(st.just("load"), st.integers(0, 4), st.integers(0, 2)),
)
# Some posts, then changes with a collection behind most of them.
HISTORIES = st.builds(
    lambda writes, rounds: [*writes, *(step for turn in rounds for step in turn if step)],
    st.lists(WRITES, min_size=1, max_size=3),
    st.lists(
        st.tuples(st.one_of(st.just(COLLECTED), COLLECTS, st.none()), CHANGES),
        min_size=1,
        max_size=7,
    ),
)


def take(step: tuple[Any, ...], home: Home) -> None:
    """Let something happen."""
    network, days = home.network, all_days()
    match step:
        case "write", hours, text, streams:
            posted_at = NOW - timedelta(hours=hours)
            network.posts.append(Post(posted_at, text, streams, datetime.now(UTC)))
        case "edit", number, text:
            network.change(number, text=text)
        case "like", number, count:
            network.change(number, like_count=count)
        case "delete", number:
            network.change(number, is_deleted=True)
        case "redate", number, hours:
            network.change(number, posted_at=NOW - timedelta(hours=hours))
        case "move", number, streams:
            network.change(number, streams=streams)
        case "hide", number:
            network.change(number, is_hidden=True)
        case "load", number, further:
            first = min(number, len(days) - 1)
            home.load(DaySpan(days[first], days[min(first + further, len(days) - 1)]))
        case "collect", numbers, page_size, faults, stop:
            network.faults, network.stop, network.request_count = faults, stop, 0
            with suppress(KeyboardInterrupt):
                home.collect([days[n] for n in numbers if n < len(days)], page_size)
            network.faults, network.stop = {}, None


@pytest.fixture(autouse=True, scope="module")
def _short_deliveries() -> Iterator[None]:
    """A window is stored in several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_platform.ingestion.pull.RECORDS_PER_DELIVERY", 2)
        yield


TAKEN_BACK = [
    *(("write", 1, "good", frozenset(STREAMS)), COLLECTED, ("move", 0, frozenset(STREAMS[:1]))),
    *(("edit", 0, "bad"), COLLECTED, ("edit", 0, "good")),
]


@pytest.mark.parametrize("kind", [ListedByPosting, ListedByChange])
@examples(5)
@example(steps=TAKEN_BACK, tells_edits=False)
@given(steps=HISTORIES, tells_edits=st.booleans())
def test_any_history_of_posts_and_collections_ends_in_the_final_truth(kind, steps, tells_edits):
    network = Network(tells_edits)
    with home_of(network, kind) as lived, home_of(network, kind) as fresh:
        for step in steps:
            take(step, lived)
        for number in range(len(network.posts)):
            network.change(number, is_hidden=False)
        lived.collect()  # goes on where collections were cut short
        last = lived.collect(all_days() if kind is ListedByPosting else ())
        assert (last.errors, last.unreachable, last.notes) == ([], {}, [])
        assert lived.ledger.open_windows("shop") == []
        assert lived.collect().read_count == 0
        fresh.collect()
        alive, gone = lived.rows()
        assert alive == fresh.rows()[0]
        texts = {f"p{n}": p.text for n, p in enumerate(network.posts) if not p.is_deleted}
        column = [c.name for c in RAW_FEEDBACK.columns if not c.is_volatile].index
        found = {row[column("source_id")]: row[column("body")] for row in alive}
        assert found == {source_id: text for source_id, text in texts.items() if text}
        assert gone.isdisjoint(texts)
