"""The report: one HTML file without scripts that shows the published snapshot, and opens from disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from data_platform.storage.files import replace_text
from data_platform.storage.refusals import explained

MAX_DAYS_SHOWN = 400


@dataclass(frozen=True)
class ReportNumbers:
    """What the first screen says; `mean_compound` is -1 to 1, null if nothing was scored."""

    post_count: int
    day_count: int
    duplicate_count: int
    quarantined_count: int
    deleted_count: int
    scored_count: int
    mean_compound: float | None


def read_numbers(snapshot: Path) -> ReportNumbers:
    """Return the totals of the published snapshot."""
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        row = connection.execute(
            """
            SELECT coalesce(sum(post_count), 0)::BIGINT, count(DISTINCT date),
                coalesce(sum(duplicate_count), 0)::BIGINT,
                (SELECT coalesce(sum(quarantined_count), 0)::BIGINT FROM source_health),
                (SELECT coalesce(sum(deleted_count), 0)::BIGINT FROM source_health),
                coalesce(sum(scored_count), 0)::BIGINT,
                sum(mean_compound * scored_count) / nullif(sum(scored_count), 0)
            FROM daily_sentiment
            """
        ).fetchone()
    assert row is not None  # an aggregate without GROUP BY always returns one row
    return ReportNumbers(*row)


def write_report(snapshot: Path, path: Path) -> ReportNumbers:
    """Write the report of `snapshot` to `path`, replacing it in one step.

    Raises:
        StorageError: the disk is full or read-only, or a right is missing.
    """
    numbers = read_numbers(snapshot)
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        tables = {name: _rows(connection, sql) for name, sql in _QUERIES.items()}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("data_platform.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template("report.html").render(
        numbers=numbers,
        days=tables["days"],
        feeds=tables["feeds"],
        languages=tables["languages"],
        sources=tables["sources"],
        volume_chart=_chart(tables["days"], "posts", "Posts a day"),
        sentiment_chart=_chart(tables["days"], "net_sentiment", "Net sentiment (-1 to 1)"),
    )
    with explained(path):
        replace_text(path, html)
    return numbers


_SENTIMENT = """
    sum(post_count)::BIGINT AS posts, sum(scored_count)::BIGINT AS scored,
    sum(negative_count)::BIGINT AS negative, sum(positive_count)::BIGINT AS positive,
    sum(mean_compound * scored_count) / nullif(sum(scored_count), 0) AS mean_compound,
    (sum(positive_count) - sum(negative_count)) / nullif(sum(scored_count), 0)::DOUBLE
        AS net_sentiment
"""
_QUERIES: Mapping[str, str] = {
    "days": f"SELECT * FROM (SELECT date, feed, {_SENTIMENT} FROM daily_sentiment"
    " GROUP BY date, feed) WHERE date > (SELECT max(date) FROM daily_sentiment)"
    f" - INTERVAL {MAX_DAYS_SHOWN} DAY ORDER BY date, feed",
    "feeds": f"SELECT feed, {_SENTIMENT} FROM daily_sentiment GROUP BY feed ORDER BY feed",
    "languages": f"SELECT language, {_SENTIMENT} FROM daily_sentiment GROUP BY language"
    " ORDER BY posts DESC, language",
    "sources": "SELECT * FROM source_health ORDER BY feed",
}


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
    return rows


def _chart(days: list[dict[str, Any]], value: str, title: str) -> str:
    """Return a line per feed over the days, as SVG; altair and its renderer load only here."""
    import altair
    import vl_convert

    points = [
        {"date": row["date"].isoformat(), "feed": row["feed"], "value": row[value]} for row in days
    ]
    chart = (
        altair.Chart(altair.InlineData(values=points))
        .mark_line(point=True)
        .encode(
            x=altair.X("date:T", title="Day of posting (UTC)"),
            y=altair.Y("value:Q", title=title),
            color=altair.Color(
                "feed:N", title="Feed", legend=altair.Legend(orient="bottom", labelLimit=400)
            ),
        )
        .properties(width=760, height=220)
    )
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))
