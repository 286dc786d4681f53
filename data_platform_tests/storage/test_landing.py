"""The landing zone: segments by feed and day, visible only when published, named by their content."""

import os
import time
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from data_platform.storage.landing import (
    FOLDER_COLUMN,
    QUARANTINE,
    STAGING,
    LandingZone,
    Segment,
    rows_by_day,
)

SCHEMA = pa.schema([("source_id", pa.string()), ("like_count", pa.int64())])
NOW = datetime(2024, 4, 1, 12, 30, 15, 123456, tzinfo=UTC)
DAY = date(2024, 3, 1)


@pytest.fixture
def landing(home):
    return LandingZone(home / "landing")


def batches(*rows: tuple[str, str]) -> list[pa.RecordBatch]:
    """One batch of (folder, source_id) rows."""
    return pa.table(
        {
            "source_id": [source_id for _, source_id in rows],
            "like_count": pa.array([1] * len(rows), pa.int64()),
            FOLDER_COLUMN: [folder for folder, _ in rows],
        }
    ).to_batches()


def land(landing, *rows, feed="shop", delivery_id="d", at=NOW):
    with landing.delivery(feed, delivery_id) as writer:
        writer.write(iter(batches(*rows)), SCHEMA)
        return writer.publish(at)


def test_a_delivery_becomes_one_segment_for_each_feed_and_day(landing):
    rows = [("2024-03-02", "b"), ("2024-03-01", "a"), (QUARANTINE, "x"), ("2024-03-01", "c")]
    published = land(landing, *rows)
    assert [(s.feed, s.day, s.row_count) for s in published] == [
        ("shop", DAY, 2),
        ("shop", DAY + timedelta(days=1), 1),
        ("shop", None, 1),
    ]
    assert [s.collected_at for s in published] == [NOW] * 3
    assert landing.days("shop") == [DAY, DAY + timedelta(days=1)]
    assert [s.path for s in landing.segments(["shop"], DAY)] == [published[0].path]
    assert [s.path for s in landing.segments(["shop"], None)] == [published[2].path]
    assert rows_by_day(published) == {DAY: 2, DAY + timedelta(days=1): 1}
    assert landing.row_count(published[0]) == 2


def test_segments_of_several_feeds_come_sorted_and_only_those_asked_for(landing):
    for feed in ("b", "a", "c"):
        land(landing, ("2024-03-01", feed), feed=feed)
    assert [s.feed for s in landing.segments(["b", "a"], DAY)] == ["a", "b"]
    assert landing.segments(["nobody"], DAY) == []
    assert landing.days("nobody") == []


def test_nothing_is_visible_before_it_is_published(landing):
    with landing.delivery("shop", "d") as writer:
        writer.write(iter(batches(("2024-03-01", "a"))), SCHEMA)
        assert landing.segments(["shop"], DAY) == []
        assert landing.days("shop") == []
        assert landing.days(STAGING) == []
        writer.publish(NOW)
    assert len(landing.segments(["shop"], DAY)) == 1
    assert list((landing.root / STAGING).iterdir()) == []


def test_a_delivery_that_fails_leaves_nothing(landing):
    def torn():
        yield from batches(("2024-03-01", "a"))
        message = "torn"
        raise KeyError(message)

    with pytest.raises(KeyError, match="torn"), landing.delivery("shop", "d") as writer:
        writer.write(torn(), SCHEMA)
    assert landing.days("shop") == []
    assert list((landing.root / STAGING).iterdir()) == []


def test_the_same_delivery_again_keeps_the_names_it_has(landing):
    first = land(landing, ("2024-03-01", "a"))
    assert land(landing, ("2024-03-01", "a"), at=NOW + timedelta(hours=1)) == first
    assert len(landing.segments(["shop"], DAY)) == 1


def test_another_delivery_with_the_same_rows_is_a_segment_of_its_own(landing):
    land(landing, ("2024-03-01", "a"))
    land(landing, ("2024-03-01", "a"), delivery_id="other")
    assert len(landing.segments(["shop"], DAY)) == 2


def test_two_equal_files_of_one_delivery_are_both_kept(landing):
    """A file that says everything twice, over more days than files may be open at once."""
    rows = [((DAY + timedelta(days=n)).isoformat(), "same") for n in range(100)]
    with landing.delivery("shop", "d") as writer:
        writer.write(iter([*batches(*rows), *batches(*rows)]), SCHEMA)
        published = writer.publish(NOW)
    on_disk = [s for day in landing.days("shop") for s in landing.segments(["shop"], day)]
    assert {s.path for s in on_disk} == {s.path for s in published}
    assert sum(landing.row_count(s) for s in on_disk) == 200
    assert len(on_disk) == len(published)
    assert sorted(landing.collected("shop", [NOW])) == [s.path for s in on_disk]
    assert landing.collected("shop", [NOW + timedelta(seconds=1)]) == []


def test_reading_adds_collection_time_and_segment_and_follows_the_schema(landing):
    (first,) = land(landing, ("2024-03-01", "a"))
    (second,) = land(landing, ("2024-03-01", "b"), delivery_id="e", at=NOW + timedelta(hours=1))
    narrow = pa.schema([("like_count", pa.int64()), ("source_id", pa.large_string())])
    table = pa.Table.from_batches(landing.read([first, second], narrow))
    assert table.schema.names == ["like_count", "source_id", "collected_at", "segment"]
    assert table["source_id"].type == pa.large_string()
    assert table.select(["source_id", "collected_at", "segment"]).to_pylist() == [
        {"source_id": "a", "collected_at": NOW, "segment": first.path},
        {"source_id": "b", "collected_at": NOW + timedelta(hours=1), "segment": second.path},
    ]
    assert list(landing.read([], SCHEMA)) == []


def test_a_removed_segment_is_gone_and_removing_it_again_is_fine(landing):
    (segment,) = land(landing, ("2024-03-01", "a"))
    for _ in range(2):
        landing.remove([segment.path])
        assert landing.days("shop") == []


def test_what_killed_runs_of_a_feed_left_is_cleared_whatever_the_clock_says(landing):
    """By age, a jump of the clock took the staging of a running collection away."""
    for name, age in (("shop-1", 10), ("shop-2", -1e7), ("shop_two-1", 1e7)):
        folder = landing.root / STAGING / name
        folder.mkdir(parents=True)
        (folder / "x.parquet").write_text("")
        os.utime(folder, (time.time() - age, time.time() - age))
    landing.clear_staging("shop")
    assert [path.name for path in (landing.root / STAGING).iterdir()] == ["shop_two-1"]


def test_a_segment_tells_feed_day_and_time_from_its_path():
    segment = Segment("shop/2024-03-01/20240401T123015123456Z-abc-2.parquet")
    assert (segment.feed, segment.day, segment.collected_at) == ("shop", DAY, NOW)
    assert Segment("shop/quarantine/20240401T123015123456Z-abc.parquet").day is None
