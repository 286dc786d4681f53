"""Coverage: for each feed and day, whether everything that the source offers is stored, and why not."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from data_platform.feed_settings import interval
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.windows import OpenWindow, Unreachable
from data_platform.schemas import FEED_COVERAGE
from data_platform.storage.days import day_bounds, days_between
from data_platform.storage.warehouse import MergeCounts, RuleResult, Transaction

Stretch = tuple[datetime, datetime]
# Worst first, as a chart shows them.
COLORS = {
    "open gap": "#c62828",
    "unreachable": "#8d6e63",
    "partial": "#f9a825",
    "not collected": "#cfd8dc",
    "complete": "#2e7d32",
}


def measure_coverage(feeds: Feeds, now: datetime) -> pa.Table:
    """Return one row for each feed and open day, in the columns of feed_coverage.

    A day of today counts as complete up to the end of the last collection but one: a feed that
    was collected within twice its `every` is up to date.
    """
    rows: list[dict[str, Any]] = []
    first, last = feeds.open_days.first, feeds.open_days.last
    for name in feeds.names:
        counts = {
            day: sum(map(feeds.landing.row_count, feeds.landing.segments([name], day)))
            for day in feeds.landing.days(name)
        }
        days = list(days_between(first, last))
        if feeds.is_pulled(name):
            rows += _pulled_days(feeds, name, days, now)
        else:
            rows += [_delivered_day(name, day, counts.get(day, 0)) for day in days]
        for row in rows:
            if row["feed"] == name:
                row["landed_count"] = counts.get(row["date"], 0)
    return pa.Table.from_pylist(rows, schema=FEED_COVERAGE.arrow_schema)


def refresh_coverage(
    transaction: Transaction, coverage: pa.Table
) -> tuple[MergeCounts, tuple[RuleResult, ...]]:
    """Make feed_coverage hold `coverage`."""
    transaction.connection.register("measured_coverage", coverage)
    counts = transaction.merge(FEED_COVERAGE, "measured_coverage", delete_where="TRUE")
    return counts, transaction.audit_all(FEED_COVERAGE)


def coverage_chart(coverage: pa.Table) -> str:
    """Return feeds by days, colored by status, as SVG; altair and its renderer load only here."""
    import altair
    import vl_convert

    points = [
        {"date": row["date"].isoformat(), "feed": row["feed"], "status": row["status"]}
        for row in coverage.select(["date", "feed", "status"]).to_pylist()
    ]
    feeds = len({point["feed"] for point in points})
    chart = (
        altair.Chart(altair.InlineData(values=points))
        .mark_rect()
        .encode(
            x=altair.X("yearmonthdate(date):T", title="Day of posting (UTC)"),
            y=altair.Y("feed:N", title=None, axis=altair.Axis(labelLimit=300, minExtent=160)),
            color=altair.Color(
                "status:N",
                title=None,
                scale=altair.Scale(domain=list(COLORS), range=list(COLORS.values())),
                legend=altair.Legend(orient="bottom"),
            ),
        )
        .properties(width=760, height=max(24 * feeds, 48))
    )
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))


def _delivered_day(feed: str, day: date, count: int) -> dict[str, Any]:
    return {
        "feed": feed,
        "date": day,
        "status": "complete" if count else "not collected",
        "reason": None if count else "nothing of this day was delivered",
        "covered_share": 1.0 if count else 0.0,
        "stream_count": 1,
    }


def _pulled_days(
    feeds: Feeds, name: str, days: Sequence[date], now: datetime
) -> list[dict[str, Any]]:
    covered = feeds.ledger.covered(name)
    windows = feeds.ledger.open_windows(name)
    unreachable = feeds.ledger.unreachable(name)
    streams = {*covered, *(w.window.stream for w in windows), *(u.stream for u in unreachable)}
    slack = 2 * interval(feeds.every(name))
    rows = []
    for day in days:
        since, until = day_bounds(day)
        end = max(min(until, now - slack), since)
        share = _share(covered, streams, since, end)
        status, reason = _judge(share, windows, unreachable, since, end, bool(streams))
        rows.append(
            {
                "feed": name,
                "date": day,
                "status": status,
                "reason": reason,
                "covered_share": share,
                "stream_count": len(streams),
            }
        )
    return rows


def _judge(
    share: float,
    windows: Sequence[OpenWindow],
    unreachable: Sequence[Unreachable],
    since: datetime,
    until: datetime,
    is_known: bool,
) -> tuple[str, str | None]:
    """Return the status of a stretch of time, and why it is not complete."""
    now = datetime.now(UTC)
    gaps = [
        w
        for w in windows
        if w.window.since < until and w.window.until > since and (w.is_gap(now) or share < 1)
    ]
    if is_known and share >= 1:
        return "complete", None
    if gaps:
        return "open gap", f"{gaps[0].window.stream}: {gaps[0].reason}"
    lost = [u for u in unreachable if u.since < until and u.until > since]
    if lost:
        return "unreachable", f"{lost[0].stream}: {lost[0].reason}"
    if share > 0:
        return "partial", f"{share:.0%} of the day is collected"
    return "not collected", "no collection has asked for this day yet"


def _share(
    covered: Mapping[str, Sequence[Stretch]], streams: set[str], since: datetime, until: datetime
) -> float:
    """Return which share of a stretch of time is collected, over all streams."""
    if not streams:
        return 0.0
    if until <= since:
        return 1.0
    seconds = sum(
        max((min(b, until) - max(a, since)).total_seconds(), 0.0)
        for stream in streams
        for a, b in covered.get(stream, ())
    )
    return min(seconds / ((until - since) / timedelta(seconds=1) * len(streams)), 1.0)
