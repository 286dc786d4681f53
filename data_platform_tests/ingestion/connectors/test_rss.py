import time

import pytest

from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.rss import RssPlatform
from data_platform_tests.ingestion.platforms.server import Reply
from data_platform_tests.ingestion.platforms.stored import stored
from data_platform_tests.ingestion.test_platforms import ago

ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>T</title>
<entry><id>tag:a</id><title>One</title><published>2026-02-01T10:00:00+01:00</published>
<updated>2026-02-02T10:00:00Z</updated><content type="html">&lt;p&gt;fine&lt;/p&gt;</content>
<author><name>Ann</name></author><link href="https://a.example/1"/></entry></feed>"""
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "haha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{("&" + chr(97 + n) + ";") * 10}">' for n in range(9))
    + ']><rss version="2.0"><channel><title>&j;</title></channel></rss>'
)


@pytest.fixture
def platform():
    made = RssPlatform()
    yield made
    made.close()


@pytest.fixture
def feeds(platform, configured, monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.01)
    block = {"name": "blog", "kind": "rss", **platform.block()}
    return Feeds(configured({"start_date": "2026-01-01", "feeds": [block]}))


def answer(platform, text):
    platform.server.fault = lambda _, __: Reply(text.encode(), headers={"Content-Type": "text/xml"})


def test_a_document_that_has_not_changed_is_not_sent_again(platform, feeds):
    platform.add(1, ago(hours=1))
    feeds.collect("blog")
    feeds.collect("blog")
    assert "if-none-match" in platform.server.requests[-1].headers
    assert feeds.ledger.open_windows("blog") == []


def test_entries_that_left_the_document_unread_are_told_as_unreachable(platform, feeds, home):
    platform.size = 10
    for number in range(10):
        platform.add(number, ago(minutes=60 - number))
    feeds.collect("blog")
    before = len(feeds.ledger.unreachable("blog"))
    time.sleep(1.1)  # dates of RSS have whole seconds
    for number in range(10, 40):
        platform.add(number, ago())
    feeds.collect("blog")
    assert len(stored(feeds, home)) == 20
    assert len(feeds.ledger.unreachable("blog")) == before + 1


def test_atom_with_an_edit_and_markup_is_read(platform, feeds, home):
    answer(platform, ATOM)
    assert feeds.collect("blog").errors == []
    assert stored(feeds, home) == {"tag:a": "<p>fine</p>"}


def test_a_broken_document_gives_the_entries_that_can_be_read(platform, feeds, home):
    answer(platform, ATOM.replace("</title>\n", "</title>&nosuch; <b>\n"))
    feeds.collect("blog")
    assert stored(feeds, home) == {"tag:a": "<p>fine</p>"}


@pytest.mark.parametrize(
    "text", [LAUGHS, "/etc/passwd", "file:///etc/passwd", "", "{}", "\0" * 100]
)
def test_what_is_no_feed_is_a_gap_and_opens_nothing(platform, feeds, home, text):
    answer(platform, text)
    result = feeds.collect("blog")
    assert result.errors or text == LAUGHS
    assert stored(feeds, home) == {}
