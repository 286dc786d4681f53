"""kill -9 at every commit point of a command: what is run again ends like what was never disturbed."""

import random
import shutil

import pytest

from data_platform_tests.pipeline.conftest import SHOP, Platform
from data_platform_tests.pipeline.kills import run_killed

KILLS = 5  # of each command; each takes some ten seconds, many times that beside other work
SOAKED_KILLS = 100
WORDS = ("love", "hate", "like", "fear", "enjoy", "avoid")
RANGE = ("--from", "2026-03-01", "--to", "2026-03-04")
ERASE = ("erase", "--author", "user7", "--yes")
COMMANDS = {
    "run": [("run",)],
    "backfill": [("backfill", *RANGE)],
    "publish": [("publish",)],
    "erase": [ERASE, ("erase", "--resume")],
    "maintain": [("maintain",)],
}


def deliver(platform, first, last):
    """Files with late posts, edits, deletions and records that are refused."""
    for file in range(first, last):
        rows = [
            {
                "id": str(number),
                "at": f"2026-03-{1 + number % 4:02d}T{number % 24:02d}:00:00Z"
                if number % 23
                else "no date",
                "text": f"I {WORDS[(number + file) % 6]} parcel number {number} of this shop",
                "user": f"user{number % 11}",
                "deleted": "true" if file and number % 13 == 0 else "",
            }
            for number in range(file * 20, file * 20 + 50)
        ]
        platform.deliver(f"{file}.csv", rows, day=1 + file)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A platform with history, and new files that no run has seen."""
    platform = Platform(tmp_path_factory.mktemp("prepared"), SHOP)
    deliver(platform, 0, 3)
    platform.run()
    deliver(platform, 3, 5)
    return platform


@pytest.fixture
def copy_of(prepared, tmp_path):
    def copy(name):
        shutil.copytree(prepared.folder, tmp_path / name)
        return Platform(tmp_path / name, SHOP)

    return copy


def state(platform):
    """What must not depend on kills: content, counts, and that nothing is left lying about."""
    drafts = [
        path.relative_to(platform.home).as_posix()
        for path in platform.home.rglob(".*")
        if path.is_file()
        and path.relative_to(platform.home).parts[0] != "dagster"
        and not path.name.endswith((".lock", ".holder"))
        and ".vega" not in path.name
    ]
    return {
        "digest": platform.digest(),
        "sources": platform.rows(
            "SELECT feed, read_count, quarantined_count, pending_count, post_count, deleted_count"
            " FROM source_health"
        ),
        "published": platform.published("SELECT * FROM daily_sentiment ORDER BY ALL"),
        "drafts": sorted(drafts),
    }


def finish(platform, commands):
    for command in commands:
        platform.cli(*command)
    platform.run()
    return state(platform)


def killed_and_finished(copy_of, name, kills, seed):
    """Kill a command that often, let it come right in between; return which share of kills met it."""
    commands = COMMANDS[name]
    expected = finish(copy_of("undisturbed"), commands)
    counted = copy_of("counted")
    total = run_killed(counted.environment, counted.folder, commands[0])
    kills = min(kills, total)
    points = [1 + number * total // kills for number in range(kills)]
    random.Random(seed).shuffle(points)
    platform, deaths = copy_of("killed"), 0
    for number, point in enumerate(points, start=1):
        killed = run_killed(platform.environment, platform.folder, commands[0], point) == -1
        deaths += killed
        # What gets through between kills, and what was killed to the end, has to come right.
        if not killed or number == len(points):
            assert finish(platform, commands) == expected, f"after kills at {points[:number]}"
            shutil.rmtree(platform.folder)
            platform = copy_of("killed")
    return deaths / kills


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("run", "erase") else pytest.mark.soak)
        for name in COMMANDS
    ],
)
def test_a_command_that_is_killed_and_run_again_ends_like_an_undisturbed_one(copy_of, name):
    # A kill moves the later points of the same platform: some of them are never reached.
    assert killed_and_finished(copy_of, name, KILLS, seed=1) >= 0.5


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_with_many_more_kills(copy_of, name):
    assert killed_and_finished(copy_of, name, SOAKED_KILLS, seed=2) >= 0.3
