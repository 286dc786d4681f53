"""Messages about alerts: composed from the tables at the moment of sending, and kept nowhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from data_platform.alert_settings import AlertOptions
from data_platform.monitoring.alerts import feed_of
from data_platform.monitoring.evidence import Evidence, Series, gather
from data_platform.monitoring.harmless import harmless
from data_platform.monitoring.notifications import Parcel
from data_platform.storage.warehouse import Transaction

SHOWN_TOGETHER = 20  # of a digest or a flood; the list of the others is a command away
ID_CHARACTERS = 8
EVIDENCE_CHARACTERS = 500


@dataclass(frozen=True)
class ToldAlert:
    """One alert in a message.

    Attributes:
        line: event, severity, kind, subject and day.
        details: further lines: evidence, times, the days before, posts, where to look.
        document: the same for programs.
    """

    event: str
    severity: str
    line: str
    details: Sequence[str]
    document: Mapping[str, Any]
    series: Series | None


@dataclass(frozen=True)
class Message:
    """What goes to a channel.

    Attributes:
        message_id: the same at each attempt.
        severity: the highest of its alerts that are not over; 'info' if all of them are.
        title: one line.
        alerts: those that it shows in full.
        further: lines of those that it names only.
    """

    message_id: str
    title: str
    severity: str
    alerts: Sequence[ToldAlert]
    further: Sequence[str] = ()

    @property
    def text(self) -> str:
        """The message for people, plain text."""
        blocks = ["\n".join([told.line, *told.details]) for told in self.alerts]
        return "\n\n".join([*blocks, *(["\n".join(self.further)] if self.further else [])])

    @property
    def document(self) -> dict[str, Any]:
        """The message for programs, ready for JSON."""
        return {
            "message_id": self.message_id,
            "title": self.title,
            "severity": self.severity,
            "alerts": [told.document for told in self.alerts],
            "further": list(self.further),
        }

    @property
    def series(self) -> Series | None:
        """What a plot of the message would show; None if it is about several alerts."""
        return self.alerts[0].series if len(self.alerts) == 1 else None


def compose(
    transaction: Transaction, parcel: Parcel, options: AlertOptions, now: datetime
) -> Message:
    """Compose the message of a parcel from what the tables hold now."""
    rows = transaction.arrow(
        "SELECT * FROM alerts WHERE list_contains(?, alert_id)"
        " ORDER BY severity, raised_at DESC, alert_id",
        [list(parcel.events)],
    ).to_pylist()
    examples = getattr(options.by_name[parcel.channel], "examples", 0)
    told = [
        _tell(
            row,
            parcel.events[row["alert_id"]],
            gather(transaction, row, options.ui_url, now.date(), examples),
            options,
        )
        for row in rows[: SHOWN_TOGETHER if parcel.is_together else 1]
    ]
    severities = {t.severity for t in told if t.event != "resolved"}
    severity = next((s for s in ("error", "warning") if s in severities), "info")
    title = told[0].line if not parcel.is_together else f"{len(rows)} alerts, {_counts(parcel)}"
    further = [
        _line(row, parcel.events[row["alert_id"]], row["severity"]) for row in rows[len(told) :]
    ]
    return Message(parcel.message_id, title, severity, told, further[:SHOWN_TOGETHER])


def test_message(channel: str, now: datetime) -> Message:
    """Return the message that shows whether a channel works."""
    line = f"A test of the channel {channel}: alerts of the feedback platform arrive here."
    document = {"event": "test", "severity": "info", "evidence": line}
    told = ToldAlert("resolved", "info", line, (), document, None)
    return Message(f"test-{now.isoformat()}", line, "info", [told])


def _tell(row: dict[str, Any], event: str, evidence: Evidence, options: AlertOptions) -> ToldAlert:
    rule = options.rule_for(row["kind"], feed_of(row["subject"]), row["severity"])
    severity = rule.severity or row["severity"]
    times = f"since {_time(row['raised_at'])}"
    if row["resolved_at"]:
        times = f"{_time(row['raised_at'])} to {_time(row['resolved_at'])}, over"
    details = [harmless(row["evidence"], EVIDENCE_CHARACTERS), times]
    series = evidence.series
    if series:
        values = [value for value in series.values if value is not None]
        top = f"0 to {max(values):.2f}" if series.name != "posts" else f"0 to {max(values):,.0f}"
        details.append(f"{series.sparkline} {series.name}, {top}, {series.first} to {series.last}")
    details += [f"“{example}”" for example in evidence.examples]
    details += [evidence.url, f"alert {row['alert_id'][:ID_CHARACTERS]}"]
    document = {
        "alert_id": row["alert_id"],
        "event": event,
        "status": row["status"],
        "severity": severity,
        "kind": row["kind"],
        "subject": harmless(row["subject"]),
        "day": str(row["day"]) if row["day"] else None,
        "evidence": details[0],
        "raised_at": row["raised_at"].isoformat(),
        "resolved_at": row["resolved_at"].isoformat() if row["resolved_at"] else None,
        "series": _document(series) if series else None,
        "examples": list(evidence.examples),
        "url": evidence.url,
    }
    return ToldAlert(event, severity, _line(row, event, severity), details, document, series)


def _line(row: dict[str, Any], event: str, severity: str) -> str:
    day = f" of {row['day']}" if row["day"] else ""
    return f"{event} ({severity}): {row['kind']}: {harmless(row['subject'])}{day}"


def _counts(parcel: Parcel) -> str:
    events = list(parcel.events.values())
    return ", ".join(f"{events.count(event)} {event}" for event in dict.fromkeys(events))


def _document(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "first_date": series.first.isoformat(),
        "values": list(series.values),
    }


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
