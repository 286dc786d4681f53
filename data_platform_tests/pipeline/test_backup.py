"""A backup holds the platform whole, whatever goes on meanwhile; a restore puts back exactly that, or nothing."""

import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import textwrap
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster._daemon.types import DaemonHeartbeat

from data_platform.automation.backup import held_backups, list_backups, read_manifest
from data_platform.automation.instance import open_instance
from data_platform_tests.pipeline.conftest import SHOP, Platform, kill
from data_platform_tests.pipeline.test_machine_failures import mounted

soak = pytest.mark.soak
RUNNING = """
    import sys, time
    import dagster as dg

    @dg.asset
    def endless():
        print("running", flush=True)
        time.sleep(600)

    with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
        dg.Definitions([endless]).resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
"""
NEVER_IN_A_BACKUP = {
    "FEEDBACK_AUTHOR_KEY": "a-key-that-nobody-may-find-1",
    "MASTODON_TOKEN": "a-token-that-nobody-may-find",
}


def posts(first, count=200):
    words = ["love", "hate", "awful", "wonderful", "shop", "wait", "box"]
    return [
        {
            "id": str(number),
            "at": f"2026-03-{number % 5 + 1:02}T10:00:00Z",
            "text": f"I {words[number % 7]} the {words[number % 5]} number {number}",
            "user": f"user {number % 40}",
        }
        for number in range(first, first + count)
    ]


