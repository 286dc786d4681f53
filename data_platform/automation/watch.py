"""Watches the platform itself: turns failed runs, failed checks, open gaps and idle sensors into alerts."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from socket import gethostname
from typing import Any

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher  # not public; the default of every instance

from data_platform.automation.health import idle_sensors, read_sensors
from data_platform.automation.sensors import ALERT_SENSOR, PLATFORM_SENSORS
from data_platform.errors import BusyError, DataPlatformError
from data_platform.ingestion.assets import EVERY_DELIVERY_WAS_READ, feed_key
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.ledger import Gap
from data_platform.monitoring.alerts import (
    CHECK_FAILED,
    OPEN_GAP,
    RUN_FAILED,
    SENSOR_FAILED,
    SENSOR_STOPPED,
    Recovery,
    update_alerts,
)
from data_platform.monitoring.assets import COLLECTED_WELL, NO_GAP_IS_OPEN
from data_platform.storage.resources import FAILING_DAYS, FIRST_DAY, LAST_DAY
from data_platform.storage.warehouse import Trouble, Warehouse, check_subject

logger = logging.getLogger("data_platform.alerts")

RUNS_PER_LOOK = 50
LOOK_BACK = timedelta(days=7)
# Two runs that end together may become visible in either order.
OVERLAP = timedelta(minutes=1)
LOCK_PATIENCE_SECONDS = 5.0
HOST_TAG = "data_platform/host"
CLOCK_SLACK_SECONDS = 60.0
UNDER_WAY = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
# These checks say what each open gap says for itself.
TOLD_BY_GAPS = (EVERY_DELIVERY_WAS_READ, COLLECTED_WELL, NO_GAP_IS_OPEN)
PRESENT_KINDS = (OPEN_GAP, SENSOR_FAILED, SENSOR_STOPPED)
SHOWN_CHARACTERS = 500
OWN_ERRORS = f"{DataPlatformError.__module__}."


def alert_sensor(
    feeds: Feeds, warehouse: Warehouse, assets: Sequence[dg.AssetsDefinition]
) -> dg.SensorDefinition:
    """Return the sensor that writes alerts, on by default.

    A failed check that does not block leaves its run green in Dagster, and nothing tells of a
    sensor that fails: this does. It looks at each finished run once; what it could not write is
    looked at again.
    """
    table_of_step = {
        asset.node_def.name: min(key.to_user_string() for key in asset.keys) for asset in assets
    }
    patient = Warehouse(warehouse.database, LOCK_PATIENCE_SECONDS)

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        state: dict[str, Any] = json.loads(context.cursor or "{}")
        now = datetime.now(UTC)
        for run_id in end_lost_runs(context.instance):
            logger.error("run %s was lost with its process; it counts as failed", run_id[:8])
        gaps = feeds.gaps()
        feeds_with_gaps = {feed_key(gap.feed).to_user_string() for gap in gaps}
        records, seen = _finished_runs(context.instance, state, now)
        events = [
            event
            for record in records
            for event in run_events(context.instance, record.dagster_run, table_of_step)
            if not (_is_failed_run(event) and event.subject in feeds_with_gaps)
        ]
        present = [*_gap_troubles(gaps), *_sensor_troubles(context)]
        has_trouble = bool(present) or any(isinstance(event, Trouble) for event in events)
        open_before = state.get("open", int(warehouse.database.exists()))
        if not has_trouble and not open_before:
            return dg.SensorResult(
                skip_reason="all is well", cursor=json.dumps({**seen, "open": 0})
            )
        try:
            with patient.transaction() as transaction:
                changes = update_alerts(transaction, events, present, PRESENT_KINDS, now)
        except BusyError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        for trouble in changes.raised:
            line = f"{trouble.kind}: {trouble.subject}: {trouble.evidence}"
            context.log.error(line)
            logger.error("%s", line)
        for kind, subject, day in changes.resolved:
            logger.warning("over: %s: %s %s", kind, subject, day or "")
        return dg.SensorResult(
            skip_reason=f"{changes.open_count} alert(s) open, {len(changes.raised)} of them new",
            cursor=json.dumps({**seen, "open": changes.open_count}),
        )

    return dg.SensorDefinition(
        name=ALERT_SENSOR,
        evaluation_fn=evaluate,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Writes failed runs, failed checks, open gaps, and sensors that fail or are off to the"
            " table alerts and to the log, each once, and notes when they are over."
        ),
    )


def end_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process on this machine is gone; return their ids.

    After a power cut or a SIGKILL of everything, Dagster 1.13 shows them as started for ever. Its
    days would count as in progress, and its feed as being collected, and neither would ever be
    asked for again.
    """
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return []  # the launcher knows its workers
    lost = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNDER_WAY)):
        run = record.dagster_run
        pid = _process_of(instance, run.run_id)
        is_elsewhere = run.tags.get(HOST_TAG, gethostname()) != gethostname()
        if pid is None or is_elsewhere or _is_alive(pid, record.start_time):
            continue
        latest = instance.get_run_by_id(run.run_id)
        if latest is not None and latest.status in UNDER_WAY:
            message = f"Process {pid} of this run is gone: it was killed, or the machine stopped."
            instance.report_run_failed(latest, message)
            lost.append(run.run_id)
    return lost


