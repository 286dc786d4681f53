"""Reddit: what only its listings, its logins and its marks of deletion do."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data_platform.errors import PermanentSourceError, RefusedError, SourceError
from data_platform.feed_settings import RedditFeed
from data_platform.ingestion.connectors.connector import Item, Known, Listing, Window, objects, part
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform.ingestion.connectors.reddit import RedditConnector
from data_platform_tests.ingestion.platforms.reddit import SECRET, RedditPlatform
from data_platform_tests.ingestion.platforms.server import status

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = Window("posts:shop", NOON - timedelta(hours=12), NOON + timedelta(hours=12))
Connect = Callable[..., RedditConnector]


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedditPlatform]:
    for name, value in RedditPlatform.environment.items():
        monkeypatch.setenv(name, value)
    made = RedditPlatform()
    yield made
    made.close()


@pytest.fixture
def connect(platform: RedditPlatform) -> Iterator[Connect]:
    http = Http(Budget(requests_left=100), sleep=lambda _: None)

    def make(**changes: Any) -> RedditConnector:
        told = {"kind": "reddit", "name": "r", **platform.block(), **changes}
        return RedditConnector(RedditFeed.model_validate(told), http)

    yield make
    http.close()


def pages(made: RedditConnector, window: Window) -> list[Listing]:
    """Read a window to its end, with tokens that have been JSON."""
    read, token = [], None
    while True:
        read.append(made.fetch(window, token))
        if read[-1].next is None:
            return read
        token = json.loads(json.dumps(read[-1].next))


def test_what_lies_behind_the_newest_thousand_is_told_as_unreachable(connect, platform):
    for number in range(1, 2_400, 2):
        platform.add(number, NOON + timedelta(seconds=number))
    read = pages(connect(), DAY)
    listed = {item["name"] for page in read for item in objects(page.items)}
    assert listed == {platform.source_id(post) for post in platform.alive[-1_000:]}
    oldest = platform.alive[-1_000].posted_at
    assert read[-1].unreachable_before == oldest + timedelta(seconds=1)
    assert "newest 1,000 items" in read[-1].unreachable_reason
    later = Window(DAY.stream, oldest + timedelta(minutes=10), DAY.until)
    assert pages(connect(), later)[-1].unreachable_before is None


def test_a_listing_that_ends_early_holds_all_there_is(connect, platform):
    for number in range(1, 300, 2):
        platform.add(number, NOON)
    assert pages(connect(), DAY)[-1].unreachable_before is None


@pytest.mark.parametrize("failure", [None, 500])
def test_a_login_that_fails_is_told_without_the_secret_and_ends(
    connect, platform, monkeypatch, failure
):
    monkeypatch.setenv("REDDIT_CLIENT_ID", "somebody-else")
    platform.server.fault = status(failure) if failure else None
    with pytest.raises(SourceError, match="access_token answered") as caught:
        connect().fetch(DAY, None)
    assert isinstance(caught.value, RefusedError) == (failure is None)
    assert SECRET not in str(caught.value)
    sent = platform.server.requests[0].headers["authorization"].removeprefix("Basic ")
    assert sent not in str(caught.value)
    assert len(platform.server.requests) <= (25 if failure else 1)


def test_a_token_that_was_revoked_is_renewed(connect, platform):
    made = connect()
    made.fetch(DAY, None)
    platform.tokens[:] = ["another"]
    made.fetch(DAY, None)
    paths = [request.path for request in platform.server.requests]
    assert paths == ["/api/v1/access_token", "/r/shop/new", "/r/shop/new", paths[0], "/r/shop/new"]


def test_a_subreddit_that_does_not_exist_is_an_error(connect):
    with pytest.raises(PermanentSourceError, match="none of this name"):
        connect(subreddits=["shpo"]).probe()


def test_searches_and_subreddits_are_listings_of_their_own(connect, platform):
    platform.add(1, NOON, "the shop is fine")
    platform.add(3, NOON, "something else")
    made = connect(subreddits=["/r/shop"], search=["the shop"], comments=False)
    assert made.streams() == ["posts:shop", "search:the shop"]
    (page,) = pages(made, Window("search:the shop", DAY.since, DAY.until))
    assert [made.record(item)["body"] for item in objects(page.items)] == ["the shop is fine"]


def test_what_is_marked_or_missing_is_gone_and_what_an_account_left_behind_is_not(
    connect, platform
):
    for number in (1, 2, 3, 4):
        platform.add(number, NOON)
    platform.delete(2)
    platform.posts[3].broken = {"removed_by_category": "moderator"}
    platform.posts[4].broken = {"author": "[deleted]"}
    names = [platform.source_id(post) for post in platform.posts.values()]
    made = connect()
    found = made.recheck([Known(name, name, NOON) for name in [*names, "t1_never"]])
    assert found.gone == ["t1_never"]
    records = [made.record(item) for item in found.items]
    assert [record.get("change") for record in records] == [None, "delete", "delete", None]
    assert (records[3]["body"], records[3]["author_handle"]) == ("Post 4 is fine", None)


def test_recorded_items_are_read(connect, test_data):
    made, items = connect(), list[Item]()
    for path in sorted(test_data("api/reddit").glob("*.json")):
        for exchange in json.loads(path.read_text())["exchanges"]:
            body = exchange["body"]
            answer = json.loads(body) if isinstance(body, str) and body[:1] == "{" else body
            children = part(answer, "data", "children") or []
            items += objects(part(c, "data") for c in children if c["kind"] in ("t1", "t3"))
    assert len(items) > 100
    records = [made.record(item) for item in items]
    assert sum(record.get("change") == "delete" for record in records) >= 1
    for record in records:
        assert str(record["source_id"])[:3] in ("t1_", "t3_")
        assert datetime.fromisoformat(str(record["posted_at"])).tzinfo
        assert record.get("change") or record["body"]
