"""What Dagster remembers of checks: those that do not hold at present."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg


@dataclass(frozen=True)
class CheckHealth:
    """A check whose last evaluation did not hold."""

    asset: str
    check: str
    is_warning: bool
    evaluated_at: datetime


def read_failing_checks(
    instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]
) -> list[CheckHealth]:
    """Return those of `checks` whose last evaluation did not hold, as the UI shows them."""
    keys = sorted(checks, key=str)
    summaries = instance.event_log_storage.get_asset_check_summary_records(keys)
    found = []
    for key in keys:
        record: Any = summaries[key].last_completed_check_execution_record
        evaluation = record.event.dagster_event.asset_check_evaluation_data if record else None
        if evaluation is not None and not evaluation.passed:
            found.append(
                CheckHealth(
                    asset=key.asset_key.to_user_string(),
                    check=key.name,
                    is_warning=evaluation.severity is dg.AssetCheckSeverity.WARN,
                    evaluated_at=datetime.fromtimestamp(record.create_timestamp, UTC),
                )
            )
    return found
