"""Collecting a feed: reads deliveries that are not landed yet, checks them, and lands them durably, once."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256

import filelock
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.errors import PermanentSourceError, SourceError, TransientSourceError
from data_platform.ingestion.connectors.file import FileConnector, SourceFile
from data_platform.ingestion.contract import POST_SCHEMA, REFUSED_SCHEMA, Delivery, PostContract
from data_platform.ingestion.ledger import Ledger
from data_platform.schemas import CONTRACT_VERSION
from data_platform.settings import FileFeed
from data_platform.storage.landing import FOLDER_COLUMN, QUARANTINE, LandingZone, rows_by_day

logger = logging.getLogger(__name__)

MOSTLY_REFUSED_SHARE = 0.9
MOSTLY_REFUSED_MIN_RECORDS = 10
COLLECTION_WAIT_SECONDS = 1800.0
STALE_STAGING_SECONDS = 86_400.0


@dataclass(frozen=True)
class OpenDays:
    """The days whose posts are let in, both included; other posts wait."""

    first: date
    last: date

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.first <= day <= self.last


@dataclass
class Collection:
    """What one collection did; counts are records.

    Attributes:
        delivery_count: deliveries that were new.
        landed_by_day: records landed per day of posting, also of days that are not open.
        errors: one message per delivery that was refused as a whole; the others are landed.
    """

    delivery_count: int = 0
    read_count: int = 0
    refused_count: int = 0
    landed_by_day: dict[date, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


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
    the new reading replaces the old one.

    Raises:
        PermanentSourceError: the feed's path names nothing.
        TransientSourceError: another process is collecting the feed.
    """
    feed = connector.feed
    reading = _reading(feed)
    (landing.root / feed.name).mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(landing.root / feed.name / ".lock", mode=0o600)
    try:
        lock.acquire(timeout=COLLECTION_WAIT_SECONDS, poll_interval=0.05)
    except filelock.Timeout as error:
        message = f"feed {feed.name} is being collected by another process; run it again later"
        raise TransientSourceError(message) from error
    try:
        now = datetime.now(UTC)
        landing.clear_staging(STALE_STAGING_SECONDS, now)
        landing.remove(ledger.replaced_segments(feed.name))
        result = Collection()
        try:
            files = connector.files()
        except SourceError as error:
            ledger.finish(feed.name, datetime.now(UTC), str(error))
            raise
        with PostContract(feed, author_key) as contract:
            for file in files:
                try:
                    _land_file(
                        connector, contract, landing, ledger, file, reading, open_days, result
                    )
                except SourceError as error:
                    logger.warning("%s", error)
                    result.errors.append(str(error))
        ledger.finish(feed.name, datetime.now(UTC), "; ".join(result.errors) or None)
        pa.default_memory_pool().release_unused()
        return result
    finally:
        lock.release()


def _land_file(
    connector: FileConnector,
    contract: PostContract,
    landing: LandingZone,
    ledger: Ledger,
    file: SourceFile,
    reading: str,
    open_days: OpenDays,
    result: Collection,
) -> None:
    feed = connector.feed.name
    seen = (feed, str(file.path), file.size_bytes, file.modified_at)
    try:
        content = ledger.known_content(*seen) or file.sha256()
    except OSError as error:
        message = f"{file.path} cannot be opened: {error}"
        raise TransientSourceError(message) from error
    delivery_id = sha256(f"{feed}|{content}|{reading}".encode()).hexdigest()
    if ledger.is_landed(delivery_id):
        ledger.see_file(*seen, content)
        return
    delivery = Delivery(delivery_id, file.path.name, file.modified_at)
    counts = _Counts()
    refused: list[pa.Table] = []
    with landing.delivery(feed, delivery_id) as writer:
        writer.write(
            _post_batches(connector, contract, delivery, file, open_days, counts, refused),
            POST_SCHEMA,
        )
        _refuse_if_mostly_bad(file, counts, refused)
        if refused:
            table = pa.concat_tables(refused)
            table = table.append_column(FOLDER_COLUMN, pa.repeat(pa.scalar(QUARANTINE), len(table)))
            writer.write(iter(table.to_batches()), REFUSED_SCHEMA)
        landed_at = datetime.now(UTC)
        unfinished = ledger.begin(feed, content, landed_at)
        segments = writer.publish(landed_at)
    kept = {segment.path for segment in segments}
    landing.remove(path for path in landing.collected(feed, unfinished) if path not in kept)
    replaced = ledger.record(
        delivery_id=delivery_id,
        feed=feed,
        content=content,
        reading=reading,
        file=file.path.name,
        read_count=counts.read,
        refused_count=counts.refused,
        segments=segments,
        landed_at=landed_at,
    )
    ledger.see_file(*seen, content)
    landing.remove(replaced)
    result.delivery_count += 1
    result.read_count += counts.read
    result.refused_count += counts.refused
    for day, rows in rows_by_day(segments).items():
        result.landed_by_day[day] = result.landed_by_day.get(day, 0) + rows


@dataclass
class _Counts:
    read: int = 0
    refused: int = 0


def _post_batches(
    connector: FileConnector,
    contract: PostContract,
    delivery: Delivery,
    file: SourceFile,
    open_days: OpenDays,
    counts: _Counts,
    refused: list[pa.Table],
) -> Iterator[pa.RecordBatch]:
    """Yield the good posts of `file` with their day; collect the refused records on the way."""
    for page in connector.read(file):
        checked = contract.check(page, delivery)
        days = pc.strftime(checked.posts["posted_at"], "%Y-%m-%d")
        is_open = pc.and_(
            pc.greater_equal(days, open_days.first.isoformat()),
            pc.less_equal(days, open_days.last.isoformat()),
        )
        waiting = contract.waiting(checked.posts.filter(pc.invert(is_open)), delivery)
        counts.read += page.records.num_rows + len(page.broken)
        counts.refused += checked.refused.num_rows
        refused += [table for table in (checked.refused, waiting) if table.num_rows]
        yield from checked.posts.append_column(FOLDER_COLUMN, days).combine_chunks().to_batches()


def _refuse_if_mostly_bad(file: SourceFile, counts: _Counts, refused: list[pa.Table]) -> None:
    """A file whose records nearly all break the contract is misread, not full of bad records."""
    if counts.read < MOSTLY_REFUSED_MIN_RECORDS:
        return
    if counts.refused < MOSTLY_REFUSED_SHARE * counts.read:
        return
    reasons = pa.concat_tables(refused)["reason"].value_counts().to_pylist()
    worst = max(reasons, key=lambda entry: int(entry["counts"]))
    message = (
        f"{file.path}: {counts.refused} of {counts.read} records break the post contract, mostly:"
        f" {worst['values']} ({worst['counts']}). Nothing of this file was landed; mend fields,"
        " posted_at_format or rating_scale of the feed, or the file."
    )
    raise PermanentSourceError(message)


def _reading(feed: FileFeed) -> str:
    """Fingerprint of everything that decides how a file is read; not of where or how often."""
    how = feed.model_dump(mode="json", exclude={"path", "every", "default_language"})
    text = json.dumps([how, CONTRACT_VERSION], sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]
