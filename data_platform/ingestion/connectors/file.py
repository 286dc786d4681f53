"""Files as a source: which files a feed has, and their records, whatever their format, under the post contract."""

import gzip
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_platform.errors import PermanentSourceError, TransientSourceError
from data_platform.feed_settings import FileFeed
from data_platform.ingestion.connectors.columns import wanted_columns
from data_platform.ingestion.connectors.delimited import read_delimited
from data_platform.ingestion.connectors.json_records import (
    Record,
    json_columns,
    read_document,
    read_lines,
)
from data_platform.ingestion.connectors.opening import refuse_foreign
from data_platform.ingestion.connectors.pages import Page, Rows
from data_platform.ingestion.connectors.parquet import read_parquet
from data_platform.ingestion.connectors.workbook import read_workbook
from data_platform.printable import printable

logger = logging.getLogger(__name__)

FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".xls": "xlsx",  # refused, with what to do about it
}
COMPRESSIONS = {".gz", ".zst"}
HIDDEN = (".", "~$")  # Excel writes ~$name.xlsx beside a workbook that is open
RESCUED = "lost+found"  # at the top of a disk; root's alone
WILDCARDS = set("*?[")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SourceFile:
    """One file of a feed, as the file system shows it.

    Attributes:
        modified_at: its modification time: when its records were observed.
        changed_ns: when its content, name or rights last changed, by the file system's clock, in
            nanoseconds since 1970; unlike the modification time, no program sets it back.
    """

    path: Path
    size_bytes: int
    modified_at: datetime
    changed_ns: int

    @property
    def state(self) -> str:
        """What tells this file from one that was written to, replaced, renamed or touched since."""
        return f"{self.size_bytes}-{self.modified_at.isoformat()}-{self.changed_ns}"

    def is_settled(self, now: datetime, settle: timedelta) -> bool:
        """True if nobody has changed the file for `settle`; a clock far ahead of `now` proves nothing."""
        unchanged = now - (EPOCH + timedelta(microseconds=self.changed_ns // 1000))
        return abs(unchanged) >= settle

    def sha256(self) -> str:
        """Return the SHA-256 of the file's bytes, in hex."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


class FileConnector:
    """Reads the files of one feed.

    Reach: whatever the files hold. Edits and deletions: by later files. Ids: text, exactly as
    written. A file is one delivery: all its days are read in one pass.

    Args:
        feed: the feed's configuration.
        base: folder that a relative `path` starts from.
    """

    def __init__(self, feed: FileFeed, base: Path) -> None:
        self.feed = feed
        self.base = base

    def files(self) -> list[SourceFile]:
        """Return the feed's files, oldest modification first; hidden files are left alone.

        So are links that lead out of the folder: who may put a file there could otherwise have any
        file read that the platform may read.

        Raises:
            PermanentSourceError: the path names no file and no folder.
            TransientSourceError: the folder, or one in it, cannot be listed.
        """
        path = Path(self.feed.path).expanduser()
        pattern = self.base / path
        # Wildcards stand in the configured path; a bracket in the project's own path is none.
        folder = next(self.base / p for p in (path, *path.parents) if not WILDCARDS & set(str(p)))
        if not folder.exists():
            message = (
                f"feed {self.feed.name}: {folder} does not exist;"
                f" create it, or mend path ({self.feed.path!r}) in feedback.yaml"
            )
            raise PermanentSourceError(message)
        if not os.access(folder, os.R_OK | os.X_OK if folder.is_dir() else os.R_OK):
            raise self._no_right_to(folder)
        if folder != pattern:
            paths = list(folder.glob(str(pattern.relative_to(folder))))
        elif folder.is_dir():
            paths = [p for p in self._below(folder) if self.feed.format or format_of(p)]
        else:
            paths = [folder]
        found = []
        root = folder.resolve()
        for path in paths:
            if not path.resolve().is_relative_to(root):
                name = printable(str(path))
                logger.warning("%s leads out of %s and is not read: copy the file", name, folder)
                continue
            below = path.relative_to(folder).parts if path != folder else (path.name,)
            if path.is_file() and not any(part.startswith(HIDDEN) for part in below):
                with suppress(FileNotFoundError):  # moved away since it was listed
                    found.append(source_file(path))
        return sorted(found, key=lambda file: (file.modified_at, str(file.path)))

    def _below(self, folder: Path) -> Iterator[Path]:
        """Yield every file below `folder`; `Path.rglob` would pass over a folder without right."""

        def refuse(error: OSError) -> None:
            raise self._no_right_to(Path(error.filename)) from error

        for parent, folders, names in os.walk(folder, onerror=refuse):
            folders[:] = [f for f in folders if not f.startswith(HIDDEN) and f != RESCUED]
            yield from (Path(parent, name) for name in names)

    def _no_right_to(self, folder: Path) -> TransientSourceError:
        message = (
            f"feed {self.feed.name}: {folder} may not be read by this user; give it the right"
            f" (chmod u+rX {folder}), or run the platform as its owner"
        )
        return TransientSourceError(message)

    def read(self, file: SourceFile) -> Iterator[Page]:
        """Yield the records of `file` in order, in pages that fit into memory.

        Raises:
            PermanentSourceError: the file as a whole cannot be read under this configuration
                (unknown suffix, a mapped column is not there, not the format it claims).
            TransientSourceError: the file vanished or could not be opened.
        """
        kind = self.feed.format or format_of(file.path)
        if kind is None:
            message = (
                f"{file.path}: unknown suffix; name it {', '.join(FORMAT_OF_SUFFIX)} (also with .gz"
                f" or .zst), or set format for feed {self.feed.name}"
            )
            raise PermanentSourceError(message)
        if file.size_bytes == 0:
            return
        try:
            refuse_foreign(file.path, kind)
            for rows in self._rows(file.path, kind):
                yield Page(self._records(rows), rows.payloads, rows.broken, rows.column_kinds)
        except (pa.ArrowException, gzip.BadGzipFile, EOFError, zlib.error) as error:
            message = f"{file.path} cannot be read as {kind}: {error}"
            raise PermanentSourceError(message) from error
        except OSError as error:
            if error.errno is None:  # not the machine, but what zstd finds in the file
                message = f"{file.path} cannot be read as {kind}: {error}"
                raise PermanentSourceError(message) from error
            message = f"{file.path} cannot be opened: {error}"
            raise TransientSourceError(message) from error

    def page_of(self, records: Sequence[Record], row_numbers: Sequence[int]) -> Page:
        """Return records that were read before, given in the source's own columns, as a page."""
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        payloads = pa.table({"line": pa.array(lines, pa.string())})
        rows = Rows(json_columns(self.feed, records), row_numbers, payloads)
        return Page(self._records(rows), payloads)

    def _rows(self, path: Path, kind: str) -> Iterator[Rows]:
        wanted = wanted_columns(self.feed)
        match kind:
            case "csv" | "tsv":
                return read_delimited(path, self.feed, wanted)
            case "ndjson":
                return read_lines(path, self.feed)
            case "json":
                return read_document(path, self.feed)
            case "parquet":
                return read_parquet(path, self.feed, wanted)
            case _:
                return read_workbook(path, self.feed, wanted)

    def _records(self, rows: Rows) -> pa.Table:
        """Name the columns by the contract; empty text counts as not stated, except in the body."""
        records: dict[str, pa.Array | pa.ChunkedArray] = {
            "row_number": pa.array(rows.numbers, pa.int64())
        }
        for field, names in self.feed.fields.items():
            values = rows.columns[names]
            is_empty = pc.equal(values, "")
            records[field] = values if field == "body" else pc.if_else(is_empty, None, values)
        for field, constant in self.feed.constants.items():
            records[field] = pa.repeat(pa.scalar(constant), len(rows.numbers))
        if self.feed.keep:
            kept = pa.table({name: rows.columns[(name,)] for name in self.feed.keep}).to_pylist()
            # json.dumps row by row: Arrow has no JSON writer, and few feeds keep further columns
            records["source_metadata"] = pa.array(
                [json.dumps(row, sort_keys=True, ensure_ascii=False) for row in kept], pa.string()
            )
        return pa.table(records)


def source_file(path: Path) -> SourceFile:
    """Return what the file system says of `path`.

    Raises:
        OSError: it is gone, or cannot be looked at.
    """
    stat = path.stat()
    modified_at = EPOCH + timedelta(microseconds=stat.st_mtime_ns // 1000)
    return SourceFile(path, stat.st_size, modified_at, stat.st_ctime_ns)


def format_of(path: Path) -> str | None:
    """Return the format that the suffix tells (.gz and .zst are looked through), or None."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return FORMAT_OF_SUFFIX.get(suffixes[-1]) if suffixes else None
