"""What shows an alert to a person: the days before it, typical posts, and where to look; never stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

from data_platform.monitoring.alerts import (
    CHANNEL_FAILED,
    DAEMON_SILENT,
    INCIDENT,
    SENSOR_FAILED,
    SENSOR_SILENT,
    SENSOR_STOPPED,
    feed_of,
)
from data_platform.monitoring.harmless import harmless_quote
from data_platform.monitoring.incident_alerts import NAMES, SLACK_DAYS, SUBJECT
from data_platform.schemas import TABLES
from data_platform.schemas.signals import ALL_TOPICS
from data_platform.storage.days import DaySpan, days_between
from data_platform.storage.warehouse import Transaction, days_filter

SHOWN_DAYS = 28
DAYS_AFTER = 3
BLOCKS = "▁▂▃▄▅▆▇█"
NO_VALUE = "·"
POSTS_COMPARED = 500

_SERIES = """
    SELECT date, sum(post_count), sum(negative_count), sum(scored_count)
    FROM {table} WHERE feed = ? AND date BETWEEN ? AND ?{topic} GROUP BY date
"""
# The posts that share the most words with the others of the day: what many people say.
_TYPICAL = """
    WITH posts AS (
        SELECT c.feedback_id, c.body_clean FROM cleaned_feedback c {joins}
        WHERE c.feed = ? AND {day} AND c.duplicate_of IS NULL AND c.body_clean <> ''{which}
        ORDER BY hash(c.feedback_id), c.feedback_id LIMIT ?
    ), words AS (
        SELECT feedback_id, unnest(list_distinct(
            regexp_extract_all(lower(body_clean), '[\\p{{L}}]{{4,}}'))) AS word FROM posts
    ), counts AS (SELECT word, count(*) AS post_count FROM words GROUP BY word)
    SELECT body_clean FROM posts LEFT JOIN (
        SELECT feedback_id, sum(ln(post_count)) / greatest(count(*), 5) AS shared
        FROM words JOIN counts USING (word) GROUP BY feedback_id
    ) USING (feedback_id) ORDER BY shared DESC NULLS LAST, feedback_id LIMIT ?
