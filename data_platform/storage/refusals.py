"""What the machine refuses (a full disk, a missing right, a damaged file), as one message to act on."""

import errno
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from data_platform.errors import (
    ConfigurationError,
    DamagedFileError,
    DataPlatformError,
    StorageError,
)

_NO_RIGHT = (
    "user {user} lacks the right to it. As its owner: chmod u+rwX {place}; or take it over:"
    " chown {user} {place}"
)
REFUSALS = {
    errno.ENOSPC: "its disk is full ({free:.1f} MB free). Make room there",
    errno.EDQUOT: "this user's share of its disk is used up. Make room there",
    errno.EROFS: "its file system is mounted read-only. Mount it writable, or choose another folder",
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EIO: "its disk is full or does not answer ({free:.1f} MB free). See to it",
    errno.EBUSY: "another program holds it open. Close it there",
    errno.EMFILE: "this process has too many files open. Raise the limit: ulimit -n 4096",
}
# Of DuckDB's errors these tell of files; the others may quote what stands in a row.
MACHINE_ERRORS = (
    OSError,
    sqlite3.OperationalError,
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.TransactionException,
    duckdb.OutOfMemoryException,
)
# SQLite names neither the file nor, mostly, the reason: sqlite.org/rescode.html
_SQLITE_REASONS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
}
_SQLITE_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# All that DuckDB 1.5.5 said of 80 files that were cut or in which bytes were changed.
_DUCKDB_DAMAGE = (
    "not a valid DuckDB database file",
    "Corrupt database file",
    "Could not read enough bytes",
)
RESTORE = (
    "Restore a backup: data-platform backup --list shows them, data-platform restore PATH --replace"
    " moves what is there aside"
)
PUBLISH_ANEW = "Remove it; data-platform publish makes it anew"
_QUOTED_PATH = re.compile(r"""["'](/[^"']+)["']""")
_PROBE_BYTES = 65_536


@contextmanager
def explained(place: Path, if_damaged: str = RESTORE) -> Iterator[None]:
    """Tell what the machine refuses as a `StorageError`; every other error passes as it is.

    Args:
        place: the file or folder that is worked on, for errors that name none.
        if_damaged: what a person can do if it is damaged.

    Raises:
        DamagedFileError: the database at `place`, or one in that folder, is damaged or is none.
        StorageError: a disk is full or read-only, or a right is missing.
    """
    try:
        yield
    except DataPlatformError:
        raise
    except Exception as error:
        if _is_damage(error, place):
            what = f"A database in {place}" if place.is_dir() else f"{place}"
            told = f"{what} is damaged, or is no database. {if_damaged}."
            raise DamagedFileError(told) from error
        if (message := _explanation(error, place)) is None:
            raise
        raise StorageError(message) from error


@contextmanager
def explained_output(path: Path) -> Iterator[None]:
    """Like `explained`, for a file that a person has chosen to be written, and that may be replaced.

    Raises:
        ConfigurationError: `path` is a device, a pipe or a folder, or there can be no such file.
        StorageError: see `explained`.
    """
    try:
        with explained(path):
            if path.exists() and not path.is_file():
                message = f"{path} is no file that could be replaced; choose another output."
                raise ConfigurationError(message)
            yield
    except OSError as error:
        is_below_a_file = isinstance(error, FileExistsError)  # where a folder was to be made
        reason = os.strerror(errno.ENOTDIR) if is_below_a_file else error.strerror
        message = f"{path} cannot be written: {reason}; choose another output."
        raise ConfigurationError(message) from error


def _is_damage(error: BaseException | None, place: Path) -> bool:
    """True if a database at `place` could not be read for what stands in it."""
    while error is not None and not isinstance(error, sqlite3.Error | duckdb.IOException):
        error = error.__cause__
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_DAMAGE
    named = _QUOTED_PATH.findall(str(error))
    return any(words in str(error) for words in _DUCKDB_DAMAGE) and named in ([], [str(place)])


def _explanation(error: BaseException | None, place: Path) -> str | None:
    """Return what was refused and what to do about it; None if it was not the machine."""
    while error is not None and not isinstance(error, MACHINE_ERRORS):
        error = error.__cause__  # Dagster and SQLAlchemy wrap what SQLite raised
    if error is None:
        return None
    code: int | None
    if isinstance(error, sqlite3.Error):
        place, code = _probe(place)
        code = code or _SQLITE_REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    else:
        text = str(error)
        named = getattr(error, "filename", None) or next(iter(_QUOTED_PATH.findall(text)), None)
        place = Path(os.fsdecode(named)) if named else place
        code = next((code for code in REFUSALS if os.strerror(code) in text), None)
        if "max_temp_directory_size" in text:  # DuckDB's own limit: nine tenths of what is free
            code = errno.ENOSPC
    if code is None:
        return None
    advice = REFUSALS[code].format(place=place, free=_free_megabytes(place), user=os.geteuid())
    return (
        f"{place} could not be used: {advice}. Then run again: it goes on where it stopped, and"
        " what was stored before is as it was."
    )


def _free_megabytes(place: Path) -> float:
    for path in (place, *place.absolute().parents):
        with suppress(OSError):  # it does not exist, or may not be looked at
            return shutil.disk_usage(path).free / 1e6
    return 0.0


def _probe(path: Path) -> tuple[Path, int | None]:
    """Ask the file system why `path`, a file or folder of SQLite, could not be used."""
    folder = path if path.is_dir() else path.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return folder, error.errno if error.errno in REFUSALS else None
    if path.is_file() and not os.access(path, os.R_OK | os.W_OK):
        return path, errno.EACCES
    return path, None
