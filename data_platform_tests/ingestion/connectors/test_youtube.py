import json

import pytest

from data_platform.feed_settings import YouTubeFeed
from data_platform.ingestion.connectors.connector import list_at, part
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform.ingestion.connectors.youtube import YouTubeConnector
from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.server import status
from data_platform_tests.ingestion.platforms.youtube import KEY, YouTubePlatform
from data_platform_tests.ingestion.test_platforms import ago


@pytest.fixture
def platform(monkeypatch):
    monkeypatch.setenv("YOUTUBE_KEY", KEY)
    made = YouTubePlatform()
    yield made
    made.close()


@pytest.fixture
def feeds(platform, configured):
    def make(**changes):
        block = {"name": "brand", "kind": "youtube", **platform.block(), **changes}
        return Feeds(configured({"start_date": ago(days=3).date().isoformat(), "feeds": [block]}))

    return make


def test_the_quota_ends_a_run_politely_and_the_next_one_goes_on(platform, feeds):
    platform.add(1, ago(hours=1))
    platform.quota_is_spent = True
    result = feeds().collect("brand")
    assert result.errors == []
    assert "quota of the project is spent" in result.notes[0]
    assert len(platform.server.requests) == 1
    platform.quota_is_spent = False
    assert feeds().collect("brand").read_count == 1


def test_units_are_counted_over_the_runs_of_a_day(platform, feeds):
    for number in range(1, 10):
        platform.add(number, ago(hours=number))
    limited = feeds(units_per_day=2)
    assert limited.collect("brand").unit_count == 1
    assert limited.collect("brand").unit_count == 1
    result = limited.collect("brand")
    assert result.unit_count == 0
    assert "0 quota units are left" in result.notes[0]


def test_replies_that_a_thread_does_not_show_are_read_to_the_last_page(
    platform, feeds, monkeypatch
):
    monkeypatch.setattr("data_platform.ingestion.connectors.youtube.PAGE_SIZE", 3)
    platform.add(20, ago(hours=2))
    for number in range(30, 38):
        platform.add(number, ago(hours=1))
    assert feeds().collect("brand").read_count == 9
    assert feeds().collect("brand").read_count == 0


def test_a_thread_that_is_deleted_before_its_replies_are_read_blocks_nothing(platform, feeds):
    platform.add(20, ago(hours=2))
    for number in range(30, 38):
        platform.add(number, ago(hours=1))
    platform.server.faults = [None, status(404)]
    assert feeds().collect("brand").errors == []


def test_the_key_stands_in_no_address_and_no_message(platform, feeds, monkeypatch):
    monkeypatch.setenv("YOUTUBE_KEY", "wrong-canary")
    error = feeds().collect("brand").errors[0]
    assert "API key not valid" in error
    assert "wrong-canary" not in error
    assert "wrong-canary" not in str([request.query for request in platform.server.requests])


def test_every_recorded_comment_is_read(test_data, monkeypatch):
    monkeypatch.setenv("YOUTUBE_KEY", KEY)
    feed = YouTubeFeed.model_validate(
        {"name": "yt", "kind": "youtube", "videos": ["v"], "key": {"env": "YOUTUBE_KEY"}}
    )
    http = Http(Budget())
    connector = YouTubeConnector(feed, http)
    read = 0
    for path in sorted(test_data("api/youtube").glob("*.json")):
        document = json.loads(path.read_text("utf-8"))
        for item in list_at(document, "items"):
            comments = [part(item, "snippet", "topLevelComment") or item]
            comments += list_at(item, "replies", "comments")
            for comment in comments:
                record = connector.record(comment)
                assert record["source_id"]
                assert record["posted_at"]
                assert record["body"]
                read += 1
    http.close()
    assert read > 20
