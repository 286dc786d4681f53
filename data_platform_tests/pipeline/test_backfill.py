"""Backfills in every order, twice, two at once and after kill -9 end with the same content."""

import time

import pytest

from data_platform_tests.pipeline.conftest import SHOP, kill

WORDS = ("love", "hate", "like", "fear", "enjoy", "avoid")
KILL_AFTER_SECONDS = (3.0, 5.0, 7.0, 9.0, 11.0)


def deliver_posts(platform):
    """Five files with 400 posts on ten days, edits, deletions and repeated deliveries."""
    for file in range(5):
        rows = [
            {
                "id": str(number),
                "at": f"2026-03-{1 + number % 10:02d}T{number % 24:02d}:00:00Z",
                "text": f"I {WORDS[(number + file) % 6]} parcel number {number} of this shop",
                "user": f"user{number % 37}",
                "deleted": "true" if file == 4 and number % 29 == 0 else "",
            }
            for number in range(file * 60, file * 60 + 160)
        ]
        platform.deliver(f"{file}.csv", rows, day=1 + file)


@pytest.fixture
def expected(platform_in):
    """Digests of an undisturbed run."""
    platform = platform_in("undisturbed", SHOP)
    deliver_posts(platform)
    platform.run()
    return platform.digest()


RANGE = ("--from", "2026-03-01", "--to", "2026-03-10")


def test_forward_backward_twice_and_two_at_once_agree(platform_in, expected):
    forward, backward, double = (platform_in(name, SHOP) for name in ("f", "b", "d"))
    for platform in (forward, backward, double):
        deliver_posts(platform)
    forward.cli("backfill", *RANGE)
    assert "nothing changed" in forward.cli("backfill", *RANGE)
    assert forward.digest() == expected
    backward.cli("backfill", "--newest-first", *RANGE)
    assert backward.digest() == expected
    processes = [double.start("backfill", *RANGE) for _ in range(2)]
    assert [process.wait(timeout=200) for process in processes] == [0, 0]
    assert double.digest() == expected


def test_a_run_that_was_killed_five_times_ends_like_an_undisturbed_one(platform_in, expected):
    platform = platform_in("killed", SHOP)
    deliver_posts(platform)
    killed = 0
    for seconds in KILL_AFTER_SECONDS:
        process = platform.start("run")
        time.sleep(seconds)
        killed += process.poll() is None
        kill(process)
    assert killed >= 2  # otherwise the machine outran the test
    platform.run()
    assert platform.digest() == expected
    assert platform.rows(
        "SELECT read_count - inserted_count - merged_count - unchanged_count FROM source_health"
    ) == [(0,)]
