"""Days in a row: what they span, and which are written together."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_platform.storage.days import DaySpan, spans_of

FIRST = date(2024, 2, 27)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def test_a_span_holds_its_ends_and_is_a_half_open_window():
    span = DaySpan.around([day(3), day(0), day(1)])
    assert list(span) == [day(0), day(1), day(2), day(3)]
    assert len(span) == 4
    assert day(2) in span
    assert day(4) not in span
    assert span.bounds == (
        datetime(2024, 2, 27, tzinfo=UTC),
        datetime(2024, 3, 2, tzinfo=UTC),
    )
    assert str(span) == "2024-02-27 to 2024-03-01"
    assert str(DaySpan.of(day(0))) == "2024-02-27"


@pytest.mark.parametrize(
    ("weights", "spans"),
    [
        ([], []),
        ([5], [(0, 0)]),
        ([1, 1, 1, 1], [(0, 3)]),
        ([4, 4, 4, 4], [(0, 1), (2, 3)]),
        ([20, 1, 1], [(0, 0), (1, 2)]),
        ([1, 20, 1], [(0, 0), (1, 1), (2, 2)]),
        ([0, 0, 0], [(0, 2)]),
    ],
)
def test_small_days_go_together_and_a_large_one_alone(weights, spans):
    weighed = {day(number): weight for number, weight in enumerate(weights)}
    expected = [DaySpan(day(first), day(last)) for first, last in spans]
    assert list(spans_of(weighed, weighed, 10)) == expected


@given(st.dictionaries(st.integers(0, 40).map(day), st.integers(0, 12)), st.integers(1, 20))
def test_every_day_is_in_one_span_and_no_other_day_is(weights, limit):
    spans = list(spans_of(weights, weights, limit))
    assert [found for span in spans for found in span] == sorted(weights)
    assert all(len(span) == 1 or sum(weights[d] for d in span) <= limit for span in spans)
