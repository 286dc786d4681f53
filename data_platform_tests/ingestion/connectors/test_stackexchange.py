"""Stack Exchange: what only its quotas, its pages and its tags do."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from data_platform.errors import PermanentSourceError, RefusedError, ThrottledError
from data_platform.feed_settings import StackExchangeFeed
from data_platform.ingestion.connectors.connector import Known, Listing, Window, objects
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform.ingestion.connectors.stackexchange import StackExchangeConnector
from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.server import Reply
from data_platform_tests.ingestion.platforms.stackexchange import StackExchangePlatform
from data_platform_tests.ingestion.platforms.stored import gone, stored

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = Window("question@https://…", NOON - timedelta(hours=12), NOON + timedelta(hours=12))
Connect = Callable[..., StackExchangeConnector]


@pytest.fixture
def platform() -> Iterator[StackExchangePlatform]:
    made = StackExchangePlatform()
    yield made
    made.close()


@pytest.fixture
def connect(platform: StackExchangePlatform) -> Iterator[Connect]:
    http = Http(Budget(), sleep=lambda _: None)

    def make(**changes: Any) -> StackExchangeConnector:
        told = {"kind": "stackexchange", "name": "so", **platform.block(), **changes}
        return StackExchangeConnector(StackExchangeFeed.model_validate(told), http)

    yield make
    http.close()


def pages(made: StackExchangeConnector, window: Window) -> list[Listing]:
    """Read a window to its end, with tokens that have been JSON."""
    read, token = [], None
    while True:
        read.append(made.fetch(window, token))
        if read[-1].next is None:
            return read
        token = json.loads(json.dumps(read[-1].next))


def ids(made: StackExchangeConnector, window: Window) -> set[object]:
    return {
        made.record(i)["source_id"] for page in pages(made, window) for i in objects(page.items)
    }


def test_more_pages_than_are_given_without_a_key_are_read(connect, platform):
    for number in range(1, 5_400, 2):
        platform.add(number, NOON + timedelta(seconds=number // 300))
    assert ids(connect(), DAY) == platform.truth().keys()


def test_a_question_that_is_deleted_while_pages_are_read_pushes_none_out_of_them(connect, platform):
    for number in range(1, 600, 2):
        platform.add(number, NOON + timedelta(seconds=number))
    made = connect()
    first = made.fetch(DAY, None)
    platform.delete(1)
    rest = made.fetch(DAY, first.next)
    numbers = [item["question_id"] for item in objects([*first.items, *rest.items])]
    assert {platform.number(platform.posts[n]) for n in range(1, 398, 2)} <= set(numbers)


def test_answers_to_tagged_questions_are_found_however_old_the_question_is(connect, platform):
    for number in range(1, 500, 2):
        platform.add(number, NOON - timedelta(days=900, seconds=number))
        platform.add(number + 1, NOON + timedelta(seconds=number))
        platform.tags[number] = "shop" if number < 490 else "other"
    made = connect(tags=["shop"])
    place = f"{made.feed.server}?site=stackoverflow"
    assert made.streams() == [f"question:shop@{place}", f"answer:shop@{place}"]
    window = Window(f"answer:shop@{place}", DAY.since, DAY.until)
    answers = (platform.posts[number + 1] for number in range(1, 490, 2))
    assert ids(made, window) == {platform.source_id(answer) for answer in answers}


def test_another_site_brings_its_history_and_leaves_the_posts_of_the_first(
    platform, configured, home
):
    start = (datetime.now(UTC) - timedelta(days=5)).date().isoformat()

    def feeds(site: str) -> Feeds:
        block = {"name": "brand", "kind": "stackexchange", **platform.block(), "site": site}
        return Feeds(configured({"start_date": start, "feeds": [block]}))

    platform.add(1, datetime.now(UTC) - timedelta(hours=1))
    feeds("stackoverflow").collect("brand")
    platform.posts.clear()
    platform.add(3, datetime.now(UTC) - timedelta(days=3))
    moved = feeds("superuser")
    moved.collect("brand")
    assert stored(moved, home).keys() == {"stackoverflow:70000001", "superuser:70000003"}
    assert gone(moved, home) == set()


def test_a_backoff_in_the_body_is_waited_out(connect, platform):
    platform.backoff = 17
    made = connect()
    made.fetch(DAY, None)
    wait = made.http.not_before - datetime.now(UTC)
    assert timedelta(seconds=15) < wait <= timedelta(seconds=17)


def test_the_last_request_of_the_day_is_used_and_the_next_waits_for_tomorrow(connect, platform):
    platform.add(1, NOON)
    platform.quota = 1
    made = connect()
    assert len(made.fetch(DAY, None).items) == 1
    tomorrow = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), time(), UTC)
    assert abs(made.http.not_before - tomorrow) < timedelta(seconds=5)


def test_a_throttle_violation_is_a_pause_of_the_length_that_its_message_says(connect, platform):
    platform.quota = 0
    made = connect()
    with pytest.raises(ThrottledError, match="not before") as caught:
        made.fetch(DAY, None)
    wait = caught.value.until - datetime.now(UTC)
    assert timedelta(seconds=7_190) < wait <= timedelta(seconds=7_200)
    assert abs(made.http.not_before - caught.value.until) < timedelta(seconds=1)


def test_a_wrong_key_is_refused_without_being_shown(connect, monkeypatch):
    monkeypatch.setenv("STACK_KEY", "wrong-s3cret")
    with pytest.raises(RefusedError, match="known application") as caught:
        connect(key={"env": "STACK_KEY"}).probe()
    assert "wrong-s3cret" not in str(caught.value)


def test_an_answer_without_items_deletes_nothing(connect, platform):
    platform.server.fault = lambda _, __: Reply({"quota_remaining": 9})
    known = [Known("stackoverflow:70000001", "question:70000001", NOON)]
    with pytest.raises(PermanentSourceError, match="lists no items"):
        connect().recheck(known)


@pytest.mark.parametrize("name", ["test_stackoverflow_exists", "test_users_associated"])
def test_the_envelope_of_recorded_answers_is_read(connect, platform, test_data, name):
    """They list sites and users, so no item of them is a record."""
    recorded = json.loads(test_data(f"api/stackexchange/{name}.json").read_text())
    platform.server.fault = lambda _, __: Reply(recorded)
    page = connect().fetch(DAY, None)
    assert len(page.items) == len(recorded["items"])
    assert (page.next is not None) == recorded["has_more"]
