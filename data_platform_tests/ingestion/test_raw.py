"""raw_feedback: what becomes of posts, edits, corrections and deletions, in whatever order they arrive."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_platform.errors import InputMovedError
from data_platform.ingestion.contract import DAY_NOT_OPEN, REFUSED_SCHEMA
from data_platform.ingestion.raw import load_days, load_quarantine
from data_platform.schemas import CONTRACT_VERSION, QUARANTINED_FEEDBACK, RAW_FEEDBACK, TABLES
from data_platform.storage.days import DaySpan
from data_platform.storage.landing import FOLDER_COLUMN, QUARANTINE, LandingZone, Segment
from data_platform.storage.warehouse import DayWrite, Transaction, Warehouse, days_filter
from data_platform_tests.ingestion.conftest import COLLECTED_AT, FIRST_DAY, instant, land, post

Post = dict[str, Any]


def day_of(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)


def load(
    warehouse: Warehouse, landing: LandingZone, day: int = 0, feeds: Sequence[str] = ("shop",)
) -> list[DayWrite]:
    """Load one day in its own transaction."""
    with warehouse.transaction() as transaction:
        return load_days(transaction, landing, feeds, DaySpan.of(day_of(day)))


def rows(warehouse: Warehouse, *columns: str) -> list[tuple[Any, ...]]:
    """Return all rows of raw_feedback in these columns, sorted as text."""
    with warehouse.transaction() as transaction:
        found = transaction.connection.execute(
            f"SELECT {', '.join(columns)} FROM raw_feedback"
        ).fetchall()
    return sorted(found, key=str)


def fates(write: DayWrite) -> dict[str, float]:
    return dict(write.numbers or {})


def test_a_new_post_becomes_a_row_and_counts_once(warehouse, landing):
    segments = land(landing, [post(1), post(2)])
    (write,) = load(warehouse, landing)
    assert fates(write) == {"read": 2, "inserted": 2, "merged": 0, "unchanged": 0}
    assert write.row_count == 2
    assert write.changed
    assert rows(warehouse, "source_id", "segment", "collected_at", "is_current") == [
        ("1", segments[0].path, COLLECTED_AT, True),
        ("2", segments[0].path, COLLECTED_AT, True),
    ]


def test_a_day_loaded_twice_stays_as_it_is(warehouse, landing):
    land(landing, [post(1)])
    (first,) = load(warehouse, landing)
    (second,) = load(warehouse, landing)
    assert second.digest == first.digest
    assert not second.changed
    assert fates(second)["read"] == 0


def test_a_day_without_segments_is_written_empty(warehouse, landing):
    (write,) = load(warehouse, landing)
    assert write.row_count == 0
    assert fates(write) == {"read": 0, "inserted": 0, "merged": 0, "unchanged": 0}


def test_the_same_observation_by_a_later_file_is_unchanged(warehouse, landing):
    land(landing, [post(1)], delivery_id="first")
    load(warehouse, landing)
    land(landing, [post(1, observed_at=instant(11))], delivery_id="second")
    (write,) = load(warehouse, landing)
    assert fates(write) == {"read": 1, "inserted": 0, "merged": 0, "unchanged": 1}
    assert not write.changed


def test_new_counters_are_merged_into_the_version_that_is_there(warehouse, landing):
    land(landing, [post(1, like_count=1)], delivery_id="first")
    load(warehouse, landing)
    land(landing, [post(1, like_count=5, observed_at=instant(11))], delivery_id="second")
    (write,) = load(warehouse, landing)
    assert fates(write) == {"read": 1, "inserted": 0, "merged": 1, "unchanged": 0}
    assert rows(warehouse, "like_count") == [(5,)]


def test_an_older_observation_that_arrives_later_does_not_win(warehouse, landing):
    land(landing, [post(1, like_count=5, observed_at=instant(11))], delivery_id="first")
    load(warehouse, landing)
    land(landing, [post(1, like_count=1, observed_at=instant(10))], delivery_id="second")
    load(warehouse, landing)
    assert rows(warehouse, "like_count", "observed_at") == [(5, instant(11))]


@pytest.mark.parametrize("order", [(7, 30), (30, 7)])
def test_of_two_observations_at_the_same_time_the_smallest_json_wins(warehouse, landing, order):
    for likes in order:
        land(landing, [post(1, like_count=likes)], delivery_id=f"{likes}")
        load(warehouse, landing)
    assert rows(warehouse, "like_count") == [(30,)]  # as text, 30 is before 7


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_an_edit_is_a_version_of_its_own_and_the_later_file_holds(warehouse, landing, order):
    versions = {"old": post(1, body="old"), "new": post(1, body="new", observed_at=instant(11))}
    for name in order:
        land(landing, [versions[name]], delivery_id=name)
        load(warehouse, landing)
    assert rows(warehouse, "body", "is_current") == [("new", True), ("old", False)]


def test_an_edit_time_beats_the_time_of_observation(warehouse, landing):
    edited = post(1, body="edited", edited_at=instant(2), observed_at=instant(10))
    land(landing, [edited, post(1, body="first", observed_at=instant(12))])
    load(warehouse, landing)
    assert rows(warehouse, "body", "is_current", "version_at") == [
        ("edited", True, instant(2)),
        ("first", False, instant(12)),
    ]


def test_an_edit_is_reported_even_where_it_arrives_with_the_original(warehouse, landing):
    versions = [post(1, body="a"), post(1, body="b", observed_at=instant(11)), post(1, body="a")]
    land(landing, versions)
    (write,) = load(warehouse, landing)
    assert fates(write) == {"read": 3, "inserted": 2, "merged": 0, "unchanged": 1}


TOMBSTONE = post(1, is_deleted=True, observed_at=instant(11))


def test_a_deletion_empties_every_version_and_leaves_one_row(warehouse, landing):
    personal = {"url": "https://shop.example/1", "source_metadata": '{"a": 1}', "title": "t"}
    land(landing, [post(1, **personal), post(1, body="edited", **personal), post(2)])
    load(warehouse, landing)
    land(landing, [TOMBSTONE], delivery_id="deletion")
    load(warehouse, landing)
    kept = ("source_id", "is_deleted", "is_current", "body", "title", "author_id", "url")
    assert rows(warehouse, *kept, "source_metadata") == [
        ("1", True, True, None, None, None, None, None),
        ("2", False, True, "a fine shop", None, "a" * 32, None, None),
    ]


@pytest.mark.parametrize(
    "late", [{}, {"body": "edited"}, {"observed_at": instant(20)}, {"edited_at": instant(20)}]
)
def test_no_later_delivery_brings_a_deleted_text_back(warehouse, landing, late):
    land(landing, [post(1)], delivery_id="first")
    load(warehouse, landing)
    land(landing, [TOMBSTONE], delivery_id="deletion")
    (after_deletion,) = load(warehouse, landing)
    land(landing, [post(1, **late)], delivery_id="late")
    (write,) = load(warehouse, landing)
    assert rows(warehouse, "body", "is_deleted") == [(None, True)]
    assert write.digest == after_deletion.digest
    assert not write.changed


def test_a_record_that_a_deletion_swallows_is_not_counted_as_a_row(warehouse, landing):
    land(landing, [TOMBSTONE], delivery_id="deletion")
    load(warehouse, landing)
    land(landing, [post(1)], delivery_id="late")
    (write,) = load(warehouse, landing)
    assert fates(write)["inserted"] == 0
    assert fates(write)["read"] == 1


@pytest.mark.parametrize("order", [(0, 2), (2, 0)])
def test_a_corrected_date_moves_the_post_and_both_days_are_reported(warehouse, landing, order):
    right = {"observed_at": instant(11)}
    land(landing, [post(1, day=0)], delivery_id="wrong")
    land(landing, [post(1, day=2, **right)], delivery_id="right")
    load(warehouse, landing, order[0])
    writes = load(warehouse, landing, order[1])
    assert [write.day for write in writes] == [day_of(order[1]), day_of(abs(order[1] - 2))]
    assert rows(warehouse, "source_id", "posted_at") == [("1", instant(2))]
    with warehouse.transaction() as transaction:
        for number, expected in ((0, 0), (2, 1)):
            day = day_of(number)
            assert rows_of(transaction, day) == expected
            recorded = transaction.digests(["raw_feedback"], DaySpan.of(day))[day]["raw_feedback"]
            assert recorded.startswith(f"{expected:x}-")


def test_all_versions_of_a_post_stand_on_the_day_of_the_current_one(warehouse, landing):
    land(landing, [post(1, day=0, body="old")], delivery_id="old")
    land(landing, [post(1, day=1, body="new", observed_at=instant(11))], delivery_id="new")
    load(warehouse, landing, 0)
    load(warehouse, landing, 1)
    assert rows(warehouse, "body", "posted_at") == [("new", instant(1)), ("old", instant(1))]


def test_a_day_is_loaded_anew_when_a_segment_was_replaced(warehouse, landing):
    """A changed mapping writes new segments; what only the old ones said must not stay."""
    old = land(landing, [post(1, body="misread"), post(2)], delivery_id="old")
    other = [post(3, feed="other", feedback_id="other:3")]
    land(landing, other, feed="other", delivery_id="other")
    load(warehouse, landing, feeds=["other", "shop"])
    landing.remove([old[0].path])
    land(landing, [post(1, body="read well")], delivery_id="new")
    (write,) = load(warehouse, landing, feeds=["other", "shop"])
    assert rows(warehouse, "feedback_id", "body") == [
        ("other:3", "a fine shop"),
        ("shop:1", "read well"),
    ]
    assert write.row_count == 2


def test_a_replaced_segment_leaves_what_other_days_folders_say_of_its_posts(warehouse, landing):
    """Feed b corrected a date of feed a's post, and is read anew: a's own record must hold again."""
    land(landing, [post(1, day=0, feed="a")], feed="a", delivery_id="a")
    corrected = post(1, day=2, feed="b", observed_at=instant(11))
    gone = land(landing, [corrected], feed="b", delivery_id="b")
    for day in (0, 2):
        load(warehouse, landing, day, ["a", "b"])
    landing.remove([gone[0].path])
    for day in (0, 2):
        load(warehouse, landing, day, ["a", "b"])
    assert rows(warehouse, "feed", "posted_at", "is_current") == [("a", instant(0), True)]


def test_a_replaced_segment_leaves_what_a_removed_feed_says_of_its_posts(warehouse, landing):
    """Both feeds told of the post on the same day; b's record must be the current one again."""
    land(landing, [post(1, body="old", feed="b")], feed="b", delivery_id="b")
    newer = post(1, body="new", feed="a", observed_at=instant(11))
    gone = land(landing, [newer, post(2, feed="a")], feed="a", delivery_id="a")
    load(warehouse, landing, feeds=["a", "b"])
    landing.remove([gone[0].path])
    load(warehouse, landing, feeds=["a"])
    assert rows(warehouse, "feed", "body", "is_current") == [("b", "old", True)]


