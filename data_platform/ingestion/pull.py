"""Pulling a feed from an interface: opens windows, reads their pages, lands what is new, moves cursors, closes gaps."""

import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import blake2b
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar

import pyarrow as pa

from data_platform.errors import (
    BudgetSpentError,
    PermanentSourceError,
    SourceError,
    ThrottledError,
    TokenExpiredError,
    TransientSourceError,
    UnreachableError,
)
from data_platform.feed_settings import ApiFeed, interval
from data_platform.ingestion.collect import (
    Collection,
    finish_removals,
    held_feed,
    split_by_day,
)
from data_platform.ingestion.connectors.connector import (
    KNOWN_ONLY,
    Connector,
    Item,
    Known,
    Listing,
    Record,
    Window,
    utc,
)
from data_platform.ingestion.connectors.json_records import NO_OBJECT, as_texts
from data_platform.ingestion.connectors.opening import is_text, readable
from data_platform.ingestion.connectors.pages import BrokenRecord, Page
from data_platform.ingestion.contract import (
    POST_SCHEMA,
    REFUSED_SCHEMA,
    Delivery,
    OpenDays,
    PostContract,
)
from data_platform.ingestion.identity import IdentityGuard
from data_platform.ingestion.ledger import Delivered
from data_platform.ingestion.windows import (
    Observed,
    OpenWindow,
    Pause,
    WindowLedger,
    joined_fingerprints,
)
from data_platform.schemas import CONTRACT_VERSION
from data_platform.storage.days import day_bounds
from data_platform.storage.landing import FOLDER_COLUMN, QUARANTINE, LandingZone, rows_by_day

logger = logging.getLogger(__name__)

Answered = TypeVar("Answered")

# What was read is made durable, and the cursor moved, at the latest after so much.
RECORDS_PER_DELIVERY = 2_000
SECONDS_PER_DELIVERY = 20.0
RECHECKED_PER_WINDOW = 100
RECHECKED_PER_COLLECTION = 500
REQUESTS_PER_RECHECK = 20  # what they found is stored, before the next ones are made
MOSTLY_REFUSED_SHARE = 0.9
MOSTLY_REFUSED_MIN_RECORDS = 10
# After so many collections in a row that failed, those that start by themselves wait, and longer each time.
FAILURES_BEFORE_PAUSE = 3
FIRST_PAUSE = timedelta(minutes=2)
LONGEST_PAUSE = timedelta(hours=1)
ODD_SHAPE = "the record does not have the shape of the platform's records"
# What reading an answer raises where it has a shape that its connector does not expect.
SHAPE_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def pull(
    connector: Connector[Any],
    landing: LandingZone,
    ledger: WindowLedger,
    *,
    author_key: bytes,
    open_days: OpenDays,
    days: Sequence[date] = (),
) -> Collection:
    """Collect what is new in a feed, or exactly the given days of it.

    First the windows that were left open, oldest first, each from the page where it stopped; then
    what was posted since. A window is a gap until its last page is stored: a limit, a budget, an
    error and a kill all leave it open with its token. What is known as it is, is not landed again.

    Args:
        days: days of posting to collect, each as a window of its own; none: what is new.

    Raises:
        BusyError: another process is collecting the feed.
    """
    feed = connector.feed
    with held_feed(landing, feed.name):
        finish_removals(landing, ledger, feed.name)
        result = Collection()
        wanted = set(days)
        try:
            streams = connector.streams()
            ledger.keep_streams(feed.name, streams)
            ledger.forget_future(feed.name, datetime.now(UTC))
            for stream in streams:
                for window, day in _windows(feed, ledger, connector, stream, open_days, days):
                    ledger.open_window(feed.name, window, day)
            suppression = ledger.suppression(author_key)
            with PostContract(feed, author_key, suppression) as contract:
                puller = _Puller(connector, contract, landing, ledger, open_days, result)
                for open_window in ledger.open_windows(feed.name):
                    is_asked = open_window.day in wanted if wanted else True
                    if is_asked and not puller.is_over:
                        puller.drain(open_window)
                for stream in streams:
                    if feed.recheck_after and not wanted and not puller.is_over:
                        puller.recheck_stale(stream, interval(feed.recheck_after))
        except SourceError as error:
            _note(result, error)
        finally:
            _settle(connector, ledger, result)
        return result


