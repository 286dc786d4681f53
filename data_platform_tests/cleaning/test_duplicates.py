"""Tests of finding copies: what counts as one, which post is the original, whatever the order."""

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_platform.cleaning.duplicates import fold_words, link_copies

Row = tuple[str, str | None, int, str]
CAMPAIGN = "Brand X ruined my holiday, share this with everyone you know!"


def table(rows: list[Row]) -> pa.Table:
    begin = datetime(2026, 1, 2, tzinfo=UTC)
    return pa.table(
        {
            "feedback_id": pa.array([row[0] for row in rows], pa.string()),
            "author_id": pa.array([row[1] for row in rows], pa.string()),
            "posted_at": pa.array(
                [begin + timedelta(minutes=row[2]) for row in rows], pa.timestamp("us", tz="UTC")
            ),
            "words": fold_words(pa.array([row[3] for row in rows], pa.string())),
        }
    )


@pytest.mark.parametrize(
    ("first", "second", "copies"),
    [
        (("a", "thanks"), ("b", "thanks"), False),
        (("a", "thanks"), ("a", "Thanks!!"), True),
        (("a", "thanks"), ("a", "RT  thanks"), True),
        ((None, "thanks"), (None, "thanks"), False),
        (("a", CAMPAIGN), ("b", CAMPAIGN.upper().replace(" ", " -- ")), True),
        ((None, CAMPAIGN), ("b", "RT " + CAMPAIGN), True),
        (("a", ""), ("a", ""), False),
        (("a", "..."), ("a", "!!!"), False),
        (("a", "😀"), ("a", "😡"), False),
        (("a", "Good."), ("a", "Good food"), False),
        (("a", "ÉTÉ"), ("a", "été"), True),
    ],
)
def test_copies_are_the_same_words_by_one_author_or_a_campaign(
    first: tuple[str | None, str], second: tuple[str | None, str], copies: bool
) -> None:
    rows = [("x:1", first[0], 0, first[1]), ("x:2", second[0], 1, second[1])]
    assert link_copies(table(rows)).to_pylist() == [None, "x:1" if copies else None]


def test_the_length_that_makes_a_campaign_is_a_parameter() -> None:
    rows: list[Row] = [("x:1", "a", 0, "so bad"), ("x:2", "b", 1, "so bad")]
    assert link_copies(table(rows), min_campaign_chars=6).to_pylist() == [None, "x:1"]
    assert link_copies(table(rows), min_campaign_chars=7).to_pylist() == [None, None]


def test_the_original_is_the_earliest_then_the_smallest_id() -> None:
    rows: list[Row] = [("x:9", "a", 5, "late"), ("x:2", "a", 1, "late"), ("x:1", "a", 1, "late")]
    assert link_copies(table(rows)).to_pylist() == ["x:1", "x:1", None]


def test_copies_are_looked_for_among_the_posts_of_a_day() -> None:
    next_day = 24 * 60
    rows: list[Row] = [
        ("x:1", "a", 0, CAMPAIGN),
        ("x:2", "a", next_day, CAMPAIGN),
        ("x:3", "b", next_day + 1, CAMPAIGN),
    ]
    assert link_copies(table(rows)).to_pylist() == [None, None, "x:2"]


def test_no_rows_give_no_rows() -> None:
    found = link_copies(table([]))
    assert len(found) == 0
    assert found.type == pa.string()


bodies = st.sampled_from(["thanks", "Thanks!", "rt thanks", "", "bad", CAMPAIGN, CAMPAIGN.lower()])
posts = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 3), bodies), max_size=12
)


@settings(deadline=None, max_examples=60)
@given(posts, st.randoms(use_true_random=False))
def test_any_order_of_rows_links_the_same_and_never_in_chains(
    drawn: list[tuple[str | None, int, str]], shuffler: random.Random
) -> None:
    rows: list[Row] = [(f"x:{i}", *post) for i, post in enumerate(drawn)]
    linked = dict(zip((row[0] for row in rows), link_copies(table(rows)).to_pylist(), strict=True))
    shuffler.shuffle(rows)
    again = dict(zip((row[0] for row in rows), link_copies(table(rows)).to_pylist(), strict=True))
    assert again == linked
    assert all(linked[original] is None for original in linked.values() if original)
