"""Restoring a backup: checked whole before anything is touched, put in place by renames, finished after a kill."""

import os
import shutil
import sqlite3
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import duckdb
import msgspec

from data_platform.automation.backup import (
    AUTHOR_KEY,
    BACKUPS,
    BLOCK_BYTES,
    CONFIGURATION,
    DAGSTER,
    LANDING,
    MANIFEST,
    PASSING,
    SAMPLE,
    SPARE_BYTES,
    WAREHOUSE,
    BackupError,
    Hashed,
    Manifest,
    backup_lock,
    read_manifest,
    read_tables,
    remove_unfinished,
    require_room,
    sync_folder,
)
from data_platform.automation.backup import WAIT_SECONDS as BACKUP_SECONDS
from data_platform.automation.health import DAEMON_SILENT_SECONDS, read_daemon
from data_platform.automation.instance import open_instance
from data_platform.automation.watch import runs_at_work
from data_platform.errors import (
    BusyError,
    ConfigurationError,
    DamagedFileError,
    WarehouseVersionError,
)
from data_platform.ingestion.collect import feed_lock
from data_platform.ingestion.ledger import LEDGER_VERSION
from data_platform.schemas import SCHEMA_VERSION
from data_platform.settings import Settings
from data_platform.storage.files import replace_text
from data_platform.storage.landing import COLLECTED_AT_FORMAT, LandingZone
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import Warehouse

STAGED = ".restoring"
RESTORED_CONFIGURATION = "restored-feedback.yaml"
WAIT_SECONDS = 60.0
ERASURE_TABLES = ("suppressed", "erasures")


@dataclass(frozen=True)
class Restored:
    """What a restore did.

    Attributes:
        equal_count: tables whose rows and digest are those of the manifest; None where they are
            not compared, because this release keeps them under a later schema version.
        aside: where the parts of the former home are.
        pending_erasures: erasures that have to be done again.
        configuration: the feedback.yaml of the backup, if it is not the one in use.
    """

    manifest: Manifest
    equal_count: int | None
    aside: list[Path]
    pending_erasures: int
    configuration: Path | None


class Journal(msgspec.Struct, frozen=True):
    """What is being put in place, so that a restore that was killed can be completed.

    Attributes:
        created_at: of the backup.
        stamp: names the folders that the former parts go to.
        former: paths that go there, and whose place stays empty.
        restored: paths that what is staged takes the place of; the warehouse is the last.
        equal_count, pending_erasures: see `Restored`.
    """

    created_at: datetime
    stamp: str
    former: list[str]
    restored: list[str]
    equal_count: int | None
    pending_erasures: int


def restore_backup(settings: Settings, path: Path, *, replace: bool) -> Restored:
    """Put the backup at `path` in place of the home's data.

    Everything is unpacked beside its place, and compared with the manifest there, before the
    first rename. From then on a journal says what belongs where; a restore that is run again
    completes it.

    Args:
        replace: whether a home that holds data may be replaced; its parts are moved aside.

    Raises:
        ConfigurationError: there is no such file, or the home holds data.
        BackupError: the backup is damaged, or its members are not where they should be.
        WarehouseVersionError: a newer release wrote it.
        BusyError: the home is in use.
        StorageError: there is not enough room, or a right is missing.
    """
    if not path.is_file():
        message = f"There is no file {path}. See data-platform backup --list."
        raise ConfigurationError(message)
    with explained(settings.home):
        (settings.home / BACKUPS).mkdir(mode=0o700, parents=True, exist_ok=True)
        with backup_lock(settings.home).held(WAIT_SECONDS):
            manifest = read_manifest(path)
            journal = _complete(settings)
            if journal is None or journal.created_at != manifest.created_at:
                journal = _prepare(settings, path, manifest, replace=replace)
                _swap(settings, journal)
    return Restored(
        manifest,
        journal.equal_count,
        sorted(
            {aside for part in _all_parts(journal) if (aside := _aside(journal, part)).is_dir()}
        ),
        journal.pending_erasures,
        found if (found := settings.home / RESTORED_CONFIGURATION).is_file() else None,
    )


def remove_left_of_killed(settings: Settings) -> None:
    """Remove what killed backups and restores left; those at work are waited for.

    A restore that was killed amid its renames is left to be completed.

    Raises:
        BusyError: one did not end in time.
    """
    folder = settings.home / BACKUPS
    if not folder.is_dir():
        return
    with explained(folder), backup_lock(settings.home).held(BACKUP_SECONDS):
        remove_unfinished(settings)
        if not settings.restore_journal_path.exists():
            _discard_staged(settings)


