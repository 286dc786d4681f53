"""Collecting a feed: reads deliveries that are not landed yet, checks them, and lands them durably, once."""

import json
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc

from data_platform.errors import PermanentSourceError, SourceError, TransientSourceError
from data_platform.feed_settings import FileFeed, interval
from data_platform.ingestion.connectors.file import (
    FileConnector,
    SourceFile,
    format_of,
    source_file,
)
from data_platform.ingestion.connectors.pages import Page
from data_platform.ingestion.contract import (
    DATE_SWAPPED,
    DATE_UNREADABLE,
    POST_SCHEMA,
    REFUSED_SCHEMA,
    CheckedPage,
    Delivery,
    OpenDays,
    PostContract,
)
from data_platform.ingestion.dates import format_advice
from data_platform.ingestion.identity import IdentityGuard
from data_platform.ingestion.ledger import Delivered, Gap, KnownFile, Ledger
from data_platform.schemas import CONTRACT_VERSION
from data_platform.storage.landing import FOLDER_COLUMN, QUARANTINE, LandingZone, rows_by_day
from data_platform.storage.locks import ProcessLock

logger = logging.getLogger(__name__)

MOSTLY_REFUSED_SHARE = 0.9
MOSTLY_REFUSED_MIN_RECORDS = 10
SWAPPED_DATES_SHARE = 0.05
COLLECTION_WAIT_SECONDS = 1800.0
# A larger file is hashed by the run that lands it, not by the sensor that notices it.
MAX_BYTES_HASHED_AHEAD = 256 * 1024 * 1024
CHECKING_THREADS = 2
TRANSIENT_GAP_RETRY = timedelta(minutes=10)


