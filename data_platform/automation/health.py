"""What Dagster knows of the platform's health: its daemon and its sensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

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


def idle_sensors(sensors: Sequence[SensorHealth], defined: Sequence[str]) -> list[SensorHealth]:
    """Return the sensors of `defined` that are off or whose last evaluation failed."""
    return [s for s in sensors if s.name in defined and (not s.is_on or s.error)]


def silent_sensors(
    sensors: Sequence[SensorHealth], defined: Sequence[str], since: datetime
) -> list[SensorHealth]:
    """Return the sensors of `defined` that are on and were last evaluated before `since`."""
    on = [sensor for sensor in sensors if sensor.name in defined and sensor.is_on]
    return [sensor for sensor in on if sensor.last_tick_at and sensor.last_tick_at < since]
