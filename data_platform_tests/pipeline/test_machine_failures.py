"""When the machine fails: a plain message, whole tables, and a next run that goes on by itself."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from data_platform_tests.pipeline.conftest import COMMAND, SHOP

soak = pytest.mark.soak
CONFIG = {**SHOP, "warehouse": "store/warehouse.duckdb"}
PLACES = {
    "landing": "data/landing",
    "warehouse": "store",
    "snapshot": "data/published",
    "report": "data/report",
    "dagster": "data/dagster",
}
HOLD_THE_FILE = """
import duckdb, sys, time
with duckdb.connect(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def second_delivery():
    """Its last post was written today: under a clock that is behind, it waits."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [*posts(1000)[:-1], {**posts(1299, 1)[0], "at": today.isoformat()}]


def posts(first, count=300):
    words = ["love", "hate", "awful", "wonderful", "shop", "wait", "box"]
    return [
        {
            "id": str(number),
            "at": f"2026-03-{number % 3 + 1:02}T10:00:00Z",
            "text": f"I {words[number % 7]} the {words[number % 5]} number {number}",
            "user": f"user {number % 40}",
        }
        for number in range(first, first + count)
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A platform after its first delivery, and the digests after its second one."""
    from data_platform_tests.pipeline.conftest import Platform

    folder = tmp_path_factory.mktemp("undisturbed")
    platform = Platform(folder / "first", CONFIG)
    platform.deliver("a.csv", posts(0), day=1)
    platform.run()
    shutil.copytree(platform.folder, folder / "both")
    both = Platform(folder / "both", CONFIG)
    both.deliver("b.csv", second_delivery(), day=2)
    both.run()
    return platform, both.digest()


@pytest.fixture
def platform(undisturbed, platform_in, tmp_path):
    """A copy of that platform, with the second delivery waiting."""
    shutil.copytree(undisturbed[0].folder, tmp_path / "p")
    copy = platform_in("p", CONFIG)
    copy.deliver("b.csv", second_delivery(), day=2)
    return copy


@contextmanager
def mounted(folder, *arguments):
    """Mount over `folder`, and undo it in every case; skip where this is not permitted."""
    done = subprocess.run(
        ["mount", *arguments, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder):
    """Put `folder` on a small disk of its own; yields a function that fills it."""
    kept = folder.with_name(folder.name + ".kept")
    shutil.copytree(folder, kept)

    def fill(bytes_left):
        disk = os.statvfs(folder)
        ballast = bytes(max(0, disk.f_bavail * disk.f_frsize - bytes_left))
        (folder / "ballast").write_bytes(ballast)

    with mounted(folder, "-t", "tmpfs", "-o", "size=32m", "tmpfs"):
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield fill


def all_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("place", "bytes_left"),
    [
        ("landing", 0),
        pytest.param("landing", 40_000, marks=soak),
        pytest.param("warehouse", 0, marks=soak),
        ("warehouse", 300_000),
        pytest.param("snapshot", 0, marks=soak),
        ("snapshot", 3_000_000),
        ("report", 0),
        pytest.param("report", 10_000, marks=soak),
        ("dagster", 0),
        pytest.param("dagster", 300_000, marks=soak),
    ],
)
def test_a_full_disk_is_named_and_the_next_run_goes_on(platform, undisturbed, place, bytes_left):
    folder = platform.folder / PLACES[place]
    before = platform.digest()
    with small_disk(folder) as fill:
        fill(bytes_left)
        output = platform.cli("run", code=1)
        assert "its disk is full" in output
        assert f"{folder}" in output
        after = platform.digest()
        if bytes_left == 0 and place in ("landing", "warehouse", "dagster"):
            assert after == before
        assert not [name for name in all_files(folder) if "draft" in name or ".index" in name]
        (folder / "ballast").unlink()
        platform.run()
        assert platform.digest() == undisturbed[1]


def test_a_full_disk_at_the_first_start_is_named_and_the_next_run_goes_on(platform_in, undisturbed):
    platform = platform_in("new", CONFIG)
    platform.deliver("a.csv", posts(0), day=1)
    platform.deliver("b.csv", second_delivery(), day=2)
    platform.home.mkdir()
    with small_disk(platform.home) as fill:
        for bytes_left in (0, 20_000, 200_000, 600_000):
            fill(bytes_left)
            assert "its disk is full" in platform.cli("run", code=1)
            (platform.home / "ballast").unlink()
        assert platform.run()["post_count"] == 600
        assert platform.digest() == undisturbed[1]
        assert "tag_concurrency_limits" in (platform.home / "dagster" / "dagster.yaml").read_text()


@pytest.mark.parametrize(
    "place",
    [
        "landing",
        "warehouse",
        *(pytest.param(place, marks=soak) for place in ("snapshot", "report", "dagster")),
    ],
)
def test_a_read_only_folder_is_named_and_the_next_run_goes_on(platform, undisturbed, place):
    folder = platform.folder / PLACES[place]
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        output = platform.cli("run", code=1)
        assert "its file system is mounted read-only" in output
        assert f"{folder}" in output
    platform.run()
    assert platform.digest() == undisturbed[1]


def without_privileges(platform, *arguments):
    """Call the command line as a root whom rights stop: without its capabilities to ignore them."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root can own files for others, and setpriv must be there")
    return subprocess.run(
        [setpriv, "--bounding-set", "-dac_override,-dac_read_search", COMMAND, *arguments],
        env=platform.environment,
        cwd=platform.folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("data/author.key", 0o600),
        pytest.param("data/landing/shop/.lock", 0o600, marks=soak),
        ("data/landing/ledger.sqlite", 0o600),
        pytest.param("data/landing/shop", 0o755, marks=soak),
        ("store/warehouse.duckdb", 0o600),
        pytest.param("store/warehouse.duckdb.lock", 0o600, marks=soak),
        pytest.param("data/published", 0o755, marks=soak),
        pytest.param("data/report", 0o755, marks=soak),
        pytest.param("data/dagster", 0o700, marks=soak),
        ("incoming/b.csv", 0o600),
        pytest.param("incoming", 0o700, marks=soak),
    ],
)
def test_what_belongs_to_another_user_is_named_and_the_next_run_goes_on(
    platform, undisturbed, path, mode
):
    closed = platform.folder / path
    for part in (closed, *closed.glob("*")):
        shutil.chown(part, "nobody")
    closed.chmod(mode)
    done = without_privileges(platform, "run")
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "Traceback" not in output
    assert str(closed) in output
    assert "lacks the right" in output or "cannot be opened" in output or "may not be" in output
    platform.run()
    assert platform.digest() == undisturbed[1]


def test_a_program_that_holds_the_warehouse_open_is_waited_for(platform, undisturbed):
    warehouse = str(platform.folder / "store" / "warehouse.duckdb")
    holding = [sys.executable, "-c", HOLD_THE_FILE, warehouse, "4"]
    with subprocess.Popen(holding, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        platform.run()
    assert platform.digest() == undisturbed[1]


@soak  # on a loaded machine the run may be over before the signal comes
@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        (signal.SIGINT, 1),
        (signal.SIGTERM, 2.5),
        pytest.param(signal.SIGINT, 0, marks=soak),
        pytest.param(signal.SIGINT, 2.5, marks=soak),
        pytest.param(signal.SIGTERM, 0, marks=soak),
        pytest.param(signal.SIGTERM, 1, marks=soak),
    ],
)
def test_a_run_that_is_told_to_stop_says_so_and_the_next_one_goes_on(
    platform, undisturbed, number, seconds
):
    command = subprocess.Popen(
        [COMMAND, "run"],
        env=platform.environment,
        cwd=platform.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    runs = platform.home / "dagster" / "history" / "runs"
    known = len(list(runs.glob("*.db")))
    while len(list(runs.glob("*.db"))) == known and command.poll() is None:
        time.sleep(0.02)
    time.sleep(seconds)
    os.killpg(command.pid, number)
    output, errors = command.communicate(timeout=60)
    assert command.returncode == 130, output + errors
    assert "Stopped. What was written before is whole" in errors
    platform.run()
    assert platform.digest() == undisturbed[1]


def test_the_time_zone_of_the_machine_changes_nothing(platform, undisturbed):
    for zone, name in (("Pacific/Kiritimati", "b.csv"), ("America/Los_Angeles", "c.csv")):
        platform.deliver(name, second_delivery(), day=2)
        subprocess.run(
            [COMMAND, "run"],
            env={**platform.environment, "TZ": zone},
            cwd=platform.folder,
            check=True,
            capture_output=True,
        )
    assert platform.digest() == undisturbed[1]


@pytest.mark.parametrize(
    "days_off",
    [-1, 366, pytest.param(-30, marks=soak), pytest.param(1, marks=soak)],
)
def test_a_clock_that_was_wrong_for_one_run_changes_nothing(platform, undisturbed, days_off):
    """A run under a wrong clock reads the second delivery; then the clock is right again."""
    before = platform.digest()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=days_off), tick=True):
        platform.cli("run")
        assert platform.digest() != before
    assert platform.run()["quarantined_count"] == 0
    assert platform.digest() == undisturbed[1]


def test_a_clock_before_the_start_date_is_named_and_nothing_is_written(platform, undisturbed):
    before = platform.digest()
    with time_machine.travel(datetime(2025, 1, 1, tzinfo=UTC), tick=True):
        assert "the clock of this machine says 2025-01-01" in platform.cli("run", code=2)
    assert platform.digest() == before
    platform.run()
    assert platform.digest() == undisturbed[1]
