"""Backups: one tar file that holds everything that cannot be made again, whole while work goes on."""

import hashlib
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import msgspec

from data_platform import __version__
from data_platform.automation.overview import read_digests
from data_platform.errors import BusyError, ConfigurationError, DataPlatformError, StorageError
from data_platform.schemas import SCHEMA_VERSION
from data_platform.settings import Settings
from data_platform.storage.landing import COLLECTED_AT_FORMAT, STAGING
from data_platform.storage.locks import ProcessLock
from data_platform.storage.refusals import explained, explained_output
from data_platform.storage.warehouse import Warehouse

FORMAT = "data-platform backup 1"
BACKUPS = "backups"
MANIFEST = "manifest.json"
WAREHOUSE, AUTHOR_KEY, CONFIGURATION = "warehouse.duckdb", "author.key", "feedback.yaml"
LANDING, DAGSTER, SAMPLE = "landing", "dagster", "sample"
LEDGER = f"{LANDING}/ledger.sqlite"
WAIT_SECONDS = 900.0
LEDGER_ATTEMPTS = 10
SPARE_BYTES = 16 * 1024 * 1024
BLOCK_BYTES = 1024 * 1024
_NAME = re.compile(r"\d{8}T\d{12}Z\.tar")
_SQLITE_SUFFIXES = (".db", ".sqlite")
# Beside a database these belong to who has it open; the others name or lock a process.
PASSING = ("-wal", "-shm", "-journal", ".lock", ".holder")


class BackupError(DataPlatformError):
    """A backup is damaged, or is none; nothing was changed."""


class TableState(msgspec.Struct, frozen=True):
    """Rows of a table, and its content digest as `data-platform digest` prints it."""

    rows: int
    digest: str


class Member(msgspec.Struct, frozen=True):
    """One file of a backup.

    Attributes:
        size: bytes.
        sha256: of its bytes, 64 hex digits.
    """

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself.

    Attributes:
        format: `FORMAT`.
        created_at: when it was begun (UTC); what was written later may be missing.
        tables: state of the tables, by name.
        members: all other files, by their names in the archive.
        feeds: configured when it was made.
    """

    format: str
    schema_version: int
    release: str
    created_at: datetime
    tables: dict[str, TableState]
    members: dict[str, Member]
    feeds: list[str]


@dataclass(frozen=True)
class Backup:
    """A backup that is there."""

    path: Path
    size_bytes: int
    manifest: Manifest


def backup_lock(home: Path) -> ProcessLock:
    """Return the lock of backups and restores: one of them at a time for a home."""
    return ProcessLock(home / BACKUPS / ".lock", f"the backups of {home}")


def write_backup(
    settings: Settings, path: Path | None = None, *, is_folder: bool = False
) -> Backup:
    """Write a backup to `path`, a new file or a folder, by default the home's; runs may go on.

    What is taken first is never newer than what is taken after it: Dagster's history, the
    warehouse, the ledger, the segments. So a platform that is restored has, at worst, work before
    it that the original had done.

    Args:
        is_folder: `path` is a folder, also if it is not there yet.

    Raises:
        ConfigurationError: there is no warehouse yet, or `path` is taken.
        StorageError: there is not enough room, or a right is missing; no file is left behind.
        BusyError: another backup or a long transaction did not end in time.
    """
    if not settings.warehouse_path.is_file():
        message = (
            f"There is no warehouse at {settings.warehouse_path} yet; data-platform run makes it."
        )
        raise ConfigurationError(message)
    folder = settings.home / BACKUPS
    with explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with backup_lock(settings.home).held(WAIT_SECONDS):
            remove_unfinished(settings)
            created_at = datetime.now(UTC)
            name = f"{created_at.strftime(COLLECTED_AT_FORMAT)}.tar"
            is_file = path is not None and not is_folder and not path.is_dir()
            target = path if path and is_file else (path or folder) / name
            if target.exists():
                message = f"{target} is there already; nothing was written. Name another file."
                raise ConfigurationError(message)
            with explained_output(target):
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_room(settings, folder, target.parent)
            try:
                return _write(settings, target, created_at)
            finally:
                remove_unfinished(settings)


def list_backups(folder: Path) -> list[Backup]:
    """Return the backups in `folder` that this module wrote, the oldest first."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        if _NAME.fullmatch(path.name) and path.is_file():
            with suppress(BackupError):
                found.append(Backup(path, path.stat().st_size, read_manifest(path)))
    return found


def held_backups(home: Path) -> list[tuple[Path, datetime]]:
    """Return the backups of a home and when each was begun, the oldest first.

    An erasure names them: each still holds what was erased after it was begun.
    """
    return [(found.path, found.manifest.created_at) for found in list_backups(home / BACKUPS)]


