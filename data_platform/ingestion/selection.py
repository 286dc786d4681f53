"""Which posts and refused records are to be erased: those that a person names, wherever they were landed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from data_platform.errors import ConfigurationError
from data_platform.feed_settings import FileFeed, WebhookFeed
from data_platform.ingestion.authors import hash_handles
from data_platform.ingestion.connectors.json_records import Record, parse_object
from data_platform.ingestion.connectors.mapping import mapped_record
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.suppression import ERASED, Suppression
from data_platform.storage.landing import LandingZone, Segment


@dataclass(frozen=True)
class Selection:
    """What is to be erased; each part that is named narrows it down.

    Attributes:
        posts: ids, as the source gives them or as feedback_id.
        author: a handle, as the source gives it, with or without @.
        feed: only posts that this feed delivered, alone or among others.
        before: only posts of earlier days (UTC).

    Raises:
        ConfigurationError: an id or a handle is blank, or nothing is named.
    """

    posts: Sequence[str] = ()
    author: str | None = None
    feed: str | None = None
    before: date | None = None

    def __post_init__(self) -> None:
        named = [*self.posts, *([] if self.author is None else [self.author])]
        if any(not name.strip(" @\t") for name in named):
            message = "An id or a handle is blank; it would stand for everything."
            raise ConfigurationError(message)
        if not (named or self.feed or self.before):
            message = "Name what to erase: --post ID, --author HANDLE, --feed NAME or --before DAY."
            raise ConfigurationError(message)

    @property
    def is_for_good(self) -> bool:
        """True if all of an author is meant: then nothing of the author is taken in any more."""
        return self.author is not None and not (self.posts or self.feed or self.before)

    def describe(self, suppression: Suppression) -> str:
        """Return the selection in words that name nobody, for the record."""
        what = f"{len(self.posts)} post(s) by id" if self.posts else "posts"
        if self.author is not None:
            what += f" of author {suppression.erased_id(self.author)[:8]}"
        if self.feed is not None:
            what += f" of feed {self.feed}"
        return what + (f" before {self.before}" if self.before else "")


@dataclass
class Found:
    """What a selection means: a post goes from every feed of its platform, whichever was named.

    Attributes:
        feedback_ids: its posts, and the posts that its refused records are of.
        post_count: of them, those that are landed.
        author_ids: of whom nothing is to be taken in any more.
        quarantine_ids: refused records, of those posts too.
        segment_count: segments that hold its posts.
        feeds: names of the feeds that delivered them, or a refused record.
        files: names of the files and listings that delivered them; the files may still be there.
        days: days of posting, by landing folder.
    """

    feedback_ids: set[str] = field(default_factory=set)
    post_count: int = 0
    author_ids: set[str] = field(default_factory=set)
    quarantine_ids: set[str] = field(default_factory=set)
    segment_count: int = 0
    feeds: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    days: set[date] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        return not (self.feedback_ids or self.quarantine_ids or self.author_ids)


def find(feeds: Feeds, selection: Selection) -> Found:
    """Return what a selection means, also of feeds that are not configured any more; changes nothing.

    Raises:
        ConfigurationError: no such feed is configured, and none has landed anything.
    """
    names = searched = sorted({*feeds.names, *landed_feeds(feeds.landing)})
    if selection.feed is not None:
        if selection.feed not in names:
            feeds.settings.feed(selection.feed)
        searched = [selection.feed]
    platforms = {name: platforms_of(feeds, name) for name in names}
    found = Found()
    for name in searched:
        for segment in segments_of(feeds.landing, name):
            if segment.day is None:
                for platform in platforms[name]:
                    for row in held_rows(feeds, name, segment, selection, platform):
                        found.quarantine_ids.add(row["quarantine_id"])
                        found.feeds.add(name)
                        if row["source_id"] is not None:
                            found.feedback_ids.add(f"{platform}:{row['source_id']}")
            elif selection.before is None or segment.day < selection.before:
                found.feedback_ids.update(_selected_ids(feeds, segment, selection))
        for platform in platforms[name]:
            if selection.is_for_good and selection.author is not None:
                authors = hash_handles(selection.author, platform, feeds.author_key())
                found.author_ids.update(authors)
            if selection.posts and not (selection.author or selection.feed or selection.before):
                # Also of a post that is not landed yet, nothing may be.
                found.feedback_ids.update(
                    post if post.startswith(f"{platform}:") else f"{platform}:{post}"
                    for post in selection.posts
                )
    _note_places(feeds, platforms, found)
    return found


def _note_places(feeds: Feeds, platforms: Mapping[str, Sequence[str]], found: Found) -> None:
    """Note what all feeds hold of the posts that were found.

    A post is recognised by its id alone, so it goes from every feed that delivered it: else the
    next load of that feed would bring it back.

    Args:
        platforms: of each feed.
    """
    landed: set[str] = set()
    brought: set[str] = set()
    for name in platforms:
        for segment in segments_of(feeds.landing, name):
            path = feeds.landing.root / segment.path
            held: set[str]
            if segment.day is None:
                table = pq.read_table(path, columns=["quarantine_id", "source_id"])
                pairs = zip(*(column.to_pylist() for column in table.columns), strict=True)
                held = {
                    key
                    for key, id_ in pairs
                    if id_ and any(f"{p}:{id_}" in found.feedback_ids for p in platforms[name])
                }
                found.quarantine_ids |= held
            else:
                # A set of Python's is made once; Arrow makes one for each call of is_in.
                table = pq.read_table(path, columns=["feedback_id"])
                held = found.feedback_ids.intersection(table["feedback_id"].to_pylist())
                if held:
                    landed |= held
                    brought.add(segment.path)
                    found.days.add(segment.day)
            if held:
                found.feeds.add(name)
    found.post_count, found.segment_count = len(landed), len(brought)
    found.files = feeds.ledger.delivered_files(brought)


def held_rows(
    feeds: Feeds, name: str, segment: Segment, selection: Selection, platform: str
) -> Iterator[dict[str, Any]]:
    """Yield the refused records of a quarantine segment that a selection means on a platform.

    Whose a record is tells the mapping of its feed. Of feeds with a connector of their own, and
    of feeds that are not configured any more, any of its values may be the id or the handle; and
    in what is no whole record, any word.
    """
    rows = pq.read_table(feeds.landing.root / segment.path).to_pylist()
    records = [parse_object(row["payload"]) if row["payload"] else None for row in rows]
    told = _mapped(feeds, name, records)
    for row, record, mapped in zip(rows, records, told, strict=True):
        day = row["posted_date"] or row["observed_at"].date()
        if selection.before is not None and day >= selection.before:
            continue
        values = None
        if mapped is not None:
            values = mapped
        elif record is not None:
            values = (set(_values(record)),) * 2
        if _is_named(selection, platform, row, values):
            yield row


def landed_feeds(landing: LandingZone) -> list[str]:
    """Return the feeds that have landed anything, also those that are not configured any more."""
    return sorted(p.name for p in landing.root.glob("[a-z]*") if p.is_dir())


def segments_of(landing: LandingZone, feed: str) -> Iterator[Segment]:
    """Yield the segments of a feed, day by day, then those of its quarantine."""
    for day in landing.days(feed):
        yield from landing.segments([feed], day)
    yield from landing.segments([feed], None)


def platforms_of(feeds: Feeds, name: str) -> list[str]:
    """Return the platforms of a feed's ids: the configured one first, then those of its records.

    Records keep the platform that was configured when they were landed. Of a feed that is not
    configured and has no posts, its name stands for it.
    """
    configured = [feeds.settings.feed(name).platform] if name in feeds.names else []
    paths = [s.path for s in segments_of(feeds.landing, name) if s.day is not None]
    landed = set()
    if paths:
        files = ds.dataset([str(feeds.landing.root / path) for path in paths], format="parquet")
        landed = set(pc.unique(files.to_table(columns=["source"])["source"]).to_pylist())
    return configured + sorted(landed.difference(configured)) or [name]


def platform_of(feeds: Feeds, name: str) -> str:
    """Return the platform of a feed's ids; of one that is not configured, what its records say."""
    if name in feeds.names:
        return feeds.settings.feed(name).platform
    return platforms_of(feeds, name)[0]