def deliver_all(platform):
    for number in range(1, 5):
        platform.deliver(f"{number}.csv", posts(number * 150), day=number)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A platform after one delivery and its run; tests work on copies."""
    platform = Platform(tmp_path_factory.mktemp("original") / "p", SHOP)
    platform.deliver("0.csv", [*posts(0), {"id": "9", "at": "never", "text": "x"}], day=1)
    platform.run()
    return platform


@pytest.fixture(scope="module")
def backed_up(original, tmp_path_factory):
    """A backup of it, outside of its home."""
    folder = tmp_path_factory.mktemp("backup")
    path = folder / "b.tar"
    original.cli("backup", str(path))
    return path


@pytest.fixture(scope="module")
def later(original, tmp_path_factory):
    """The same platform after all deliveries, and its digests then."""
    folder = tmp_path_factory.mktemp("later") / "p"
    shutil.copytree(original.folder, folder)
    platform = Platform(folder, SHOP)
    deliver_all(platform)
    platform.run()
    return platform, platform.digest()


@pytest.fixture
def later_copy(later, platform_in, tmp_path):
    shutil.copytree(later[0].folder, tmp_path / "later")
    return platform_in("later", SHOP)


@pytest.fixture
def copy(original, platform_in, tmp_path):
    shutil.copytree(original.folder, tmp_path / "p")
    return platform_in("p", SHOP)


@pytest.fixture
def empty(original, platform_in, tmp_path):
    """Another installation that is offered the same files, and has no data."""
    shutil.copytree(original.folder / "incoming", tmp_path / "new" / "incoming")
    return platform_in("new", SHOP)


def state(platform):
    """Every file of the home and its content; locks and Dagster's own notes of a look aside."""
    return {
        str(path.relative_to(platform.home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(platform.home.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".holder") and path.name[0] != "."
    }


def the_backup(platform):
    (found,) = list_backups(platform.home / "backups")
    return found


def test_a_restored_platform_is_equal_and_a_run_changes_nothing(original, backed_up, empty):
    assert "verified: 9 tables equal" in empty.cli("restore", str(backed_up))
    assert empty.digest() == original.digest()
    assert (empty.home / "author.key").read_bytes() == (original.home / "author.key").read_bytes()
    assert stat.S_IMODE((empty.home / "author.key").stat().st_mode) == 0o600
    summary = empty.run()
    assert summary["refreshed_days"] == 0
    assert empty.digest() == original.digest()
    assert empty.published("SELECT count(*) FROM fct_feedback") == [(200,)]


def test_the_history_of_runs_is_restored_whole(original, backed_up, empty):
    empty.cli("restore", str(backed_up))

    def runs(platform):
        with closing(sqlite3.connect(platform.home / "dagster/history/runs.db")) as db:
            return db.execute("SELECT run_id, status FROM runs ORDER BY 1").fetchall()

    assert runs(original)
    assert runs(empty) == runs(original)


def test_backups_during_a_run_are_whole_and_lead_to_the_same_end(
    copy, later, platform_in, tmp_path
):
    """Without an order of what is copied first, the ledger names segments that are not there."""
    deliver_all(copy)
    process = copy.start("run")
    backups = []
    try:
        while process.poll() is None:
            backups.append(tmp_path / f"{len(backups)}.tar")
            copy.cli("backup", str(backups[-1]))
            time.sleep(0.3)
        assert process.wait(timeout=120) == 0
    finally:
        kill(process)
    assert copy.digest() == later[1]
    assert len(backups) >= 3
    for number, path in enumerate((backups[0], backups[len(backups) // 2], backups[-2])):
        shutil.copytree(copy.folder / "incoming", tmp_path / f"r{number}" / "incoming")
        restored = platform_in(f"r{number}", SHOP)
        assert "tables equal" in restored.cli("restore", str(path))
        named = ledger_segments(restored)
        assert named
        assert all((restored.home / "landing" / name).is_file() for name in named)
        restored.run()
        assert restored.digest() == later[1]


def ledger_segments(platform):
    with closing(sqlite3.connect(platform.home / "landing/ledger.sqlite")) as db:
        return [row[0] for row in db.execute("SELECT segment FROM delivery_segments")]


def test_data_is_replaced_only_if_asked_and_then_kept_aside(original, backed_up, later, later_copy):
    copy = later_copy
    assert "--replace" in copy.cli("restore", str(backed_up), code=2)
    assert copy.digest() == later[1]
    # What a killed run left: beside another file it would be played into that one.
    (copy.home / "warehouse.duckdb.wal").write_bytes(b"of the former file")
    output = copy.cli("restore", str(backed_up), "--replace")
    assert copy.digest() == original.digest()
    (aside,) = copy.home.glob("replaced-*")
    assert str(aside) in output
    assert {
        "warehouse.duckdb",
        "warehouse.duckdb.wal",
        "landing",
        "dagster",
        "author.key",
        "published",
    } <= {path.name for path in aside.iterdir()}
    copy.run()
    assert copy.digest() == later[1]


def damaged(data, how):
    changed = bytearray(data)
    match how:
        case ("flip", share):
            changed[int(len(changed) * share)] ^= 1
        case ("flip in", text):
            changed[changed.rindex(text)] ^= 1
        case ("cut", share):
            del changed[int(len(changed) * share) :]
        case ("without", end):
            del changed[-end:]
    return bytes(changed)


@pytest.mark.parametrize(
    "how",
    [
        ("flip", 0.2),
        ("flip", 0.6),
        ("flip", 0.9),
        ("flip in", b"landing/shop"),
        ("flip in", b'"sha256"'),
        ("flip in", b"PAR1"),
        ("cut", 0.0),
        ("cut", 0.5),
        ("cut", 0.98),
        ("without", 12_000),
    ],
)
def test_a_damaged_backup_is_refused_and_the_home_is_untouched(backed_up, copy, tmp_path, how):
    broken = tmp_path / "broken.tar"
    broken.write_bytes(damaged(backed_up.read_bytes(), how))
    before = state(copy)
    copy.cli("restore", str(broken), "--replace", code=1)
    assert state(copy) == before
    assert not (copy.home / ".restoring").exists()


def with_member(path, target, info, content=b"evil"):
    """Write a copy of a backup with one more member, which its manifest names."""
    with tarfile.open(path) as old, tarfile.open(target, "w") as new:
        for member in old:
            data = old.extractfile(member).read()
            if member.name == "manifest.json":
                manifest = json.loads(data)
                manifest["members"][info.name] = {
                    "size": info.size,
                    "sha256": hashlib.sha256(content[: info.size]).hexdigest(),
                }
                data = json.dumps(manifest).encode()
                member.size = len(data)
                new.addfile(info, io.BytesIO(content))
            new.addfile(member, io.BytesIO(data))


def hostile(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 4 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "info",
    [
        hostile("../evil"),
        hostile("/evil"),
        hostile("landing/../../evil"),
        hostile("landing/./evil"),
        hostile("landing"),
        hostile("landing/ledger.sqlite-wal"),
        hostile("elsewhere/evil"),
        hostile("author.key/evil"),
        hostile("landing/shop/evil\x1b[2J"),
        hostile("landing/shop/link", tarfile.SYMTYPE, "/etc/passwd"),
        hostile("landing/shop/link", tarfile.LNKTYPE, "author.key"),
        hostile("landing/shop/device", tarfile.CHRTYPE),
        hostile("landing/shop/pipe", tarfile.FIFOTYPE),
        hostile("author.key"),
    ],
    ids=lambda info: f"{info.name!a}-{info.type.decode()}",
)
def test_a_hostile_member_is_refused_and_the_home_is_untouched(backed_up, copy, tmp_path, info):
    path = tmp_path / "hostile.tar"
    with_member(backed_up, path, info)
    before = state(copy)
    files = set(tmp_path.rglob("*evil*"))
    copy.cli("restore", str(path), "--replace", code=1)
    assert state(copy) == before
    assert set(tmp_path.rglob("*evil*")) == files
    assert not Path("/evil").exists()


def with_schema_version(path, target, version):
    with tarfile.open(path) as old, tarfile.open(target, "w") as new:
        for member in old:
            data = old.extractfile(member).read()
            if member.name == "manifest.json":
                data = json.dumps({**json.loads(data), "schema_version": version}).encode()
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))


def test_a_backup_of_a_newer_schema_is_refused(backed_up, copy, tmp_path):
    with_schema_version(backed_up, tmp_path / "newer.tar", 999)
    before = state(copy)
    output = copy.cli("restore", str(tmp_path / "newer.tar"), "--replace", code=1)
    assert "schema version 999" in output
    assert state(copy) == before


def test_tables_of_an_older_schema_are_not_compared_after_they_were_changed(
    backed_up, empty, tmp_path
):
    with_schema_version(backed_up, tmp_path / "older.tar", 1)
    output = empty.cli("restore", str(tmp_path / "older.tar"))
    assert "brought to this release's schema" in output


def test_a_file_that_is_no_backup_is_refused(copy, tmp_path):
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as archive:
        archive.addfile(hostile("notes.txt"), io.BytesIO(b"evil"))
    assert "is no backup" in copy.cli("restore", str(other), "--replace", code=1)
    assert "There is no file" in copy.cli("restore", str(tmp_path / "none.tar"), code=2)


def test_a_backup_is_for_its_owner_alone_and_holds_no_secret_of_the_environment(copy):
    copy.environment |= NEVER_IN_A_BACKUP
    copy.cli("backup")
    found = the_backup(copy)
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(found.path.parent.stat().st_mode) == 0o700
    content = found.path.read_bytes()
    for secret in NEVER_IN_A_BACKUP.values():
        assert secret.encode() not in content


def test_backups_are_listed_and_only_older_ones_of_ours_are_removed(copy):
    assert "There is no backup" in copy.cli("backup", "--list")
    foreign = copy.home / "backups" / "20200101T000000000000Z.tar"
    for _ in range(2):
        copy.cli("backup")
    foreign.write_bytes(b"not ours")
    first, second = held_backups(copy.home)
    assert first[1] < second[1]
    listed = copy.cli("backup", "--list")
    assert first[0].name in listed
    assert "200" in listed
    assert f"Removed {first[0].name}" in copy.cli("backup", "--keep", "2")
    assert held_backups(copy.home)[0] == second
    assert len(held_backups(copy.home)) == 2
    assert foreign.exists()


def test_a_backup_needs_a_warehouse_and_a_free_name(copy, empty, backed_up):
    assert "data-platform run makes it" in empty.cli("backup", code=2)
    content = backed_up.read_bytes()
    assert "is there already" in copy.cli("backup", str(backed_up), code=2)
    for place in (f"{backed_up}/x.tar", f"{backed_up}/"):
        assert "cannot be written: Not a directory" in copy.cli("backup", place, code=2)
    assert backed_up.read_bytes() == content


def test_a_backup_goes_into_a_new_folder_if_its_name_ends_as_one(copy, tmp_path):
    copy.cli("backup", f"{tmp_path}/new/folder/")
    (found,) = list_backups(tmp_path / "new" / "folder")
    assert stat.S_IMODE(found.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("is_noticed_before", [True, False])
def test_a_full_disk_is_told_and_nothing_is_left_behind(
    copy, tmp_path, monkeypatch, is_noticed_before
):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not is_noticed_before:  # it was free when it was looked at
        monkeypatch.setattr("data_platform.automation.backup.require_room", lambda *_: None)
    with mounted(disk, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        output = copy.cli("backup", str(disk), code=1)
        assert ("a backup needs" if is_noticed_before else "its disk is full") in output
        assert not list(disk.iterdir())
    assert not (copy.home / "backups" / ".draft").exists()


@pytest.mark.parametrize("seconds", [0.3, pytest.param(0.6, marks=soak), 0.9])
def test_a_killed_backup_leaves_no_file_that_looks_like_one(copy, seconds):
    before = copy.digest()
    process = copy.start("backup")
    deadline = time.monotonic() + 60
    while not (copy.home / "backups").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds - 0.3)
    kill(process)
    for found in copy.home.glob("backups/*.tar"):
        assert read_manifest(found)
        found.unlink()
    copy.cli("backup")
    assert the_backup(copy)
    assert {p.name for p in copy.home.glob("backups/*") if p.name[0] != "."} == {
        the_backup(copy).path.name
    }
    assert not (copy.home / "backups" / ".draft").exists()
    assert not (copy.home / "landing" / ".staging" / ".backup").exists()
    assert copy.digest() == before


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from data_platform.cli import main

    renames = 0
    rename = Path.rename

    def counted(path, target):
        global renames
        if renames == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        renames += 1
        return rename(path, target)

    Path.rename = counted
    main(["restore", sys.argv[2], "--replace"])
"""


@pytest.mark.parametrize(
    "after", [0, *(pytest.param(number, marks=soak) for number in (2, 4, 7, 8)), 5, 9]
)
def test_a_restore_that_is_killed_is_completed_by_the_next(original, backed_up, later_copy, after):
    """Killed before each of its renames in turn; the tenth is the last, of the warehouse."""
    copy = later_copy
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(after), str(backed_up)],
        env=copy.environment,
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert "data-platform restore with the same file" in copy.cli("replay", code=1)
    assert "9 tables equal" in copy.cli("restore", str(backed_up), "--replace")
    assert copy.digest() == original.digest()
    assert len(list(copy.home.glob("replaced-*"))) == 1
    assert not list(copy.home.glob(".restoring*"))


@pytest.mark.parametrize("seconds", [0.0, pytest.param(0.2, marks=soak), 0.5])
def test_a_restore_that_is_killed_while_it_unpacks_leaves_the_home_whole(backed_up, copy, seconds):
    before = copy.digest()
    process = copy.start("restore", str(backed_up), "--replace")
    deadline = time.monotonic() + 60
    while not (copy.home / ".restoring").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(seconds)
    kill(process)
    if not list(copy.home.glob("replaced-*")):
        assert copy.digest() == before
    copy.cli("restore", str(backed_up), "--replace")
    assert copy.digest() == before
    assert not list(copy.home.glob(".restoring*"))


def test_a_home_with_a_run_at_work_is_not_replaced_and_one_with_a_lost_run_is(backed_up, copy):
    """A run that waits for the warehouse holds no lock that a restore would meet."""
    running = [sys.executable, "-c", textwrap.dedent(RUNNING), str(copy.home / "dagster")]
    with subprocess.Popen(running, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        said = copy.cli("restore", str(backed_up), "--replace", code=1)
        assert f"is in progress, in process {process.pid}. Wait for its end" in said
        assert not list(copy.home.glob("replaced-*"))
        process.kill()
    assert "verified: 9 tables equal" in copy.cli("restore", str(backed_up), "--replace")


def test_a_home_with_a_daemon_at_work_is_not_replaced(backed_up, copy):
    before = copy.digest()
    with open_instance(copy.home / "dagster") as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), kind, "daemon id", []))
    assert "The daemon is running" in copy.cli("restore", str(backed_up), "--replace", code=1)
    assert copy.digest() == before
    assert not list(copy.home.glob("replaced-*"))


def test_a_home_in_use_is_not_replaced(backed_up, copy, monkeypatch):
    monkeypatch.setattr("data_platform.automation.restore.WAIT_SECONDS", 0.5)
    before = copy.digest()
    code = (
        "import sys, time; from pathlib import Path;"
        "from data_platform.storage.locks import ProcessLock\n"
        "with ProcessLock(Path(sys.argv[1]), 'feed shop').held(5):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    lock = copy.home / "landing" / "shop" / ".lock"
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE) as held:
        held.stdout.readline()
        assert "feed shop was held" in copy.cli("restore", str(backed_up), "--replace", code=1)
        held.kill()
    assert copy.digest() == before
    assert not list(copy.home.glob("replaced-*"))
    assert not list(copy.home.glob(".restoring*"))


ERASED = """
    CREATE TABLE IF NOT EXISTS suppressed (
        kind TEXT NOT NULL, id_hash TEXT NOT NULL, erasure_id TEXT NOT NULL,
        PRIMARY KEY (kind, id_hash)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS erasures (
        erasure_id TEXT PRIMARY KEY, subject TEXT NOT NULL, requested_at TEXT NOT NULL,
        completed_at TEXT, post_count INTEGER NOT NULL, files TEXT NOT NULL
    );
    INSERT INTO suppressed VALUES ('post', 'abc', 'e1');
    INSERT INTO erasures VALUES ('e1', '1 post', '2026-04-01', '2026-04-02', 1, '[]');
"""


def test_what_was_erased_since_is_carried_over_and_is_to_be_erased_again(backed_up, copy):
    with closing(sqlite3.connect(copy.home / "landing/ledger.sqlite")) as db:
        db.executescript(ERASED)
    output = copy.cli("restore", str(backed_up), "--replace")
    assert "1 erasure(s) must be done again" in output
    with closing(sqlite3.connect(copy.home / "landing/ledger.sqlite")) as db:
        assert db.execute("SELECT * FROM suppressed").fetchall() == [("post", "abc", "e1")]
        assert db.execute("SELECT completed_at FROM erasures").fetchall() == [(None,)]


def test_what_was_erased_while_a_backup_was_written_is_to_be_erased_again(copy, tmp_path):
    """The warehouse is copied first: it may still hold what the ledger says is gone."""
    with closing(sqlite3.connect(copy.home / "landing/ledger.sqlite")) as db:
        db.executescript(ERASED)
        later = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        db.execute("INSERT INTO erasures VALUES ('e2', '1 post', ?, ?, 1, '[]')", (later, later))
        db.commit()
    copy.cli("backup", str(tmp_path / "spanning.tar"))
    output = copy.cli("restore", str(tmp_path / "spanning.tar"), "--replace")
    with closing(sqlite3.connect(copy.home / "landing/ledger.sqlite")) as db:
        query = "SELECT erasure_id, completed_at IS NULL FROM erasures ORDER BY erasure_id"
        assert db.execute(query).fetchall() == [("e1", 0), ("e2", 1)]
    assert "1 erasure(s) must be done again" in output


def test_a_former_ledger_that_is_broken_is_no_obstacle(original, backed_up, copy):
    (copy.home / "landing/ledger.sqlite").write_bytes(b"no database" * 1000)
    copy.cli("restore", str(backed_up), "--replace")
    assert copy.digest() == original.digest()
    assert os.listdir(copy.home / "landing")  # noqa: PTH208
