from datetime import timedelta
from html import escape

import pytest

from data_platform.errors import ConfigurationError
from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.server import PlatformServer, Reply
from data_platform_tests.ingestion.platforms.stored import load, stored
from data_platform_tests.ingestion.test_platforms import ago

HEAD = (
    '<?xml version="1.0" encoding="utf-8"?><feed xmlns:im="http://itunes.apple.com/rss"'
    ' xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><id>x</id><title>Reviews</title>'
)


class PublicFeed:
    """The newest 500 reviews of a storefront, 50 a page; the first entry is the app itself."""

    def __init__(self, count):
        self.texts = [f"Great & simple {n}" for n in range(count)]
        self.server = PlatformServer(self.handle)

    def handle(self, request):
        parts = dict(p.split("=") for p in request.path.split("/") if "=" in p)
        page = int(parts["page"])
        if page > 10:
            return Reply({"error": "CustomerReviews RSS page depth is limited to 10"}, 400)
        first = "<entry><id>1</id><title>The app</title></entry>" if page == 1 else ""
        entries = "".join(
            f"<entry><updated>{(ago() - timedelta(minutes=n)).isoformat()}</updated><id>{9_000_000_000 - n}</id>"
            f"<title>Title</title><content type='text'>{escape(self.texts[n])}</content>"
            f"<content type='html'>&lt;b&gt;x&lt;/b&gt;</content><im:rating>2</im:rating>"
            f"<im:voteCount>3</im:voteCount><author><name>ann</name></author></entry>"
            for n in range((page - 1) * 50, min(page * 50, len(self.texts)))
        )
        xml = f"{HEAD}{first}{entries}</feed>"
        return Reply(xml.encode(), headers={"Content-Type": "text/xml"})


@pytest.fixture
def public():
    made = []

    def make(count):
        made.append(PublicFeed(count))
        return made[-1]

    yield make
    for feed in made:
        feed.server.close()


@pytest.fixture
def feeds(configured):
    def make(server, **changes):
        block = {"name": "app", "kind": "app_store", "server": server.url, "apps": ["284882215"]}
        start = ago(days=2).date().isoformat()
        return Feeds(configured({"start_date": start, "feeds": [{**block, **changes}]}))

    return make


def test_the_public_feed_is_read_with_ratings(public, feeds, home):
    found = feeds(public(120).server)
    assert found.collect("app").errors == []
    assert set(stored(found, home).values()) == {f"Great & simple {n}" for n in range(120)}
    with load(found, home).transaction() as transaction:
        rows = transaction.connection.execute(
            "SELECT DISTINCT rating, rating_scale, like_count FROM raw_feedback"
        ).fetchall()
    assert rows == [(0.25, "1..5", 3)]


def test_more_reviews_than_the_public_feed_lists_are_told_as_unreachable(public, feeds, home):
    found = feeds(public(700).server)
    found.collect("app")
    assert len(stored(found, home)) == 500
    (lost,) = found.ledger.unreachable("app")
    assert "newest 500 reviews" in lost.reason


def test_each_storefront_is_a_listing(public, feeds):
    server = public(10).server
    feeds(server, countries=["us", "de"]).collect("app")
    asked = {request.path.split("/")[1] for request in server.requests}
    assert asked == {"us", "de"}


def test_a_key_that_is_none_is_told_without_being_shown(public, feeds, monkeypatch):
    monkeypatch.setenv("APP_STORE_KEY", "canary-no-key")
    server = public(1).server
    found = feeds(
        server,
        connect_server=server.url,
        key={"env": "APP_STORE_KEY"},
        key_id="A",
        issuer_id="B",
    )
    with pytest.raises(ConfigurationError, match="private key cannot be read") as error:
        found.collect("app")
    assert "canary" not in str(error.value)
