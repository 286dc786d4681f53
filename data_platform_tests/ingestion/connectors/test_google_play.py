from datetime import timedelta

import pytest

from data_platform.errors import ConfigurationError
from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.google_play import GooglePlayPlatform
from data_platform_tests.ingestion.platforms.stored import load
from data_platform_tests.ingestion.test_platforms import TODAY, ago


@pytest.fixture
def platform(monkeypatch):
    monkeypatch.setenv("PLAY_ACCOUNT", "")
    made = GooglePlayPlatform()
    yield made
    made.close()


@pytest.fixture
def feeds(platform, configured):
    block = {"name": "app", "kind": "google_play", **platform.block()}
    start = (TODAY - timedelta(days=20)).date().isoformat()
    return Feeds(configured({"start_date": start, "feeds": [block]}))


def test_what_lies_before_the_week_is_told_as_unreachable(platform, feeds):
    platform.add(1, ago(days=10))
    platform.add(2, ago(days=1))
    assert feeds.collect("app").read_count == 1
    (lost,) = feeds.ledger.unreachable("app")
    assert "the last week" in lost.reason
    day = (TODAY - timedelta(days=10)).date()
    assert feeds.collect("app", [day]).unreachable.keys() == {day}


def test_title_text_and_rating_are_read(platform, feeds, home):
    platform.add(1, ago(hours=1), "I hate it")
    feeds.collect("app")
    with load(feeds, home).transaction() as transaction:
        rows = transaction.connection.execute(
            "SELECT title, body, rating FROM raw_feedback"
        ).fetchall()
    assert rows == [("Title", "I hate it", 1.0)]


def test_an_account_that_is_none_is_told_without_being_shown(feeds, monkeypatch):
    monkeypatch.setenv("PLAY_ACCOUNT", '{"canary": 1}')
    with pytest.raises(
        ConfigurationError, match="PLAY_ACCOUNT does not hold the JSON key"
    ) as error:
        feeds.probe("app")
    assert "canary" not in str(error.value)