def remove_older(folder: Path, keep: int) -> list[Path]:
    """Remove all but the latest `keep` backups of `folder`; return which. Other files stay."""
    backups = list_backups(folder)
    gone = [found.path for found in backups[: max(0, len(backups) - keep)]]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def remove_unfinished(settings: Settings) -> None:
    """Remove what a killed backup left; only for who holds the lock."""
    shutil.rmtree(_draft_folder(settings), ignore_errors=True)
    shutil.rmtree(_links(settings), ignore_errors=True)
    for path in (settings.home / BACKUPS).glob(".*.draft"):
        if path.is_file():
            path.unlink()


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a backup, which is its last member.

    Raises:
        BackupError: the file is damaged, or no backup.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            stream = archive.extractfile(MANIFEST)
            manifest = msgspec.json.decode(stream.read() if stream else b"", type=Manifest)
    except (tarfile.TarError, KeyError, EOFError, ValueError, msgspec.MsgspecError) as error:
        message = (
            f"{path} is no backup, or was cut: it has no readable manifest. Nothing was changed."
        )
        raise BackupError(message) from error
    if manifest.format != FORMAT:
        message = f"{path} is of another kind or a newer release. Nothing was changed."
        raise BackupError(message)
    return manifest


def _draft_folder(settings: Settings) -> Path:
    return settings.home / BACKUPS / ".draft"


def _links(settings: Settings) -> Path:
    """Where segments are kept from being removed; a feed's own staging never has such a name."""
    return settings.landing_path / STAGING / ".backup"


def _require_room(settings: Settings, folder: Path, target: Path) -> None:
    """Refuse if a disk cannot hold what is about to be written to it."""
    warehouse = settings.warehouse_path.stat().st_size
    copies = warehouse + _size(settings.landing_path / "ledger.sqlite")
    archive = warehouse + sum(
        _size(place) for place in (settings.landing_path, settings.dagster_home)
    )
    needed = {folder: copies + SPARE_BYTES}
    if folder.stat().st_dev == target.stat().st_dev:
        needed[folder] += archive
    else:
        needed[target] = archive + SPARE_BYTES
    for place, wanted in needed.items():
        require_room(place, wanted, "a backup")


def require_room(place: Path, wanted: int, what: str) -> None:
    """Refuse if the disk of `place` has less than `wanted` bytes free.

    Raises:
        StorageError: it has.
    """
    free = shutil.disk_usage(place).free
    if free < wanted:
        message = (
            f"{place} has {free / 1e6:,.0f} MB free, {what} needs {wanted / 1e6:,.0f} MB."
            " Make room there, or use another disk. Nothing was changed."
        )
        raise StorageError(message)


