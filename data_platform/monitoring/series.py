"""Makes daily_signals and incidents from the marts: which series there are, which of their days are complete."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from data_platform.monitoring.signals import (
    Flags,
    Floats,
    Signals,
    count_signals,
    find_incidents,
    share_signals,
    unusual,
)
from data_platform.schemas import DAILY_SIGNALS, INCIDENTS
from data_platform.schemas.signals import ALL_TOPICS, MEASURES
from data_platform.storage.warehouse import RuleResult, Transaction

KEPT_DAYS = 400
MOST_TOPICS = 500
DAYS_PER_MONTH = 30.0
DECIMALS = 6  # so that the last bits, which differ between processors, reach no digest

_SERIES = f"""
WITH feeds AS (
    SELECT feed, '{ALL_TOPICS}' AS topic, date, sum(post_count) AS posts,
        sum(scored_count) AS scored, sum(negative_count) AS negative
    FROM daily_sentiment WHERE date > $last::DATE - {KEPT_DAYS} GROUP BY ALL
), largest AS (
    SELECT feed, topic FROM topic_sentiment WHERE date > $last::DATE - {KEPT_DAYS}
    GROUP BY ALL ORDER BY sum(post_count) DESC, feed, topic LIMIT {MOST_TOPICS}
)
SELECT * FROM feeds UNION ALL
SELECT feed, topic, date, post_count, scored_count, negative_count
FROM topic_sentiment SEMI JOIN largest USING (feed, topic)
WHERE date > $last::DATE - {KEPT_DAYS} AND topic <> '{ALL_TOPICS}'
"""


@dataclass(frozen=True)
class Histories:
    """The series by days; `names` are (feed, topic), arrays are series by `days`, without gaps."""

    names: list[tuple[str, str]]
    days: list[date]
    posts: Floats
    scored: Floats
    negative: Floats
    is_known: Flags


def refresh_signals(
    transaction: Transaction,
    today: date,
    file_feeds: Collection[str],
    false_alarms_per_month: float,
) -> tuple[tuple[RuleResult, ...], tuple[RuleResult, ...]]:
    """Make daily_signals and incidents hold what the marts say of the latest 400 days.

    Args:
        today: the current day (UTC), which still runs.
        file_feeds: feeds whose first and last day may be cut by a delivery.
        false_alarms_per_month: unusual days to be expected in 30 days if nothing is unusual.

    Returns:
        The rules of daily_signals and of incidents that hold.
    """
    histories = _read(transaction, today, file_feeds)
    level = false_alarms_per_month / DAYS_PER_MONTH / len(MEASURES)
    weekdays = np.array([day.weekday() for day in histories.days], np.int64)
    limit = NormalDist().inv_cdf(1 - level / max(len(histories.names), 1) / 2)
    judged = {
        "post_count": count_signals(histories.posts, histories.is_known, weekdays, limit),
        "negative_share": share_signals(
            histories.negative, histories.scored, histories.is_known, limit
        ),
    }
    found = {measure: unusual(signals.score, level) for measure, signals in judged.items()}
    rows = [
        row for measure, s in judged.items() for row in _signal_rows(histories, measure, s, found)
    ]
    transaction.merge(
        DAILY_SIGNALS,
        pa.Table.from_pylist(rows, schema=DAILY_SIGNALS.arrow_schema),
        delete_where="TRUE",
    )
    known = transaction.arrow(f"SELECT * FROM {INCIDENTS.name}").to_pylist()
    events = [
        row
        for measure, s in judged.items()
        for row in _incident_rows(histories, measure, s, found[measure], known)
    ]
    transaction.merge(
        INCIDENTS,
        pa.Table.from_pylist(events, schema=INCIDENTS.arrow_schema),
        delete_where="TRUE",
    )
    return transaction.audit_all(DAILY_SIGNALS), transaction.audit_all(INCIDENTS)


def _read(transaction: Transaction, today: date, file_feeds: Collection[str]) -> Histories:
    """Read the series; a day is known if it is over and the ledger shows it as complete.

    A feed of files has no ledger of time: its first and its last day with posts may be cut.
    """
    ((last,),) = transaction.connection.execute("SELECT max(date) FROM daily_sentiment").fetchall()
    rows = transaction.connection.execute(_SERIES, {"last": last or today}).fetchall()
    names = sorted({(feed, topic) for feed, topic, *_ in rows})
    first = min((day for _, _, day, *_ in rows), default=today)
    days = [first + timedelta(days=n) for n in range(((last or today) - first).days + 1)]
    values = np.zeros((3, len(names), len(days)))
    number = {name: n for n, name in enumerate(names)}
    seen: dict[str, list[date]] = {}
    for feed, topic, day, *counts in rows:
        values[:, number[feed, topic], (day - first).days] = counts
        if topic == ALL_TOPICS:
            seen.setdefault(feed, []).append(day)
    incomplete = set(
        transaction.connection.execute(
            "SELECT feed, date FROM feed_coverage WHERE status <> 'complete'"
        ).fetchall()
    )
    is_known = np.zeros((len(names), len(days)), np.bool_)
    for (feed, _), n in number.items():
        cut = {min(seen[feed]), max(seen[feed])} if feed in file_feeds else set()
        is_known[n] = [
            min(seen[feed]) <= day < today and day not in cut and (feed, day) not in incomplete
            for day in days
        ]
    posts, scored, negative = values
    return Histories(names, days, posts, scored, negative, is_known)


def _signal_rows(
    histories: Histories, measure: str, signals: Signals, found: dict[str, Flags]
) -> list[dict[str, Any]]:
    """Return a row for each series and day from its first post on."""
    with np.errstate(invalid="ignore"):
        share = histories.negative / np.where(histories.scored > 0, histories.scored, np.nan)
    observed = histories.posts if measure == "post_count" else share
    return [
        {
            "date": day,
            "feed": feed,
            "topic": topic,
            "measure": measure,
            "post_count": int(histories.posts[n, d]),
            "observed": _number(observed[n, d]),
            **{name: _number(getattr(signals, name)[n, d]) for name in Signals._fields},
            "is_complete": bool(histories.is_known[n, d]),
            "is_anomaly": bool(found[measure][n, d]),
        }
        for n, (feed, topic) in enumerate(histories.names)
        for d, day in enumerate(histories.days)
        if d >= np.flatnonzero(histories.posts[n] > 0)[0]
    ]


def _incident_rows(
    histories: Histories,
    measure: str,
    signals: Signals,
    is_unusual: Flags,
    known: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return the incidents; one that meets a known one of its series keeps that one's id."""
    rows = []
    for n, (feed, topic) in enumerate(histories.names):
        for incident in find_incidents(
            histories.days, is_unusual[n], histories.is_known[n], signals.score[n]
        ):
            d = (incident.peak - histories.days[0]).days
            score = float(signals.score[n, d])
            direction = "up" if score > 0 else "down"
            place = (feed, topic, measure, direction)
            same = [
                row["incident_id"]
                for row in known
                if (row["feed"], row["topic"], row["measure"], row["direction"]) == place
                and row["first_date"] <= incident.last
                and row["last_date"] >= incident.first
            ]
            identity = "\0".join((*place, incident.first.isoformat()))
            value = (
                histories.posts[n, d]
                if measure == "post_count"
                else histories.negative[n, d] / histories.scored[n, d]
            )
            rows.append(
                {
                    "incident_id": min(same, default=sha256(identity.encode()).hexdigest()),
                    "feed": feed,
                    "topic": topic,
                    "measure": measure,
                    "direction": direction,
                    "first_date": incident.first,
                    "last_date": incident.last,
                    "peak_date": incident.peak,
                    "observed": _number(value),
                    "expected": _number(signals.expected[n, d]),
                    "score": _number(score),
                    "post_count": int(histories.posts[n, d]),
                    "is_over": incident.is_over,
                }
            )
    return rows


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), DECIMALS)