def _selected_ids(feeds: Feeds, segment: Segment, selection: Selection) -> set[str]:
    columns = ["feedback_id", "source", "source_id", "author_id"]
    table = pq.read_table(feeds.landing.root / segment.path, columns=columns)
    if selection.posts:
        posts = pa.array(selection.posts, pa.string())
        is_named = (pc.is_in(table[name], posts) for name in ("feedback_id", "source_id"))
        table = table.filter(pc.or_(*is_named))
    if selection.author is not None:
        authors = [
            author
            for platform in pc.unique(table["source"]).to_pylist()
            for author in hash_handles(selection.author, platform, feeds.author_key())
        ]
        table = table.filter(pc.is_in(table["author_id"], pa.array(authors, pa.string())))
    is_erased = pc.starts_with(table["source_id"], ERASED)
    return set(table.filter(pc.invert(is_erased))["feedback_id"].to_pylist())


def _mapped(
    feeds: Feeds, name: str, records: Sequence[Record | None]
) -> list[tuple[set[str], set[str]] | None]:
    """Return id and handle of each record by the feed's mapping; None where there is none."""
    feed = feeds.settings.feed(name) if name in feeds.names else None
    whole = [record for record in records if record is not None]
    if isinstance(feed, FileFeed):
        page = feeds.files(name).page_of(whole, range(1, len(whole) + 1)).records
        blank = [None] * len(whole)
        columns = [
            page[field].to_pylist() if field in page.column_names else blank
            for field in ("source_id", "author_handle")
        ]
        pairs = list(zip(*columns, strict=True))
    elif isinstance(feed, WebhookFeed):
        found = [mapped_record(feed, record) for record in whole]
        pairs = [(f.get("source_id"), f.get("author_handle")) for f in found]
    else:
        return [None] * len(records)
    told = iter(
        tuple({str(value)} if value is not None else set() for value in pair) for pair in pairs
    )
    return [next(told) if record is not None else None for record in records]  # type: ignore[misc]


def _values(value: object) -> Iterator[str]:
    """Yield every value in a JSON document, as text."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _values(part)
    elif isinstance(value, list):
        for part in value:
            yield from _values(part)
    elif value is not None:
        yield str(value)


def _is_named(
    selection: Selection,
    platform: str,
    row: dict[str, Any],
    values: tuple[set[str], set[str]] | None,
) -> bool:
    """True if a refused record is one of the selected posts, and by the selected author.

    Args:
        platform: of its id; with that of another before it, an id is none of this platform.
        values: what its id and its handle may be; None: it is no whole record.
    """
    ids = {
        i
        for post in selection.posts
        for i in (post, post.removeprefix(f"{platform}:"))
        if i.strip()
    }
    handles = set()
    if selection.author is not None:
        bare = selection.author.lstrip("@")
        handles = {selection.author, bare, f"@{bare}"}
    if values is not None:
        of_post, of_author = values
        is_post = bool(ids & (of_post | {row["source_id"] or ""}))
        is_author = bool(handles & of_author)
    else:
        text = f"{row['source_id'] or ''} {row['payload'] or ''}"
        is_post, is_author = (
            any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in words)
            for words in (ids, handles)
        )
    return (is_post or not selection.posts) and (is_author or selection.author is None)
