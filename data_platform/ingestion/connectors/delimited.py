"""CSV, TSV and other tables of rows: where the header stands, and which rows are whole."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import FileFeed
from data_platform.ingestion.connectors.columns import (
    column_kinds,
    find_header,
    require_columns,
    rows_table,
)
from data_platform.ingestion.connectors.opening import (
    MAX_LINE_CHARACTERS,
    NOT_TEXT,
    TOO_LONG,
    is_cut,
    is_text,
    lines_of,
    open_text,
    readable,
)
from data_platform.ingestion.connectors.pages import BrokenRecord, Rows

if TYPE_CHECKING:
    from _csv import Reader

BLOCK_CHARACTERS = 4 * 1024 * 1024
DELIMITERS = (",", ";", "\t", "|")
# A report's title and remarks may stand above the header.
HEADER_SEARCH_LINES = 100
UNQUOTED = "a quote is not closed, or text follows its end (see quoted in docs/configuration.md)"


@dataclass(frozen=True)
class Layout:
    """How the rows of one file are divided.

    Attributes:
        names: the columns, in order.
        skip: lines (of an Excel sheet: rows) up to the end of the header.
    """

    delimiter: str
    names: tuple[str, ...]
    skip: int


def read_delimited(path: Path, feed: FileFeed, wanted: Sequence[Sequence[str]]) -> Iterator[Rows]:
    """Yield the rows of a CSV or TSV file, all columns as text, in blocks of some 4 MB.

    Quoting is that of RFC 4180. A line that breaks it is one broken record, and the next line is
    read by itself: a quote that is never closed takes no other row along.

    Args:
        wanted: for each column that must be there, the names that it may have.

    Raises:
        PermanentSourceError: no header with these columns is found.
    """
    csv.field_size_limit(MAX_LINE_CHARACTERS)
    given = "\t" if feed.format == "tsv" or ".tsv" in path.suffixes else None
    delimiter = feed.delimiter or given
    with open_text(path, feed.encoding, newline="") as stream:
        lines = lines_of(stream)
        head = list(islice(lines, HEADER_SEARCH_LINES))
        if not any(line.strip() for line in head):
            return
        layout = _find_layout(path, feed, wanted, delimiter, head)
        chosen = require_columns(path, feed, wanted, layout.names)
        reader = _RowReader(layout, feed)
        kinds: dict[str, str] = {}
        for block, is_last in _blocks(chain(head[layout.skip :], lines)):
            found = reader.read(block, is_last)
            table = found.table(layout.names, stream.encoding)
            is_first, kinds = not kinds, kinds or column_kinds(table)
            yield Rows(
                {names: table[name] for names, name in chosen.items()},
                found.numbers,
                table,
                tuple(found.broken),
                kinds if is_first else {},
            )


def _blocks(lines: Iterator[str]) -> Iterator[tuple[list[str], bool]]:
    """Yield lines in lists of some 4 MB, and whether it is the last."""
    block: list[str] = []
    size = 0
    for line in lines:
        if size >= BLOCK_CHARACTERS:
            yield block, False
            block, size = [], 0
        block.append(line)
        size += len(line)
    yield block, True


def _find_layout(
    path: Path,
    feed: FileFeed,
    wanted: Sequence[Sequence[str]],
    delimiter: str | None,
    head: Sequence[str],
) -> Layout:
    candidates = (delimiter,) if delimiter else DELIMITERS
    tables = {
        candidate: list(_head_records(head, candidate, feed.quoted)) for candidate in candidates
    }
    if feed.columns:
        for candidate, records in tables.items():
            whole = [(end, row) for end, row in records if len(row) == len(feed.columns)]
            if whole:
                end, first = whole[0]
                skip = end if tuple(first) == feed.columns else 0
                return Layout(candidate, feed.columns, skip)
        return Layout(candidates[0], feed.columns, 0)
    for candidate, records in tables.items():
        found = find_header([row for _, row in records], wanted)
        if found is not None:
            end, names = records[found]
            return Layout(candidate, tuple(name.strip() for name in names), end)
    nearest = max(candidates, key=lambda c: max((len(row) for _, row in tables[c]), default=0))
    first_row = next((row for _, row in tables[nearest] if any(row)), [])
    require_columns(path, feed, wanted, first_row)
    message = f"{path}: its first {HEADER_SEARCH_LINES} lines cannot be read as rows"
    raise PermanentSourceError(message)


def _head_records(
    lines: Sequence[str], delimiter: str, is_quoted: bool
) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the line after it, fields) of the first rows, as far as they can be read."""
    reader = _reader(lines, delimiter, is_quoted, is_strict=False)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error:
        return


def _reader(lines: Iterable[str], delimiter: str, is_quoted: bool, is_strict: bool) -> "Reader":
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
    return csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=is_strict)