def _process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the id of the process that executes a run, as the run has logged it."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    found = None
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is not None and (pid := event.engine_event_data.metadata.get("pid")) is not None:
            found = int(str(pid.value))
    return found


def _is_alive(pid: int, run_started_at: float | None) -> bool:
    """True if the process of a run is there; one younger than the run only has its number.

    /proc/<pid>/stat gives the start as field 22, in clock ticks since the machine's (proc(5)).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        uptime = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
    except OSError:
        return False
    fields = stat.rpartition(")")[2].split()  # from field 3 on: the name may hold anything
    is_zombie = fields[0] == "Z"
    age = uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    run_age = time.time() - (run_started_at or time.time())
    return not is_zombie and age + CLOCK_SLACK_SECONDS >= run_age


def run_events(
    instance: dg.DagsterInstance, run: dg.DagsterRun, table_of_step: Mapping[str, str]
) -> Iterator[Trouble | Recovery]:
    """Yield what a finished run tells, in order: days that went well first, then what failed.

    Args:
        table_of_step: what a failure of each step is about: its asset, or the first of them.
    """
    told = {dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.ASSET_MATERIALIZATION}
    failed = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    records = instance.get_records_for_run(run.run_id, of_type=told | failed).records
    events = [r.event_log_entry.dagster_event for r in records if r.event_log_entry.dagster_event]
    blocked: set[str] = set()
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            found = event.step_materialization_data.materialization
            day = _day(found.partition)
            yield Recovery(RUN_FAILED, found.asset_key.to_user_string(), day, day)
        elif event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if evaluation.blocking and not evaluation.passed:
                blocked.add(evaluation.asset_key.to_user_string())
            elif evaluation.check_name not in TOLD_BY_GAPS:
                yield from _check_events(evaluation)
    if run.status is dg.DagsterRunStatus.SUCCESS:
        yield Recovery(RUN_FAILED, run.job_name)
        return
    steps = [e for e in events if e.event_type is dg.DagsterEventType.STEP_FAILURE]
    for event in steps:
        subject = table_of_step.get(str(event.step_key), str(event.step_key))
        if subject not in blocked:  # the write has told it, with the numbers
            yield Trouble(RUN_FAILED, subject, shorten(failure_reason(event)), _run_day(run))
    if not steps:
        reasons = [e.message for e in events if e.event_type is dg.DagsterEventType.RUN_FAILURE]
        reason = reasons[-1] if reasons and reasons[-1] else "ended without a word"
        assets = sorted(key.to_user_string() for key in run.asset_selection or ())
        subject = assets[0] if assets else run.job_name
        evidence = f"{reason} ({run.job_name}, run {run.run_id[:8]})"
        yield Trouble(RUN_FAILED, subject, shorten(evidence), _run_day(run))


def failure_reason(event: dg.DagsterEvent) -> str:
    """Return the message of a failed step that a person can use best, without a traceback.

    That is the platform's own, or else the innermost one.
    """
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        if error.message.startswith(OWN_ERRORS):
            return error.message.partition(": ")[2].strip()
        error = error.cause
    return error.message.strip() if error else "failed"


def shorten(text: str) -> str:
    """Return `text` on one line, safe for a terminal, of at most SHOWN_CHARACTERS characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def _check_events(evaluation: dg.AssetCheckEvaluation) -> Iterator[Trouble | Recovery]:
    metadata = {name: value.value for name, value in evaluation.metadata.items()}
    subject = check_subject(evaluation.asset_key.to_user_string(), evaluation.check_name)
    failing = [date.fromisoformat(d) for d in str(metadata.get(FAILING_DAYS, "")).split(", ") if d]
    first, last = _day(metadata.get(FIRST_DAY)), _day(metadata.get(LAST_DAY))
    if evaluation.passed or first:
        yield Recovery(CHECK_FAILED, subject, first, last, frozenset(failing))
    if not evaluation.passed:
        numbers = {n: v for n, v in metadata.items() if n not in (FIRST_DAY, LAST_DAY)}
        evidence = shorten(", ".join(f"{name}: {value}" for name, value in numbers.items()))
        is_warning = evaluation.severity is dg.AssetCheckSeverity.WARN
        severity = "warning" if is_warning else "error"
        days: list[date | None] = [*failing] or [None]
        yield from (Trouble(CHECK_FAILED, subject, evidence, day, severity) for day in days)


