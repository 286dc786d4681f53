"""Exports: rows of the published snapshot as one file for other programs, whole or not at all."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from data_platform.config_file import nearest
from data_platform.errors import ConfigurationError, InterruptedRunError, StorageError
from data_platform.export_settings import FILE_FORMATS, FileFormat
from data_platform.schemas import READABLE, Table
from data_platform.storage.files import replaced
from data_platform.storage.refusals import PUBLISH_ANEW, explained, explained_output
from data_platform.storage.warehouse import MEMORY_LIMIT

BATCH_ROWS = 10_240
# DuckDB would write to another name beside a file that is there, and lose its rights.
COPY_OPTIONS: Mapping[FileFormat, str] = {
    "parquet": (
        f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {BATCH_ROWS}, USE_TMP_FILE false"
    ),
    "csv": "FORMAT csv, HEADER, DELIMITER ',', QUOTE '\"', ESCAPE '\"', USE_TMP_FILE false",
}
# Spreadsheets take a cell for a formula by its first character (OWASP, "CSV Injection"), some after
# dropping what cannot be seen before it; East Asian ones also know the wide forms.
FORMULA = r"^[\s\pZ\pC]*[=+\-@＝＋－＠]|^[\t\r]"
CONTROL = r"[\x00-\x09\x0b-\x1f\x7f-\x{9f}]"


@dataclass(frozen=True)
class Selection:
    """Which rows of a table.

    Attributes:
        first: first day (UTC); None: from the beginning.
        last: last day, included; None: to the end.
        latest_days: only so many days, the last of them the latest that the table has.
        feeds: names of feeds; none: all.
    """

    first: date | None = None
    last: date | None = None
    latest_days: int | None = None
    feeds: tuple[str, ...] = ()


ALL_ROWS = Selection()


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    path: Path
    row_count: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class Listed:
    """A table or view that can be exported."""

    name: str
    row_count: int
    description: str


def list_tables(snapshot: Path) -> list[Listed]:
    """Return what can be exported, by name.

    Raises:
        ConfigurationError: nothing is published yet, or by another release.
    """
    with _opened(snapshot) as connection:
        found = []
        for table in READABLE.values():
            _require(connection, table)
            row = connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()
            assert row is not None  # an aggregate without GROUP BY always returns one row
            found.append(Listed(table.name, row[0], table.description))
    return found


def format_of(path: Path) -> FileFormat:
    """Return the format that the ending of `path` stands for.

    Raises:
        ConfigurationError: it stands for none.
    """
    for file_format in FILE_FORMATS:
        if path.suffix.lower() == f".{file_format}":
            return file_format
    endings = ", ".join(f".{name}" for name in FILE_FORMATS)
    message = f"The ending of {path.name} names no format ({endings}); give one with --format."
    raise ConfigurationError(message)


def export_table(
    snapshot: Path,
    name: str,
    path: Path,
    file_format: FileFormat,
    selection: Selection = ALL_ROWS,
) -> Exported:
    """Write rows of a table or view of `snapshot` to `path`, replacing it in one step.

    All rows come from one published state, in the order of the table's key. Only the owner can
    read the file. Parquet and Arrow (an IPC file) hold text unchanged; in CSV, which people open
    with spreadsheets, text that could be taken for a formula begins with an apostrophe, and
    control characters but line breaks are left out.

    Raises:
        ConfigurationError: there is no such table or feed, the table has no column to choose rows
            by, nothing is published yet, or `path` is no place for a file.
        StorageError: the disk is full or read-only, a right is missing, or memory does not do.
        InterruptedRunError: somebody pressed Ctrl-C; a former file is as it was.
    """
    started = time.monotonic()
    table = _table(name)
    with _opened(snapshot) as connection:
        _require(connection, table)
        condition, values = _condition(connection, table, selection)
        columns = (
            _safe_cell(c.name) if file_format == "csv" and c.type == "VARCHAR" else f'"{c.name}"'
            for c in table.published_columns
        )
        query = (
            f"SELECT {', '.join(columns)} FROM {table.name} WHERE {condition}"
            f" ORDER BY {', '.join(f'{table.name}.{name}' for name in table.key)}"
        )
        with _told(path), replaced(path.resolve()) as draft:  # where a link leads
            if file_format == "arrow":
                row_count = _write_arrow(connection, query, values, draft)
            else:
                row_count = _copy(connection, query, values, draft, COPY_OPTIONS[file_format])
            size = draft.stat().st_size
    return Exported(path, row_count, size, time.monotonic() - started)


def _table(name: str) -> Table:
    if name not in READABLE:
        message = (
            f"There is no published table {name!r}{nearest(name, list(READABLE))}."
            f" Tables: {', '.join(READABLE)}."
        )
        raise ConfigurationError(message)
    return READABLE[name]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what stops a person's export."""
    try:
        with explained_output(path):
            yield
    except duckdb.OutOfMemoryException as error:
        message = "The rows do not fit into memory; export fewer days at once."
        raise StorageError(message) from error
    except (KeyboardInterrupt, RuntimeError) as error:
        # DuckDB answers Ctrl-C with a RuntimeError that it caused.
        if not isinstance(error.__cause__ or error, KeyboardInterrupt):
            raise
        message = f"Stopped; {path} is as it was."
        raise InterruptedRunError(message) from error


