"""Files as a source: CSV, NDJSON and Parquet, each also gzipped, read in batches with every field as exact text."""

import csv
import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from data_platform.errors import PermanentSourceError, TransientSourceError
from data_platform.ingestion.connectors.pages import BrokenRecord, Page
from data_platform.settings import FileFeed

BLOCK_BYTES = 16 * 1024 * 1024  # a CSV record must fit into one
LINE_BLOCK_BYTES = 4 * 1024 * 1024
BATCH_ROWS = 50_000
FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NO_OBJECT = "not a JSON object"
# Numbers stay the text they are: 64-bit ids do not pass through a float.
_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
WILDCARDS = set("*?[")
# A row of feedback holds a date: a field that begins with a digit, or has a year, colon or comma.
COLUMN_NAME = re.compile(r"|(?!.*\d{4})[^\W\d][\w .\-/]{0,60}")
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
        self._columns = list(dict.fromkeys([*feed.fields.values(), *feed.keep]))

    def files(self) -> list[SourceFile]:
        """Return the feed's files, oldest modification first; hidden files are left alone.

        Raises:
            PermanentSourceError: the path names no file and no folder.
            TransientSourceError: the folder cannot be listed.
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
            message = (
                f"feed {self.feed.name}: {folder} may not be read by this user; give it the right"
                f" (chmod u+rX {folder}), or run the platform as its owner"
            )
            raise TransientSourceError(message)
        if folder != pattern:
            paths = list(folder.glob(str(pattern.relative_to(folder))))
        elif folder.is_dir():
            paths = [p for p in folder.rglob("*") if self.feed.format or format_of(p)]
        else:
            paths = [folder]
        found = []
        for path in paths:
            below = path.relative_to(folder).parts if path != folder else (path.name,)
            if path.is_file() and not any(part.startswith(".") for part in below):
                with suppress(FileNotFoundError):  # moved away since it was listed
                    found.append(source_file(path))
        return sorted(found, key=lambda file: (file.modified_at, str(file.path)))

    def read(self, file: SourceFile) -> Iterator[Page]:
        """Yield the records of `file` in order, in pages of some 50,000 at most.

        Raises:
            PermanentSourceError: the file as a whole cannot be read under this configuration
                (unknown suffix, a mapped column is not there, not the format it claims).
            TransientSourceError: the file vanished or could not be opened.
        """
        kind = self.feed.format or format_of(file.path)
        if kind is None:
            message = (
                f"{file.path}: unknown suffix; name it .csv, .ndjson or .parquet (also with .gz),"
                f" or set format for feed {self.feed.name}"
            )
            raise PermanentSourceError(message)
        if file.size_bytes == 0:
            return
        readers = {"csv": self._csv, "ndjson": self._ndjson, "parquet": self._parquet}
        try:
            yield from readers[kind](file.path)
        except (pa.ArrowInvalid, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
            message = f"{file.path} cannot be read as {kind}: {error}"
            raise PermanentSourceError(message) from error
        except OSError as error:
            message = f"{file.path} cannot be opened: {error}"
            raise TransientSourceError(message) from error

    def _csv(self, path: Path) -> Iterator[Page]:
        refused: list[BrokenRecord] = []

        def refuse(row: pa_csv.InvalidRow) -> str:
            reason = f"{row.actual_columns} columns instead of {row.expected_columns}"
            refused.append(BrokenRecord(row.number - 1, reason, row.text))  # row 1 is the header
            return "skip"

        with _open(path) as stream:
            header = _csv_header(stream, self.feed.delimiter)
        self._require_columns(path, header)
        with _open(path) as stream:
            if not _has_rows(stream):
                return
        with _open(path) as stream:
            batches = pa_csv.open_csv(
                stream,
                read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self.feed.delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=refuse,
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(header, pa.binary()),
                    strings_can_be_null=False,
                    check_utf8=False,
                ),
            )
            row_numbers = _RowNumbers()
            for batch in batches:
                taken, refused[:] = list(refused), []
                numbers = row_numbers.of(batch.num_rows, taken)
                text, undecodable = _utf8(pa.Table.from_batches([batch]), numbers)
                bad = {record.row_number for record in undecodable}
                kept = pa.array([n for n in numbers if n not in bad], pa.int64())
                columns = {name: text[name] for name in self._columns}
                yield Page(self._records(columns, kept), text, (*taken, *undecodable))
            if refused:
                nothing = pa.schema([(name, pa.string()) for name in header]).empty_table()
                columns = {name: nothing[name] for name in self._columns}
                yield Page(
                    self._records(columns, pa.array([], pa.int64())), nothing, tuple(refused)
                )

    def _ndjson(self, path: Path) -> Iterator[Page]:
        needed = [self.feed.fields[f] for f in ("source_id", "posted_at") if f in self.feed.fields]
        names_found: set[str] = set()
        row_count = 0
        with _open(path) as stream:
            for lines in _line_batches(stream):
                objects: list[dict[str, object]] = []
                numbers: list[int] = []
                kept: list[str] = []
                broken: list[BrokenRecord] = []
                # Line by line: numbers stay the text they are, which Arrow's and DuckDB's readers
                # cannot do, and Python's C scanner is five times as fast as json_extract.
                for row_number, line in enumerate(lines, start=row_count + 1):
                    if not line.strip():
                        continue
                    try:
                        value = _JSON.decode(line.decode("utf-8"))
                        if b"\\ud" in line.lower():  # half a surrogate pair is no text: raises
                            json.dumps(value, ensure_ascii=False).encode("utf-8")
                    except (ValueError, RecursionError) as error:
                        reason = (
                            "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else NO_OBJECT
                        )
                        broken.append(BrokenRecord(row_number, reason, _readable(line)))
                        continue
                    if not isinstance(value, dict):
                        broken.append(BrokenRecord(row_number, NO_OBJECT, _readable(line)))
                        continue
                    objects.append(value)
                    numbers.append(row_number)
                    kept.append(line.decode("utf-8"))
                row_count += len(lines)
                columns = {
                    name: pa.chunked_array([_json_text([value.get(name) for value in objects])])
                    for name in self._columns
                }
                names_found.update(*objects)
                records = self._records(columns, pa.array(numbers, pa.int64()))
                yield Page(records, pa.table({"line": pa.array(kept, pa.string())}), tuple(broken))
        if names_found:
            self._require_columns(path, sorted(names_found), needed)

    def _parquet(self, path: Path) -> Iterator[Page]:
        with _open(path) as stream:
            content = pa.BufferReader(stream.read()) if _is_gzip(path) else pa.memory_map(str(path))
        parquet = pq.ParquetFile(content)
        self._require_columns(path, parquet.schema_arrow.names)
        row_count = 0
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=self._columns):
            columns = {n: self._parquet_text(path, n, batch.column(n)) for n in self._columns}
            numbers = pa.array(range(row_count + 1, row_count + batch.num_rows + 1), pa.int64())
            row_count += batch.num_rows
            yield Page(self._records(columns, numbers), pa.table(columns))

    def _parquet_text(self, path: Path, name: str, column: pa.Array) -> pa.Array:
        """Return a Parquet column as text that loses nothing.

        Raises:
            PermanentSourceError: its type has no exact text, as a float has none for an identifier.
        """
        kind = column.type
        is_identifier = name in {
            self.feed.fields.get(f) for f in ("source_id", "conversation_id", "parent_id")
        }
        if (pa.types.is_floating(kind) and is_identifier) or pa.types.is_nested(kind):
            message = (
                f"{path}: column {name!r} has type {kind}, which cannot be mapped here;"
                " write it as text or as integers"
            )
            raise PermanentSourceError(message)
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("us", tz="UTC" if kind.tz else None), safe=False)
        return column.cast(pa.string())

    def _records(
        self, columns: dict[str, pa.ChunkedArray], numbers: pa.Array | pa.ChunkedArray
    ) -> pa.Table:
        """Name the columns by the contract; empty text counts as not stated, except in the body."""
        records: dict[str, pa.Array | pa.ChunkedArray] = {"row_number": numbers}
        for field, column in self.feed.fields.items():
            values = columns[column]
            is_empty = pc.equal(values, "")
            records[field] = values if field == "body" else pc.if_else(is_empty, None, values)
        for field, constant in self.feed.constants.items():
            records[field] = pa.repeat(pa.scalar(constant), len(numbers))
        if self.feed.keep:
            rows = pa.table({name: columns[name] for name in self.feed.keep}).to_pylist()
            # json.dumps row by row: Arrow has no JSON writer, and few feeds keep further columns
            records["source_metadata"] = pa.array(
                [json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows], pa.string()
            )
        return pa.table(records)

    def _require_columns(
        self, path: Path, found: Sequence[str], needed: Sequence[str] | None = None
    ) -> None:
        """Refuse a file without a mapped column; the message never quotes a row of feedback."""
        for name in needed if needed is not None else self._columns:
            if found.count(name) == 1:
                continue
            problem = "stands twice in" if name in found else "is not in"
            near = get_close_matches(name, found, n=1)
            hint = f" Did you mean {near[0]!r}?" if near and near[0] != name else ""
            columns = "Columns found: " + ", ".join(repr(n[:40]) for n in found[:20])
            if not all(COLUMN_NAME.fullmatch(n) for n in found):
                columns, hint = f"{len(found)} columns found, which do not look like names", ""
            message = (
                f"{path}: column {name!r}, mapped by feed {self.feed.name}, {problem} this file.{hint}"
                f" {columns}. Mend fields in feedback.yaml, or the file."
            )
            raise PermanentSourceError(message)


class _RowNumbers:
    """Numbers the rows that the CSV parser kept, leaving out the numbers of those it refused."""

    def __init__(self) -> None:
        self._refused: set[int] = set()
        self._next = 1

    def of(self, count: int, refused: Sequence[BrokenRecord]) -> list[int]:
        """Return the numbers of the next `count` kept rows, given the rows refused so far."""
        self._refused |= {record.row_number for record in refused}
        numbers: list[int] = []
        while len(numbers) < count:
            if self._next not in self._refused:
                numbers.append(self._next)
            self._next += 1
        return numbers


def source_file(path: Path) -> SourceFile:
    """Return what the file system says of `path`.

    Raises:
        OSError: it is gone, or cannot be looked at.
    """
    stat = path.stat()
    modified_at = EPOCH + timedelta(microseconds=stat.st_mtime_ns // 1000)
    return SourceFile(path, stat.st_size, modified_at, stat.st_ctime_ns)


def format_of(path: Path) -> str | None:
    """Return the format that the suffix tells ('.gz' is looked through), or None."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return FORMAT_OF_SUFFIX.get(suffixes[-1]) if suffixes else None