class _RowReader:
    """Turns blocks of lines into rows; keeps the running number, and a record that spans blocks."""

    def __init__(self, layout: Layout, feed: FileFeed) -> None:
        self._layout = layout
        self._feed = feed
        self._rest: list[str] = []
        self._number = 0

    def read(self, block: list[str], is_last: bool) -> "_Found":
        """Return the rows of these lines and of those left over from the block before."""
        lines = self._rest + block
        self._rest = []
        width = len(self._layout.names)
        try:
            rows = self._whole_rows(lines)
        except csv.Error:
            found = self._row_by_row(lines, is_last)
        else:
            found = _Found(rows, list(range(self._number + 1, self._number + len(rows) + 1)))
            self._number += len(rows)
            if any(len(row) != width for row in rows):
                self._number -= len(rows)
                found = self._row_by_row(lines, is_last)
        return found

    def _whole_rows(self, lines: Sequence[str]) -> list[list[str]]:
        """Return all rows at once.

        Raises:
            csv.Error: some line needs a closer look.
        """
        comment = self._feed.comment
        if comment and any(line.startswith(comment) for line in lines):
            raise csv.Error
        if any(is_cut(line) for line in lines):
            raise csv.Error
        return [row for row in self._reader(lines) if any(row)]

    def _reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return _reader(lines, self._layout.delimiter, self._feed.quoted, is_strict=True)

    def _row_by_row(self, lines: list[str], is_last: bool) -> "_Found":
        found = _Found([], [])
        width = len(self._layout.names)
        cursor = _Cursor(lines)
        reader = self._reader(cursor)
        while cursor.position < len(lines):
            start = cursor.position
            if self._feed.comment and lines[start].startswith(self._feed.comment):
                cursor.position += 1
                continue
            if is_cut(lines[start]):
                cursor.position += 1
                found.add_broken(self._next_number(), TOO_LONG, lines[start])
                continue
            try:
                row = next(reader)
            except csv.Error:
                size = sum(map(len, lines[start:]))
                if cursor.is_at_end and not is_last and size < MAX_LINE_CHARACTERS:
                    self._rest = lines[start:]  # the record may end in the next block
                    break
                cursor.position = start + 1
                found.add_broken(self._next_number(), UNQUOTED, lines[start])
                continue
            if _is_blank(row):
                continue
            if len(row) == width:
                found.rows.append(row)
                found.numbers.append(self._next_number())
                continue
            taken = lines[start : cursor.position]
            if any(self._is_whole(line) for line in taken[1:]):
                cursor.position = start + 1
                found.add_broken(self._next_number(), UNQUOTED, lines[start])
                continue
            reason = f"{len(row)} columns instead of {width}"
            found.add_broken(self._next_number(), reason, "".join(taken))
        return found

    def _is_whole(self, line: str) -> bool:
        """True if this line is a row by itself."""
        try:
            return len(next(self._reader([line]), [])) == len(self._layout.names)
        except csv.Error:
            return False

    def _next_number(self) -> int:
        self._number += 1
        return self._number


class _Cursor:
    """An iterator over lines that can be set back."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self.position = 0

    def __iter__(self) -> "_Cursor":
        return self

    def __next__(self) -> str:
        if self.is_at_end:
            raise StopIteration
        self.position += 1
        return self._lines[self.position - 1]

    @property
    def is_at_end(self) -> bool:
        return self.position >= len(self._lines)


@dataclass
class _Found:
    rows: list[list[str]]
    numbers: list[int]
    broken: list[BrokenRecord] = field(default_factory=list)

    def add_broken(self, number: int, reason: str, text: str) -> None:
        self.broken.append(BrokenRecord(number, reason, readable(text.rstrip("\r\n"))))

    def table(self, names: Sequence[str], encoding: str) -> pa.Table:
        """Return the rows as Arrow columns; those with undecodable bytes go to `broken`."""
        try:
            return rows_table(names, self.rows)
        except UnicodeEncodeError:
            reason = NOT_TEXT.format(encoding.upper())
            good = [is_text("".join(row)) for row in self.rows]
            bad = [
                (n, row) for n, row, ok in zip(self.numbers, self.rows, good, strict=True) if not ok
            ]
            for number, row in bad:
                self.add_broken(number, reason, ",".join(row))
            self.numbers = [n for n, ok in zip(self.numbers, good, strict=True) if ok]
            self.rows = [row for row, ok in zip(self.rows, good, strict=True) if ok]
            self.broken.sort(key=lambda record: record.row_number)
            return rows_table(names, self.rows)


def _is_blank(row: Sequence[str]) -> bool:
    return not any(row) or (len(row) == 1 and not row[0].strip())
