"""Dates in every dialect: read right, or refused with the format that would read them."""

from datetime import UTC, datetime

import duckdb
import pytest

from data_platform.ingestion.dates import format_advice, is_swapped_sql, time_sql
from data_platform_tests.ingestion.conftest import file_feed

NOON = datetime(2024, 3, 25, 12, tzinfo=UTC)


def read(text: str, **changes: str) -> datetime | None:
    feed = file_feed(**changes)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        row = connection.execute(
            f"SELECT epoch_us({time_sql('given', feed)}) FROM (SELECT ? AS given)", [text]
        ).fetchone()
    assert row is not None
    return None if row[0] is None else datetime.fromtimestamp(row[0] / 1e6, UTC)


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("1711368000", "epoch_seconds", NOON),
        ("1711368000.0", "epoch_seconds", NOON),
        ("1711368000000", "epoch_milliseconds", NOON),
        ("1711368000000000", "epoch_microseconds", NOON),
        ("1711368000", "epoch_milliseconds", None),
        ("1711368000000", "epoch_seconds", None),
        ("0", "epoch_seconds", None),
        ("25.03.24 12:00", "%d.%m.%y %H:%M", NOON),
        ("25.03.24 12:00", "%d.%m.%Y %H:%M", None),
        ("03/25/2024 12:00 PM", "%m/%d/%Y %I:%M %p", NOON),
        ("03/25/2024", None, None),
        ("25.03.24", None, None),
        ("1711368000", None, None),
        ("45376.5", None, None),
    ],
)
def test_a_date_is_read_under_its_format_only(text, pattern, expected):
    changes = {"posted_at_format": pattern} if pattern else {}
    assert read(text, **changes) == expected


@pytest.mark.parametrize(
    ("dates", "advice"),
    [
        (["1711368000", "1711368001.5"], "epoch_seconds"),
        (["1711368000000"], "epoch_milliseconds"),
        (["1711368000000000"], "epoch_microseconds"),
        (["25/03/2024", "01/02/2024"], "They look like posted_at_format: '%d/%m/%Y'."),
        (["03/25/2024 10:00 PM"], "'%m/%d/%Y %I:%M %p'"),
        (["03/04/2024", "05/06/2024"], "'%d/%m/%Y' or '%m/%d/%Y'; which one"),
        (["25.03.24"], "'%d.%m.%y'"),
        (["25 Mar 2024 12:00:00 +0100"], "'%d %b %Y %H:%M:%S %z'"),
        (["2024-03-25T12:00:00Z"], "leave posted_at_format out"),
        (["a word", "another"], ""),
        (["", " "], ""),
        ([], ""),
    ],
)
def test_dates_that_could_not_be_read_are_told_their_format(dates, advice):
    found = format_advice(dates)
    assert advice in found
    assert bool(advice) == bool(found)


@pytest.mark.parametrize(
    ("text", "pattern", "is_swapped"),
    [
        ("03/25/2024", "%d/%m/%Y", True),
        ("25/03/2024", "%d/%m/%Y", True),  # the caller asks only of dates that cannot be read
        ("31/31/2024", "%d/%m/%Y", False),
        ("03/25/2024", "%Y-%j", False),
        ("03/25/2024", None, False),
    ],
)
def test_a_date_with_day_and_month_exchanged_is_recognised(text, pattern, is_swapped):
    changes = {"posted_at_format": pattern} if pattern else {}
    swapped = is_swapped_sql("given", file_feed(**changes))
    row = duckdb.execute(f"SELECT {swapped} FROM (SELECT ? AS given)", [text]).fetchone()
    expected = is_swapped and text != "25/03/2024"
    assert row == (expected,)


@pytest.mark.parametrize("date", ["²", "1²", "٣", "1.٣"])
def test_digits_that_are_no_numbers_have_no_format(date):
    assert "epoch" not in format_advice([date])