def test_a_deletion_that_is_read_anew_as_a_post_gives_back_what_other_days_said(warehouse, landing):
    land(landing, [post(1, day=0, body="hello")], delivery_id="a")
    gone = land(landing, [post(1, day=2, is_deleted=True)], delivery_id="b")
    for day in (0, 2):
        load(warehouse, landing, day)
    assert rows(warehouse, "body") == [(None,)]
    landing.remove([gone[0].path])
    load(warehouse, landing, 2)
    assert rows(warehouse, "body", "posted_at") == [("hello", instant(0))]


def test_a_removed_feed_keeps_its_rows(warehouse, landing):
    segments = land(landing, [post(1)])
    load(warehouse, landing)
    landing.remove([segments[0].path])
    load(warehouse, landing, feeds=["other"])
    assert rows(warehouse, "source_id") == [("1",)]


# What a source may say of one post at one time: an edit, a correction, a deletion, all of them.
RECORDS = st.builds(
    lambda number, day, body, likes, edited, observed, is_deleted, language: post(
        number,
        day,
        body=body,
        like_count=likes,
        edited_at=instant(edited) if edited is not None else None,
        observed_at=instant(10 + observed),
        is_deleted=is_deleted,
        language_hint=language,
        source_metadata=None if is_deleted else f'{{"likes": {likes}}}',
    ),
    number=st.integers(1, 2),
    day=st.integers(0, 2),
    body=st.sampled_from(["good", "bad"]),
    likes=st.sampled_from([None, 1, 20]),
    edited=st.sampled_from([None, None, 3, 4]),
    observed=st.integers(0, 2),
    is_deleted=st.sampled_from([False] * 9 + [True]),
    language=st.sampled_from([None, "en"]),
)


