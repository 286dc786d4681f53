"""The collection ledger: what was landed, what replaced it, and what a killed run left open."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data_platform.ingestion.ledger import Delivered, FeedLedger, KnownFile, Ledger
from data_platform.storage.landing import Segment

NOW = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.fixture
def ledger(home):
    return Ledger(home / "deep" / "ledger.sqlite")


def record(ledger: Ledger, delivery_id: str, *segments: str, **changes: Any) -> list[str]:
    told = {"feed": "shop", "content": "c1", "reading": "r1", "file": "a.csv"}
    counts = {"read_count": 10, "refused_count": 1, "landed_at": NOW}
    found = [Segment(path, 5) for path in segments]
    return ledger.record(
        Delivered(delivery_id=delivery_id, segments=found, **{**told, **counts, **changes})
    )


def test_a_feed_that_was_never_collected_has_zeros(ledger):
    assert ledger.feed("shop") == FeedLedger("shop", 0, 0, 0, None, None)
    assert "d1" not in ledger.landed_deliveries("shop")
    assert ledger.replaced_segments("shop") == []


def test_recorded_deliveries_add_up_for_their_feed(ledger):
    record(ledger, "d1", "shop/a")
    record(ledger, "d2", "shop/b", content="c2", read_count=5, refused_count=0)
    record(ledger, "d3", "other/c", feed="other", content="c3")
    ledger.finish("shop", NOW, None)
    assert ledger.feed("shop") == FeedLedger("shop", 2, 15, 1, NOW, None)
    assert "d1" in ledger.landed_deliveries("shop")
    assert ledger.feed("other").read_count == 10


def test_a_delivery_recorded_twice_counts_once(ledger):
    for _ in range(2):
        assert record(ledger, "d1", "shop/a") == []
    assert ledger.feed("shop").read_count == 10


def test_a_newer_reading_replaces_the_older_one_and_names_its_segments(ledger):
    record(ledger, "d1", "shop/a", "shop/same")
    assert record(ledger, "d2", "shop/b", "shop/same", reading="r2") == ["shop/a"]
    assert "d1" not in ledger.landed_deliveries("shop")
    assert "d2" in ledger.landed_deliveries("shop")
    assert ledger.replaced_segments("shop") == ["shop/a"]
    assert ledger.feed("shop").delivery_count == 1


def test_a_reading_can_be_taken_back(ledger):
    record(ledger, "d1", "shop/a")
    record(ledger, "d2", "shop/b", reading="r2")
    assert record(ledger, "d1", "shop/a2") == ["shop/b"]
    assert "d1" in ledger.landed_deliveries("shop")
    assert "d2" not in ledger.landed_deliveries("shop")
    assert ledger.replaced_segments("shop") == ["shop/b"]


def test_the_same_content_in_another_feed_is_another_delivery(ledger):
    record(ledger, "d1", "shop/a")
    assert record(ledger, "d2", "other/a", feed="other") == []
    assert "d1" in ledger.landed_deliveries("shop")


def test_a_file_is_known_by_its_feed_and_path_until_it_is_seen_again(ledger):
    known = KnownFile(3, "state", "c1")
    ledger.see_file("shop", "/a", known)
    ledger.see_file("other", "/b", known)
    assert ledger.known_files("shop") == {"/a": known}
    ledger.see_file("shop", "/a", KnownFile(4, "state 2", "c2"))
    assert ledger.known_files("shop") == {"/a": KnownFile(4, "state 2", "c2")}


def test_a_gap_is_open_since_it_was_first_missed_until_it_is_closed(ledger):
    ledger.open_gap("shop", "/a", "state", "no header", is_transient=False)
    (first,) = ledger.gaps("shop").values()
    ledger.open_gap("shop", "/a", "state 2", "no right", is_transient=True)
    (gap,) = ledger.gaps("shop").values()
    assert (gap.state, gap.reason, gap.is_transient) == ("state 2", "no right", True)
    assert gap.opened_at == first.opened_at < gap.tried_at
    assert ledger.gaps("other") == {}
    ledger.close_gaps("shop", ["/a", "/unknown"])
    assert ledger.gaps("shop") == {}


def test_a_ledger_of_an_earlier_version_is_taken_over(home):
    """Version 1 kept files by their modification time; its deliveries hold."""
    path = home / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE files (feed, path, size_bytes, modified_at, content_sha256)")
        db.execute(
            "CREATE TABLE deliveries (delivery_id TEXT PRIMARY KEY, feed TEXT, content_sha256 TEXT,"
            " reading TEXT, file TEXT, landed_at TEXT, read_count INTEGER, refused_count INTEGER,"
            " is_replaced INTEGER)"
        )
        db.execute("INSERT INTO deliveries VALUES ('d1', 'shop', 'c', 'r', 'f', 'now', 5, 0, 0)")
        db.commit()
    ledger = Ledger(path)
    assert ledger.landed_deliveries("shop") == {"d1"}
    assert ledger.known_files("shop") == {}
    assert ledger.feed("shop").read_count == 5


def test_a_publication_that_was_not_recorded_is_remembered_until_it_is_cleared_away(ledger):
    later = NOW + timedelta(hours=1)
    ledger.begin("shop", "c1", NOW)
    ledger.begin("shop", "c2", later)
    record(ledger, "d1", "shop/a")
    assert ledger.unfinished("shop") == [later]
    ledger.forget_unfinished("shop")
    assert ledger.unfinished("shop") == []


def test_the_end_of_a_collection_and_its_error_are_kept_until_the_next(ledger):
    ledger.finish("shop", NOW, "no such folder")
    assert ledger.feed("shop").error == "no such folder"
    ledger.finish("shop", NOW + timedelta(hours=1), None)
    found = ledger.feed("shop")
    assert (found.finished_at, found.error) == (NOW + timedelta(hours=1), None)


def test_a_record_that_fails_leaves_the_ledger_as_it_was(ledger):
    record(ledger, "d1", "shop/a")
    with pytest.raises(sqlite3.IntegrityError):
        record(ledger, "d2", "shop/b", "shop/b", reading="r2")
    assert "d1" in ledger.landed_deliveries("shop")
    assert ledger.replaced_segments("shop") == []


def test_no_file_handle_stays_open(ledger):
    def handles() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (counts, no paths)

    record(ledger, "d1", "shop/a")
    before = handles()
    for _ in range(20):
        ledger.landed_deliveries("shop")
    assert handles() <= before