"""


@dataclass(frozen=True)
class Series:
    """Values of a feed or topic by day.

    Attributes:
        name: what is measured: posts, or negative share (0 to 1).
        values: of the days from `first` on; None: no post that day.
    """

    name: str
    first: date
    values: Sequence[float | None]

    @property
    def last(self) -> date:
        return self.first + timedelta(days=len(self.values) - 1)

    @property
    def sparkline(self) -> str:
        """One character a day, from 0 to the greatest value; a dot for a day without one."""
        top = max((v for v in self.values if v is not None), default=0.0) or 1.0
        return "".join(
            NO_VALUE if v is None else BLOCKS[round(v / top * (len(BLOCKS) - 1))]
            for v in self.values
        )


@dataclass(frozen=True)
class Evidence:
    """What a message shows of one alert.

    Attributes:
        series: of the 28 days around it; None where it is about no feed.
        examples: typical posts, made harmless.
        url: where to look in the Dagster UI.
    """

    series: Series | None
    examples: Sequence[str]
    url: str


def gather(
    transaction: Transaction, alert: dict[str, Any], ui_url: str, today: date, examples: int
) -> Evidence:
    """Read the evidence of an alert, a row of `alerts`."""
    feed = feed_of(alert["subject"])
    incident = _incident(transaction, alert) if alert["kind"] == INCIDENT else None
    if incident is None:
        shown = _series(transaction, feed, ALL_TOPICS, "post_count", today) if feed else None
        return Evidence(shown, (), _url(alert, ui_url))
    until = min(today, incident["last_date"] + timedelta(days=DAYS_AFTER))
    topic, measure = incident["topic"], incident["measure"]
    return Evidence(
        series=_series(transaction, incident["feed"], topic, measure, until),
        examples=_typical_posts(transaction, incident, examples),
        url=_asset_url(ui_url, "daily_sentiment", incident["peak_date"]),
    )


def plot(series: Series) -> bytes:
    """Return the series as PNG; altair and its renderer load only here."""
    import altair
    import vl_convert

    days = days_between(series.first, series.last)
    points = [
        {"date": day.isoformat(), "value": value}
        for day, value in zip(days, series.values, strict=True)
    ]
    chart = (
        altair.Chart(altair.InlineData(values=points))
        .mark_line(point=True)
        .encode(
            x=altair.X("yearmonthdate(date):T", title="Day of posting (UTC)"),
            y=altair.Y("value:Q", title=series.name),
        )
        .properties(width=560, height=200)
    )
    return bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=2))


def _incident(transaction: Transaction, alert: dict[str, Any]) -> dict[str, Any] | None:
    """Return the incident that an alert is about; None: it is no incident any more."""
    found = transaction.arrow(
        f"SELECT * FROM incidents WHERE {SUBJECT} = ?"
        f" AND ?::DATE BETWEEN first_date - {SLACK_DAYS} AND last_date ORDER BY first_date LIMIT 1",
        [alert["subject"], alert["day"]],
    ).to_pylist()
    return found[0] if found else None


def _series(
    transaction: Transaction, feed: str, topic: str, measure: str, last: date
) -> Series | None:
    first = last - timedelta(days=SHOWN_DAYS - 1)
    is_all = topic == ALL_TOPICS
    sql = _SERIES.format(
        table="daily_sentiment" if is_all else "topic_sentiment",
        topic="" if is_all else " AND topic = ?",
    )
    parameters = [feed, first, last, *([] if is_all else [topic])]
    rows = transaction.connection.execute(sql, parameters).fetchall()
    values: dict[date, float | None] = {}
    for day, posts, negative, scored in rows:
        share = negative / scored if scored else None
        values[day] = float(posts) if measure == "post_count" else share
    if not values:
        return None
    days = days_between(first, last)
    return Series(NAMES[measure], first, [values.get(day) for day in days])


def _typical_posts(transaction: Transaction, incident: dict[str, Any], count: int) -> list[str]:
    """Return posts of the worst day that say what many say; none of a lack of posts."""
    if not count or (incident["measure"], incident["direction"]) == ("post_count", "down"):
        return []
    day = DaySpan.of(incident["peak_date"])
    where, parameters = days_filter(TABLES["cleaned_feedback"], day, "c.")
    joins, which, further = "", "", []
    if incident["measure"] == "negative_share":
        scored, scored_days = days_filter(TABLES["sentiment_scores"], day, "s.")
        joins += f" JOIN current_sentiment s ON s.feedback_id = c.feedback_id AND {scored}"
        which += " AND s.label = ?"
        parameters = [*scored_days, incident["feed"], *parameters]
        further.append("negative" if incident["direction"] == "up" else "positive")
    else:
        parameters = [incident["feed"], *parameters]
    if incident["topic"] != ALL_TOPICS:
        which += (
            " AND EXISTS (FROM fct_feedback f WHERE f.feedback_id = c.feedback_id AND f.topic = ?)"
        )
        further.append(incident["topic"])
    sql = _TYPICAL.format(joins=joins, day=where, which=which)
    rows = transaction.connection.execute(
        sql, [*parameters, *further, POSTS_COMPARED, count]
    ).fetchall()
    return [harmless_quote(body) for (body,) in rows]


def _url(alert: dict[str, Any], ui_url: str) -> str:
    if alert["kind"] in (SENSOR_FAILED, SENSOR_SILENT, SENSOR_STOPPED):
        return f"{ui_url}/automation"
    if alert["kind"] in (CHANNEL_FAILED, DAEMON_SILENT):
        return f"{ui_url}/deployment"
    asset = alert["subject"].partition(":")[0].partition(" ")[0]
    if feed_of(asset) or asset in TABLES:
        return _asset_url(ui_url, asset, alert["day"])
    return f"{ui_url}/runs"


def _asset_url(ui_url: str, asset: str, day: date | None) -> str:
    """Return where the UI shows an asset, or one partition of it."""
    place = f"{ui_url}/assets/{quote(asset)}"
    return f"{place}?partition={day.isoformat()}&view=partitions" if day else place
