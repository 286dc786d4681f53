"""Days as half-open windows in UTC, as every partition, filter and folder name uses them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the start of `day` (UTC, included) and of the next day (excluded)."""
    start = datetime.combine(day, time.min, tzinfo=UTC)
    return start, start + timedelta(days=1)


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield every day from `first` to `last`, both included; nothing if `last` is before `first`."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def utc_today() -> date:
    """Return the current day in UTC, whatever time zone the machine is set to."""
    return datetime.now(UTC).date()
