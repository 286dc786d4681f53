"""GitHub: what only its listings by change, its pull requests and its tokens do."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data_platform.errors import GoneError, PermanentSourceError, RefusedError
from data_platform.feed_settings import GitHubFeed
from data_platform.ingestion.connectors.connector import Listing, Window, objects
from data_platform.ingestion.connectors.github import GitHubConnector
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform_tests.ingestion.platforms.github import GitHubPlatform
from data_platform_tests.ingestion.platforms.server import Reply

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = Window("issues:shop/app@https://…", NOON - timedelta(hours=12), NOON + timedelta(hours=12))
Connect = Callable[..., GitHubConnector]


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubPlatform]:
    for name, value in GitHubPlatform.environment.items():
        monkeypatch.setenv(name, value)
    made = GitHubPlatform()
    yield made
    made.close()


@pytest.fixture
def connect(platform: GitHubPlatform) -> Iterator[Connect]:
    http = Http(Budget(), sleep=lambda _: None)

    def make(**changes: Any) -> GitHubConnector:
        told = {"kind": "github", "name": "g", **platform.block(), **changes}
        return GitHubConnector(GitHubFeed.model_validate(told), http)

    yield make
    http.close()


def pages(made: GitHubConnector, window: Window) -> list[Listing]:
    """Read a window to its end, with tokens that have been JSON."""
    read, token = [], None
    while True:
        read.append(made.fetch(window, token))
        if read[-1].next is None:
            return read
        token = json.loads(json.dumps(read[-1].next))


def ids(read: list[Listing]) -> set[object]:
    return {item["id"] - 3_000_000_000 for page in read for item in objects(page.items)}


def test_an_issue_that_is_changed_while_pages_are_read_pushes_none_out_of_them(connect, platform):
    for number in range(1, 600, 2):
        platform.add(number, NOON + timedelta(seconds=number))
    made = connect()
    first = made.fetch(DAY, None)
    platform.edit(1, "changed, so it moves to the end and the others move up")
    second = made.fetch(DAY, first.next)
    assert set(range(1, 398, 2)) <= ids([first, second])
    assert ids(pages(made, DAY)) == set(range(1, 600, 2))


def test_more_changes_of_one_second_than_a_page_holds_are_read(connect, platform):
    for number in range(1, 700, 2):
        platform.add(number, NOON if number < 600 else NOON + timedelta(seconds=number))
    assert ids(pages(connect(), DAY)) == set(range(1, 700, 2))


def test_a_day_brings_what_was_written_then_and_changed_later(connect, platform):
    platform.add(1, NOON)
    platform.edit(1, "changed today")
    platform.add(3, NOON - timedelta(days=9))
    assert ids(pages(connect(), DAY)) == {1}


def test_pull_requests_and_comments_on_them_are_left_out(connect, platform):
    issue = platform.item(platform.add(1, NOON))
    comment = platform.item(platform.add(2, NOON))
    made = connect()
    assert made.record({**issue, "pull_request": {"url": "x"}}) is None
    pull = comment["html_url"].replace("/issues/", "/pull/")
    assert made.record({**comment, "html_url": pull}) is None
    records = [made.record(issue), made.record(comment)]
    assert [r["source_id"] for r in records] == ["issue:3000000001", "comment:3000000002"]
    assert {r["conversation_id"] for r in records} == {"https://github.com/shop/app/issues/1"}
    assert {r["edited_at"] for r in records} == {None}
    assert made.record({**issue, "body": None})["body"] == "It crashes"


def test_a_wrong_token_is_refused_without_being_shown(connect, monkeypatch):
    monkeypatch.setenv("GITHUB_FEED_TOKEN", "wrong-s3cret")
    with pytest.raises(RefusedError, match=r"Bad credentials.*Look at the token") as caught:
        connect().probe()
    assert "wrong-s3cret" not in str(caught.value)


def test_a_repository_that_is_not_there_is_an_error_and_not_an_empty_one(connect):
    with pytest.raises(GoneError, match="404"):
        connect(repositories=["shop/none"]).probe()


def test_the_token_is_sent_to_no_other_host(connect, platform):
    platform.add(1, DAY.since)
    platform.server.fault = lambda _, reply: Reply(
        reply.body, headers={"Link": '<https://elsewhere.example/x>; rel="next"'}
    )
    with pytest.raises(PermanentSourceError, match="another host"):
        connect().fetch(DAY, None)
