"""What Dagster knows of the platform's health: its daemon, its sensors, and checks that do not hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

# Dagster's daemon writes a heartbeat every 30 s and counts as gone after 1,830 s; a person at a
# screen wants to know earlier.
DAEMON_SILENT_SECONDS = 120.0


@dataclass(frozen=True)
class DaemonHealth:
    """The process that runs sensors, queued runs and backfills.

    Attributes:
        last_heartbeat_at: of the oldest of its parts; None if it never ran.
    """

    is_running: bool
    last_heartbeat_at: datetime | None


@dataclass(frozen=True)
class SensorHealth:
    """One sensor, as its last evaluations left it.

    Attributes:
        last_tick_at: its last evaluation; None if there was none.
        error: why its last evaluation failed; None if it went well.
    """

    name: str
    is_on: bool
    last_tick_at: datetime | None
    error: str | None


@dataclass(frozen=True)
class CheckHealth:
    """A check whose last evaluation did not hold."""

    asset: str
    check: str
    is_warning: bool
    evaluated_at: datetime


def read_daemon(instance: dg.DagsterInstance) -> DaemonHealth:
    """Return whether the daemon of `instance` is at work."""
    beats = [
        heartbeat.timestamp
        for name, heartbeat in instance.get_daemon_heartbeats().items()
        if name in instance.get_required_daemon_types()
    ]
    if not beats:
        return DaemonHealth(False, None)
    last = datetime.fromtimestamp(min(beats), UTC)
    silent = (datetime.now(UTC) - last).total_seconds()
    return DaemonHealth(silent <= DAEMON_SILENT_SECONDS, last)


def read_sensors(instance: dg.DagsterInstance) -> list[SensorHealth]:
    """Return every sensor that the daemon has evaluated or that was turned off, by name."""
    found = []
    for state in instance.all_instigator_state():
        if state.instigator_type.value != "SENSOR":
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        tick = ticks[0] if ticks else None
        found.append(
            SensorHealth(
                name=state.instigator_name,
                is_on=state.is_running,
                last_tick_at=datetime.fromtimestamp(tick.timestamp, UTC) if tick else None,
                error=tick.error.message if tick and tick.error else None,
            )
        )
    return sorted(found, key=lambda sensor: sensor.name)


def read_failing_checks(
    instance: dg.DagsterInstance, definitions: dg.Definitions
) -> list[CheckHealth]:
    """Return the checks whose last evaluation did not hold, as the UI shows them."""
    keys = sorted(definitions.resolve_asset_graph().asset_check_keys, key=str)
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


def idle_sensors(sensors: Sequence[SensorHealth], defined: Sequence[str]) -> list[SensorHealth]:
    """Return the sensors of `defined` that are off or whose last evaluation failed."""
    return [s for s in sensors if s.name in defined and (not s.is_on or s.error)]
