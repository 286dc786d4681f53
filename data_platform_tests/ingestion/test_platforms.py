"""The one suite that every connector passes, against a server on this machine that behaves as its platform does."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from data_platform.ingestion.collect import Collection
from data_platform.ingestion.connectors.registry import CONNECTORS
from data_platform.ingestion.feeds import Feeds
from data_platform.settings import Settings
from data_platform_tests.ingestion.platforms.platform import Platform
from data_platform_tests.ingestion.platforms.server import (
    Reply,
    cut,
    html,
    status,
    truncated,
)
from data_platform_tests.ingestion.platforms.stored import gone, landed_rows, stored

FOLDER = Path(__file__).parent / "platforms"
PLATFORMS = [kind for kind in CONNECTORS if (FOLDER / f"{kind}.py").exists()]
BURST = 1_200
TODAY = datetime.combine(datetime.now(UTC).date(), time(), UTC)


class Live:
    """A platform and the feed that collects it."""

    def __init__(self, platform: Platform, settings: Settings) -> None:
        self.platform, self.settings = platform, settings
        self.feeds = Feeds(settings)

    def collect(self, *days: date) -> Collection:
        return self.feeds.collect("brand", days)

    @property
    def stored(self) -> dict[str, str]:
        return stored(self.feeds, self.settings.home)

    @property
    def gone(self) -> set[str]:
        return gone(self.feeds, self.settings.home)

    def is_complete(self) -> bool:
        return not self.feeds.ledger.open_windows("brand")


@pytest.fixture(params=PLATFORMS)
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    module = import_module(f"data_platform_tests.ingestion.platforms.{request.param}")
    (cls,) = [
        found for found in vars(module).values() if getattr(found, "kind", "") == request.param
    ]
    for variable, value in cls.environment.items():
        monkeypatch.setenv(variable, value)
    made = cls()
    yield made
    made.close()


@pytest.fixture
def live(platform: Platform, configured: Callable[..., Settings]) -> Callable[..., Live]:
    def make(**changes: Any) -> Live:
        block = {"name": "brand", "kind": platform.kind, **platform.block(), **changes}
        start = (TODAY - timedelta(days=5)).date().isoformat()
        return Live(platform, configured({"start_date": start, "feeds": [block]}))

    return make


def ago(**span: float) -> datetime:
    moment = datetime.now(UTC) - timedelta(**span)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def spread(
    platform: Platform, count: int, first: int = 1, over: timedelta = timedelta(hours=20)
) -> None:
    """Let `count` posts be written, evenly over the time until two minutes ago."""
    begin = ago(minutes=2) - over
    for number in range(count):
        platform.add(first + number, begin + over * number / count)


def test_everything_is_collected_and_a_second_collection_adds_nothing(live, platform):
    spread(platform, 150)
    feed = live()
    assert feed.collect().read_count == 150
    assert feed.stored == platform.truth()
    again = feed.collect()
    assert (again.read_count, again.delivery_count, again.errors) == (0, 0, [])
    assert landed_rows(feed.feeds) == 150
    assert feed.is_complete()


def test_a_burst_between_two_collections_loses_nothing(live, platform):
    spread(platform, 50)
    feed = live()
    feed.collect()
    spread(platform, BURST, first=1_000, over=timedelta(minutes=1))
    feed.collect()
    assert feed.stored == platform.truth()
    assert len(feed.stored) == BURST + 50
    assert feed.is_complete()


def test_posts_of_the_same_moment_are_all_collected(live, platform):
    moment = ago(minutes=30)
    for number in range(130):
        platform.add(number, moment)
    feed = live()
    feed.collect()
    for number in range(130, 140):
        platform.add(number, moment)
    feed.collect()
    assert feed.stored == platform.truth()


def test_what_appears_late_behind_the_cursor_is_collected(live, platform):
    spread(platform, 60, over=timedelta(hours=1))
    feed = live()
    feed.collect()
    platform.add(900, ago(minutes=20))
    platform.add(901, ago(minutes=1))
    feed.collect()
    assert feed.stored == platform.truth()


def test_an_edit_reaches_the_store(live, platform):
    if "edit" not in platform.can:
        pytest.skip("the platform has no edits")
    spread(platform, 50, over=timedelta(minutes=50))
    feed = live()
    feed.collect()
    platform.edit(40, "I changed my mind")
    feed.collect()
    assert feed.stored == platform.truth()
    assert "I changed my mind" in "".join(feed.stored.values())


def test_a_deletion_reaches_the_store(live, platform):
    if "delete" not in platform.can:
        pytest.skip("the platform does not show deletions")
    spread(platform, 50, over=timedelta(minutes=50))
    feed = live()
    feed.collect()
    platform.delete(40)
    feed.collect()
    assert feed.stored == platform.truth()
    assert feed.gone == {platform.source_id(platform.posts[40])}


@pytest.mark.parametrize("platform", ["stackexchange", "github"], indirect=True)
def test_a_feed_that_is_pointed_at_another_server_reads_its_history_and_deletes_nothing(
    live, platform
):
    platform.add(1, ago(hours=1))
    live().collect()
    with closing(type(platform)()) as other:
        other.add(101, ago(days=3))
        feed = live(**other.block())
        feed.collect()
        assert feed.stored == {**platform.truth(), **other.truth()}
        assert feed.gone == set()


def test_a_day_is_collected_by_its_date(live, platform):
    day = (TODAY - timedelta(days=2)).date()
    for number, hours in enumerate((1, 12, 23.9, 24, 47.9, 48, 60)):
        platform.add(number, TODAY - timedelta(days=3) + timedelta(hours=hours))
    feed = live()
    result = feed.collect(day)
    if "window" not in platform.can:
        assert result.unreachable.keys() == {day}
        return
    assert feed.is_complete()
    wanted = {platform.source_id(platform.posts[n]) for n in (3, 4)}
    assert wanted <= feed.stored.keys()
    assert result.landed_by_day[day] == len(wanted)


def test_the_shortest_answers_of_hiccups_are_asked_for_again(live, platform, monkeypatch):
    """Five ways to answer badly; each request is tried again, and nothing is missing."""
    spread(platform, 150)
    feed = live()
    platform.server.faults = [status(503), cut(), truncated, html, status(502)]
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.05)
    result = feed.collect()
    while not feed.is_complete():
        result = feed.collect()
    assert feed.stored == platform.truth()
    assert result.errors == []


def test_a_page_that_is_broken_for_good_is_a_gap_until_it_is_mended(live, platform, monkeypatch):
    spread(platform, 150)
    feed = live()
    feed.collect()
    spread(platform, 150, first=500, over=timedelta(minutes=10))
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.05)
    platform.server.fault = html
    result = feed.collect()
    assert result.errors
    assert not feed.is_complete()
    assert feed.feeds.gaps()
    platform.server.fault = None
    feed.collect()
    assert feed.stored == platform.truth()
    assert feed.is_complete()


def test_a_budget_leaves_a_gap_that_the_next_collections_close(live, platform):
    spread(platform, 400)
    feed = live(requests_per_run=3)
    first = feed.collect()
    assert first.request_count <= 3
    if first.notes:
        assert not feed.is_complete()
        assert feed.stored.items() <= platform.truth().items()
    for _ in range(40):
        if feed.is_complete():
            break
        feed.collect()
    assert feed.stored == platform.truth()


def test_no_request_is_made_before_the_moment_that_the_platform_names(live, platform):
    spread(platform, 50)
    feed = live()
    until = datetime.now(UTC) + timedelta(seconds=2)
    platform.server.faults = [
        status(429, X_RateLimit_Reset=until.isoformat(), X_RateLimit_Remaining="0")
    ]
    feed.collect()
    assert platform.server.times[1] >= until
    assert feed.stored == platform.truth()


def test_a_long_pause_gives_the_turn_up_and_is_kept_by_the_next_collection(live, platform):
    spread(platform, 50)
    feed = live()
    platform.server.fault = status(429, Retry_After="3600")
    result = feed.collect()
    assert result.errors == []
    assert "not before" in result.notes[0]
    count = len(platform.server.requests)
    platform.server.fault = None
    feed.collect()
    assert len(platform.server.requests) == count
    assert not feed.feeds.pending("brand", datetime.now(UTC), 0).has_work


def test_good_records_land_beside_broken_ones(live, platform):
    spread(platform, 60)
    truth = platform.truth()
    for number, broken in enumerate(platform.breakages, start=5):
        platform.posts[number].broken = broken
        truth.pop(platform.source_id(platform.posts[number]))
    feed = live()
    result = feed.collect()
    assert feed.stored == truth
    assert result.refused_count == 60 - len(truth)
    assert feed.collect().read_count == 0


# No listing of any platform: must not pass for an empty one.
LIES = [
    b"null",
    b"12",
    b'"text"',
    b'{"data": 5}',
    b'{"unexpected": []}',
    b"[" * 5_000,
    b"",
    b"\xff\xfe",
    b"<x>",
]
ODD = [
    *(b"true", b"[]", b"{}", b"[null, 1, []]", b"[[[]]]", b"1e999", b'{"data": [null, {}]}'),
    *(b'{"data": {"children": 5}}', b'{"items": {}}', b'{"items": [1, {"snippet": []}]}'),
    *(b'{"hits": [[]]}', b'{"tickets": "x"}', b'{"reviews": 1}', b'{"feed": [null]}'),
    *(b'{"statuses": 1}', b"<rss/>", b'[{"id": {}, "created_at": []}]', b'{"access_token": []}'),
    *(
        b'{"data": {"items": [{}]}}',
        b'{"meta": {}, "data": [{"id": 1, "edit_history_tweet_ids": {}}]}',
    ),
]


def test_answers_that_are_no_listing_do_not_pass_for_an_empty_one(live, platform, monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.001)
    spread(platform, 30)
    feed = live()
    for body in LIES:
        platform.server.fault = lambda _, __, body=body: Reply(body)
        assert feed.collect().errors
        assert not feed.is_complete()
    platform.server.fault = None
    feed.collect()
    assert feed.stored == platform.truth()


def test_answers_of_an_odd_shape_end_no_run_with_a_traceback(live, platform, monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.001)
    platform.add(1, ago(minutes=5))
    feed = live()
    for body in ODD:
        platform.server.fault = lambda _, __, body=body: Reply(body)
        feed.collect()
    platform.server.fault = None
    assert feed.collect().errors == []
    assert feed.stored.items() >= platform.truth().items()


KILLED = """
import os, signal, sys
from pathlib import Path
from data_platform.ingestion import windows, pull
from data_platform.ingestion.feeds import Feeds
from data_platform.settings import Environment, load_settings
from data_platform.storage.landing import SegmentWriter

