"""Days as half-open windows in UTC, as every partition, filter and folder name uses them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the start of `day` (UTC, included) and of the next day (excluded)."""
    start = datetime.combine(day, time.min, tzinfo=UTC)
    return start, start + timedelta(days=1)


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield every day from `first` to `last`, both included; nothing if `last` is before `first`."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


@dataclass(frozen=True)
class DaySpan:
    """Consecutive days, `first` and `last` included; they are written in one transaction."""

    first: date
    last: date

    @classmethod
    def of(cls, day: date) -> "DaySpan":
        return cls(day, day)

    @classmethod
    def around(cls, days: Iterable[date]) -> "DaySpan":
        """Return the shortest span that holds all of `days`."""
        ordered = sorted(days)
        return cls(ordered[0], ordered[-1])

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """Start of the first day (UTC, included) and end of the last (excluded)."""
        return day_bounds(self.first)[0], day_bounds(self.last)[1]

    def __iter__(self) -> Iterator[date]:
        return days_between(self.first, self.last)

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.first <= day <= self.last

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __str__(self) -> str:
        return f"{self.first} to {self.last}" if len(self) > 1 else str(self.first)


def spans_of(days: Iterable[date], weights: Mapping[date, int], limit: int) -> Iterator[DaySpan]:
    """Yield `days` in order as spans of consecutive days.

    Args:
        weights: what each day weighs; nothing if it is missing.
        limit: a span of more than one day does not weigh more.
    """
    first = last = None
    total = 0
    for day in sorted(days):
        weight = weights.get(day, 0)
        if first and last and (day != last + timedelta(days=1) or total + weight > limit):
            yield DaySpan(first, last)
            first, total = None, 0
        first, last, total = first or day, day, total + weight
    if first and last:
        yield DaySpan(first, last)


def utc_today() -> date:
    """Return the current day in UTC, whatever time zone the machine is set to."""
    return datetime.now(UTC).date()