def _csv_header(stream: BinaryIO, delimiter: str) -> list[str]:
    with io.TextIOWrapper(stream, "utf-8", errors="replace", newline="") as lines:
        return next(csv.reader(lines, delimiter=delimiter), [])


def _has_rows(stream: BinaryIO) -> bool:
    """False for a header without the line end that Arrow needs to see a file without rows."""
    return any(b"\n" in block or b"\r" in block for block in iter(lambda: stream.read(65_536), b""))


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def _open(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressed, behind a byte order mark."""
    stream = cast(BinaryIO, gzip.open(path)) if _is_gzip(path) else path.open("rb")  # noqa: SIM115
    if stream.read(3) != BYTE_ORDER_MARK:
        stream.seek(0)
    return stream


def _line_batches(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the lines of `stream`, without their ends, in lists of some 4 MB."""
    rest = b""
    while block := stream.read(LINE_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _json_text(values: list[object]) -> pa.Array:
    """Return JSON values as text: text and numbers as they stand, the rest as JSON; null for null."""
    texts = [
        value
        if value is None or isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, sort_keys=True)
        for value in values
    ]
    return pa.array(texts, pa.string())


def _readable(line: bytes) -> str:
    return line.decode("utf-8", errors="backslashreplace")


def _utf8(table: pa.Table, numbers: Sequence[int]) -> tuple[pa.Table, list[BrokenRecord]]:
    """Return the rows of `table` (binary columns) that are UTF-8, as text, and the other rows."""
    text = pa.schema([(name, pa.string()) for name in table.column_names])
    try:
        return table.cast(text), []
    except pa.ArrowInvalid:
        pass  # row by row, to find which: such blocks are rare
    good: list[int] = []
    broken: list[BrokenRecord] = []
    # by column, not as dicts: two columns may have one name
    for index, row in enumerate(zip(*(c.to_pylist() for c in table.columns), strict=True)):
        joined = b",".join(value or b"" for value in row)
        try:
            joined.decode("utf-8")
        except UnicodeDecodeError:
            payload = joined.decode("utf-8", errors="backslashreplace")
            broken.append(BrokenRecord(numbers[index], "not UTF-8 text", payload))
        else:
            good.append(index)
    return table.take(pa.array(good, pa.int64())).cast(text), broken
