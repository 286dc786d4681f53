"""The published snapshot: a second DuckDB file for readers, replaced whole, so that they never block writers."""

import errno
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from data_platform.errors import DamagedFileError, DataPlatformError
from data_platform.reporting.marts import INPUTS, TOPIC_INPUTS
from data_platform.schemas import (
    CLEANED_FEEDBACK,
    DAILY_SENTIMENT,
    DAY_VERSIONS,
    FCT_FEEDBACK,
    PUBLISHED_VIEWS,
    SCHEMA_VERSION,
    SENTIMENT_SCORES,
    TABLES,
    TOPIC_SENTIMENT,
    Table,
)
from data_platform.storage.locks import ProcessLock
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import (
    DEFAULT_LOCK_TIMEOUT_SECONDS,
    STORAGE_VERSION,
    Transaction,
    Warehouse,
)

PUBLISHED: tuple[Table, ...] = tuple(table for table in TABLES.values() if table.is_published)
BY_DAY = tuple(table for table in PUBLISHED if table.day_column)
WHOLE = tuple(table for table in PUBLISHED if not table.day_column)
# Published tables of a day, with the published ones that they are made from.
MADE_FROM = {
    FCT_FEEDBACK.name: (CLEANED_FEEDBACK.name,),
    SENTIMENT_SCORES.name: (CLEANED_FEEDBACK.name,),
    DAILY_SENTIMENT.name: INPUTS,
    TOPIC_SENTIMENT.name: TOPIC_INPUTS,
}
# A day whose later tables have not followed by then is published as it is: its refresh has failed.
LONGEST_REFRESH = timedelta(hours=1)
CALM_SECONDS = 60.0


@dataclass(frozen=True)
class Published:
    """What a publish did.

    Attributes:
        changed_days: table-days that were copied; the others were in the file before.
        row_counts: rows of each published table.
    """

    path: Path
    changed_days: int
    row_counts: dict[str, int]
    size_bytes: int
    seconds: float


class SnapshotError(DataPlatformError):
    """The copy did not match the warehouse and was thrown away; the published file is as it was."""


def publish(warehouse: Warehouse, path: Path, *, is_anew: bool = False) -> Published:
    """Bring the snapshot at `path` up to date with the warehouse, and replace it in one step.

    Works on a copy of the published file: only the table-days whose digest changed are copied,
    then every table is compared with the warehouse, then the copy is renamed into place. A
    reader that has the old file open keeps a whole, consistent old state. A day that is being
    refreshed, so that its tables do not agree, stays as it was published before.

    Args:
        is_anew: copy everything into a new file, which holds no byte of what was deleted; waits
            up to a minute for days that are being refreshed.

    Raises:
        SnapshotError: a table of the copy differs from the warehouse.
        BusyError: another process is publishing, or uses the warehouse.
        StorageError: the disk is full or read-only, or a right is missing.
    """
    started = time.monotonic()
    lock = ProcessLock(path.with_name(f".{path.name}.lock"), str(path))
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock.held(DEFAULT_LOCK_TIMEOUT_SECONDS):
            changed, counts = _replace(warehouse, path, is_anew)
    seconds = time.monotonic() - started
    return Published(path, changed, counts, path.stat().st_size, seconds)


def _replace(warehouse: Warehouse, path: Path, is_anew: bool) -> tuple[int, dict[str, int]]:
    """Make a draft beside `path` and rename it into place; return what `_fill` says of it."""
    draft = path.with_name(f".{path.name}.draft")
    _remove(draft)  # of a run that was killed
    try:
        is_copy = not is_anew and _is_usable(path)
        if is_copy:
            shutil.copyfile(path, draft)
        with warehouse.transaction():
            pass  # a new warehouse gets its tables first: one transaction writes one file
        try:
            changed, counts = _fill_anew(warehouse, draft) if is_anew else _fill(warehouse, draft)
        except (duckdb.IOException, DamagedFileError):
            if not is_copy:
                raise
            _remove(draft)  # what was published may be damaged, where nobody had read yet
            changed, counts = _fill(warehouse, draft)
        if _log_of(draft).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))
        if changed or is_anew or not path.exists():
            with draft.open("rb") as stream:
                os.fsync(stream.fileno())
            draft.replace(path)
    finally:
        _remove(draft)
    return changed, counts


def _remove(draft: Path) -> None:
    draft.unlink(missing_ok=True)
    _log_of(draft).unlink(missing_ok=True)


def _log_of(draft: Path) -> Path:
    """DuckDB's log: what it could not yet write to the file itself, which it does on closing."""
    return draft.with_name(f"{draft.name}.wal")


def _is_usable(path: Path) -> bool:
    """True if the published file can be brought up to date; otherwise it is built anew."""
    if not path.is_file():
        return False
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
            views = connection.execute("SELECT view_name FROM duckdb_views()").fetchall()
    except duckdb.Error:
        return False
    has_views = PUBLISHED_VIEWS.keys() <= {name for (name,) in views}
    return row is not None and row[0] == SCHEMA_VERSION and has_views


def _fill(warehouse: Warehouse, draft: Path) -> tuple[int, dict[str, int]]:
    """Bring the file `draft` up to date, but for days that are being refreshed; see `_copy_all`."""
    with warehouse.transaction() as transaction:
        return _copy_all(transaction, draft, _unfinished_days(transaction))