def _windows(
    feed: ApiFeed,
    ledger: WindowLedger,
    connector: Connector[Any],
    stream: str,
    open_days: OpenDays,
    days: Sequence[date],
) -> list[tuple[Window, date | None]]:
    """Return the windows of a stream that a collection should open."""
    now = datetime.now(UTC)
    if days:
        bounds = [(day, *day_bounds(day)) for day in days]
        return [
            (Window(stream, since, min(until, now)), day)
            for day, since, until in bounds
            if since < now
        ]
    overlap = interval(feed.overlap) if feed.overlap else connector.overlap(stream)
    start = day_bounds(max(feed.since or open_days.first, open_days.first))[0]
    reached = ledger.reached(feed.name, stream)
    since = start if reached is None else max(reached - overlap, start)
    if since >= now:
        return []
    # The first day was moved back, or only some days were collected so far.
    holes = [] if reached is None else ledger.holes(feed.name, stream, start, reached)
    latest = Window(stream, since, now, ledger.position(feed.name, stream, now - overlap))
    return [*((Window(stream, *hole), None) for hole in holes), (latest, None)]


def _note(result: Collection, error: SourceError) -> None:
    """Tell an end that the next collection goes on from, apart from an error."""
    if isinstance(error, ThrottledError | BudgetSpentError):
        result.notes.append(str(error))
    else:
        result.errors.append(str(error))
        result.new_errors.append(str(error))


def _settle(connector: Connector[Any], ledger: WindowLedger, result: Collection) -> None:
    """Record how a collection ended, what it used, and when the next one may start."""
    name, http, now = connector.feed.name, connector.http, datetime.now(UTC)
    budget = http.budget
    result.request_count = budget.request_count
    result.unit_count = budget.unit_count
    result.throttled_seconds = budget.throttled_seconds
    ledger.use(name, now.date(), budget.request_count, budget.unit_count, budget.throttled_seconds)
    failures = ledger.pause(name).failure_count + 1 if result.errors else 0
    retry_at = None
    if failures >= FAILURES_BEFORE_PAUSE:
        doublings = min(failures - FAILURES_BEFORE_PAUSE, 10)
        retry_at = now + min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE)
    ledger.set_pause(name, Pause(http.not_before, failures, retry_at))
    ledger.finish(name, now, "; ".join(result.errors) or None)
    http.close()


@dataclass
class _Read:
    """Pages that are read and not stored yet."""

    posts: list[pa.Table] = field(default_factory=list)
    refused: list[pa.Table] = field(default_factory=list)
    observed: list[Observed] = field(default_factory=list)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    identity: IdentityGuard = field(default_factory=IdentityGuard)
    count: int = 0
    unchanged_count: int = 0
    begun_at: float = field(default_factory=time.monotonic)

    @property
    def is_full(self) -> bool:
        seen = len(self.observed)
        return (
            seen >= RECORDS_PER_DELIVERY or time.monotonic() - self.begun_at > SECONDS_PER_DELIVERY
        )