home, point, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
pull.RECORDS_PER_DELIVERY = 100
calls = 0

def deadly(function, after):
    def call(*told, **named):
        global calls
        calls += 1
        if calls == count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*told, **named)
        if calls == count and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

where = {
    "publish": (SegmentWriter, "publish"),
    "advance": (windows.WindowLedger, "advance"),
    "complete": (windows.WindowLedger, "complete"),
    "fetch": (pull._Puller, "_take"),
}
target, name = where[point.removeprefix("after ").removeprefix("before ")]
setattr(target, name, deadly(getattr(target, name), point.startswith("after")))
settings = load_settings(Environment(data_platform_home=home / "data"), home)
Feeds(settings).collect("brand")
"""


KILLS = [
    ("after publish", 2),
    ("after fetch", 3),
    ("before publish", 2),
    ("before advance", 1),
    ("after advance", 2),
    ("before complete", 1),
    ("after complete", 1),
]


@pytest.mark.parametrize(("point", "count"), KILLS)
def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(live, platform, home, point, count):
    if platform.kind != "mastodon" and (point, count) not in KILLS[:2]:
        pytest.skip("the points of the shared code are tried with one platform")
    spread(platform, 400)
    feed = live()
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), point, str(count)],
        env={**os.environ},
        check=False,
    )
    assert ended.returncode in (-signal.SIGKILL, 0)
    for _ in range(3):
        feed.collect()
    assert feed.stored == platform.truth()
    assert feed.is_complete()
    assert landed_rows(feed.feeds) == 400
    assert not list((Path(feed.settings.landing_path) / ".staging").glob("*"))
