"""The engine of windows, with Mastodon's connector: what pages may do to it, days, pauses, drift, replay."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
import time_machine

from data_platform.ingestion.connectors.connector import Listing
from data_platform.ingestion.contract import REFUSED_SCHEMA
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.pull import FAILURES_BEFORE_PAUSE, pull
from data_platform.monitoring.coverage import measure_coverage
from data_platform_tests.ingestion.platforms.mastodon import MastodonPlatform
from data_platform_tests.ingestion.platforms.server import Reply, html, status
from data_platform_tests.ingestion.platforms.stored import gone, stored

TODAY = datetime.combine(datetime.now(UTC).date(), time(), UTC)
AHEAD = timedelta(days=3)


@pytest.fixture
def platform():
    made = MastodonPlatform()
    yield made
    made.close()


@pytest.fixture
def feeds(platform, configured, monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.01)
    start = (TODAY - timedelta(days=5)).date().isoformat()
    block = {"name": "brand", "kind": "mastodon", **platform.block()}
    return Feeds(configured({"start_date": start, "feeds": [block]}))


def fill(platform, count, first=1):
    begin = datetime.now(UTC) - timedelta(hours=3)
    for number in range(count):
        platform.add(first + number, begin + timedelta(seconds=number * 10_000 / count))


def pull_with(feeds, fetch):
    """Collect with pages that pass through `fetch(original, window, token)`."""
    connector = feeds.connector("brand")
    original = connector.fetch
    connector.fetch = lambda window, token: fetch(original, window, token)
    return pull(
        connector,
        feeds.landing,
        feeds.ledger,
        author_key=b"k" * 32,
        open_days=feeds.open_days,
    )


def test_a_platform_that_leads_in_a_circle_is_a_gap_and_does_not_hang(feeds, platform, home):
    fill(platform, 100)
    first = {}

    def circle(original, window, token):
        page = original(window, token)
        first.setdefault("token", page.next)
        return Listing(page.items, first["token"], page.position)

    result = pull_with(feeds, circle)
    assert "leads from a page back" in result.errors[0]
    assert len(feeds.ledger.open_windows("brand")) == 1
    feeds.collect("brand")
    assert stored(feeds, home) == platform.truth()
    assert feeds.ledger.open_windows("brand") == []


def test_pages_may_repeat_shuffle_and_be_empty(feeds, platform, home):
    fill(platform, 200)
    pages = []

    def odd(original, window, token):
        if token and token.get("empty"):
            return original(window, token["behind"])
        page = original(window, token)
        pages.append(page)
        items = [*reversed(page.items), *(pages[-2].items[:7] if len(pages) > 1 else [])]
        following = {"empty": len(pages), "behind": page.next} if page.next else None
        return Listing(items, following, page.position)

    assert pull_with(feeds, odd).errors == []
    assert stored(feeds, home) == platform.truth()


def test_a_post_that_is_beyond_the_overlap_and_gone_is_noticed_when_its_day_is_collected(
    feeds, platform, home
):
    day = TODAY - timedelta(days=2)
    platform.add(1, day + timedelta(hours=3))
    platform.add(2, day + timedelta(hours=4))
    fill(platform, 3, first=10)
    feeds.collect("brand")
    platform.delete(1)
    feeds.collect("brand")
    assert gone(feeds, home) == set()
    feeds.collect("brand", [day.date()])
    assert gone(feeds, home) == {platform.source_id(platform.posts[1])}


def test_a_listing_that_shows_nothing_for_a_while_deletes_nothing(feeds, platform, home):
    fill(platform, 30)
    feeds.collect("brand")
    platform.server.faults = [lambda _, __: Reply([])]
    feeds.collect("brand")
    assert gone(feeds, home) == set()
    assert stored(feeds, home) == platform.truth()


def test_a_deleted_post_is_noticed_though_more_are_hidden_than_one_look_asks_for(
    feeds, platform, home, monkeypatch
):
    monkeypatch.setattr("data_platform.ingestion.pull.RECHECKED_PER_WINDOW", 5)
    fill(platform, 20)
    feeds.collect("brand")
    deleted = {platform.source_id(platform.posts[number]) for number in (3, 8, 13, 18)}
    for number in (3, 8, 13, 18):
        platform.delete(number)
    for _ in range(4):
        pull_with(feeds, lambda original, *page: replace(original(*page), items=[]))
    assert gone(feeds, home) == deleted


def test_collections_that_fail_again_and_again_are_started_less_often(feeds, platform):
    fill(platform, 5)
    platform.server.fault = status(400)
    now = datetime.now(UTC)
    for _ in range(FAILURES_BEFORE_PAUSE - 1):
        assert feeds.collect("brand").errors
        assert feeds.pending("brand", datetime.now(UTC), 0).has_work
    feeds.collect("brand")
    pending = feeds.pending("brand", datetime.now(UTC), 0)
    assert not pending.has_work
    assert pending.paused_until >= now + timedelta(minutes=1)
    platform.server.fault = None
    assert feeds.collect("brand").errors == []
    assert feeds.pending("brand", datetime.now(UTC), 0).has_work


def test_a_clock_that_was_ahead_for_a_while_loses_no_post_and_no_deletion(feeds, platform, home):
    fill(platform, 5)
    feeds.collect("brand")
    with time_machine.travel(datetime.now(UTC) + AHEAD, tick=True):
        feeds.collect("brand")
    platform.add(9, datetime.now(UTC))
    platform.delete(3)
    feeds.collect("brand")
    assert stored(feeds, home) == platform.truth()
    assert gone(feeds, home) == {platform.source_id(platform.posts[3])}


def test_a_clock_that_is_behind_for_a_while_takes_nothing_back(feeds, platform):
    fill(platform, 5)
    feeds.collect("brand")
    covered = feeds.ledger.covered("brand")
    with time_machine.travel(datetime.now(UTC) - timedelta(hours=2), tick=True):
        assert feeds.collect("brand").errors == []
    assert feeds.ledger.covered("brand") == covered


@pytest.mark.parametrize("fault", [status(400), status(429, Retry_After="3600")])
def test_a_pause_that_was_noted_by_a_clock_that_was_ahead_is_over(feeds, platform, fault):
    platform.server.fault = fault
    with time_machine.travel(datetime.now(UTC) + AHEAD, tick=True):
        for _ in range(FAILURES_BEFORE_PAUSE):
            feeds.collect("brand")
        assert not feeds.pending("brand", datetime.now(UTC), 0).has_work
    platform.server.fault = None
    assert feeds.pending("brand", datetime.now(UTC), 0).has_work
    assert feeds.collect("brand").request_count


def test_a_field_that_becomes_another_kind_is_counted(feeds, platform):
    fill(platform, 10)
    feeds.collect("brand")
    fill(platform, 10, first=100)
    for number in range(100, 104):
        platform.posts[number].broken = {"favourites_count": "many", "brand_new": 1}
    feeds.collect("brand")
    kinds = {(name, kind): count for name, kind, _, count in feeds.ledger.kinds("brand")}
    assert kinds["favourites_count", "text"] == 4
    assert kinds["favourites_count", "number"] >= 16
    assert kinds["brand_new", "number"] == 4


def test_refused_records_are_kept_once_and_pass_after_a_mend(feeds, platform, home, monkeypatch):
    fill(platform, 20)
    platform.posts[3].broken = {"content": ["a", "list"], "created_at": "yesterday"}
    assert feeds.collect("brand").refused_count == 1
    assert feeds.collect("brand").read_count == 0
    connector = feeds.connector("brand")
    original = type(connector).record

    def mended(self, item):
        record = original(self, item)
        is_odd = record["posted_at"] == "yesterday"
        return {**record, "posted_at": TODAY.isoformat()} if is_odd else record

    monkeypatch.setattr(type(connector), "record", mended)
    assert feeds.replay("brand").released_count == 1
    assert platform.source_id(platform.posts[3]) in stored(feeds, home)


def test_bytes_that_are_no_text_cost_one_record(feeds, platform, home):
    fill(platform, 20)
    platform.posts[3].broken = {"content": "caf\udce9"}
    assert feeds.collect("brand").refused_count == 1
    assert len(stored(feeds, home)) == 19


def test_coverage_tells_complete_days_from_gaps_and_from_days_before(feeds, platform):
    fill(platform, 100)

    def states():
        table = measure_coverage(feeds, datetime.now(UTC))
        found = dict(zip(table["date"].to_pylist(), table["status"].to_pylist(), strict=True))
        found.pop(datetime.now(UTC).date(), None)  # has hardly begun just after midnight
        return found

    assert set(states().values()) == {"not collected"}
    platform.server.fault = html
    feeds.collect("brand")
    assert set(states().values()) == {"open gap"}
    platform.server.fault = None
    feeds.collect("brand")
    assert set(states().values()) == {"complete"}


def test_several_feeds_of_a_platform_share_their_posts(platform, configured, home):
    fill(platform, 30)
    blocks = [{"name": name, "kind": "mastodon", **platform.block()} for name in ("brand", "again")]
    start = (TODAY - timedelta(days=5)).date().isoformat()
    feeds = Feeds(configured({"start_date": start, "feeds": blocks}))
    for name in feeds.names:
        feeds.collect(name)
    assert stored(feeds, home) == platform.truth()


def test_a_platform_that_does_not_answer_for_a_while_is_one_gap(feeds, platform, home):
    fill(platform, 5)
    platform.server.fault = status(503)
    for _ in range(3):
        feeds.collect("brand")
    assert len(feeds.ledger.open_windows("brand")) == len(feeds.gaps()) == 1
    platform.server.fault = None
    feeds.collect("brand")
    assert stored(feeds, home) == platform.truth()


def test_a_listing_that_is_not_configured_any_more_leaves_no_gap(feeds, platform, configured):
    platform.server.fault = html
    feeds.collect("brand")
    assert feeds.gaps()
    platform.server.fault = lambda _, __: Reply([])
    block = {"name": "brand", "kind": "mastodon", **platform.block(), "hashtags": ["other"]}
    start = (TODAY - timedelta(days=5)).date().isoformat()
    changed = Feeds(configured({"start_date": start, "feeds": [block]}))
    changed.collect("brand")
    assert changed.gaps() == []


def test_a_first_day_that_is_moved_back_is_collected_by_itself(platform, configured, home):
    for number in range(8):
        platform.add(number, TODAY - timedelta(days=number) + timedelta(seconds=5))

    def since(days):
        start = (TODAY - timedelta(days=days)).date().isoformat()
        block = {"name": "brand", "kind": "mastodon", **platform.block()}
        return Feeds(configured({"start_date": start, "feeds": [block]}))

    since(2).collect("brand")
    since(2).collect("brand", [(TODAY - timedelta(days=5)).date()])
    feeds = since(7)
    feeds.collect("brand")
    assert stored(feeds, home) == platform.truth()
    states = measure_coverage(feeds, datetime.now(UTC))["status"].to_pylist()
    assert set(states) == {"complete"}
    requests = len(platform.server.requests)
    feeds.collect("brand")
    assert len(platform.server.requests) - requests <= 3


def test_a_post_of_two_listings_that_is_edited_back_ends_as_it_was(platform, configured, home):
    def handle(request):
        is_other = "/tag/other" in request.path
        request.path = request.path.replace("/tag/other", "/tag/shop")
        shows = not is_other or platform.posts[1].text == "first words"
        return MastodonPlatform.handle(platform, request) if shows else Reply([])

    platform.server.handle = handle
    block = {"name": "brand", "kind": "mastodon", **platform.block(), "hashtags": ["shop", "other"]}
    feeds = Feeds(configured({"start_date": TODAY.date().isoformat(), "feeds": [block]}))
    platform.add(1, TODAY, "first words")
    post = platform.posts[1]
    feeds.collect("brand")
    for text in ("other words", "first words"):
        post.text = text
        feeds.collect("brand")
        assert list(stored(feeds, home).values()) == [f"<p>{text}</p>"]


def test_posts_that_were_not_seen_for_long_are_asked_for_again(platform, configured, home):
    block = {"name": "brand", "kind": "mastodon", **platform.block(), "overlap": "1s"}
    start = (TODAY - timedelta(days=5)).date().isoformat()
    for number in range(6):
        platform.add(number, TODAY - timedelta(days=3) + timedelta(minutes=number))
    feeds = Feeds(configured({"start_date": start, "feeds": [block]}))
    feeds.collect("brand")
    platform.edit(2, "I changed my mind")
    platform.delete(4)
    feeds.collect("brand")
    assert stored(feeds, home) != platform.truth()
    feeds = Feeds(configured({"start_date": start, "feeds": [{**block, "recheck_after": "5m"}]}))
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=6)):
        feeds.collect("brand")
        assert stored(feeds, home) == platform.truth()
        assert gone(feeds, home) == {platform.source_id(platform.posts[4])}
        requests = len(platform.server.requests)
        feeds.collect("brand")
        assert len(platform.server.requests) - requests <= 2


def test_a_record_of_an_odd_shape_stays_in_quarantine_when_it_is_replayed(
    feeds, platform, home, monkeypatch
):
    fill(platform, 9)
    kind = type(feeds.connector("brand"))
    original = kind.record

    def narrow(self, item):
        if item["uri"].endswith("7"):
            raise LookupError
        return original(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "record", narrow)
        assert feeds.collect("brand").refused_count == 1
        assert feeds.replay("brand").released_count == 0
        assert feeds.ledger.feed("brand").refused_count == 1
    assert feeds.replay("brand").released_count == 1
    assert stored(feeds, home) == platform.truth()


def test_a_second_look_that_is_answered_in_an_odd_shape_is_a_gap(feeds, platform, monkeypatch):
    fill(platform, 5)
    feeds.collect("brand")
    platform.delete(3)
    kind = type(feeds.connector("brand"))
    with monkeypatch.context() as patch:
        patch.setattr(kind, "recheck", lambda _, posts: {posts})
        assert "a shape that is not its own (TypeError)" in feeds.collect("brand").errors[0]
        assert len(feeds.gaps()) == 1
    assert feeds.collect("brand").errors == []
    assert feeds.gaps() == []


def test_an_id_that_holds_a_nul_is_known_the_next_time(feeds, platform):
    fill(platform, 5)
    platform.posts[3].broken = {"uri": "https://a.example/\x00b"}
    assert feeds.collect("brand").read_count == 5
    assert feeds.collect("brand").read_count == 0


def test_an_account_that_is_gone_and_whose_id_is_no_text_is_nobodys(feeds, platform, home):
    fill(platform, 5)

    def odd(original, window, token):
        page = original(window, token)
        return Listing(page.items, page.next, page.position, ["at://\udcff/"])

    assert pull_with(feeds, odd).errors == []
    assert stored(feeds, home) == platform.truth()


def test_two_versions_of_a_post_that_waits_for_its_day_are_held_apart(feeds, platform):
    """A post from before the start date that is edited while it is listed, on two pages at one place."""
    platform.add(1, datetime.now(UTC) - timedelta(hours=3))

    def twice(original, window, token):
        page = original(window, None)
        old = {**page.items[0], "created_at": (TODAY - timedelta(days=40)).isoformat()}
        if token is None:
            return Listing([old], {"page": 2}, page.position)
        return Listing([{**old, "content": "<p>edited</p>"}], None, page.position)

    assert pull_with(feeds, twice).read_count == 2
    held = feeds.landing.read(feeds.landing.segments(["brand"], None), REFUSED_SCHEMA)
    assert len({row["quarantine_id"] for batch in held for row in batch.to_pylist()}) == 2
