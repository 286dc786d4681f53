"""Hacker News: what only its search and its Firebase do."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import HackerNewsFeed
from data_platform.ingestion.connectors.connector import Item, Known, Listing, Window, objects
from data_platform.ingestion.connectors.hackernews import HackerNewsConnector
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform_tests.ingestion.platforms.hackernews import STORY, HackerNewsPlatform
from data_platform_tests.ingestion.platforms.server import Reply

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def platform() -> Iterator[HackerNewsPlatform]:
    made = HackerNewsPlatform()
    yield made
    made.close()


@pytest.fixture
def connect(platform: HackerNewsPlatform) -> Iterator[Callable[..., HackerNewsConnector]]:
    http = Http(Budget())

    def make(**changes: Any) -> HackerNewsConnector:
        told = {"kind": "hackernews", "name": "hn", **platform.block(), **changes}
        return HackerNewsConnector(HackerNewsFeed.model_validate(told), http)

    yield make
    http.close()


def pages(made: HackerNewsConnector, window: Window) -> list[Listing]:
    """Read a window to its end, with tokens that have been JSON."""
    read, token = [], None
    while True:
        read.append(made.fetch(window, token))
        if read[-1].next is None:
            return read
        token = json.loads(json.dumps(read[-1].next))


def test_a_window_with_more_than_the_search_lists_is_split_until_it_lists_all(connect, platform):
    for number in range(3_500):
        platform.add(number, NOON + timedelta(seconds=number % 60))
    window = Window("all", NOON - timedelta(days=1), NOON + timedelta(days=1))
    read = pages(connect(), window)
    listed = {item["objectID"] for page in read for item in objects(page.items)}
    assert listed == platform.truth().keys()
    assert all(page.unreachable_before is None for page in read)
    assert len(platform.server.requests) < 40


def test_more_posts_of_one_second_than_the_search_lists_are_told_and_end(connect, platform):
    for number in range(1_200):
        platform.add(number, NOON)
    platform.add(5_000, NOON + timedelta(hours=1))
    window = Window("all", NOON - timedelta(hours=2), NOON + timedelta(hours=2))
    read = pages(connect(), window)
    assert len({item["objectID"] for page in read for item in objects(page.items)}) == 1_001
    assert read[-1].unreachable_before == NOON + timedelta(seconds=1)
    assert "1,200 posts were written in the second before 2026-03-01 12:00:01" in (
        read[-1].unreachable_reason
    )


def test_queries_and_tags_are_asked_for(connect, platform):
    platform.add(1, NOON, "the shop is fine")
    platform.add(2, NOON, "the shop is slow")
    platform.add(3, NOON, "something else")
    made = connect(queries=["shop"], tags=["comment"])
    (page,) = pages(made, Window(*made.streams(), NOON, NOON + timedelta(seconds=1)))
    assert [made.record(item)["body"] for item in objects(page.items)] == ["the shop is slow"]
    assert "query:shop: 0 post(s)" in made.probe()


def test_a_post_that_is_looked_up_is_read_in_the_shape_of_firebase(connect, platform):
    platform.add(1, NOON, "edited out of the query")
    for number in (2, 3):
        platform.add(number, NOON)
    platform.delete(2)
    platform.server.fault = lambda request, reply: (
        Reply({**reply.body, "dead": True}) if "41000003" in request.path else reply
    )
    made = connect()
    numbers = ["41000001", "41000002", "41000003", "41000009"]
    found = made.recheck([Known(number, number, NOON) for number in numbers])
    assert found.gone == numbers[1:]
    (item,) = found.items
    record = made.record(item)
    assert (record["body"], record["parent_id"]) == ("edited out of the query", STORY)
    assert record["posted_at"] == NOON.isoformat()
    assert made.native_id(item, "all") == "41000001"


def test_an_answer_that_lists_no_hits_is_an_error_and_not_an_empty_window(connect, platform):
    platform.server.fault = lambda _, __: Reply({"message": "invalid", "status": 400})
    with pytest.raises(PermanentSourceError, match="lists no hits"):
        connect().fetch(Window("all", NOON, NOON + timedelta(hours=1)), None)


def test_recorded_hits_are_read(connect, test_data):
    made = connect()
    recorded = json.loads(test_data("api/hn/algolia_fixtures.json").read_text())
    hits: list[Item] = [h for e in recorded for h in objects(e["reply"].get("hits", []))]
    assert len(hits) >= 20
    for hit in hits:
        record = made.record(hit)
        assert record["body"]
        assert record["source_id"] == hit["objectID"]
        assert record["posted_at"] == hit["created_at"].replace(".000Z", "+00:00")
    stories = [hit for hit in hits if hit["parent_id"] is None]
    assert all(made.record(hit)["conversation_id"] == hit["objectID"] for hit in stories)
