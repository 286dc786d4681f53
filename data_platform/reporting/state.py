"""What is not well at present, for people: open alerts, checks that do not hold, open gaps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_platform.ingestion.ledger import Gap
from data_platform.storage.warehouse import Transaction, check_subject

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know of.

    Attributes:
        severity: error, or warning where nothing is wrong but unusual.
        what: what it is about, such as a check, a feed or a job.
        detail: numbers and keys that show it; never feedback text.
        since: day or moment; empty if unknown.
    """

    severity: str
    what: str
    detail: str
    since: str = ""


def read_open_alerts(transaction: Transaction) -> Sequence[Mapping[str, Any]]:
    """Return kind, subject, day, evidence, severity and raised_at of the alerts that are open."""
    rows: Sequence[Mapping[str, Any]] = transaction.arrow(
        "SELECT kind, subject, day, evidence, severity, raised_at FROM alerts"
        " WHERE resolved_at IS NULL ORDER BY severity, raised_at DESC"
    ).to_pylist()
    return rows


def findings(
    alerts: Sequence[Mapping[str, Any]],
    failing_checks: Iterable[tuple[str, str, bool]],
    gaps: Iterable[Gap],
) -> list[Finding]:
    """Return everything that is not well, errors first, each once.

    Args:
        failing_checks: asset, check, and whether it is only a warning.
    """
    found = [
        Finding(
            alert["severity"],
            f"{alert['kind'].replace('_', ' ')}: {alert['subject']}",
            alert["evidence"],
            str(alert["day"] or f"{alert['raised_at']:%Y-%m-%d %H:%M}"),
        )
        for alert in alerts
    ]
    told = {alert["subject"] for alert in alerts}
    for asset, check, is_warning in failing_checks:
        if check_subject(asset, check) not in told:
            severity = WARNING if is_warning else ERROR
            found.append(Finding(severity, f"check failed: {check_subject(asset, check)}", ""))
    for gap in gaps:
        if not any(gap.subject in subject for subject in told):
            since = f"{gap.opened_at:%Y-%m-%d %H:%M}"
            found.append(Finding(ERROR, f"open gap: {gap.feed}: {gap.subject}", gap.reason, since))
    return sorted(found, key=lambda finding: finding.severity != ERROR)
