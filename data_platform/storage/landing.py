"""The landing zone: Parquet segments, one folder per feed and day of posting; durable, replayable."""

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import file_digest
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from data_platform.errors import BusyError
from data_platform.storage.files import sync_folder

QUARANTINE = "quarantine"
STAGING = ".staging"
FOLDER_COLUMN = "landing_folder"
COLLECTED_AT = pa.field("collected_at", pa.timestamp("us", tz="UTC"))
DELIVERY_KEY = b"delivery_id"
ROWS_PER_GROUP = 20_000
OPEN_FILES = 64
DAYS_PER_DELIVERY = 1_000_000  # Arrow's own limit of 1024 is three years of posts in one batch
COLLECTED_AT_FORMAT = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class Segment:
    """One Parquet file of the landing zone.

    Attributes:
        path: below the landing zone: '<feed>/<day or quarantine>/<collected_at>-<hash>.parquet'.
        row_count: its records; -1 where the segment was only listed.
    """

    path: str
    row_count: int = -1

    @property
    def feed(self) -> str:
        return self.path.split("/")[0]

    @property
    def day(self) -> date | None:
        """Day of posting; None for a quarantine segment."""
        folder = self.path.split("/")[1]
        return None if folder == QUARANTINE else date.fromisoformat(folder)

    @property
    def collected_at(self) -> datetime:
        stamp = self.path.split("/")[2].split("-")[0]
        return datetime.strptime(stamp, COLLECTED_AT_FORMAT).replace(tzinfo=UTC)