class _Puller:
    """Reads windows of one feed to their ends.

    Attributes:
        is_over: the budget is spent or the platform wants a pause: no window goes on.
    """

    def __init__(
        self,
        connector: Connector[Any],
        contract: PostContract,
        landing: LandingZone,
        ledger: WindowLedger,
        open_days: OpenDays,
        result: Collection,
    ) -> None:
        self._connector, self._contract = connector, contract
        self._landing, self._ledger = landing, ledger
        self._open_days, self._result = open_days, result
        self._delivery_id = uuid.uuid4().hex
        self.is_over = False

    def drain(self, window: OpenWindow) -> None:
        """Read a window from where it stopped to its end; leave it open with the reason if not."""
        try:
            try:
                self._read(window, window.token)
            except TokenExpiredError as error:
                logger.info("%s: %s; the window begins anew", window.window.stream, error)
                self._ledger.restart(window)
                self._read(window, None)
        except UnreachableError as error:
            self._ledger.complete(window, None, covered_since=None, unreachable_reason=str(error))
            self._note_unreachable(window, window.window.until, str(error))
        except SourceError as error:
            self._ledger.suspend(
                window, str(error), is_transient=isinstance(error, TransientSourceError)
            )
            _note(self._result, error)
            self.is_over = isinstance(error, ThrottledError | BudgetSpentError)

    def _read(self, window: OpenWindow, token: Mapping[str, Any] | None) -> None:
        read = _Read()
        seen = {_fingerprint(token)}
        reached: Listing | None = None
        try:
            while True:
                listing = self._asked(window, partial(self._connector.fetch, window.window, token))
                self._take(window, listing.items, read)
                self._take_gone(window, listing.gone_prefixes, read)
                if listing.unreachable_before is not None:
                    reached = listing
                if listing.next is None:
                    break
                if _fingerprint(listing.next) in seen:
                    message = (
                        f"{window.window.stream}: the platform leads from a page back to one that"
                        " was read before, so what is behind it cannot be reached now"
                    )
                    raise TransientSourceError(message)
                seen.add(_fingerprint(listing.next))
                token = listing.next
                if read.is_full:
                    self._store(window, token, read)
                    read = _Read()
        except SourceError:
            self._store(window, token, read)
            raise
        self._store(window, token, read)
        begin = window.window.since
        covered_since = (
            max(reached.unreachable_before, begin)
            if reached and reached.unreachable_before
            else begin
        )
        if self._connector.lists_all(window.window.stream):
            self._recheck(window, token, covered_since)
        reason = reached.unreachable_reason if reached else ""
        self._ledger.complete(
            window,
            listing.position,
            covered_since=covered_since,
            unreachable_reason=reason,
            remembered=self._connector.remembers,
        )
        if covered_since > begin:
            self._note_unreachable(window, covered_since, reason)

    def _asked(self, window: OpenWindow, ask: Callable[[], Answered]) -> Answered:
        """Return what was asked for; an answer whose shape no connector expects is the platform's error."""
        try:
            return ask()
        except SHAPE_ERRORS as error:
            # Without its text, which may quote a post.
            place = extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}, line {place.lineno}"
            kind = type(error).__name__
            logger.warning("%s: an odd answer: %s in %s", window.window.stream, kind, where)
            message = (
                f"{window.window.stream}: the platform answered in a shape that is not its own"
                f" ({kind}); the window stays open"
            )
            raise TransientSourceError(message) from error

    def _recheck(
        self, window: OpenWindow, token: Mapping[str, Any] | None, covered_since: datetime
    ) -> None:
        """Ask for known posts that the window should have listed: edited away, or deleted."""
        missing = self._ledger.unseen(window, covered_since, RECHECKED_PER_WINDOW)
        if missing:
            self._ask_for(missing, window, token)

    def recheck_stale(self, stream: str, age: timedelta) -> None:
        """Ask for known posts that were not seen for `age`."""
        if not self._connector.can_recheck():
            return
        now = datetime.now(UTC)
        name = self._connector.feed.name
        stale = self._ledger.not_seen_since(name, stream, now - age, RECHECKED_PER_COLLECTION)
        nowhere = OpenWindow(-1, name, Window(stream, now, now), None, None, now, None, "", True)
        try:
            if stale:
                self._ask_for(stale, nowhere, None)
        except SourceError as error:
            _note(self._result, error)
            self.is_over = isinstance(error, ThrottledError | BudgetSpentError)

    def _ask_for(
        self, missing: Sequence[Known], window: OpenWindow, token: Mapping[str, Any] | None
    ) -> None:
        """Land what became of known posts."""
        size = REQUESTS_PER_RECHECK * self._connector.asked_at_once
        for start in range(0, len(missing), size):
            asked = missing[start : start + size]
            found = self._asked(window, partial(self._connector.recheck, asked))
            read = _Read()
            self._take(window, found.items, read)
            posted = {post.source_id: post for post in asked}
            gone = [
                {
                    "source_id": source_id,
                    "posted_at": at.isoformat() if (at := posted[source_id].posted_at) else None,
                    "change": "delete",
                }
                for source_id in found.gone
            ]
            self._take_records(window, [(dict(record), record, "") for record in gone], (), read)
            self._store(window, token, read)

    def _take_gone(self, window: OpenWindow, prefixes: Sequence[str], read: _Read) -> None:
        """Take known posts for deleted whose ids begin so: their author's account is gone."""
        for prefix in filter(is_text, prefixes):
            gone = self._ledger.known_ids(window.feed, prefix)
            gone += [p.source_id for p in read.observed if p.source_id.startswith(prefix)]
            records = [{"source_id": found, "change": "delete"} for found in dict.fromkeys(gone)]
            self._take_records(window, [(dict(r), r, "") for r in records], (), read)

    def _note_unreachable(self, window: OpenWindow, until: datetime, reason: str) -> None:
        if window.day is not None and until > window.window.since:
            self._result.unreachable[window.day] = f"{window.window.stream}: {reason}"
        else:
            logger.warning(
                "%s: nothing before %s can be listed any more: %s",
                window.window.stream,
                f"{until:%Y-%m-%d %H:%M}",
                reason,
            )

    def _take(self, window: OpenWindow, items: Sequence[object], read: _Read) -> None:
        """Check a page; add to `read` what is new of it."""
        known: list[tuple[Item, Record, str]] = []
        broken: list[tuple[str, str]] = []
        for item in items:
            payload = json.dumps(item, ensure_ascii=False, default=str)
            if not isinstance(item, dict):
                broken.append((NO_OBJECT, readable(payload)))
                continue
            if not is_text(payload):
                broken.append(("the record holds bytes that are no UTF-8", readable(payload)))
                continue
            read.kinds.update((str(name), _kind(value)) for name, value in item.items())
            try:
                record = self._connector.record(item)
                native_id = self._connector.native_id(item, window.window.stream)
            except SHAPE_ERRORS:
                broken.append((ODD_SHAPE, payload))
                continue
            if record is not None:
                known.append((item, record, native_id))
        self._take_records(window, known, broken, read)

    def _take_records(
        self,
        window: OpenWindow,
        records: Sequence[tuple[Item, Record, str]],
        broken: Sequence[tuple[str, str]],
        read: _Read,
    ) -> None:
        feed = self._connector.feed
        now = datetime.now(UTC)
        # A record without an id is told apart by what it says.
        keys = [
            _text(record.get("source_id")) or f"no id: {_fingerprint(record)}"
            for _, record, _ in records
        ]
        known = self._ledger.fingerprints(feed.name, keys)
        taken = {(post.source_id, post.fingerprint) for post in read.observed}
        noted = {post.source_id for post in read.observed} | known.keys()
        kept: list[tuple[str, str, Item, dict[str, object]]] = []
        for key, (item, told, native_id) in zip(keys, records, strict=True):
            record = {name: value for name, value in told.items() if name != KNOWN_ONLY}
            if told.get(KNOWN_ONLY) and key not in noted:
                continue
            if self._contract.is_erased(key, _text(record.get("author_handle"))):
                read.unchanged_count += 1  # not even its id is noted
                continue
            noted.add(key)
            fingerprint = _fingerprint(record)
            is_gone = record.get("change") == "delete"
            posted_at = utc(record.get("posted_at"))
            read.observed.append(Observed(key, native_id, posted_at, fingerprint, is_gone))
            kept.append((key, fingerprint, item, record))
        versions = joined_fingerprints((key, fingerprint) for key, fingerprint, _, _ in kept)
        fresh: list[tuple[Item, Record]] = []
        for key, fingerprint, item, record in kept:
            is_known = any(
                versions[key] == seen or seen.endswith(fingerprint) for seen in known.get(key, ())
            )
            if is_known or (key, fingerprint) in taken:
                read.unchanged_count += 1
                continue
            taken.add((key, fingerprint))
            fresh.append((item, record))
        fresh = self._dated(fresh)
        unknown = self._unknown_broken(broken, read, taken)
        if not fresh and not unknown:
            return
        page = page_of(fresh, unknown, first_number=read.count + 1)
        read.count += len(fresh) + len(unknown)
        delivery = Delivery(self._delivery_id, window.window.stream, now, self._open_days)
        checked = self._contract.check(page, delivery)
        posts, waiting = split_by_day(checked.posts, self._contract, delivery)
        read.posts.append(posts)
        read.refused += [table for table in (checked.refused, waiting) if table.num_rows]
        read.identity.add(checked.identity)

    def _dated(self, fresh: list[tuple[Item, Record]]) -> list[tuple[Item, Record]]:
        """Give deletions the date of the post that they are of, where it is known."""
        undated = [
            _text(record.get("source_id")) or ""
            for _, record in fresh
            if record.get("change") == "delete" and not record.get("posted_at")
        ]
        if not undated:
            return fresh
        posted = self._ledger.posted_days(self._connector.feed.name, undated)
        return [
            (item, {**record, "posted_at": posted[source_id].isoformat()})
            if not record.get("posted_at")
            and (source_id := _text(record.get("source_id")) or "") in posted
            else (item, record)
            for item, record in fresh
        ]

    def _unknown_broken(
        self, broken: Sequence[tuple[str, str]], read: _Read, taken: set[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Return the records that are none and that quarantine does not hold yet."""
        marks = [_fingerprint(payload) for _, payload in broken]
        known = self._ledger.fingerprints(
            self._connector.feed.name, [f"broken: {mark}" for mark in marks]
        )
        unknown = []
        for mark, (reason, payload) in zip(marks, broken, strict=True):
            key = f"broken: {mark}"
            if key not in known and (key, mark) not in taken:
                unknown.append((reason, payload))
                taken.add((key, mark))
            read.observed.append(Observed(key, "", None, mark, is_gone=True))
        return unknown

    def _store(self, window: OpenWindow, token: Mapping[str, Any] | None, read: _Read) -> None:
        """Make what was read durable, then move the window's cursor behind it."""
        feed, now = self._connector.feed, datetime.now(UTC)
        delivered = None
        posts = pa.concat_tables(read.posts) if read.posts else None
        refused = pa.concat_tables(read.refused) if read.refused else None
        if posts is not None and (posts.num_rows or refused is not None):
            broken_count = read.count - posts.num_rows
            _refuse_if_mostly_bad(window, read.count, broken_count, refused)
            if not feed.trust_ids:
                read.identity.require_sound(window.window.stream)
            with self._landing.delivery(feed.name, self._delivery_id) as writer:
                writer.write(iter(posts.combine_chunks().to_batches()), POST_SCHEMA)
                if refused is not None:
                    folder = pa.repeat(pa.scalar(QUARANTINE), len(refused))
                    table = refused.append_column(FOLDER_COLUMN, folder)
                    writer.write(iter(table.to_batches()), REFUSED_SCHEMA)
                self._ledger.begin_pull(feed.name, now)
                segments = writer.publish(now)
            delivered = Delivered(
                self._delivery_id,
                feed.name,
                f"pulled {self._delivery_id}",
                str(CONTRACT_VERSION),
                window.window.stream,
                read.count,
                broken_count,
                segments,
                now,
            )
        self._ledger.advance(window, token, read.observed, now, delivered, read.kinds)
        self._delivery_id = uuid.uuid4().hex
        self._result.unchanged_count += read.unchanged_count
        if delivered is None:
            return
        self._result.delivery_count += 1
        self._result.read_count += read.count
        self._result.refused_count += delivered.refused_count
        for day, rows in rows_by_day(delivered.segments).items():
            self._result.landed_by_day[day] = self._result.landed_by_day.get(day, 0) + rows
        logger.info(
            "%s: %s new records, %s known", window.window.stream, read.count, read.unchanged_count
        )


def page_of(
    records: Sequence[tuple[Item, Record]],
    broken: Sequence[tuple[str, str]] = (),
    first_number: int = 1,
) -> Page:
    """Return records, with the items that they were made of, as a page for the contract."""
    names = dict.fromkeys(name for _, record in records for name in record)
    for required in ("source_id", "posted_at", "body"):
        names.setdefault(required)
    numbers = range(first_number, first_number + len(records))
    columns: dict[str, pa.Array] = {"row_number": pa.array(numbers, pa.int64())}
    for name in names:
        values = as_texts([record.get(name) for _, record in records])
        columns[name] = values
    lines = [json.dumps(item, ensure_ascii=False, default=str) for item, _ in records]
    return Page(
        pa.table(columns),
        pa.table({"line": pa.array(lines, pa.string())}),
        tuple(
            BrokenRecord(first_number + len(records) + n, reason, payload)
            for n, (reason, payload) in enumerate(broken)
        ),
    )


def preview(connector: Connector[Any], count: int, open_days: OpenDays) -> list[dict[str, Any]]:
    """Return the first records of each stream under the contract, or why they are refused."""
    rows: list[dict[str, Any]] = []
    now = datetime.now(UTC)
    with PostContract(connector.feed, b"preview: nothing is stored") as contract:
        for stream in connector.streams():
            window = Window(stream, day_bounds(open_days.last)[0] - timedelta(days=7), now)
            items = [i for i in connector.fetch(window, None).items if isinstance(i, dict)]
            records = [(item, record) for item in items if (record := connector.record(item))]
            delivery = Delivery("preview", stream, now, open_days)
            checked = contract.check(page_of(records[:count]), delivery)
            rows += checked.posts.to_pylist()
            rows += [
                {"stream": stream, "refused": r["reason"]} for r in checked.refused.to_pylist()
            ]
    return rows[:count]


@dataclass(frozen=True)
class KeptRecords:
    """Makes records that stand in quarantine into a page again.

    Attributes:
        feed: the feed that they are of.
        record: how it reads an item.
    """

    feed: Any
    record: Callable[[Item], Record | None]

    def page_of(self, records: Sequence[Item], row_numbers: Sequence[int]) -> Page:
        """Return items as they are read now, under the numbers that they had.

        What still has another shape than the platform's records has no id, and stays where it is.
        """
        page = page_of([(item, self._read(item)) for item in records])
        numbers = pa.array(row_numbers, pa.int64())
        return Page(page.records.set_column(0, "row_number", numbers), page.payloads)

    def _read(self, item: Item) -> Record:
        try:
            return self.record(item) or {}
        except SHAPE_ERRORS:
            return {}


def _refuse_if_mostly_bad(
    window: OpenWindow, count: int, broken_count: int, refused: pa.Table | None
) -> None:
    """Answers whose records nearly all break the contract are misread: the cursor stays before them.

    Raises:
        PermanentSourceError: with the numbers and the commonest reason.
    """
    if count < MOSTLY_REFUSED_MIN_RECORDS or broken_count < MOSTLY_REFUSED_SHARE * count:
        return
    assert refused is not None
    reasons = Counter(refused["reason"].to_pylist())
    worst, times = reasons.most_common(1)[0]
    message = (
        f"{window.window.stream}: {broken_count} of {count} records break the post contract, mostly:"
        f" {worst} ({times}). Nothing of them was landed, and the window stays open: the platform"
        " has changed, or the mapping of the feed is wrong"
    )
    raise PermanentSourceError(message)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return "object"


def _text(value: object) -> str | None:
    text: str | None = as_texts([value])[0].as_py()
    return text


def _fingerprint(value: object) -> str:
    text = json.dumps([CONTRACT_VERSION, value], sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