def _prepare(settings: Settings, path: Path, manifest: Manifest, *, replace: bool) -> Journal:
    """Stage the backup, whole and checked; return the journal, which is not written yet."""
    places = _places(settings)
    if manifest.schema_version > SCHEMA_VERSION:
        message = (
            f"{path} has schema version {manifest.schema_version}, this release works with"
            f" {SCHEMA_VERSION}. Install release {manifest.release} or a later one. Nothing was"
            " changed."
        )
        raise WarehouseVersionError(message)
    if WAREHOUSE not in manifest.members:
        message = f"{path} holds no warehouse. Nothing was changed."
        raise BackupError(message)
    held = [place for place in _data_places(settings) if _holds_something(place)]
    if held and not replace:
        message = (
            f"{settings.home} holds data ({', '.join(place.name for place in held)}); nothing was"
            " changed. To put the backup in its place: --replace moves what is there into a folder"
            " beside it."
        )
        raise ConfigurationError(message)
    _require_nobody_at_work(settings)
    _discard_staged(settings)
    size = sum(member.size for member in manifest.members.values())
    require_room(settings.home, size + SPARE_BYTES, "a restore")
    try:
        _unpack(path, manifest, places)
        _require_known_ledger(_staged(settings.landing_path) / "ledger.sqlite", path)
        equal_count = _compare(Warehouse(_staged(settings.warehouse_path)), manifest)
        _leave_out_same_configuration(settings)
        ledger = settings.landing_path / "ledger.sqlite"
        restored_ledger = _staged(settings.landing_path) / "ledger.sqlite"
        pending = _carry_erasures(ledger, restored_ledger, manifest.created_at)
        os.sync()  # one call instead of one for each of thousands of segments
    except BaseException:
        _discard_staged(settings)
        raise
    restored = [str(place) for place in places.values() if _staged(place).exists()]
    warehouse_log = settings.warehouse_path.with_name(f"{settings.warehouse_path.name}.wal")
    made_again = [settings.snapshot_path.parent, settings.report_path.parent]
    former = [warehouse_log, *made_again, *(_data_places(settings))]
    return Journal(
        manifest.created_at,
        datetime.now(UTC).strftime(COLLECTED_AT_FORMAT),
        [str(place) for place in former if str(place) not in restored],
        restored,
        equal_count,
        pending,
    )


def _places(settings: Settings) -> dict[str, Path]:
    """Return where each part of a backup belongs; the warehouse is the last."""
    return {
        CONFIGURATION: settings.home / RESTORED_CONFIGURATION,
        SAMPLE: settings.home / SAMPLE,
        AUTHOR_KEY: settings.home / AUTHOR_KEY,
        DAGSTER: settings.dagster_home,
        LANDING: settings.landing_path,
        WAREHOUSE: settings.warehouse_path,
    }


def _data_places(settings: Settings) -> list[Path]:
    return [
        settings.warehouse_path,
        settings.landing_path,
        settings.dagster_home,
        settings.home / AUTHOR_KEY,
    ]


def _holds_something(place: Path) -> bool:
    return any(place.iterdir()) if place.is_dir() else place.exists()


def _require_nobody_at_work(settings: Settings) -> None:
    """Raise a BusyError while the daemon runs, or a run of this machine is in progress."""
    if not (settings.dagster_home / "dagster.yaml").is_file():
        return
    try:
        with open_instance(settings.dagster_home) as instance:
            is_running = read_daemon(instance).is_running
            runs = runs_at_work(instance)
    except Exception:
        return  # a history that does not open is a reason to restore
    if is_running:
        message = (
            "The daemon is running (make ui). Stop it, wait"
            f" {DAEMON_SILENT_SECONDS:.0f} s, and restore again. Nothing was changed."
        )
        raise BusyError(message)
    for run_id, pid in runs.items():
        message = (
            f"Run {run_id[:8]} is in progress, in process {pid}. Wait for its end, or end it, and"
            " restore again. Nothing was changed."
        )
        raise BusyError(message)


def _staged(place: Path) -> Path:
    """Where a part waits: on the disk that it is for."""
    return place.parent / STAGED / place.name


def _discard_staged(settings: Settings) -> None:
    for place in _places(settings).values():
        shutil.rmtree(place.parent / STAGED, ignore_errors=True)


