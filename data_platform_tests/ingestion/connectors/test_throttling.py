from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from data_platform.ingestion.connectors.throttling import is_used_up, retry_moment

NOW = datetime(2026, 8, 1, 14, 55, 0, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "90"},
        {"retry-after": format_datetime(after(90), usegmt=True)},
        {"x-ratelimit-reset": "2026-08-01T14:56:30.000000Z"},  # Mastodon
        {"x-rate-limit-reset": str(int(after(90).timestamp()))},  # X
        {"x-ratelimit-reset": str(int(after(90).timestamp()))},  # GitHub
        {"x-ratelimit-reset": "90.0"},  # Reddit
        {"ratelimit-reset": str(int(after(90).timestamp())), "retry-after": "90"},  # Bluesky
    ],
)
@pytest.mark.parametrize("ahead", [0, -3_000, 3_000])
def test_the_moment_is_never_before_the_one_that_the_platform_means(headers, ahead):
    """The platform counts by its own clock, which may be wrong by an hour."""
    there = {"date": format_datetime(after(ahead), usegmt=True)}
    shifted = {}
    for name, value in headers.items():
        moment = value
        if value.isdecimal() and int(value) > 1_000_000:
            moment = str(int(value) + ahead)
        elif "T" in value and value.endswith("Z"):
            moment = (datetime.fromisoformat(value) + timedelta(seconds=ahead)).isoformat()
        elif "GMT" in value:
            moment = format_datetime(after(90 + ahead), usegmt=True)
        shifted[name] = moment
    found = retry_moment({**there, **shifted}, NOW)
    assert found is not None
    assert after(90) <= found <= after(92)


@pytest.mark.parametrize("value", ["", "soon", "-5", "nan", "inf", "1e30", "<html>", "٣"])
def test_nonsense_is_no_moment(value):
    found = retry_moment({"retry-after": value}, NOW)
    assert found is None or NOW <= found <= after(10)


def test_without_a_header_there_is_no_moment():
    assert retry_moment({"date": format_datetime(NOW, usegmt=True)}, NOW) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ratelimit-remaining": "0"}, True),
        ({"x-rate-limit-remaining": "0.0"}, True),
        ({"ratelimit-remaining": "1"}, False),
        ({"x-ratelimit-remaining": "many"}, False),
        ({}, False),
    ],
)
def test_an_empty_allowance_is_seen_before_it_is_refused(headers, expected):
    assert is_used_up(headers) is expected
