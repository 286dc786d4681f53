from contextlib import closing
from datetime import UTC, datetime, time

import pytest

from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.server import Reply
from data_platform_tests.ingestion.platforms.stored import stored
from data_platform_tests.ingestion.platforms.zendesk import ZendeskPlatform
from data_platform_tests.ingestion.test_platforms import ago


@pytest.fixture
def platform(monkeypatch):
    for name, value in ZendeskPlatform.environment.items():
        monkeypatch.setenv(name, value)
    made = ZendeskPlatform()
    yield made
    made.close()


@pytest.fixture
def feeds_of(configured):
    def make(platform):
        block = {"name": "brand", "kind": "zendesk", **platform.block(), "overlap": "0s"}
        return Feeds(configured({"start_date": ago(days=3).date().isoformat(), "feeds": [block]}))

    return make


@pytest.fixture
def feeds(platform, feeds_of):
    return feeds_of(platform)


def test_later_collections_follow_the_cursor(platform, feeds, home):
    for number in range(250):
        platform.add(number, ago(hours=2))
    feeds.collect("brand")
    begun = len(platform.server.requests)
    platform.add(900, ago(minutes=1))
    platform.edit(3, "changed a lot")
    feeds.collect("brand")
    assert [set(request.query) for request in platform.server.requests[begun:]] == [
        {"cursor", "per_page"}
    ]
    assert stored(feeds, home) == platform.truth()


def test_a_cursor_that_zendesk_does_not_know_any_more_begins_anew(platform, feeds, home):
    for number in range(250):
        platform.add(number, ago(hours=2))
    platform.server.faults = [None, lambda _, __: Reply({"error": "InvalidCursor"}, 422)]
    assert feeds.collect("brand").errors == []
    assert stored(feeds, home) == platform.truth()


def test_another_account_is_read_from_its_beginning(platform, feeds, feeds_of):
    platform.add(1, ago(hours=2))
    feeds.collect("brand")
    with closing(ZendeskPlatform()) as other:
        feeds_of(other).collect("brand")
        (query,) = (request.query for request in other.server.requests)
    begin = datetime.combine(ago(days=3).date(), time(), UTC)
    assert query["start_time"] == str(int(begin.timestamp()))


def test_a_wrong_token_is_refused_without_being_shown(feeds, monkeypatch):
    monkeypatch.setenv("ZD_TOKEN", "wrong-canary")
    error = feeds.collect("brand").errors[0]
    assert "authenticate" in error
    assert "wrong-canary" not in error