@contextmanager
def _opened(snapshot: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    if not snapshot.exists():
        message = "Nothing is published yet; data-platform run or data-platform publish does it."
        raise ConfigurationError(message)
    with (
        explained(snapshot, PUBLISH_ANEW),
        duckdb.connect(str(snapshot), read_only=True) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        # Several threads hold whole batches while they wait for their turn to write. With one, and
        # with small row groups, 900,000 posts of 1,900 characters (1.8 GB) sort on disk in 0.7 GB;
        # with two, a third of them ran out of twice the memory (DuckDB 1.5.5).
        connection.execute("SET threads = 1")
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        connection.execute("SET enable_progress_bar = false")  # it would go to standard output
        yield connection


def _require(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Raise a ConfigurationError if the snapshot does not hold `table` as it is declared."""
    names = ", ".join(f'"{column.name}"' for column in table.published_columns)
    try:
        connection.execute(f"SELECT {names} FROM {table.name} LIMIT 0")
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        message = (
            f"The snapshot was published by another release and has no such {table.name};"
            " data-platform publish brings it up to date."
        )
        raise ConfigurationError(message) from error


def _condition(
    connection: duckdb.DuckDBPyConnection, table: Table, chosen: Selection
) -> tuple[str, dict[str, Any]]:
    """Return the rows that are `chosen` as an SQL condition, and the values of its parameters."""
    conditions, values = ["TRUE"], dict[str, Any]()
    if chosen.first or chosen.last or chosen.latest_days:
        column = table.reading_day_column
        if column is None:
            message = f"{table.name} has no column of days; it can be exported as a whole only."
            raise ConfigurationError(message)
        if chosen.first and chosen.last and chosen.last < chosen.first:
            message = f"The last day, {chosen.last}, is before the first, {chosen.first}."
            raise ConfigurationError(message)
        kind = table.by_name[column].type
        if chosen.latest_days:
            latest = f"(SELECT CAST(max({column}) AS DATE) FROM {table.name})"
            conditions.append(f"{column} >= CAST({latest} - $days_before AS {kind})")
            values["days_before"] = chosen.latest_days - 1
        if chosen.first:
            conditions.append(f"{column} >= CAST(CAST($first AS DATE) AS {kind})")
            values["first"] = chosen.first
        if chosen.last:
            conditions.append(f"{column} < CAST(CAST($last AS DATE) + 1 AS {kind})")
            values["last"] = chosen.last
    if chosen.feeds:
        if table.reading_feed_column is None:
            message = f"{table.name} has no column of feeds; it can be exported as a whole only."
            raise ConfigurationError(message)
        _require_feeds(connection, chosen.feeds)
        conditions.append(f"list_contains($feeds, {table.reading_feed_column})")
        values["feeds"] = list(chosen.feeds)
    return " AND ".join(conditions), values


def _require_feeds(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> None:
    """Raise a ConfigurationError if one of `names` is no feed that the snapshot knows."""
    rows = connection.execute(
        "SELECT feed FROM source_health UNION SELECT feed_id FROM dim_feed ORDER BY ALL"
    ).fetchall()
    known = [name for (name,) in rows]
    for name in names:
        if name not in known:
            message = (
                f"The snapshot has no feed {name!r}{nearest(name, known)}."
                f" Feeds: {', '.join(known) or 'none yet'}."
            )
            raise ConfigurationError(message)


def _safe_cell(column: str) -> str:
    """Return SQL for a text column as a spreadsheet may have it; null stays null."""
    kept = f"regexp_replace(\"{column}\", '{CONTROL}', '', 'g')"
    mark = f"CASE WHEN regexp_matches(\"{column}\", '{FORMULA}') THEN '''' ELSE '' END"
    return f'{mark} || {kept} AS "{column}"'


def _copy(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    values: Mapping[str, Any],
    draft: Path,
    options: str,
) -> int:
    """Let DuckDB write the rows; return how many."""
    copy = f"COPY ({query}) TO $draft ({options})"
    row = connection.execute(copy, {**values, "draft": str(draft)}).fetchone()
    assert row is not None  # COPY returns the number of rows
    return int(row[0])


def _write_arrow(
    connection: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, Any], draft: Path
) -> int:
    """Write the rows as an Arrow IPC file; return how many."""
    reader = connection.execute(query, values).to_arrow_reader(BATCH_ROWS)
    row_count = 0
    with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            row_count += batch.num_rows
    return row_count