def _unpack(path: Path, manifest: Manifest, places: Mapping[str, Path]) -> None:
    """Unpack every member to where its part waits, and compare it with the manifest.

    Raises:
        BackupError: a member differs, is missing, is one too many, or has a name that leads
            elsewhere.
    """
    found: set[str] = set()
    for place in places.values():
        (place.parent / STAGED).mkdir(mode=0o700, parents=True, exist_ok=True)
    _staged(places[LANDING]).mkdir(mode=0o700)
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if info.name in found:
                    _refuse(path, "it holds a member twice")
                found.add(info.name)
                if info.name != MANIFEST:
                    _unpack_member(path, archive, info, manifest, places)
    except (tarfile.TarError, EOFError, ValueError) as error:
        message = f"{path} is damaged: {error}. Nothing was changed."
        raise BackupError(message) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        message = f"{path} is damaged: a member is in the way of another. Nothing was changed."
        raise BackupError(message) from error
    if missing := manifest.members.keys() - found:
        _refuse(path, f"{len(missing)} of {len(manifest.members)} members are missing")


def _unpack_member(
    path: Path,
    archive: tarfile.TarFile,
    info: tarfile.TarInfo,
    manifest: Manifest,
    places: Mapping[str, Path],
) -> None:
    expected = manifest.members.get(info.name)
    part, _, rest = info.name.partition("/")
    place = places.get(part)
    if expected is None or place is None or not _is_safe(info, rest, is_folder=_is_folder(part)):
        _refuse(path, "it holds a member that no backup has")
    assert expected is not None
    assert place is not None
    target = _staged(place) / rest if rest else _staged(place)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = archive.extractfile(info)
    assert content is not None
    hashed = Hashed(content)  # type: ignore[arg-type]  # it only reads
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, info.mode & 0o755)
    with os.fdopen(descriptor, "wb") as stream:
        while block := hashed.read(BLOCK_BYTES):
            stream.write(block)
    os.utime(target, (info.mtime, info.mtime))
    if (info.size, hashed.sha256.hexdigest()) != (expected.size, expected.sha256):
        _refuse(path, f"{info.name} is not what was backed up")


def _is_folder(part: str) -> bool:
    return part in (LANDING, DAGSTER, SAMPLE)


def _is_safe(info: tarfile.TarInfo, rest: str, *, is_folder: bool) -> bool:
    """True for a plain file with a plain relative name, below a folder exactly if it should be."""
    try:
        tarfile.data_filter(info, "/nowhere")
    except tarfile.FilterError:
        return False
    name = PurePosixPath(info.name)
    return (
        info.type == tarfile.REGTYPE
        and info.sparse is None
        and str(name) == info.name
        and ".." not in name.parts
        and info.name.isprintable()
        and bool(rest) == is_folder
        and not name.name.endswith(PASSING)
    )


def _refuse(path: Path, what: str) -> None:
    message = f"{path} is damaged: {what}. Nothing was changed; restore another backup."
    raise BackupError(message)


