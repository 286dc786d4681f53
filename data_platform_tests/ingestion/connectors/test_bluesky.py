from datetime import timedelta

import pytest

from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.bluesky import DID, BlueskyPlatform
from data_platform_tests.ingestion.platforms.stored import gone, stored
from data_platform_tests.ingestion.test_platforms import TODAY, ago


@pytest.fixture
def platform():
    made = BlueskyPlatform()
    yield made
    made.close()


@pytest.fixture
def feeds(platform, configured):
    def make(**changes):
        block = {"name": "sky", "kind": "bluesky", **platform.block(), **changes}
        start = (TODAY - timedelta(days=5)).date().isoformat()
        return Feeds(configured({"start_date": start, "feeds": [block]}))

    return make


def test_only_posts_with_a_word_are_kept_and_what_becomes_of_them_is_followed(
    platform, feeds, home
):
    found = feeds(words=["Our Shop", "café"])
    platform.add(1, ago(minutes=9), "OUR SHOP is fine")
    platform.add(2, ago(minutes=8), "our shops are many")
    platform.add(3, ago(minutes=7), "Le café!")
    platform.add(4, ago(minutes=6), "nothing of it")
    found.collect("sky")
    assert set(stored(found, home).values()) == {"OUR SHOP is fine", "Le café!"}
    platform.edit(1, "it was closed")
    platform.edit(4, "still nothing")
    platform.delete(3)
    platform.delete(2)
    found.collect("sky")
    assert set(stored(found, home).values()) == {"it was closed"}
    assert gone(found, home) == {platform.source_id(platform.posts[3])}


@pytest.mark.parametrize("status", ["deleted", "takendown"])
def test_an_account_that_is_gone_takes_its_posts_along(platform, feeds, home, status):
    for number in range(5):
        platform.add(number, ago(minutes=9))
    found = feeds()
    found.collect("sky")
    platform.event(
        {"kind": "account", "account": {"active": False, "status": "suspended", "did": DID}}
    )
    found.collect("sky")
    assert len(stored(found, home)) == 5
    platform.add(9, ago(minutes=1))
    platform.event({"kind": "account", "account": {"active": False, "status": status, "did": DID}})
    found.collect("sky")
    assert stored(found, home) == {}
    assert len(gone(found, home)) == 6


def test_sequence_numbers_are_the_cursor_where_messages_have_them(platform, feeds, home):
    platform.sequences = True
    found = feeds()
    found.collect("sky")
    (lost,) = found.ledger.unreachable("sky")
    assert "followed from here on" in lost.reason
    platform.add(1, ago(minutes=2))
    found.collect("sky")
    assert platform.server.requests[-1].query["cursor"] == "1000"
    platform.add(2, ago(minutes=1))
    found.collect("sky")
    assert stored(found, home) == platform.truth()


def test_a_sequence_number_that_is_too_old_is_told_as_a_stretch_that_was_lost(
    platform, feeds, home
):
    platform.sequences = True
    found = feeds()
    found.collect("sky")
    for number in range(2, 50):
        platform.add(number, ago(minutes=1))
    platform.oldest = len(platform.log)
    result = found.collect("sky")
    assert result.errors == []
    assert any("did not keep the events" in lost.reason for lost in found.ledger.unreachable("sky"))
    platform.add(60, ago(minutes=1))
    found.collect("sky")
    assert platform.source_id(platform.posts[60]) in stored(found, home)


def test_a_date_that_an_author_claims_is_not_believed_beyond_a_day(platform, feeds):
    platform.add(1, TODAY - timedelta(days=900))
    result = feeds().collect("sky")
    assert list(result.landed_by_day) == [TODAY.date()]


def test_posts_of_named_authors_are_listed_back_in_time(platform, feeds, home):
    for number in range(230):
        platform.posts[number] = platform.add(
            number, TODAY - timedelta(days=3) + timedelta(minutes=number)
        )
    found = feeds(jetstream=None, authors=["ann.example"])
    day = (TODAY - timedelta(days=3)).date()
    result = found.collect("sky", [day])
    assert (result.errors, result.unreachable) == ([], {})
    assert stored(found, home) == platform.truth()
    platform.posts[7].deleted_at = ago()
    found.collect("sky", [day])
    assert gone(found, home) == {platform.source_id(platform.posts[7])}


def test_a_search_that_is_closed_says_what_to_do_instead(feeds):
    error = feeds(jetstream=None, search=["shop"]).collect("sky").errors[0]
    assert "Follow the stream instead" in error


def test_a_second_server_is_asked_when_the_first_does_not_answer(
    platform, feeds, home, monkeypatch
):
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.01)
    platform.add(1, ago(minutes=1))
    servers = ["ws://127.0.0.1:9", platform.block()["jetstream"]]
    found = feeds(jetstream=servers)
    assert found.collect("sky").errors == []
    assert stored(found, home) == platform.truth()


def test_a_server_that_counts_is_not_asked_for_the_numbers_of_another(platform, feeds):
    platform.sequences = True
    feeds().collect("sky")
    other = BlueskyPlatform()
    other.sequences = True
    for number in range(30):
        other.add(number, ago(minutes=1))
    changed = feeds(jetstream=other.block()["jetstream"])
    changed.collect("sky")
    assert "cursor" not in other.server.requests[-1].query
    reasons = [lost.reason for lost in changed.ledger.unreachable("sky")]
    assert any("did not keep the events" in reason for reason in reasons)
    other.close()


def test_a_stream_that_was_silent_at_first_is_asked_for_the_same_moment_again(
    platform, feeds, home
):
    platform.quiet = True
    found = feeds()
    found.collect("sky")
    platform.quiet = False
    first = platform.server.requests[-1].query["cursor"]
    platform.add(1, ago(minutes=1))
    found.collect("sky")
    assert int(platform.server.requests[-1].query["cursor"]) <= int(first)
    assert stored(found, home) == platform.truth()


def test_an_event_of_an_impossible_time_costs_nothing_and_is_no_cursor(platform, feeds, home):
    for number in (1, 2):
        platform.add(number, ago(minutes=9))
    platform.log.insert(1, {**platform.log[0], "time_us": 10**400})
    found = feeds()
    for _ in range(2):
        assert found.collect("sky").errors == []
    assert stored(found, home) == platform.truth()