@st.composite
def two_ways(draw: st.DrawFn) -> tuple[list[list[Post]], list[list[Post]]]:
    """The same records, delivered and loaded in two ways: other order, split and repetition."""
    records = draw(st.lists(RECORDS, min_size=1, max_size=6))

    def split(items: list[Post]) -> list[list[Post]]:
        parts = [[items[0]]]
        for item in items[1:]:
            if draw(st.booleans()):
                parts.append([])
            parts[-1].append(item)
        return parts

    again = draw(st.lists(st.sampled_from(records), max_size=2))
    return split(records), split([*draw(st.permutations(records)), *again])


def final_state(deliveries: Iterable[list[Post]]) -> tuple[object, object, Mapping[date, str]]:
    """Deliver and load; return digest, current rows, and the recorded digest of each day.

    In memory, in one session: a file would be created and closed some thousand times.
    """
    folder = Path(tempfile.mkdtemp())
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in TABLES.values():
            connection.execute(table.ddl)
        landing, transaction = LandingZone(folder), Transaction(connection)
        for number, delivery in enumerate(deliveries):
            collected_at = COLLECTED_AT + timedelta(seconds=number)
            land(landing, delivery, delivery_id=f"{number}", collected_at=collected_at)
            with_posts = {record["posted_at"].date() for record in delivery}
            # In every third step the days are loaded together.
            together = [DaySpan.around(with_posts)] if number % 3 == 2 and with_posts else []
            alone = [DaySpan.of(day) for day in sorted(with_posts, reverse=number % 2 == 1)]
            for days in together or alone:
                load_days(transaction, landing, ["shop"], days)
                drop_temporary_tables(connection)
        shutil.rmtree(folder)
        recorded: dict[date, str] = {}
        for number in range(3):
            day = day_of(number)
            digests = transaction.digests(["raw_feedback"], DaySpan.of(day))
            recorded[day] = digests[day]["raw_feedback"]
            found = rows_of(transaction, day)
            assert int(recorded[day].split("-")[0] or "0", 16) == found
        current = transaction.arrow(
            "SELECT feedback_id, content_hash, posted_at, is_current FROM raw_feedback"
            " WHERE is_current ORDER BY ALL"
        ).to_pylist()
        posts = transaction.count("SELECT count(DISTINCT feedback_id) FROM raw_feedback")
        assert len(current) == posts, "every post has one current version"
        return transaction.digest(RAW_FEEDBACK), current, recorded


