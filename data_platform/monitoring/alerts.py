"""The alerts: what is wrong now against what is already told, so that each trouble is told once and ends."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from data_platform.storage.warehouse import Transaction, Trouble

Identity = tuple[str, str, date | None]

RUN_FAILED = "run_failed"
CHECK_FAILED = "check_failed"
OPEN_GAP = "open_gap"
SENSOR_FAILED = "sensor_failed"
SENSOR_STOPPED = "sensor_stopped"


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
        open_count: alerts that are open now.
    """

    raised: Sequence[Trouble]
    resolved: Sequence[Identity]
    open_count: int


def update_alerts(
    transaction: Transaction,
    events: Sequence[Trouble | Recovery],
    present: Sequence[Trouble],
    present_kinds: Collection[str],
    now: datetime,
) -> AlertChanges:
    """Bring `alerts` up to date with what happened and with what is the case.

    Args:
        events: troubles and recoveries in the order in which they happened.
        present: every trouble of `present_kinds` that there is now; open alerts of these kinds
            that are not among them are over.
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
    return AlertChanges(raised, resolved, len(open_now))