class LandingZone:
    """A local folder of segments.

    Args:
        root: the folder; created when something is written.
        restore_journal: a file; while it is there the folder is about to be replaced.
    """

    def __init__(self, root: Path, restore_journal: Path | None = None) -> None:
        self.root = Path(root)
        self._restore_journal = restore_journal

    def require_open(self) -> None:
        """Refuse if a restore is about to replace the folder.

        Raises:
            BusyError: it is, or it was killed and waits to be completed.
        """
        if self._restore_journal is not None and self._restore_journal.exists():
            message = (
                f"A restore of {self._restore_journal.parent} is not complete. If it was cut off, run"
                " data-platform restore with the same file again; nothing was written."
            )
            raise BusyError(message)

    def segments(self, feeds: Sequence[str], day: date | None) -> list[Segment]:
        """Return the segments of `feeds` for `day`, or of their quarantine for None, sorted."""
        folder = day.isoformat() if day else QUARANTINE
        return [
            Segment(f"{feed}/{folder}/{path.name}")
            for feed in sorted(feeds)
            for path in sorted((self.root / feed / folder).glob("*.parquet"))
        ]

    def collected(self, feed: str, times: Iterable[datetime]) -> list[str]:
        """Return the paths of the segments of `feed` that were published at these times."""
        return [
            str(path.relative_to(self.root))
            for collected_at in times
            for path in sorted(
                (self.root / feed).glob(f"*/{collected_at.strftime(COLLECTED_AT_FORMAT)}-*.parquet")
            )
        ]

    def days(self, feed: str) -> list[date]:
        """Return the days for which `feed` has segments, in order."""
        folders = (self.root / feed).glob("[0-9]*-[0-9]*-[0-9]*")
        return sorted(date.fromisoformat(f.name) for f in folders if any(f.glob("*.parquet")))

    def row_count(self, segment: Segment) -> int:
        """Return the number of records of `segment`, from its footer; 0 if it went away."""
        try:
            return int(pq.read_metadata(self.root / segment.path).num_rows)
        except FileNotFoundError:
            return 0

    def mentions(self, segment: Segment, feedback_ids: pa.Array) -> bool:
        """True if `segment` is there and holds a record of one of these posts."""
        try:
            table = pq.read_table(self.root / segment.path, columns=["feedback_id"])
        except FileNotFoundError:
            return False
        column = table["feedback_id"]
        return bool(pc.any(pc.is_in(column, value_set=feedback_ids)).as_py())

    def read(self, segments: Sequence[Segment], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `segments` in order, in `schema` plus `collected_at` and `segment`.

        A column that a segment of an earlier release does not have is null. A record of a compacted
        segment has the time of its own collection.
        """
        for segment in segments:
            parquet = pq.ParquetFile(self.root / segment.path)
            wanted = pa.schema([*schema, COLLECTED_AT])
            written = [name for name in wanted.names if name in parquet.schema_arrow.names]
            collected_at = pa.scalar(segment.collected_at, COLLECTED_AT.type)
            for batch in parquet.iter_batches(batch_size=ROWS_PER_GROUP, columns=written):
                table = pa.Table.from_batches([batch])
                for name in set(wanted.names) - set(written):
                    value = collected_at if name == COLLECTED_AT.name else pa.scalar(None)
                    table = table.append_column(name, pa.repeat(value, len(table)))
                table = table.select(wanted.names).cast(wanted)
                table = table.append_column(
                    "segment", pa.repeat(pa.scalar(segment.path), len(table))
                )
                yield from table.to_batches()

    @contextmanager
    def delivery(self, feed: str, delivery_id: str) -> Iterator["SegmentWriter"]:
        """Stage one delivery of `feed`; nothing is visible before `SegmentWriter.publish`."""
        folder = self.root / STAGING / f"{feed}-{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield SegmentWriter(self.root, folder, feed, delivery_id)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self, segments: Iterable[str]) -> None:
        """Delete segments that a newer reading of the same delivery replaced; missing ones are fine."""
        for path in segments:
            (self.root / path).unlink(missing_ok=True)

    def clear_staging(self, feed: str) -> None:
        """Delete what killed runs of `feed` left in staging; only for who holds the feed's lock."""
        for folder in (self.root / STAGING).glob(f"{feed}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def clear_drafts(self, feed: str) -> None:
        """Delete what killed runs left of segments that they wrote anew; only for who holds the feed's lock."""
        for draft in (self.root / feed).glob("*/.*.parquet.*"):
            draft.unlink(missing_ok=True)


class SegmentWriter:
    """Writes the posts and refused records of one delivery, and publishes them by rename."""

    def __init__(self, root: Path, folder: Path, feed: str, delivery_id: str) -> None:
        self._root, self._folder, self._feed = root, folder, feed
        self._metadata = {DELIVERY_KEY: delivery_id.encode()}

    def write(self, rows: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        """Write `rows` (columns of `schema`, then `landing_folder`: a day or 'quarantine').

        Rows stream through: memory holds some 20,000 rows for each of at most 64 open files.
        """
        with_day = schema.append(pa.field(FOLDER_COLUMN, pa.string()))
        ds.write_dataset(
            pa.RecordBatchReader.from_batches(with_day.with_metadata(self._metadata), rows),
            self._folder,
            format="parquet",
            file_options=ds.ParquetFileFormat().make_write_options(compression="zstd"),
            partitioning=ds.partitioning(pa.schema([(FOLDER_COLUMN, pa.string())])),
            basename_template=f"{uuid.uuid4().hex}-{{i}}.parquet",
            existing_data_behavior="overwrite_or_ignore",
            use_threads=False,
            max_open_files=OPEN_FILES,
            max_partitions=DAYS_PER_DELIVERY,
            min_rows_per_group=ROWS_PER_GROUP // 4,
            max_rows_per_group=ROWS_PER_GROUP,
        )

    def publish(self, collected_at: datetime) -> list[Segment]:
        """Move what was written to its place, durably; the same content keeps the name it has.

        A delivery that says the same twice can hold two equal files; the second is numbered.
        """
        stamp = collected_at.strftime(COLLECTED_AT_FORMAT)
        published: dict[str, Segment] = {}
        for staged in sorted(self._folder.rglob("*.parquet")):
            target_folder = self._root / self._feed / staged.parent.name
            target_folder.mkdir(parents=True, exist_ok=True)
            with staged.open("rb") as stream:
                content_hash = file_digest(stream, "sha256").hexdigest()[:16]
                os.fsync(stream.fileno())
            rows = pq.read_metadata(staged).num_rows
            for number in count(1):
                name = content_hash if number == 1 else f"{content_hash}-{number}"
                same = sorted(target_folder.glob(f"*-{name}.parquet"))
                target = same[0] if same else target_folder / f"{stamp}-{name}.parquet"
                path = f"{self._feed}/{target_folder.name}/{target.name}"
                if path not in published:
                    break
            if not same:
                staged.replace(target)
                sync_folder(target_folder)
            published[path] = Segment(path, rows)
        return list(published.values())


def rows_by_day(segments: Sequence[Segment]) -> Mapping[date, int]:
    """Return records per day of `segments`, without quarantine."""
    counts: dict[date, int] = {}
    for segment in segments:
        if segment.day is not None:
            counts[segment.day] = counts.get(segment.day, 0) + segment.row_count
    return counts
