"""What a request to erase means, of feeds that share a platform and of others: as wide as it says, no wider."""

import shutil

import pytest

from data_platform.ingestion.authors import hash_handles
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.selection import Selection, find, platforms_of

FIELDS = {"source_id": "id", "posted_at": "at", "body": "text", "author_handle": "user"}
FEBRUARY = "2026-02-0"


def feed(name, source):
    return {
        "name": name,
        "kind": "file",
        "source": source,
        "path": f"{name}/*.csv",
        "fields": FIELDS,
        "settle": "0s",
    }


def rows(*rows):
    return "".join(f"{','.join(row)}\n" for row in (FIELDS.values(), *rows))


@pytest.fixture
def collected(configured, home):
    """Land files of feeds, of which some share a platform: {'feed of platform': {file: its rows}}."""

    def collect(**platforms):
        def of(files):
            blocks = [feed(name, platforms[name]) for name in platforms]
            config = {"start_date": "2026-01-01", "feeds": blocks}
            feeds = Feeds(configured(config, {path: rows(*of) for path, of in files.items()}))
            for name in platforms:
                (home / name).mkdir(exist_ok=True)
                feeds.collect(name)
            return feeds

        return of

    return collect


def post(number, user="ann", day=1):
    return (str(number), f"{FEBRUARY}{day}T10:00:00Z", f"text {number}", user)


def refused(number, user="ann"):
    return (str(number), "never", f"refused {number}", user)


def test_a_post_of_one_platform_is_none_of_another(collected):
    feeds = collected(shop="acme", other="other")(
        {
            "shop/a.csv": [post(1), post(2), refused(6)],
            "other/good.csv": [post(1), post(2)],
            "other/bad.csv": [post(3), refused(1)],
        }
    )
    found = find(feeds, Selection(posts=("acme:1",)))
    assert (found.post_count, found.quarantine_ids) == (1, set())
    assert "acme:1" in found.feedback_ids
    assert "other:1" not in found.feedback_ids
    assert not find(feeds, Selection(posts=("t3:6",))).quarantine_ids
    for posts in [("6",), ("acme:6",)]:
        found = find(feeds, Selection(posts=posts))
        assert (found.post_count, len(found.quarantine_ids)) == (0, 1)


def test_an_id_may_hold_a_colon_itself(collected):
    feeds = collected(shop="acme")(
        {"shop/a.csv": [post("urn:post:1"), refused("urn:post:2"), refused("post:2"), refused("2")]}
    )
    for posts in [("urn:post:1", "urn:post:2"), ("acme:urn:post:1", "acme:urn:post:2")]:
        found = find(feeds, Selection(posts=posts))
        assert (found.post_count, len(found.quarantine_ids)) == (1, 1)
        assert found.feedback_ids >= {"acme:urn:post:1", "acme:urn:post:2"}


def test_a_post_of_a_feed_is_counted_in_every_feed_that_holds_it(collected):
    feeds = collected(shop="acme", reviews="acme", other="other")(
        {
            "shop/a.csv": [post(1), post(3)],
            "reviews/r.csv": [post(3, day=4), post(5)],
            "reviews/s.csv": [post(7), refused(1)],
            "other/o.csv": [post(1), post(3)],
        }
    )
    found = find(feeds, Selection(feed="shop"))
    assert found.feedback_ids == {"acme:1", "acme:3"}
    assert (found.post_count, found.segment_count, len(found.quarantine_ids)) == (2, 2, 1)
    assert found.feeds == {"shop", "reviews"}
    assert {file.rpartition("/")[2] for file in found.files} == {"a.csv", "r.csv"}
    assert {day.day for day in found.days} == {1, 4}
    alone = find(feeds, Selection(feed="other"))
    assert (alone.post_count, alone.feeds) == (2, {"other"})


def test_posts_of_a_former_platform_of_their_feed_are_found(collected, home):
    collected(shop="acme")({"shop/a.csv": [post(1, "@jane"), post(2, "jane"), post(3)]})
    shutil.rmtree(home / "shop")
    feeds = collected(shop="acme2")({})
    assert platforms_of(feeds, "shop") == ["acme2", "acme"]
    found = find(feeds, Selection(author="@jane"))
    assert (found.post_count, found.feedback_ids) == (2, {"acme:1", "acme:2"})
    both = {
        hash_ for p in ("acme", "acme2") for hash_ in hash_handles("jane", p, feeds.author_key())
    }
    assert found.author_ids == both
    for named in ("1", "acme:1"):
        assert find(feeds, Selection(posts=(named,))).post_count == 1
    assert find(feeds, Selection(posts=("acme2:1",))).post_count == 0


def test_a_refused_record_of_a_feed_is_of_each_platform_that_the_feed_has_had(collected, home):
    collected(shop="acme")({"shop/a.csv": [post(1), post(2), refused(6)]})
    shutil.rmtree(home / "shop")
    feeds = collected(shop="acme2")({})
    for named in ("6", "acme:6", "acme2:6"):
        found = find(feeds, Selection(posts=(named,)))
        assert len(found.quarantine_ids) == 1
    assert "acme2:6" not in find(feeds, Selection(posts=("acme:6",))).feedback_ids


def test_a_feed_that_has_landed_nothing_yet_is_told_whom_to_leave_out(collected):
    feeds = collected(shop="acme", later="other")({"shop/a.csv": [post(1)]})
    found = find(feeds, Selection(author="ann"))
    assert set(hash_handles("ann", "other", feeds.author_key())) <= found.author_ids
    assert "other:7" in find(feeds, Selection(posts=("7",))).feedback_ids
