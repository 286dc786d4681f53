"""Which incidents of the customers' series a person should be told of."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from data_platform.monitoring.alerts import INCIDENT
from data_platform.storage.warehouse import Transaction, Trouble

# Topics come from customers' data: on one line, without control characters, and not endless.
SUBJECT = (
    r"'feed/' || feed || ' ' || left(regexp_replace(topic, '[\p{C}\p{Z}]+', ' ', 'g'), 100)"
    " || ' ' || measure"
)
# Late posts move the begin of an incident; one that begins within a day of an alert's is the same.
SLACK_DAYS = 1
_INCIDENTS = f"""
    SELECT i.*, coalesce((
        SELECT max(a.day) FROM alerts a WHERE a.kind = '{INCIDENT}' AND a.subject = i.subject
        AND a.day BETWEEN i.first_date - {SLACK_DAYS} AND i.last_date
    ), i.first_date) AS day, NOT i.is_over AND i.last_date >= ? AS is_current
    FROM (SELECT *, {SUBJECT} AS subject FROM incidents) i
    WHERE is_current OR NOT EXISTS (
        FROM alerts a WHERE a.kind = '{INCIDENT}' AND a.subject = i.subject
        AND a.day BETWEEN i.first_date - {SLACK_DAYS} AND i.last_date
    ) ORDER BY i.first_date, i.subject
"""
NAMES = {"post_count": "posts", "negative_share": "negative share"}


@dataclass(frozen=True)
class Incidents:
    """What the incidents mean for the alerts.

    Attributes:
        current: those that are going on.
        past: those that nobody was told of, and that are over or long ago: told once.
    """

    current: list[Trouble]
    past: list[Trouble]


def read_incidents(transaction: Transaction, today: date, days: int) -> Incidents:
    """Return the incidents to be told of.

    More negative posts than expected, now, are an error; everything else is a warning: a flood
    or a lack of posts, less negative posts, and what is over or lies back by more than `days`.
    An incident that goes on for ever because no later day was collected ends there too.
    """
    found = transaction.arrow(_INCIDENTS, [today - timedelta(days=days)]).to_pylist()
    return Incidents(
        current=[_trouble(row) for row in found if row["is_current"]],
        past=[_trouble(row) for row in found if not row["is_current"]],
    )


def _trouble(row: dict[str, Any]) -> Trouble:
    is_worse = row["measure"] == "negative_share" and row["direction"] == "up"
    dates = f"{row['first_date']} to {row['last_date']}{', over' if row['is_over'] else ''}"
    evidence = (
        f"{NAMES[row['measure']]} {_number(row['observed'])} on {row['peak_date']}, expected"
        f" {_number(row['expected'])} ({abs(row['score']):.1f} standard deviations,"
        f" {row['post_count']} posts); {dates}"
    )
    return Trouble(
        INCIDENT,
        row["subject"],
        evidence,
        row["day"],
        "error" if is_worse and row["is_current"] else "warning",
        abs(row["observed"] - row["expected"]),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value > 1 else f"{value:.2f}"
