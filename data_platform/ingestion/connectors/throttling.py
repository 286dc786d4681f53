"""When a platform says to ask again: the four ways in which answers name that moment, by the platform's own clock."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# RFC 9110 10.2.3: Retry-After is seconds or an HTTP date. The others count down a window: X and
# GitHub write the end of it as seconds since 1970, Reddit as seconds from now, Mastodon as ISO 8601.
RESET_HEADERS = ("x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset")
REMAINING_HEADERS = ("x-ratelimit-remaining", "x-rate-limit-remaining", "ratelimit-remaining")
# Seconds since 1970 are more than this, seconds from now are less: it is 1973, or three years.
SMALLEST_EPOCH = 100_000_000.0
LONGEST = timedelta(days=366)  # who names a later moment is wrong, and asked again by then


def server_time(headers: Mapping[str, str], now: datetime) -> datetime:
    """Return what the platform's clock said, by its Date header; `now` if it has none."""
    return _http_date(headers.get("date")) or now


def retry_moment(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """Return when the platform wants to be asked again, by our clock; None if it does not say.

    Moments are counted from the platform's own clock, so that a clock that is wrong, its or ours,
    does not make the wait shorter. A Date header has whole seconds, so one is added.
    """
    moments = [
        moment
        for name in ("retry-after", *RESET_HEADERS)
        if (moment := _moment(headers.get(name), headers, now)) is not None
    ]
    return max(moments, default=None)


def is_used_up(headers: Mapping[str, str]) -> bool:
    """True if the answer says that no request is left in its window."""
    for name in REMAINING_HEADERS:
        try:
            if float(headers.get(name, "")) < 1:
                return True
        except ValueError:
            continue
    return False


def _moment(text: str | None, headers: Mapping[str, str], now: datetime) -> datetime | None:
    if not text:
        return None
    there = server_time(headers, now)
    try:
        number = float(text)
    except ValueError:
        moment = _iso(text) or _http_date(text)
        return None if moment is None else _ours(moment - there, now)
    if not 0 <= number < 1e11:
        return None
    if number < SMALLEST_EPOCH:
        return now + timedelta(seconds=number)
    return _ours(datetime.fromtimestamp(number, UTC) - there, now)


def _ours(wait: timedelta, now: datetime) -> datetime:
    return now + min(max(wait + timedelta(seconds=1), timedelta()), LONGEST)


def _iso(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