def _size(place: Path) -> int:
    files = [place] if place.is_file() else place.rglob("*")
    total = 0
    for path in files:
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _write(settings: Settings, target: Path, created_at: datetime) -> Backup:
    draft = _draft_folder(settings)
    draft.mkdir(mode=0o700)
    # On the disk that it is for: the last step is a rename.
    unfinished = target.with_name(f".{target.name}.draft")
    unfinished.unlink(missing_ok=True)
    try:
        with explained(unfinished), ExitStack() as stack:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            stream = stack.enter_context(os.fdopen(descriptor, "wb", buffering=BLOCK_BYTES))
            archive = _Archive(stream)
            _add_folder(archive, DAGSTER, settings.dagster_home, draft)
            tables = _add_warehouse(archive, settings, draft)
            _add_landing(archive, settings, draft)
            for name, path in (
                (AUTHOR_KEY, settings.home / AUTHOR_KEY),
                (CONFIGURATION, settings.config_path),
            ):
                if path is not None and path.is_file():
                    archive.add(name, path)
            if settings.is_sample:
                _add_folder(archive, SAMPLE, settings.home / SAMPLE, draft)
            manifest = Manifest(
                FORMAT,
                SCHEMA_VERSION,
                __version__,
                created_at,
                tables,
                archive.members,
                sorted(feed.name for feed in settings.feeds),
            )
            archive.finish(manifest)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(target)
        sync_folder(target.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return Backup(target, target.stat().st_size, manifest)


class _Archive:
    """A tar file that is being written, and what it holds so far."""

    def __init__(self, stream: BinaryIO) -> None:
        self._tar = tarfile.TarFile(fileobj=stream, mode="w", copybufsize=BLOCK_BYTES)
        self.members: dict[str, Member] = {}

    def add(self, name: str, path: Path) -> None:
        """Add a file, with its rights and times; of one that grows meanwhile, what it held."""
        with path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = state.st_size, state.st_mtime, state.st_mode & 0o755
            hashed = Hashed(stream)
            self._tar.addfile(info, hashed)
        self.members[name] = Member(info.size, hashed.sha256.hexdigest())

    def finish(self, manifest: Manifest) -> None:
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mtime, info.mode = len(content), manifest.created_at.timestamp(), 0o600
        self._tar.addfile(info, BytesIO(content))
        self._tar.close()


class Hashed:
    """A stream whose bytes are hashed while they are read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        block = self._stream.read(size)
        self.sha256.update(block)
        return block


def _add_folder(archive: _Archive, name: str, folder: Path, draft: Path) -> None:
    """Add the files of a folder, databases as they are between two transactions."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or path.name.endswith(PASSING):
            continue
        member = f"{name}/{path.relative_to(folder).as_posix()}"
        with suppress(FileNotFoundError):  # a run that was deleted meanwhile
            if path.suffix in _SQLITE_SUFFIXES:
                copy = draft / "copy.sqlite"
                if not path.exists():
                    continue
                copy_database(path, copy)
                archive.add(member, copy)
                copy.unlink()
            else:
                archive.add(member, path)


def _add_warehouse(archive: _Archive, settings: Settings, draft: Path) -> dict[str, TableState]:
    """Add the warehouse, and return the state of its tables: that of the copy."""
    copy = draft / WAREHOUSE
    with Warehouse(settings.warehouse_path, WAIT_SECONDS).at_rest() as database:
        shutil.copy2(database, copy)
    tables = read_tables(Warehouse(copy))
    archive.add(WAREHOUSE, copy)
    copy.unlink()
    return tables


def read_tables(warehouse: Warehouse) -> dict[str, TableState]:
    """Return rows and digest of each table that `data-platform digest` prints."""
    digests = read_digests(warehouse)
    with warehouse.transaction() as transaction:
        return {
            name: TableState(transaction.count(f"SELECT count(*) FROM {name}"), digest)
            for name, digest in digests.items()
        }


def _add_landing(archive: _Archive, settings: Settings, draft: Path) -> None:
    copy = draft / "ledger.sqlite"
    with _kept_segments(settings, copy) as folder:
        if copy.exists():
            archive.add(LEDGER, copy)
        for path in sorted(folder.rglob("*.parquet")):
            archive.add(f"{LANDING}/{path.relative_to(folder).as_posix()}", path)


@contextmanager
def _kept_segments(settings: Settings, copy: Path) -> Iterator[Path]:
    """Copy the ledger and yield a folder with every segment that it names.

    A segment is written before the ledger names it and removed after the ledger has forgotten
    it; so what the copy names is there, unless it was removed a moment ago: then the ledger is
    copied again. What landed after the copy is left out: no ledger would know of it. No
    collection is held up. Links keep the segments from being removed.

    Raises:
        BusyError: that happened `LEDGER_ATTEMPTS` times in a row.
    """
    ledger, folder = settings.landing_path / "ledger.sqlite", _links(settings)
    missing: set[str] = set()
    try:
        for _ in range(LEDGER_ATTEMPTS):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            landed = _landed_segments(settings.landing_path)
            if ledger.is_file():
                copy_database(ledger, copy)
            named = _named_segments(copy)
            _link_segments(settings.landing_path, folder, landed | named)
            before, missing = (
                missing,
                {name for name in named if not (folder / name).is_file()},
            )
            if not missing or missing == before:  # what stays away was lost before
                break
            shutil.rmtree(folder)
        else:
            message = (
                f"Segments in {settings.landing_path} were replaced faster than they could be kept,"
                f" {LEDGER_ATTEMPTS} times. Take the backup when less is collected."
            )
            raise BusyError(message)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _landed_segments(landing: Path) -> set[str]:
    """Return the segments that are there, also those that no ledger names."""
    return {str(path.relative_to(landing)) for path in landing.glob("[a-z]*/*/*.parquet")}


def _link_segments(landing: Path, folder: Path, segments: Iterable[str]) -> None:
    for name in sorted(segments):
        path, link = landing / name, folder / name
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # it was removed meanwhile
            try:
                os.link(path, link)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links
                shutil.copy2(path, link)


def _named_segments(ledger: Path) -> set[str]:
    """Return the segments of the deliveries that hold, as the ledger names them."""
    if not ledger.exists():
        return set()
    with closing(sqlite3.connect(ledger)) as db:
        return {
            str(name)
            for (name,) in db.execute(
                "SELECT segment FROM delivery_segments JOIN deliveries USING (delivery_id)"
                " WHERE NOT is_replaced"
            )
        }


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database that others may be writing to, as it is between two transactions."""
    target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(source, timeout=60)) as original,
        closing(sqlite3.connect(target)) as copy,
    ):
        original.backup(copy)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
