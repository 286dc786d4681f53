"""The alerts: what is wrong now against what is already told, so that each trouble is told once and ends."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from data_platform.errors import ConfigurationError
from data_platform.storage.warehouse import Transaction, Trouble

Identity = tuple[str, str, date | None]

RUN_FAILED = "run_failed"
CHECK_FAILED = "check_failed"
OPEN_GAP = "open_gap"
FEED_STALE = "feed_stale"
FEED_NOT_COLLECTED = "feed_not_collected"
INCIDENT = "incident"
SENSOR_FAILED = "sensor_failed"
SENSOR_STOPPED = "sensor_stopped"
SENSOR_SILENT = "sensor_silent"
DAEMON_SILENT = "daemon_silent"
CHANNEL_FAILED = "channel_failed"
# Of these every one that there is can be listed at any time; the others are told by what happens.
PRESENT_KINDS = (
    OPEN_GAP,
    FEED_STALE,
    FEED_NOT_COLLECTED,
    INCIDENT,
    SENSOR_FAILED,
    SENSOR_STOPPED,
    SENSOR_SILENT,
    DAEMON_SILENT,
    CHANNEL_FAILED,
)


def feed_subject(name: str) -> str:
    """Return how alerts name a feed: as its asset."""
    return f"feed/{name}"


def feed_of(subject: str) -> str | None:
    """Return the feed that an alert's subject begins with; None: it is about something else."""
    found = re.match(r"feed/([a-z][a-z0-9_]*)", subject)
    return found[1] if found else None


@dataclass(frozen=True)
class Recovery:
    """Something that went well, which ends the troubles that it is about.

    Attributes:
        kind: of the troubles that are over.
        subject: of the troubles that are over.
        first_day: first day that went well; None where the subject has no days.
        last_day: last day that went well, included.
        besides: days in between that did not.
    """

    kind: str
    subject: str
    first_day: date | None = None
    last_day: date | None = None
    besides: frozenset[date] = frozenset()

    def covers(self, day: date | None) -> bool:
        """True if a trouble about `day` is over; one about no day ends with the first good one."""
        if day is None or self.first_day is None or self.last_day is None:
            return day is None
        return self.first_day <= day <= self.last_day and day not in self.besides


@dataclass(frozen=True)
class AlertChanges:
    """What became of the alerts.

    Attributes:
        raised: troubles that were not known.
        resolved: kind, subject and day of those that are over.
        open_kinds: how many alerts of each kind are not over now.
    """

    raised: Sequence[Trouble]
    resolved: Sequence[Identity]
    open_kinds: Mapping[str, int]

    @property
    def open_count(self) -> int:
        return sum(self.open_kinds.values())


def update_alerts(
    transaction: Transaction,
    events: Sequence[Trouble | Recovery],
    present: Sequence[Trouble],
    present_kinds: Collection[str],
    now: datetime,
    escalate_after: timedelta | None = None,
) -> AlertChanges:
    """Bring `alerts` up to date with what happened and with what is the case.

    Args:
        events: troubles and recoveries in the order in which they happened.
        present: every trouble of `present_kinds` that there is now; open alerts of these kinds
            that are not among them are over.
        escalate_after: an error that has been open for so long escalates; None: never.
    """
    found = transaction.connection.execute(
        "SELECT kind, subject, day FROM alerts WHERE resolved_at IS NULL"
    )
    open_now: set[Identity] = set(found.fetchall())
    raised: list[Trouble] = []
    resolved: list[Identity] = []

    def tell(trouble: Trouble) -> None:
        if transaction.raise_alert(trouble, now):
            raised.append(trouble)
            open_now.add(trouble.identity)

    def end(over: list[Identity]) -> None:
        for identity in over:
            transaction.resolve_alert(*identity, now)
            open_now.discard(identity)
            resolved.append(identity)

    for event in events:
        if isinstance(event, Trouble):
            tell(event)
        else:
            end(
                [i for i in open_now if i[:2] == (event.kind, event.subject) and event.covers(i[2])]
            )
    for trouble in present:
        tell(trouble)
    there = {trouble.identity for trouble in present}
    end([i for i in sorted(open_now - there, key=str) if i[0] in present_kinds])
    _forget_dismissals(transaction, there, present_kinds)
    _pass_time(transaction, now, escalate_after)
    return AlertChanges(raised, resolved, Counter(kind for kind, *_ in open_now))


def snooze_alert(transaction: Transaction, alert_id: str, until: datetime) -> Trouble:
    """Tell nothing more of an alert before `until`, unless it is over; return what it is about.

    Args:
        alert_id: as `data-platform alerts` shows it: the first characters are enough.

    Raises:
        ConfigurationError: none or several alerts begin so, or it is over.
    """
    found = _open_alert(transaction, alert_id)
    transaction.connection.execute(
        "UPDATE alerts SET status = 'snoozed', snoozed_until = ? WHERE alert_id = ?",
        [until, found[0]],
    )
    return Trouble(*found[1:])


def dismiss_alert(transaction: Transaction, alert_id: str, now: datetime) -> Trouble:
    """Resolve an alert by hand; the same trouble is not raised again until it has been over.

    Raises:
        ConfigurationError: as of `snooze_alert`.
    """
    found = _open_alert(transaction, alert_id)
    trouble = Trouble(*found[1:])
    transaction.resolve_alert(*trouble.identity, now)
    transaction.connection.execute(
        "UPDATE alerts SET is_dismissed = ? WHERE alert_id = ?",
        [trouble.kind in PRESENT_KINDS, found[0]],
    )
    return trouble


def _open_alert(transaction: Transaction, alert_id: str) -> tuple[str, str, str, str, date | None]:
    """Return id, kind, subject, evidence and day of the one open alert whose id begins so."""
    found = transaction.connection.execute(
        "SELECT alert_id, kind, subject, evidence, day FROM alerts"
        " WHERE resolved_at IS NULL AND starts_with(alert_id, lower(?))",
        [alert_id],
    ).fetchall()
    if len(found) != 1:
        count = "No alert that is open" if not found else f"{len(found)} open alerts"
        message = f"{count} begin(s) with {alert_id!r}. data-platform alerts lists them."
        raise ConfigurationError(message)
    return found[0]


def _forget_dismissals(
    transaction: Transaction, there: Collection[Identity], present_kinds: Collection[str]
) -> None:
    """What a person resolved and what is over now may be raised again when it comes back."""
    dismissed = transaction.connection.execute(
        "SELECT alert_id, kind, subject, day FROM alerts WHERE is_dismissed"
    ).fetchall()
    for alert_id, *identity in dismissed:
        if identity[0] in present_kinds and tuple(identity) not in there:
            transaction.connection.execute(
                "UPDATE alerts SET is_dismissed = FALSE WHERE alert_id = ?", [alert_id]
            )


def _pass_time(transaction: Transaction, now: datetime, escalate_after: timedelta | None) -> None:
    """End snoozes that are over, and escalate what has been open for long."""
    transaction.connection.execute(
        "UPDATE alerts SET snoozed_until = NULL,"
        " status = CASE WHEN escalated_at IS NULL THEN 'open' ELSE 'escalated' END"
        " WHERE status = 'snoozed' AND snoozed_until <= ?",
        [now],
    )
    if escalate_after is not None:
        transaction.connection.execute(
            "UPDATE alerts SET status = 'escalated', escalated_at = ?"
            " WHERE status = 'open' AND severity = 'error' AND raised_at <= ?",
            [now, now - escalate_after],
        )
