"""Writing a warehouse file anew, so that it holds no byte of what was deleted, and no free space."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from data_platform.errors import StorageError
from data_platform.schemas import CURRENT_SENTIMENT_VIEW, SCHEMA_VERSION, TABLES
from data_platform.storage.files import sync_folder
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import STORAGE_VERSION, Transaction, Warehouse


@dataclass(frozen=True)
class Compacted:
    """Size of the file before and after, in bytes."""

    before_bytes: int
    after_bytes: int


def compact(warehouse: Warehouse) -> Compacted:
    """Write the file anew, compare every table by digest, and put it in the place of the old one.

    DuckDB keeps the bytes of deleted rows until their block is used again, also after CHECKPOINT
    (measured with 1.5.5). The new file is renamed into place, so a kill leaves either. Writers
    wait meanwhile: about a second for each 20 MB.

    Raises:
        BusyError: other processes held the file for longer than the time limit.
        StorageError: there is no room for a second file, or the copy differs.
    """
    path = warehouse.database
    draft = path.with_name(f".{path.name}.compact")
    with warehouse.transaction():
        pass  # an older file is migrated first
    with explained(path), warehouse.exclusive() as connection:
        before = path.stat().st_size
        _remove(draft)
        _require_room(path, before)
        try:
            _copy(connection, draft)
            connection.close()
            with draft.open("rb") as stream:
                os.fsync(stream.fileno())
            draft.replace(path)
            _log_of(path).unlink(missing_ok=True)  # it belongs to the old file, and is empty
            sync_folder(path.parent)
        finally:
            _remove(draft)
        return Compacted(before, path.stat().st_size)


def free_share(warehouse: Warehouse) -> float:
    """Return which share of the file is free space, 0 to 1."""
    with warehouse.transaction() as transaction:
        (free, total) = transaction.connection.execute(
            "SELECT free_blocks, total_blocks FROM pragma_database_size()"
            " WHERE database_name = current_database()"
        ).fetchall()[0]
    return free / total if total else 0.0


def _copy(connection: duckdb.DuckDBPyConnection, draft: Path) -> None:
    connection.execute("CHECKPOINT")
    place = str(draft).replace("'", "''")
    connection.execute(f"ATTACH '{place}' AS compacted (STORAGE_VERSION '{STORAGE_VERSION}')")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE compacted.schema_version (version INTEGER NOT NULL)")
    connection.execute("INSERT INTO compacted.schema_version VALUES (?)", [SCHEMA_VERSION])
    transaction = Transaction(connection)
    for table in TABLES.values():
        connection.execute(table.ddl.replace(table.name, f"compacted.{table.name}", 1))
        order = f" ORDER BY {table.day_column}" if table.day_column else ""
        connection.execute(f"INSERT INTO compacted.{table.name} SELECT * FROM {table.name}{order}")
        old, new = (
            transaction.digest_of(name, table.columns, "TRUE", [])
            for name in (table.name, f"compacted.{table.name}")
        )
        if old != new:
            connection.execute("ROLLBACK")
            message = (
                f"the copy of {table.name} differs ({new} instead of {old}); nothing was replaced"
            )
            raise StorageError(message)
    connection.execute(
        CURRENT_SENTIMENT_VIEW.replace("VIEW current_sentiment", "VIEW compacted.current_sentiment")
    )
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT compacted")
    connection.execute("DETACH compacted")


def _require_room(path: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed_bytes:
        message = (
            f"{path.parent} has {free:,} bytes free; writing {path.name} anew needs about"
            f" {needed_bytes:,}. Make room, then try again; nothing was changed."
        )
        raise StorageError(message)


def _remove(draft: Path) -> None:
    draft.unlink(missing_ok=True)
    _log_of(draft).unlink(missing_ok=True)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")