def drop_temporary_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Do what the end of a session does; `load_days` is called once for each."""
    for kind in ("view", "table"):
        names = f"SELECT {kind}_name FROM duckdb_{kind}s() WHERE temporary AND NOT internal"
        for (name,) in connection.execute(names).fetchall():
            connection.execute(f"DROP {kind} {name}")


def rows_of(transaction: Transaction, day: date) -> int:
    where, bounds = days_filter(RAW_FEEDBACK, DaySpan.of(day))
    return transaction.count(f"SELECT count(*) FROM raw_feedback WHERE {where}", bounds)


BACK_TO_UNEDITED = [
    post(1, 0, body="good", observed_at=instant(12)),
    post(1, 1, body="bad", observed_at=instant(10), edited_at=instant(3)),
    post(1, 1, body="bad", observed_at=instant(11)),
]


@settings(deadline=None, max_examples=12)
@given(two_ways())
@example(
    ([[p] for p in BACK_TO_UNEDITED], [[BACK_TO_UNEDITED[2]], BACK_TO_UNEDITED[:2]]),
)
def test_any_order_and_any_split_of_deliveries_ends_in_the_same_rows(ways):
    one, other = ways
    one_digest, one_current, one_days = final_state(one)
    other_digest, other_current, other_days = final_state(other)
    assert one_current == other_current
    assert one_digest == other_digest
    for day, digest in one_days.items():
        # '' and an empty day are the same content: one way never had a reason to write it
        assert digest.lstrip("0-") == other_days[day].lstrip("0-")


def quarantine(landing: LandingZone, name: str, records: Sequence[Mapping[str, Any]]) -> str:
    """Land refused records as one delivery; return the path of their segment."""
    table = pa.Table.from_pylist(
        [
            {
                "quarantine_id": f"{name}-{number}",
                "feed": "shop",
                "contract_version": CONTRACT_VERSION,
                "reason": "body is empty",
                "file": f"{name}.csv",
                **record,
            }
            for number, record in enumerate(records)
        ],
        schema=REFUSED_SCHEMA,
    )
    folder = pa.array([QUARANTINE] * len(table), pa.string())
    with landing.delivery("shop", name) as writer:
        writer.write(iter(table.append_column(FOLDER_COLUMN, folder).to_batches()), REFUSED_SCHEMA)
        return writer.publish(COLLECTED_AT)[0].path


def held(warehouse: Warehouse, landing: LandingZone, first: int = 0, last: int = 5) -> list[str]:
    """Load the quarantine and return the ids that it holds."""
    with warehouse.transaction() as transaction:
        load_quarantine(transaction, landing, ["shop"], day_of(first), day_of(last))
        return [
            row["quarantine_id"]
            for row in transaction.arrow(
                f"SELECT quarantine_id FROM {QUARANTINED_FEEDBACK.name} ORDER BY ALL"
            ).to_pylist()
        ]


def test_refused_records_appear_and_leave_with_their_segment(warehouse, landing):
    assert held(warehouse, landing) == []
    first = quarantine(landing, "a", [{"row_number": 1}, {"row_number": 2}])
    quarantine(landing, "b", [{"row_number": 1}])
    assert held(warehouse, landing) == ["a-0", "a-1", "b-0"]
    assert held(warehouse, landing) == ["a-0", "a-1", "b-0"]
    landing.remove([first])
    assert held(warehouse, landing) == ["b-0"]


def test_a_waiting_post_leaves_the_quarantine_when_its_day_opens(warehouse, landing):
    waiting = {"reason": DAY_NOT_OPEN, "posted_date": day_of(7)}
    quarantine(landing, "a", [waiting, {"posted_date": day_of(7)}])
    assert held(warehouse, landing, last=6) == ["a-0", "a-1"]
    assert held(warehouse, landing, last=7) == ["a-1"]


def test_a_post_that_was_loaded_does_not_wait_when_its_day_closes_again(warehouse, landing):
    waiting = {"reason": DAY_NOT_OPEN, "posted_date": day_of(7)}
    quarantine(landing, "a", [waiting, {"posted_date": day_of(7)}])
    land(landing, [post(1, day=7)])
    load(warehouse, landing, day=7)
    assert held(warehouse, landing, last=6) == ["a-1"]


class Replacing(LandingZone):
    """A landing zone in which a collection replaces segments after they were listed."""

    def __init__(self, root: Path, replace: Sequence[str]) -> None:
        super().__init__(root)
        self.left = list(replace)

    def read(self, segments: Sequence[Segment], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        if self.left:
            self.remove([self.left.pop()])
        return super().read(segments, schema)


def test_a_segment_that_a_collection_replaces_meanwhile_is_listed_anew(warehouse, landing):
    land(landing, [post(1)], delivery_id="a")
    gone = land(landing, [post(2)], delivery_id="b")
    replacing = Replacing(landing.root, [gone[0].path])
    with pytest.raises(InputMovedError, match="replaced them"):
        load(warehouse, replacing)
    assert rows(warehouse, "source_id") == []
    replacing.left = [land(landing, [post(2)], delivery_id="b")[0].path]
    warehouse.written(lambda t: load_days(t, replacing, ["shop"], DaySpan.of(day_of(0))))
    assert rows(warehouse, "source_id") == [("1",)]


def test_a_quarantine_segment_that_is_replaced_meanwhile_is_listed_anew(warehouse, landing):
    quarantine(landing, "a", [{"row_number": 1}])
    replacing = Replacing(landing.root, [quarantine(landing, "b", [{"row_number": 1}])])
    warehouse.written(lambda t: load_quarantine(t, replacing, ["shop"], day_of(0), day_of(9)))
    assert held(warehouse, landing) == ["a-0"]


def test_a_read_that_fails_though_every_segment_is_there_surfaces_as_it_is(warehouse, landing):
    segments = land(landing, [post(1)])
    (landing.root / segments[0].path).write_bytes(b"no Parquet")
    with pytest.raises(duckdb.Error):
        load(warehouse, landing)


def test_the_same_refused_record_in_two_segments_is_held_once(warehouse, landing):
    """A crash between publishing and the ledger can leave the same records in two segments."""
    quarantine(landing, "a", [{"row_number": 1, "quarantine_id": "same"}])
    quarantine(landing, "b", [{"row_number": 1, "quarantine_id": "same"}])
    assert held(warehouse, landing) == ["same"]