@dataclass
class Collection:
    """What one collection did; counts are records.

    Attributes:
        delivery_count: deliveries that were new.
        landed_by_day: records landed per day of posting, also of days that are not open.
        errors: one message per delivery that was refused as a whole; the others are landed.
        new_errors: those of them that no earlier collection met.
        unsettled_count: files that are still being written, left for the next collection.
        unchanged_count: records that were known as they are, and not landed again.
        request_count, unit_count, throttled_seconds: what the collection of an interface has used.
        unreachable: why days that were asked for cannot be collected, by day.
        notes: why a window was left open that the next collection goes on with.
    """

    delivery_count: int = 0
    read_count: int = 0
    refused_count: int = 0
    landed_by_day: dict[date, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    new_errors: list[str] = field(default_factory=list)
    unsettled_count: int = 0
    unchanged_count: int = 0
    request_count: int = 0
    unit_count: float = 0.0
    throttled_seconds: float = 0.0
    unreachable: dict[date, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PendingFiles:
    """What a collection would find to do.

    Attributes:
        files: settled files that are not landed, whose last try said nothing against another.
        unsettled_count: files that are still being written.
        withdrawn: open gaps that the source no longer offers; a collection closes them.
    """

    files: tuple[SourceFile, ...]
    unsettled_count: int
    withdrawn: tuple[str, ...]

    @property
    def has_work(self) -> bool:
        return bool(self.files or self.withdrawn)

    @property
    def state(self) -> str:
        """Identifies this work in this state."""
        parts = [*self.withdrawn, *(f"{file.path}-{file.state}" for file in self.files)]
        return sha256("|".join(parts).encode()).hexdigest()[:24]


def pending_files(
    connector: FileConnector, ledger: Ledger, now: datetime, deadline: float
) -> PendingFiles:
    """Return what is new in a feed, by the file system and the ledger alone.

    A renamed or touched file is known by its content. A file that was refused is pending again
    when the file or the feed's mapping changed, and after `TRANSIENT_GAP_RETRY` if the reason
    may pass.

    Args:
        deadline: reading of `time.monotonic` after which no further file is hashed; a file that
            would have to be counts as pending.

    Raises:
        SourceError: the feed cannot be listed.
    """
    feed = connector.feed
    reading = _reading(feed)
    known, gaps = ledger.known_files(feed.name), ledger.gaps(feed.name)
    landed = ledger.landed_deliveries(feed.name)
    known_sizes = {file.size_bytes for file in known.values()}
    settle = interval(feed.settle)
    pending: list[SourceFile] = []
    unsettled = 0
    files = _list_files(connector, ledger)
    for file in files:
        path = str(file.path)
        seen = known.get(path)
        if seen and seen.state == file.state and _delivery_id(feed, seen.content) in landed:
            continue
        if not file.is_settled(now, settle):
            unsettled += 1
            continue
        if not _is_worth_a_try(gaps.get(path), file, reading, now):
            continue
        may_be_known = file.size_bytes in known_sizes and file.size_bytes <= MAX_BYTES_HASHED_AHEAD
        if may_be_known and time.monotonic() < deadline:
            try:
                content = file.sha256()
            except OSError:
                pass  # the collection says why
            else:
                if _delivery_id(feed, content) in landed:
                    ledger.see_file(
                        feed.name, path, KnownFile(file.size_bytes, file.state, content)
                    )
                    continue
        pending.append(file)
    withdrawn = gaps.keys() - {str(file.path) for file in files}
    return PendingFiles(tuple(pending), unsettled, tuple(sorted(withdrawn)))


def _is_worth_a_try(gap: Gap | None, file: SourceFile, reading: str, now: datetime) -> bool:
    if gap is None or gap.state != f"{file.state} {reading}":
        return True
    return gap.is_transient and abs(now - gap.tried_at) >= TRANSIENT_GAP_RETRY


def collect_files(
    connector: FileConnector,
    landing: LandingZone,
    ledger: Ledger,
    *,
    author_key: bytes,
    open_days: OpenDays,
) -> Collection:
    """Land every file of the feed that has not been landed under this configuration.

    One collection at a time for a feed. A file is landed once per content: a renamed, touched or
    copied file adds nothing; after a change of the feed's mapping its files are read again and
    the new reading replaces the old one. A file that changed within the feed's `settle` time is
    waited for, and left for the next collection if it goes on changing.

    Raises:
        PermanentSourceError: the feed's path names nothing.
        BusyError: another process is collecting the feed.
    """
    feed = connector.feed
    with held_feed(landing, feed.name):
        landing.remove(ledger.replaced_segments(feed.name))
        finish_removals(landing, ledger, feed.name)
        result = Collection()
        try:
            offered = _list_unhurried(connector, ledger)
        except SourceError as error:
            ledger.finish(feed.name, datetime.now(UTC), str(error))
            raise
        now = datetime.now(UTC)
        files = [file for file in offered if file.is_settled(now, interval(feed.settle))]
        result.unsettled_count = len(offered) - len(files)
        gaps = ledger.gaps(feed.name)
        reader = _Reader(
            connector,
            landing,
            ledger,
            open_days,
            known=ledger.known_files(feed.name),
            landed=ledger.landed_deliveries(feed.name),
        )
        with PostContract(feed, author_key, ledger.suppression(author_key)) as contract:
            for file in files:
                try:
                    reader.land(file, contract, result)
                except SourceError as error:
                    result.errors.append(str(error))
                    state, known_gap = f"{file.state} {reader.reading}", gaps.get(str(file.path))
                    if known_gap is None or known_gap.state != state:
                        result.new_errors.append(str(error))
                    ledger.open_gap(
                        feed.name,
                        str(file.path),
                        state,
                        str(error),
                        is_transient=isinstance(error, TransientSourceError),
                    )
                else:
                    if str(file.path) in gaps:
                        ledger.close_gaps(feed.name, [str(file.path)])
        ledger.close_gaps(feed.name, gaps.keys() - {str(file.path) for file in offered})
        ledger.finish(feed.name, datetime.now(UTC), "; ".join(result.errors) or None)
        pa.default_memory_pool().release_unused()
        return result


@contextmanager
def held_feed(landing: LandingZone, name: str) -> Iterator[None]:
    """Hold the feed: one process at a time lands its deliveries.

    Raises:
        BusyError: another process holds it for longer than half an hour, or a restore is not
            complete.
    """
    landing.require_open()
    (landing.root / name).mkdir(parents=True, exist_ok=True)
    with feed_lock(landing, name).held(COLLECTION_WAIT_SECONDS):
        landing.require_open()  # a restore may have begun while the lock was waited for
        yield


def feed_lock(landing: LandingZone, name: str) -> ProcessLock:
    """Return the lock that the one process holds which collects the feed."""
    return ProcessLock(landing.root / name / ".lock", f"feed {name}")


def finish_removals(landing: LandingZone, ledger: Ledger, feed: str) -> None:
    """Remove what killed processes have left of a feed whose lock is held.

    That is what they staged, what they published and did not record (it is read again), and
    segments that others have taken the place of.
    """
    landing.clear_staging(feed)
    if unfinished := ledger.unfinished(feed):
        known = ledger.known_segments(feed)
        landing.remove(path for path in landing.collected(feed, unfinished) if path not in known)
        ledger.forget_unfinished(feed)
    if removals := ledger.pending_removals(feed):
        landing.remove(removals)
        ledger.finish_removals(feed)


def _list_files(connector: FileConnector, ledger: Ledger) -> list[SourceFile]:
    """List the feed's files; a feed that cannot be listed is an open gap as a whole."""
    try:
        return connector.files()
    except SourceError as error:
        feed = connector.feed
        is_transient = isinstance(error, TransientSourceError)
        ledger.open_gap(feed.name, feed.path, "", str(error), is_transient=is_transient)
        raise


def _list_unhurried(connector: FileConnector, ledger: Ledger) -> list[SourceFile]:
    """List the feed's files; if some changed a moment ago, wait until they may have settled.

    Who copies a file and collects it at once means that file.
    """
    settle = interval(connector.feed.settle)
    files = _list_files(connector, ledger)
    if all(file.is_settled(datetime.now(UTC), settle) for file in files):
        return files
    time.sleep(settle.total_seconds())
    return _list_files(connector, ledger)


@dataclass(frozen=True)
class _Reader:
    """Lands the files of one collection.

    Attributes:
        known: files whose content is known, by path.
        landed: deliveries that are landed; grows with this collection.
    """

    connector: FileConnector
    landing: LandingZone
    ledger: Ledger
    open_days: OpenDays
    known: dict[str, KnownFile]
    landed: set[str]

    @property
    def reading(self) -> str:
        return _reading(self.connector.feed)

    def land(self, file: SourceFile, contract: PostContract, result: Collection) -> None:
        """Land `file`, unless its content is landed; add what was done to `result`.

        Raises:
            SourceError: nothing of the file was landed.
        """
        feed = self.connector.feed
        seen = self.known.get(str(file.path))
        try:
            content = seen.content if seen and seen.state == file.state else file.sha256()
        except OSError as error:
            message = f"{file.path} cannot be opened: {error}"
            raise TransientSourceError(message) from error
        known = KnownFile(file.size_bytes, file.state, content)
        delivery_id = _delivery_id(feed, content)
        if delivery_id in self.landed:
            if known != seen:
                self.ledger.see_file(feed.name, str(file.path), known)
            return
        delivery = Delivery(
            delivery_id,
            file.path.name,
            file.modified_at,
            self.open_days,
        )
        counts = _Counts()
        refused: list[pa.Table] = []
        with self.landing.delivery(feed.name, delivery_id) as writer:
            posts = _post_batches(self.connector, contract, delivery, file, counts, refused)
            writer.write(posts, POST_SCHEMA)
            if not feed.trust_ids:
                counts.identity.require_sound(str(file.path))
            _refuse_if_mostly_bad(file, counts, refused)
            _refuse_if_changed(file)
            if refused:
                table = pa.concat_tables(refused)
                folder = pa.repeat(pa.scalar(QUARANTINE), len(table))
                table = table.append_column(FOLDER_COLUMN, folder)
                writer.write(iter(table.to_batches()), REFUSED_SCHEMA)
            landed_at = datetime.now(UTC)
            self.ledger.begin(feed.name, content, landed_at)
            segments = writer.publish(landed_at)
        replaced = self.ledger.record(
            Delivered(
                delivery_id,
                feed.name,
                content,
                self.reading,
                file.path.name,
                counts.read,
                counts.refused,
                segments,
                landed_at,
            )
        )
        if counts.column_kinds:
            form = feed.format or format_of(file.path) or ""
            drift = self.ledger.see_columns(
                delivery_id, feed.name, form, counts.column_kinds, landed_at
            )
            if drift:
                logger.info(
                    "%s: its columns are not those of the file before: %s", file.path, drift
                )
        self.ledger.see_file(feed.name, str(file.path), known)
        self.landed.add(delivery_id)
        self.landing.remove(replaced)
        result.delivery_count += 1
        result.read_count += counts.read
        result.refused_count += counts.refused
        for day, rows in rows_by_day(segments).items():
            result.landed_by_day[day] = result.landed_by_day.get(day, 0) + rows


@dataclass
class _Counts:
    read: int = 0
    refused: int = 0
    identity: IdentityGuard = field(default_factory=IdentityGuard)
    unread_dates: tuple[str, ...] = ()
    column_kinds: Mapping[str, str] = field(default_factory=dict)


def _post_batches(
    connector: FileConnector,
    contract: PostContract,
    delivery: Delivery,
    file: SourceFile,
    counts: _Counts,
    refused: list[pa.Table],
) -> Iterator[pa.RecordBatch]:
    """Yield the good posts of `file` with their day; collect the refused records on the way.

    While one page is written, the next ones are read and checked: reading is Python's work, and
    checking and writing are done without its lock.
    """

    def check(page: Page) -> tuple[CheckedPage, pa.Table, pa.Table]:
        checked = contract.check(page, delivery)
        return checked, *split_by_day(checked.posts, contract, delivery)

    pages = connector.read(file)
    waiting: deque[tuple[Page, Future[tuple[CheckedPage, pa.Table, pa.Table]]]] = deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(CHECKING_THREADS) as checkers:
        page = next(pages, None)
        while page is not None or waiting:
            following = reader.submit(next, pages, None) if page is not None else None
            if page is not None:
                waiting.append((page, checkers.submit(check, page)))
            if page is None or len(waiting) > CHECKING_THREADS:
                done, result = waiting.popleft()
                checked, posts, not_open = result.result()
                counts.read += done.records.num_rows + len(done.broken)
                counts.refused += checked.refused.num_rows
                counts.identity.add(checked.identity)
                counts.column_kinds = counts.column_kinds or done.column_kinds
                counts.unread_dates = counts.unread_dates or checked.unread_dates
                refused += [table for table in (checked.refused, not_open) if table.num_rows]
                yield from posts.combine_chunks().to_batches()
            page = following.result() if following is not None else None


def split_by_day(
    posts: pa.Table, contract: PostContract, delivery: Delivery
) -> tuple[pa.Table, pa.Table]:
    """Return the posts with the folder of their day, and quarantine rows for those that wait."""
    days = posts["posted_at"].cast(pa.date32()).cast(pa.string())
    open_days = delivery.open_days
    is_open = pc.and_(
        pc.greater_equal(days, open_days.first.isoformat()),
        pc.less_equal(days, open_days.last.isoformat()),
    )
    waiting = contract.waiting(posts.filter(pc.invert(is_open)), delivery)
    return posts.append_column(FOLDER_COLUMN, days), waiting


def _refuse_if_mostly_bad(file: SourceFile, counts: _Counts, refused: list[pa.Table]) -> None:
    """A file whose records nearly all break the contract is misread, not full of bad records.

    So is one whose dates can be read only with day and month exchanged: the others may be wrong.
    """
    if not refused:
        return
    reasons = {
        str(entry["values"]): int(entry["counts"])
        for entry in pa.concat_tables(refused)["reason"].value_counts().to_pylist()
    }
    swapped = reasons.get(DATE_SWAPPED, 0)
    if swapped and swapped >= SWAPPED_DATES_SHARE * counts.read:
        message = (
            f"{file.path}: {swapped} of {counts.read} dates can be read only with day and month"
            " exchanged, so the others may be wrong. Nothing of this file was landed; mend"
            f" posted_at_format of the feed. {format_advice(counts.unread_dates)}"
        )
        raise PermanentSourceError(message.strip())
    if counts.read < MOSTLY_REFUSED_MIN_RECORDS:
        return
    if counts.refused < MOSTLY_REFUSED_SHARE * counts.read:
        return
    worst = max(reasons, key=lambda reason: reasons[reason])
    advice = format_advice(counts.unread_dates) if worst == DATE_UNREADABLE else ""
    message = (
        f"{file.path}: {counts.refused} of {counts.read} records break the post contract, mostly:"
        f" {worst} ({reasons[worst]}). {advice + ' ' if advice else ''}Nothing of this file was"
        " landed; mend fields, posted_at_format or rating_scale of the feed, or the file."
    )
    raise PermanentSourceError(message)


def _refuse_if_changed(file: SourceFile) -> None:
    """What was read of a file that somebody wrote to meanwhile is of no use."""
    try:
        has_changed = source_file(file.path).state != file.state
    except OSError as error:
        message = f"{file.path} went away while it was read: {error}"
        raise TransientSourceError(message) from error
    if has_changed:
        message = (
            f"{file.path} changed while it was read; nothing of it was landed. It is read again"
            " when nobody is writing to it."
        )
        raise TransientSourceError(message)


def _delivery_id(feed: FileFeed, content: str) -> str:
    return sha256(f"{feed.name}|{content}|{_reading(feed)}".encode()).hexdigest()


def _reading(feed: FileFeed) -> str:
    """Fingerprint of everything that decides how a file is read; not of where or how often."""
    how = feed.model_dump(mode="json", exclude={"path", "every", "settle", "default_language"})
    text = json.dumps([how, CONTRACT_VERSION], sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]