def _fill_anew(warehouse: Warehouse, draft: Path) -> tuple[int, dict[str, int]]:
    """Fill the new file `draft`, if possible at a moment when no day is being refreshed."""
    deadline = time.monotonic() + CALM_SECONDS
    while True:
        with warehouse.transaction() as transaction:
            if not _unfinished_days(transaction) or time.monotonic() > deadline:
                return _copy_all(transaction, draft, [])
        time.sleep(1.0)


def _unfinished_days(transaction: Transaction) -> list[date]:
    """Return the days on which a table was not made from what its inputs hold now."""
    pairs = [f"('{table}', '{name}')" for table, names in MADE_FROM.items() for name in names]
    rows = transaction.connection.execute(
        f"""
        SELECT DISTINCT i.day FROM (VALUES {", ".join(pairs)}) AS made(table_name, input)
        JOIN {DAY_VERSIONS.name} i ON i.table_name = made.input
        LEFT JOIN {DAY_VERSIONS.name} t ON t.table_name = made.table_name AND t.day = i.day
        WHERE i.refreshed_at > ?
            AND (t.day IS NULL OR json_extract_string(t.made_from, made.input) <> i.digest)
        """,
        [datetime.now(UTC) - LONGEST_REFRESH],
    ).fetchall()
    return [day for (day,) in rows]


def _copy_all(
    transaction: Transaction, draft: Path, unfinished: Sequence[date]
) -> tuple[int, dict[str, int]]:
    """Copy what differs into the file `draft`; return the number of differences and row counts.

    Args:
        unfinished: days that stay as they are in `draft`.
    """
    connection = transaction.connection
    place = str(draft).replace("'", "''")
    connection.execute(f"ATTACH '{place}' AS snapshot (STORAGE_VERSION '{STORAGE_VERSION}')")
    _create_tables(connection)
    names = [table.name for table in BY_DAY]
    connection.execute(
        f"CREATE TEMP TABLE stale AS SELECT coalesce(l.table_name, s.table_name) AS table_name,"
        " coalesce(l.day, s.day) AS day"
        f" FROM (SELECT * FROM {DAY_VERSIONS.name} WHERE list_contains(?, table_name)) l"
        f" FULL JOIN snapshot.{DAY_VERSIONS.name} s USING (table_name, day)"
        " WHERE l.digest IS DISTINCT FROM s.digest AND NOT list_contains(?::DATE[], day)",
        [names, list(unfinished)],
    )
    changed = transaction.count("SELECT count(*) FROM stale")
    for table in BY_DAY:
        scope = (
            f"{table.day_expression()} IN (SELECT day FROM stale WHERE table_name = '{table.name}')"
        )
        _copy(transaction, table, scope)
    for table in WHOLE:
        columns = table.published_columns
        live, copy = (
            transaction.digest_of(relation, columns, "TRUE", [])
            for relation in (table.name, f"snapshot.{table.name}")
        )
        if live != copy:
            changed += 1
            _copy(transaction, table, "TRUE")
    finished = "NOT list_contains(?::DATE[], day)"
    connection.execute(
        f"DELETE FROM snapshot.{DAY_VERSIONS.name} WHERE {finished}", [list(unfinished)]
    )
    connection.execute(
        f"INSERT INTO snapshot.{DAY_VERSIONS.name} SELECT * FROM {DAY_VERSIONS.name}"
        f" WHERE list_contains(?, table_name) AND {finished}",
        [names, list(unfinished)],
    )
    return changed, {
        table.name: transaction.count(f"SELECT count(*) FROM snapshot.{table.name}")
        for table in PUBLISHED
    }


def _create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the published tables, without personal columns, where they are missing."""
    connection.execute("CREATE TABLE IF NOT EXISTS snapshot.schema_version (version INTEGER)")
    connection.execute("DELETE FROM snapshot.schema_version")
    connection.execute("INSERT INTO snapshot.schema_version VALUES (?)", [SCHEMA_VERSION])
    for table in (*PUBLISHED, DAY_VERSIONS):
        columns = table.published_columns
        ddl = replace(table, columns=columns).ddl.replace(table.name, f"snapshot.{table.name}", 1)
        connection.execute(ddl)
        _describe(connection, "TABLE", table)
    for view, ddl in PUBLISHED_VIEWS.values():
        connection.execute(ddl.replace(f"VIEW {view.name}", f"VIEW snapshot.{view.name}"))
        _describe(connection, "VIEW", view)


def _describe(connection: duckdb.DuckDBPyConnection, kind: str, table: Table) -> None:
    """Let the copy say what its tables and columns mean."""
    comments = [(f"{kind} snapshot.{table.name}", table.description)]
    comments += [
        (f"COLUMN snapshot.{table.name}.{c.name}", c.description) for c in table.published_columns
    ]
    for subject, text in comments:
        quoted = text.replace("'", "''")
        connection.execute(f"COMMENT ON {subject} IS '{quoted}'")


def _copy(transaction: Transaction, table: Table, scope: str) -> None:
    """Replace the rows of the copy in `scope`, and compare them with the warehouse's.

    Raises:
        SnapshotError: they differ.
    """
    columns = table.published_columns
    names = ", ".join(c.name for c in columns)
    copy = f"snapshot.{table.name}"
    transaction.connection.execute(f"DELETE FROM {copy} WHERE {scope}")
    transaction.connection.execute(
        f"INSERT INTO {copy} ({names}) SELECT {names} FROM {table.name} WHERE {scope}"
    )
    live = transaction.digest_of(table.name, columns, scope, [])
    copied = transaction.digest_of(copy, columns, scope, [])
    if live != copied:
        message = f"the copy of {table.name} differs: {copied} instead of {live}; publish again"
        raise SnapshotError(message)