def _finished_runs(
    instance: dg.DagsterInstance, state: Mapping[str, Any], now: datetime
) -> tuple[Sequence[dg.RunRecord], dict[str, Any]]:
    """Return the runs that ended since the last look, oldest first, and how far the look went."""
    updated = state.get("updated_at")
    since = datetime.fromisoformat(updated) if updated else now - LOOK_BACK
    if since > now:  # the clock was ahead: what ended since it was set right lies before that
        since = now - LOOK_BACK
    known = set(state.get("runs", []))
    records = instance.get_run_records(
        dg.RunsFilter(statuses=FINISHED, updated_after=since - OVERLAP),
        limit=RUNS_PER_LOOK + len(known),
        order_by="update_timestamp",
        ascending=True,
    )
    fresh = [r for r in records if r.dagster_run.run_id not in known][:RUNS_PER_LOOK]
    if not fresh:
        return [], {"updated_at": since.isoformat(), "runs": sorted(known)}
    last = min(max(_utc(r.update_timestamp) for r in fresh), now)
    looked_at = known | {r.dagster_run.run_id for r in fresh}
    near = {
        r.dagster_run.run_id for r in records if last - OVERLAP <= _utc(r.update_timestamp)
    } & looked_at
    return fresh, {"updated_at": last.isoformat(), "runs": sorted(near)}


def _gap_troubles(gaps: Sequence[Gap]) -> Iterator[Trouble]:
    for gap in gaps:
        subject = f"{feed_key(gap.feed).to_user_string()}: {gap.subject}"
        yield Trouble(OPEN_GAP, subject, shorten(gap.reason))


def _sensor_troubles(context: dg.SensorEvaluationContext) -> Iterator[Trouble]:
    for sensor in idle_sensors(read_sensors(context.instance), PLATFORM_SENSORS):
        if not sensor.is_on:
            advice = "nothing that it starts happens by itself; turn it on under Automation"
            yield Trouble(SENSOR_STOPPED, sensor.name, f"turned off: {advice}", severity="warning")
        else:
            yield Trouble(SENSOR_FAILED, sensor.name, shorten(sensor.error or ""))


def _is_failed_run(event: Trouble | Recovery) -> bool:
    return isinstance(event, Trouble) and event.kind == RUN_FAILED


def _run_day(run: dg.DagsterRun) -> date | None:
    first = run.tags.get("dagster/asset_partition_range_start")
    last = run.tags.get("dagster/asset_partition_range_end")
    return _day(run.tags.get("dagster/partition") or (first if first == last else None))


def _day(text: object) -> date | None:
    return date.fromisoformat(str(text)) if text else None


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
