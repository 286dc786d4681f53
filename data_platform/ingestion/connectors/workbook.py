"""Excel workbooks (.xlsx): the rows of one sheet as text, under the header that stands somewhere near its top."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from data_platform.errors import DataPlatformError, PermanentSourceError
from data_platform.feed_settings import FileFeed
from data_platform.ingestion.connectors.columns import (
    column_kinds,
    find_header,
    require_columns,
    rows_table,
)
from data_platform.ingestion.connectors.opening import most_unpacked
from data_platform.ingestion.connectors.pages import BrokenRecord, Rows

HEADER_SEARCH_ROWS = 100
BLOCK_ROWS = 10_000
# Of a sheet: Excel has no more rows; more filled columns are no feedback. A row may claim any number.
MOST_ROWS = 1_048_576
MOST_COLUMNS = 1_000
MAX_UNPACKED_BYTES = 2 * 1024**3
EXACT_FLOAT = 2**53  # IEEE 754: beyond it, a whole number may not be the one that was written


def read_workbook(path: Path, feed: FileFeed, wanted: Sequence[Sequence[str]]) -> Iterator[Rows]:
    """Yield the rows of one sheet; whole numbers are as exact as the workbook holds them.

    Raises:
        PermanentSourceError: openpyxl is not installed, it is no workbook, the sheet or a mapped
            column is missing.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        message = (
            f"{path}: reading Excel workbooks needs openpyxl:"
            " pip install 'customer-feedback-platform[xlsx]'"
        )
        raise PermanentSourceError(message) from error
    with ExitStack() as opened:
        stream = opened.enter_context(
            path.open("rb")
        )  # openpyxl would not close what it cannot read
        with _damage_is_told(path):
            with zipfile.ZipFile(stream) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > min(MAX_UNPACKED_BYTES, most_unpacked(path.stat().st_size)):
                message = f"{path}: unpacked it would be {size:,} bytes; save it as .csv"
                raise PermanentSourceError(message)
            workbook = load_workbook(stream, read_only=True, data_only=True)
        opened.enter_context(closing(workbook))
        if feed.sheet is not None and feed.sheet not in workbook.sheetnames:
            names = ", ".join(repr(name[:40]) for name in workbook.sheetnames[:10])
            message = f"{path}: there is no sheet {feed.sheet!r}; its sheets: {names}"
            raise PermanentSourceError(message)
        with _damage_is_told(path):
            sheet = workbook[feed.sheet or workbook.sheetnames[0]]
            sheet.reset_dimensions()  # what it claims to span: every row would be filled up to there
        yield from _tables(path, feed, wanted, _rows(path, _cells(path, sheet)))


@contextmanager
def _damage_is_told(path: Path) -> Iterator[None]:
    """Turn what openpyxl meets in a damaged workbook, which may be any error, into one that says so.

    Raises:
        PermanentSourceError: with the kind of the error; its text may quote a cell.
    """
    try:
        yield
    except (DataPlatformError, OSError, MemoryError):
        raise
    except Exception as error:
        is_of_the_file = isinstance(error, zipfile.BadZipFile | ParseError)
        reason = str(error) if is_of_the_file else f"it is damaged ({type(error).__name__})"
        message = f"{path} cannot be read as xlsx: {reason}"
        raise PermanentSourceError(message) from error


def _cells(path: Path, sheet: Any) -> Iterator[Sequence[object]]:
    with _damage_is_told(path):
        yield from sheet.iter_rows(values_only=True)


def _rows(path: Path, rows: Iterable[Sequence[object]]) -> Iterator[list[str]]:
    """Yield rows as text, without the empty cells at their ends.

    Raises:
        PermanentSourceError: the sheet is larger than any that people fill in.
    """
    for number, row in enumerate(rows, start=1):
        cells = list(row)
        while cells and cells[-1] is None:
            cells.pop()
        if number > MOST_ROWS or len(cells) > MOST_COLUMNS:
            message = (
                f"{path}: row {number} of the sheet has {len(cells):,} columns; more than"
                f" {MOST_COLUMNS:,} columns or {MOST_ROWS:,} rows are not read. Save it as .csv"
            )
            raise PermanentSourceError(message)
        yield [_text(value) for value in cells]


def _tables(
    path: Path, feed: FileFeed, wanted: Sequence[Sequence[str]], rows: Iterator[list[str]]
) -> Iterator[Rows]:
    head = list(islice(rows, HEADER_SEARCH_ROWS))
    if not any(map(any, head)):
        return
    names: tuple[str, ...]
    if feed.columns:
        names, skip = feed.columns, int(tuple(_trimmed(head[0])) == feed.columns)
    else:
        position = find_header(head, wanted)
        first_row = head[position] if position is not None else next(filter(any, head))
        names = tuple(name.strip() for name in _trimmed(first_row))
        skip = (position or 0) + 1
    chosen = require_columns(path, feed, wanted, names)
    filled = (row for row in chain(head[skip:], rows) if any(row))
    numbered = enumerate(map(_trimmed, filled), start=1)
    is_first = True
    while block := list(islice(numbered, BLOCK_ROWS)):
        fitting = [(number, row) for number, row in block if len(row) <= len(names)]
        broken = [
            BrokenRecord(number, f"{len(row)} columns instead of {len(names)}", "\t".join(row))
            for number, row in block
            if len(row) > len(names)
        ]
        table = rows_table(names, [[*row, *[""] * (len(names) - len(row))] for _, row in fitting])
        yield Rows(
            {alternatives: table[name] for alternatives, name in chosen.items()},
            [number for number, _ in fitting],
            table,
            tuple(broken),
            column_kinds(table) if is_first else {},
        )
        is_first = False


def _trimmed(row: Iterable[str]) -> list[str]:
    """Return the row without the empty cells at its end."""
    cells = list(row)
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _text(value: object) -> str:
    """Return a cell as text: dates in ISO 8601, whole numbers without a fraction."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_FLOAT:
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