def _require_known_ledger(ledger: Path, path: Path) -> None:
    if not ledger.is_file():
        return
    try:
        with closing(sqlite3.connect(ledger)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        message = f"{path} is damaged: its ledger is no database. Nothing was changed."
        raise BackupError(message) from error
    if version > LEDGER_VERSION:
        message = (
            f"{path} has a ledger of version {version}, this release works with {LEDGER_VERSION}."
            " Install the release that wrote it. Nothing was changed."
        )
        raise WarehouseVersionError(message)


def _compare(warehouse: Warehouse, manifest: Manifest) -> int | None:
    """Return how many tables are as the manifest says; None under an earlier schema version.

    Raises:
        BackupError: a table differs, or the file is no warehouse.
    """
    try:
        tables = read_tables(warehouse)
    except (duckdb.Error, DamagedFileError) as error:
        message = f"{warehouse.database} is no warehouse that can be read; restore another backup."
        raise BackupError(message) from error
    if manifest.schema_version < SCHEMA_VERSION:
        return None
    if wrong := [name for name, state in manifest.tables.items() if tables.get(name) != state]:
        message = f"{', '.join(wrong)} differ from what was backed up; restore another backup."
        raise BackupError(message)
    return len(manifest.tables)


def _leave_out_same_configuration(settings: Settings) -> None:
    staged = _staged(settings.home / RESTORED_CONFIGURATION)
    used = settings.config_path
    if staged.is_file() and used is not None and staged.read_bytes() == used.read_bytes():
        staged.unlink()


def _carry_erasures(former: Path, restored: Path, begun_at: datetime) -> int:
    """Add to the restored ledger what was erased since; return how many erasures are not done.

    What was erased while the backup was written is to be erased again: the warehouse was copied
    before the ledger. A former ledger that cannot be read has nothing to add.

    Args:
        begun_at: when the backup was begun.
    """
    if not restored.is_file():
        return 0
    with closing(sqlite3.connect(restored, timeout=60)) as db:
        if former.is_file():
            with suppress(sqlite3.DatabaseError), db:
                db.execute("ATTACH ? AS former", (str(former),))
                for table in ERASURE_TABLES:
                    _carry_rows(db, table)
        if not _columns(db, "main", "erasures"):
            return 0
        with db:
            db.execute(
                "UPDATE erasures SET completed_at = NULL WHERE completed_at >= ?",
                (begun_at.astimezone(UTC).isoformat(),),
            )
        query = "SELECT count(*) FROM erasures WHERE completed_at IS NULL"
        return int(db.execute(query).fetchone()[0])


def _carry_rows(db: sqlite3.Connection, table: str) -> None:
    """Add the rows of a table that the restored ledger does not have, as not completed yet."""
    columns = _columns(db, "former", table)
    if not columns:
        return
    if not _columns(db, "main", table):
        query = "SELECT sql FROM former.sqlite_master WHERE type = 'table' AND name = ?"
        db.execute(db.execute(query, (table,)).fetchone()[0])
    shared = [name for name in columns if name in _columns(db, "main", table)]
    selected = ", ".join("NULL" if name == "completed_at" else name for name in shared)
    db.execute(
        f"INSERT OR IGNORE INTO main.{table} ({', '.join(shared)})"
        f" SELECT {selected} FROM former.{table}"
    )


def _columns(db: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA {schema}.table_info({table})")]


def _swap(settings: Settings, journal: Journal) -> None:
    """Write the journal, and do what it says while nobody else writes.

    Raises:
        BusyError: the warehouse or a feed is in use; everything is as it was.
    """
    with ExitStack() as stack:
        try:
            settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
            warehouse = Warehouse(settings.warehouse_path)
            stack.enter_context(warehouse.lock.held(WAIT_SECONDS))
            landing = LandingZone(settings.landing_path)
            for folder in sorted(landing.root.glob("[a-z]*")):
                if folder.is_dir():
                    stack.enter_context(feed_lock(landing, folder.name).held(WAIT_SECONDS))
            _require_nobody_at_work(settings)  # unpacking may have taken long
        except BaseException:
            _discard_staged(settings)
            raise
        text = msgspec.json.encode(journal).decode()
        replace_text(settings.restore_journal_path, text)
        sync_folder(settings.home)
        _finish(settings, journal)


def _complete(settings: Settings) -> Journal | None:
    """Complete a restore that was killed amid its renames; None if there was none."""
    try:
        text = settings.restore_journal_path.read_bytes()
    except FileNotFoundError:
        return None
    journal = msgspec.json.decode(text, type=Journal)
    with Warehouse(settings.warehouse_path).lock.held(WAIT_SECONDS):
        _finish(settings, journal)
    return journal


def _finish(settings: Settings, journal: Journal) -> None:
    """Move the former parts aside and the staged ones into place, as far as that is not done.

    While the warehouse is staged nothing is complete; it is moved last.
    """
    staged = [Path(part) for part in journal.restored if _staged(Path(part)).exists()]
    if staged:
        for former in journal.former:
            _move_aside(journal, Path(former))
    for part in staged:
        _move_aside(journal, part)
        _staged(part).rename(part)
    for folder in {Path(part).parent for part in _all_parts(journal)}:
        if folder.is_dir():
            sync_folder(folder)
    settings.restore_journal_path.unlink()
    _discard_staged(settings)


def _all_parts(journal: Journal) -> list[Path]:
    return [Path(part) for part in (*journal.former, *journal.restored)]


def _aside(journal: Journal, part: Path) -> Path:
    return part.parent / f"replaced-{journal.stamp}"


def _move_aside(journal: Journal, part: Path) -> None:
    if not part.exists():
        return
    folder = _aside(journal, part)
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / part.name
    number = 1
    while target.exists():  # made while a killed restore was waiting to be completed
        number += 1
        target = folder / f"{part.name}-{number}"
    part.rename(target)
