import json
from datetime import timedelta

import pytest

from data_platform.errors import ConfigurationError
from data_platform.feed_settings import XFeed
from data_platform.ingestion.connectors.connector import list_at
from data_platform.ingestion.connectors.http import Budget, Http
from data_platform.ingestion.connectors.x import XConnector
from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.server import Reply
from data_platform_tests.ingestion.platforms.stored import gone, load
from data_platform_tests.ingestion.platforms.x import BEARER, XPlatform
from data_platform_tests.ingestion.test_platforms import TODAY, ago, spread


@pytest.fixture
def platform(monkeypatch):
    monkeypatch.setenv("X_TOKEN", BEARER)
    made = XPlatform()
    yield made
    made.close()


@pytest.fixture
def feeds(platform, configured):
    def make(**changes):
        block = {"name": "brand", "kind": "x", **platform.block(), **changes}
        start = (TODAY - timedelta(days=20)).date().isoformat()
        return Feeds(configured({"start_date": start, "feeds": [block]}))

    return make


def test_money_is_counted_over_a_day_and_never_overspent(platform, feeds):
    spread(platform, 300)
    limited = feeds(usd_per_day=1.0)
    first = limited.collect("brand")
    assert first.unit_count == pytest.approx(1.0)
    assert "USD are left" in first.notes[0]
    again = limited.collect("brand")
    assert again.unit_count == 0
    assert limited.ledger.open_windows("brand")
    assert feeds(usd_per_day=9.0).collect("brand").errors == []
    assert limited.ledger.open_windows("brand") == []


def test_what_lies_before_seven_days_is_told_as_unreachable(platform, feeds):
    platform.add(1, ago(days=9))
    found = feeds()
    found.collect("brand")
    (lost,) = found.ledger.unreachable("brand")
    assert "seven days" in lost.reason
    day = (TODAY - timedelta(days=9)).date()
    assert found.collect("brand", [day]).unreachable.keys() == {day}


def test_all_versions_of_an_edited_post_are_one_post_of_its_first_day(platform, feeds, home):
    platform.add(1, ago(minutes=20), "first words")
    found = feeds()
    found.collect("brand")
    platform.posts[1].edited_at = ago(minutes=5)
    platform.posts[1].text = "better words"
    found.collect("brand")
    with load(found, home).transaction() as transaction:
        rows = transaction.connection.execute(
            "SELECT source_id, body, is_current FROM raw_feedback ORDER BY is_current"
        ).fetchall()
    number = platform.source_id(platform.posts[1])
    assert rows == [(number, "first words", False), (number, "better words", True)]


def test_a_budget_that_buys_nothing_is_refused(feeds):
    with pytest.raises(ConfigurationError, match=r"usd_per_day must be at least 0\.05"):
        feeds(usd_per_day=0.01)


def test_a_long_post_is_stored_whole(platform, feeds, home):
    platform.add(1, ago(minutes=9)).broken = {"note_tweet": {"text": "long " * 100}}
    found = feeds()
    found.collect("brand")
    with load(found, home).transaction() as transaction:
        rows = transaction.connection.execute("SELECT length(body) FROM raw_feedback").fetchall()
    assert rows == [(500,)]


def test_all_pages_of_a_search_ask_for_the_same_times(platform, feeds):
    spread(platform, 250)
    feeds().collect("brand")
    asked = {(r.query["start_time"], r.query["end_time"]) for r in platform.server.requests}
    assert len(asked) == 1


def test_many_missing_posts_are_re_checked_by_a_compliance_job(platform, feeds, home, monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.connectors.x.JOB_PAUSE", timedelta(seconds=0.01))
    spread(platform, 60, over=timedelta(minutes=20))
    found = feeds()
    found.collect("brand")
    for number in range(1, 41):
        platform.delete(number)
    found.collect("brand")
    assert len(gone(found, home)) == 40
    assert platform.job is not None
    assert len(platform.job) == 40
    assert not [r for r in platform.server.requests if r.path == "/2/tweets"]


def test_posts_are_looked_up_where_compliance_jobs_are_refused(platform, feeds, home):
    spread(platform, 60, over=timedelta(minutes=20))
    found = feeds()
    found.collect("brand")
    for number in range(1, 41):
        platform.delete(number)
    original = platform.server.handle
    platform.server.handle = lambda r: (
        Reply({"title": "Forbidden"}, 403) if "compliance" in r.path else original(r)
    )
    found.collect("brand")
    assert len(gone(found, home)) == 40


def test_a_wrong_token_is_refused_without_being_shown(feeds, monkeypatch):
    monkeypatch.setenv("X_TOKEN", "wrong-canary")
    error = feeds().collect("brand").errors[0]
    assert "answered 401" in error
    assert "wrong-canary" not in error


def test_every_recorded_post_is_read(test_data, monkeypatch):
    monkeypatch.setenv("X_TOKEN", BEARER)
    told = {"name": "x", "kind": "x", "queries": ["q"], "token": {"env": "X_TOKEN"}}
    http = Http(Budget())
    connector = XConnector(XFeed.model_validate(told), http)
    read = 0
    for path in sorted(test_data("api/x").glob("test_*.json")):
        for exchange in json.loads(path.read_text("utf-8"))["exchanges"]:
            for item in list_at(exchange.get("body"), "data"):
                if "text" not in item:
                    continue
                record = connector.record(item)
                assert record is None or (
                    record["source_id"] and record["posted_at"] and record["body"]
                )
                read += 1
    http.close()
    assert read > 20
