"""What a person who asks is told: everything that is held of a handle, wherever it is."""

import shutil

import pytest

from data_platform.ingestion.feeds import Feeds
from data_platform.reporting.subject_access import author_record
from data_platform.schemas import HUMAN_LABELS
from data_platform_tests.ingestion.platforms.stored import load
from data_platform_tests.ingestion.test_selection import feed, post, refused, rows
from data_platform_tests.reporting.conftest import insert


@pytest.fixture
def landed(configured):
    """Land posts of three days, of which the first is not open; give the feed a platform."""

    def land(platform):
        files = {"shop/a.csv": rows(*(post(n, "@jane", n) for n in (1, 2, 3)), post(4), refused(5))}
        blocks = [feed("shop", platform)]
        return Feeds(configured({"start_date": "2026-02-02", "feeds": blocks}, files))

    return land


def ids(posts):
    return [post["source_id"] for post in posts]


def test_posts_that_are_not_loaded_and_human_labels_are_told(landed, home):
    feeds = landed("acme")
    feeds.collect("shop")
    with load(feeds, home).transaction() as transaction:
        for of in ("acme:2", "acme:9"):
            insert(transaction, HUMAN_LABELS, {"feedback_id": of, "label": "positive"})
        record = author_record(transaction, feeds, "jane")
    assert ids(record["posts"]) == ["2", "3"]
    assert ids(record["posts_not_loaded"]) == ["1"]
    assert record["posts_not_loaded"][0]["body"] == "text 1"
    assert [label["feedback_id"] for label in record["human_labels"]] == ["acme:2"]


def test_posts_of_a_former_platform_of_their_feed_are_told(landed, home):
    feeds = landed("acme")
    feeds.collect("shop")
    warehouse = load(feeds, home)
    shutil.rmtree(home / "shop")
    with warehouse.transaction() as transaction:
        record = author_record(transaction, landed("acme2"), "jane")
    assert ids(record["posts"]) == ["2", "3"]
