import json
import time
from datetime import timedelta

import pytest

from data_platform.feed_settings import MastodonFeed
from data_platform.ingestion.connectors.connector import list_at
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform.ingestion.connectors.mastodon import MastodonConnector
from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.mastodon import MastodonPlatform
from data_platform_tests.ingestion.platforms.server import Reply
from data_platform_tests.ingestion.platforms.stored import load, stored
from data_platform_tests.ingestion.test_platforms import TODAY, ago


@pytest.fixture
def platform():
    made = MastodonPlatform()
    yield made
    made.close()


@pytest.fixture
def feeds(platform, configured):
    def make(**changes):
        block = {"name": "brand", "kind": "mastodon", **platform.block(), **changes}
        start = (TODAY - timedelta(days=30)).date().isoformat()
        return Feeds(configured({"start_date": start, "feeds": [block]}))

    return make


def test_the_same_post_on_two_servers_is_one_post(platform, feeds, home):
    other = MastodonPlatform()
    for number in range(10):
        platform.add(number, ago(minutes=number + 1))
        other.add(number, ago(minutes=number + 1))
    found = feeds(server=[platform.server.url, other.server.url])
    assert found.collect("brand").errors == []
    other.close()
    assert stored(found, home) == platform.truth()


def test_an_old_day_is_reached_in_one_step_where_ids_are_times(platform, feeds):
    for number in range(800):
        platform.add(number, ago(minutes=2) - timedelta(minutes=30 * number))
    found = feeds()
    day = (TODAY - timedelta(days=14)).date()
    assert found.collect("brand", [day]).landed_by_day[day] == 48
    assert len(platform.server.requests) <= 5


def test_ids_that_are_no_times_are_walked_through(platform, feeds, home, monkeypatch):
    for number in range(300):
        platform.add(number, ago(minutes=2) - timedelta(hours=300 - number))
    monkeypatch.setattr(platform, "native_id", lambda post: 500 + post.number)
    found = feeds()
    day = (TODAY - timedelta(days=10)).date()
    assert found.collect("brand", [day]).landed_by_day[day] == 24
    found.collect("brand")
    assert stored(found, home) == platform.truth()


def test_boosts_are_left_out_and_accounts_are_found_by_name(platform, feeds, home):
    boost = {"reblog": {"uri": "https://social.example/x"}}
    platform.add(1, ago(minutes=3))
    platform.add(2, ago(minutes=2)).broken = boost
    timeline = platform.handle

    def handle(request):
        if request.path == "/api/v1/accounts/lookup":
            assert request.query["acct"] == "ann"
            return Reply({"id": "77"})
        if request.path == "/api/v1/accounts/77/statuses":
            request.path = "/api/v1/timelines/tag/shop"
        return timeline(request)

    platform.server.handle = handle
    found = feeds(hashtags=[], accounts=["@ann"])
    assert found.collect("brand").errors == []
    assert list(stored(found, home)) == [platform.source_id(platform.posts[1])]


def test_a_closed_timeline_says_what_is_missing(platform, feeds):
    platform.server.fault = lambda _, __: Reply(
        {"error": "This method requires an authenticated user"}, 422
    )
    error = feeds().collect("brand").errors[0]
    assert "requires an authenticated user" in error


def test_every_recorded_status_is_read(test_data):
    told = {"name": "m", "kind": "mastodon", "hashtags": ["x"]}
    http = Http(Budget())
    connector = MastodonConnector(MastodonFeed.model_validate(told), http)
    read = 0
    for path in sorted(test_data("api/mastodon").glob("*.json")):
        for exchange in json.loads(path.read_text("utf-8"))["exchanges"]:
            body = exchange.get("body")
            items = body if isinstance(body, list) else list_at(body, "statuses") or [body]
            for item in items:
                if isinstance(item, dict) and "uri" in item and "content" in item:
                    record = connector.record(item)
                    assert record is None or (record["source_id"] and record["posted_at"])
                    read += 1
    http.close()
    assert read > 50


def test_earlier_versions_of_edited_posts_are_stored_if_asked(platform, feeds, home):
    platform.add(1, ago(minutes=9), "first")
    platform.add(2, ago(minutes=8))
    for text in ("second", "third"):
        platform.edit(1, text)
        time.sleep(0.01)  # times have milliseconds
    found = feeds(history=True)
    assert found.collect("brand").errors == []
    with load(found, home).transaction() as transaction:
        rows = transaction.connection.execute(
            "SELECT body, is_current FROM raw_feedback WHERE source_id LIKE '%/1'"
            " ORDER BY edited_at NULLS FIRST"
        ).fetchall()
    assert rows == [("<p>first</p>", False), ("<p>second</p>", False), ("<p>third</p>", True)]
    assert stored(found, home) == platform.truth()
    assert found.collect("brand").read_count == 0
