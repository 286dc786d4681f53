"""What the machine refuses becomes a message with a place and an advice; all else passes as it is."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from data_platform.errors import ConfigurationError, DamagedFileError, StorageError
from data_platform.storage.refusals import explained

ROWS = "SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 1000"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "its disk is full"),
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, f"user {os.geteuid()} lacks the right"),
        (errno.EMFILE, "ulimit -n"),
    ],
)
def test_the_place_that_the_error_names_is_told_with_an_advice(tmp_path, code, words):
    place = tmp_path / "part.parquet"
    with pytest.raises(StorageError, match=words) as caught, explained(tmp_path):
        raise OSError(code, os.strerror(code), str(place))
    assert str(caught.value).startswith(f"{place} could not be used: ")
    assert "run again" in str(caught.value)


@pytest.fixture(params=["ledger.sqlite", "warehouse.duckdb"])
def database(tmp_path, request):
    """A database with a thousand rows, and how it is opened."""
    path = tmp_path / request.param
    connect = {".sqlite": sqlite3.connect, ".duckdb": duckdb.connect}[path.suffix]
    with closing(connect(str(path))) as writer:
        writer.execute("CREATE TABLE t AS WITH RECURSIVE r(x) AS (" + ROWS + ") SELECT x FROM r")
        writer.commit()
    return path, connect


@pytest.mark.parametrize("kept_share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("ending", [b"", b"rubbish" * 1000])
def test_a_damaged_database_is_named_with_what_a_person_can_do(database, kept_share, ending):
    path, connect = database
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept_share * len(whole))] + (ending or b"cut"))

    def read():
        with closing(connect(str(path))) as reader:
            reader.execute("SELECT sum(x) FROM t").fetchall()

    with pytest.raises(DamagedFileError) as caught, explained(path, "Do this"):
        read()
    assert str(caught.value) == f"{path} is damaged, or is no database. Do this."


def test_another_file_that_is_damaged_is_not_blamed_on_the_place(tmp_path):
    other = tmp_path / "other.duckdb"
    other.write_bytes(b"rubbish" * 1000)
    with pytest.raises(duckdb.IOException), explained(tmp_path / "warehouse.duckdb"):
        duckdb.connect(str(other))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x"),
        KeyError("No space left on device"),
        ConfigurationError("No space left on device"),
        sqlite3.OperationalError("no such table: files"),
        duckdb.ConversionException("Could not convert 'No space left on device' to INT32"),
    ],
)
def test_an_error_of_another_kind_passes_as_it_is(tmp_path, error):
    """A text of feedback that sounds like a full disk must not be taken for one."""
    with pytest.raises(type(error)) as caught, explained(tmp_path):
        raise error
    assert caught.value is error


def test_what_another_library_wrapped_is_found(tmp_path):
    def fail():
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RuntimeError from error

    with pytest.raises(StorageError, match="disk is full") as caught, explained(tmp_path):
        fail()
    assert str(tmp_path) in str(caught.value)


def test_a_database_that_another_program_locks_is_told(tmp_path):
    path = Path(tmp_path / "ledger.sqlite")
    with sqlite3.connect(path) as holder:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(StorageError, match="another program holds it open"),
            explained(path),
            sqlite3.connect(path, timeout=0.1) as second,
        ):
            second.execute("INSERT INTO t VALUES (1)")
        holder.rollback()


def test_a_spill_that_outgrows_the_disk_is_a_full_disk(tmp_path):
    spilling = "CREATE TEMP TABLE t AS SELECT md5(i::VARCHAR) AS m FROM range(3000000) r(i)"
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("SET memory_limit = '8MB'; SET max_temp_directory_size = '1MB'")
        with pytest.raises(StorageError, match="its disk is full"), explained(tmp_path):
            connection.execute(spilling)
