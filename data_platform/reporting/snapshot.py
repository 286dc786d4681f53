"""The published snapshot: a second DuckDB file for readers, replaced whole, so that they never block writers."""

import errno
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from data_platform.errors import DataPlatformError
from data_platform.schemas import (
    DAY_VERSIONS,
    PUBLISHED_VIEWS,
    SCHEMA_VERSION,
    TABLES,
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
    reader that has the old file open keeps a whole, consistent old state.

    Args:
        is_anew: copy everything into a new file, which holds no byte of what was deleted.

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
        if not is_anew and _is_usable(path):
            shutil.copyfile(path, draft)
        with warehouse.transaction():
            pass  # a new warehouse gets its tables first: one transaction writes one file
        with warehouse.transaction() as transaction:
            changed, counts = _fill(transaction, draft)
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


def _fill(transaction: Transaction, draft: Path) -> tuple[int, dict[str, int]]:
    """Copy what differs into the file `draft`; return the number of differences and row counts."""
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
        " WHERE l.digest IS DISTINCT FROM s.digest",
        [names],
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
    connection.execute(f"DELETE FROM snapshot.{DAY_VERSIONS.name}")
    connection.execute(
        f"INSERT INTO snapshot.{DAY_VERSIONS.name} SELECT * FROM {DAY_VERSIONS.name}"
        " WHERE list_contains(?, table_name)",
        [names],
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
