"""Watches the platform and what customers say: what is wrong becomes an alert, and people are told."""

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from typing import Any

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher  # not public; the default of every instance

from data_platform.automation.health import (
    DaemonHealth,
    SensorHealth,
    idle_sensors,
    read_sensors,
    silent_sensors,
)
from data_platform.automation.sensors import ALERT_SENSOR, PLATFORM_SENSORS
from data_platform.errors import BusyError, DataPlatformError
from data_platform.feed_settings import interval
from data_platform.ingestion.assets import EVERY_DELIVERY_WAS_READ
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.ledger import Gap
from data_platform.monitoring.alerts import (
    CHECK_FAILED,
    DAEMON_SILENT,
    FEED_NOT_COLLECTED,
    OPEN_GAP,
    PRESENT_KINDS,
    RUN_FAILED,
    SENSOR_FAILED,
    SENSOR_SILENT,
    SENSOR_STOPPED,
    AlertChanges,
    Recovery,
    feed_subject,
    update_alerts,
)
from data_platform.monitoring.assets import COLLECTED_WELL, NO_GAP_IS_OPEN, NO_INCIDENT_IS_OPEN
from data_platform.monitoring.delivery import Delivery, deliver
from data_platform.monitoring.incident_alerts import read_incidents
from data_platform.monitoring.notifications import enqueue, failing_channels, next_moment
from data_platform.monitoring.quiet_feeds import stale_feeds, uncollected_feeds
from data_platform.printable import one_line
from data_platform.storage.resources import FAILING_DAYS, FIRST_DAY, LAST_DAY
from data_platform.storage.warehouse import Transaction, Trouble, Warehouse, check_subject

logger = logging.getLogger("data_platform.alerts")

RUNS_PER_LOOK = 50
LOOK_BACK = timedelta(days=7)
# Two runs that end together may become visible in either order.
OVERLAP = timedelta(minutes=1)
LOCK_PATIENCE_SECONDS = 5.0
DELIVERY_PATIENCE_SECONDS = 30.0
SENDING_SECONDS = 15.0  # Dagster ends an evaluation after 60 s
LOOK_ATTEMPTS = 5
LONGEST_PAUSE = timedelta(minutes=10)  # so often at least, time is seen to pass
SILENCE = timedelta(minutes=15)
RUNS_CURSOR = "runs"
DAEMON_CURSOR = "daemon"
HOST_TAG = "data_platform/host"
CLOCK_SLACK_SECONDS = 60.0
UNDER_WAY = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
# Each gap and each incident is an alert of its own.
TOLD_ALREADY = (EVERY_DELIVERY_WAS_READ, COLLECTED_WELL, NO_GAP_IS_OPEN, NO_INCIDENT_IS_OPEN)
SHOWN_CHARACTERS = 500
OWN_ERRORS = f"{DataPlatformError.__module__}."


@dataclass(frozen=True)
class Look:
    """What one look at the platform found.

    Attributes:
        changes: what became of the alerts; None: nothing had happened, and the warehouse was not
            opened.
        open_count: alerts that are not over.
        hint: hand it to the next look, which then need not open the warehouse if nothing happens.
        is_behind: runs are left that another look should take in.
        is_due: messages wait to be sent.
    """

    changes: AlertChanges | None
    open_count: int
    hint: str
    is_behind: bool = False
    is_due: bool = False


class Watch:
    """Turns what is wrong into alerts; the daemon's sensor, the command line and the watchdog use it.

    How far the history of runs was taken in stands in the warehouse, and moves in the transaction
    that changes the alerts. So it does not matter who looks, how often, or whether two do at once.

    Args:
        assets: those of the platform: a failed step is told by its asset.
    """

    def __init__(
        self, feeds: Feeds, warehouse: Warehouse, assets: Iterable[dg.AssetsDefinition]
    ) -> None:
        self._feeds = feeds
        self._options = feeds.settings.config.alerts
        self._patient = Warehouse(warehouse.database, LOCK_PATIENCE_SECONDS)
        self._table_of_step = {
            asset.node_def.name: min(key.to_user_string() for key in asset.keys) for asset in assets
        }

    def look(
        self, instance: dg.DagsterInstance, hint: str | None, daemon: DaemonHealth | None
    ) -> Look:
        """Bring the alerts up to date.

        Args:
            hint: of the look before; None: look at everything.
            daemon: how Dagster's daemon is; None: it is not judged here.

        Raises:
            BusyError: the warehouse is held by another process; nothing was changed.
        """
        now = datetime.now(UTC)
        for run_id in end_lost_runs(instance):
            logger.error("run %s was lost with its process; it counts as failed", run_id[:8])
        gaps = self._feeds.gaps()
        sensors = read_sensors(instance)
        seen = [*_gap_troubles(gaps), *_sensor_troubles(sensors), *_daemon_troubles(daemon)]
        if daemon and daemon.is_running:  # else it is the daemon that does not collect
            seen += uncollected_feeds(self._feeds, now)
        told = json.loads(hint or "{}")
        digest = sha256(repr(seen).encode()).hexdigest()
        has_warehouse = self._patient.database.exists()
        runs, cursor = _finished_runs(instance, told, now)
        if not runs and told.get("seen") == digest:
            again_at = datetime.fromisoformat(told.get("look_again_at", now.isoformat()))
            # Further off it was noted by a clock that was ahead.
            is_early = timedelta() < again_at - now <= LONGEST_PAUSE
            if is_early or not has_warehouse:
                return Look(None, told.get("open", 0), json.dumps({**told, **cursor}))
        if not has_warehouse and not seen and not self._has_trouble(instance, runs, gaps):
            return Look(None, 0, json.dumps({**cursor, "seen": digest}))
        for _ in range(LOOK_ATTEMPTS):
            with self._patient.transaction() as transaction:
                known = _read_cursor(transaction, RUNS_CURSOR)
            runs, cursor = _finished_runs(instance, known or told, now)
            events = [e for run in runs for e in self._events(instance, run, gaps)]
            with self._patient.transaction() as transaction:
                if _read_cursor(transaction, RUNS_CURSOR) != known:
                    continue  # somebody else looked meanwhile
                changes = self._update(transaction, events, seen, sensors, daemon, now)
                _write_cursor(transaction, RUNS_CURSOR, cursor)
                enqueue(transaction, self._options, now)
                due_at = next_moment(transaction, self._options)
            again_at = min(due_at or now + LONGEST_PAUSE, now + LONGEST_PAUSE)
            left = {"open": changes.open_count, "look_again_at": again_at.isoformat()}
            return Look(
                changes,
                changes.open_count,
                json.dumps({**cursor, "seen": digest, **left}),
                is_behind=len(runs) == RUNS_PER_LOOK,
                is_due=due_at is not None and due_at <= now,
            )
        message = "other processes kept looking at the same runs; the next look takes them in"
        raise BusyError(message)

    def deliver(self, seconds: float, patience_seconds: float) -> Delivery:
        """Send what is due; see `delivery.deliver`."""
        warehouse = Warehouse(self._patient.database, DELIVERY_PATIENCE_SECONDS)
        return deliver(warehouse, self._options, seconds=seconds, patience_seconds=patience_seconds)

    def _update(
        self,
        transaction: Transaction,
        events: Sequence[Trouble | Recovery],
        seen: Sequence[Trouble],
        sensors: Sequence[SensorHealth],
        daemon: DaemonHealth | None,
        now: datetime,
    ) -> AlertChanges:
        """Add what the warehouse says to what was seen elsewhere, and bring the alerts up to date."""
        options = self._options
        incidents = read_incidents(transaction, now.date(), options.incident_days)
        present = [
            *seen,
            *stale_feeds(transaction, self._feeds, now),
            *failing_channels(transaction, options),
            *incidents.current,
        ]
        kinds = set(PRESENT_KINDS)
        if daemon is None:
            kinds.discard(DAEMON_SILENT)
        if daemon and daemon.is_running:
            present += _silent_sensor_troubles(transaction, sensors, now)
        else:  # they are not over because nobody can tell
            kinds -= {SENSOR_SILENT, FEED_NOT_COLLECTED}
        escalate = interval(options.escalate_after) if options.escalate_after else None
        return update_alerts(transaction, [*events, *incidents.past], present, kinds, now, escalate)

    def _events(
        self, instance: dg.DagsterInstance, record: dg.RunRecord, gaps: Sequence[Gap]
    ) -> Iterator[Trouble | Recovery]:
        """Yield what a run tells; not its failure where an open gap says why."""
        feeds_with_gaps = {feed_subject(gap.feed) for gap in gaps}
        for event in run_events(instance, record.dagster_run, self._table_of_step):
            if not (_is_failed_run(event) and event.subject in feeds_with_gaps):
                yield event

    def _has_trouble(
        self, instance: dg.DagsterInstance, runs: Sequence[dg.RunRecord], gaps: Sequence[Gap]
    ) -> bool:
        return any(
            isinstance(event, Trouble)
            for run in runs
            for event in self._events(instance, run, gaps)
        )


def alert_sensor(watch: Watch) -> dg.SensorDefinition:
    """Return the sensor that writes and sends alerts, on by default.

    A failed check that does not block leaves its run green in Dagster, and nothing tells of a
    sensor that fails: this does. Its cursor only spares opening the warehouse.
    """

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        alive = DaemonHealth(True, datetime.now(UTC))  # or nobody would evaluate this
        try:
            look = watch.look(context.instance, context.cursor, alive)
        except BusyError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        raised = look.changes.raised if look.changes else ()
        for trouble in raised:
            context.log.error(f"{trouble.kind}: {trouble.subject}: {trouble.evidence}")
        found = f"{look.open_count} alert(s) open, {len(raised)} of them new"
        if not look.open_count:
            found = "all is well"
        if look.is_due:
            try:
                watch.deliver(SENDING_SECONDS, patience_seconds=0.5)
            except BusyError as error:
                found += f"; nothing was sent: {error}"
        return dg.SensorResult(skip_reason=found, cursor=look.hint)

    return dg.SensorDefinition(
        name=ALERT_SENSOR,
        evaluation_fn=evaluate,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Writes what is wrong to the table alerts, each trouble once, notes when it is over, and"
            " tells whom feedback.yaml names: failed runs, failed checks, open gaps, stale feeds,"
            " incidents in what customers say, sensors that fail or are off."
        ),
    )


def tell_the_end(watch: Watch, instance: dg.DagsterInstance) -> None:
    """Look at the runs of a command that ends, and send what is due; never fails the command."""
    try:
        look = watch.look(instance, None, None)
        while look.is_behind:
            look = watch.look(instance, None, None)
        if look.is_due:
            watch.deliver(SENDING_SECONDS, patience_seconds=SENDING_SECONDS)
    except BusyError as error:
        logger.warning("alerts are told later: %s", error)


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


def runs_at_work(instance: dg.DagsterInstance) -> dict[str, int]:
    """Return the runs that a process on this machine executes, by their ids, with its id."""
    found = {}
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNDER_WAY)):
        run = record.dagster_run
        pid = _process_of(instance, run.run_id)
        is_here = run.tags.get(HOST_TAG, gethostname()) == gethostname()
        if pid is not None and is_here and _is_alive(pid, record.start_time):
            found[run.run_id] = pid
    return found


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
            elif evaluation.check_name not in TOLD_ALREADY:
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
    return one_line(" ".join(text.split()), SHOWN_CHARACTERS)


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
        subject = f"{feed_subject(gap.feed)}: {gap.subject}"
        yield Trouble(OPEN_GAP, subject, shorten(gap.reason))


def _sensor_troubles(sensors: Sequence[SensorHealth]) -> Iterator[Trouble]:
    for sensor in idle_sensors(sensors, PLATFORM_SENSORS):
        if not sensor.is_on:
            advice = "nothing that it starts happens by itself; turn it on under Automation"
            yield Trouble(SENSOR_STOPPED, sensor.name, f"turned off: {advice}", severity="warning")
        else:
            yield Trouble(SENSOR_FAILED, sensor.name, shorten(sensor.error or ""))


def _daemon_troubles(daemon: DaemonHealth | None) -> Iterator[Trouble]:
    """A daemon that was never started is missed by nobody: runs come from the command line."""
    if daemon and not daemon.is_running and daemon.last_heartbeat_at:
        last = f"{daemon.last_heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
        evidence = f"last seen {last}; nothing refreshes by itself. Start it: make ui"
        yield Trouble(DAEMON_SILENT, "daemon", evidence)


def _silent_sensor_troubles(
    transaction: Transaction, sensors: Sequence[SensorHealth], now: datetime
) -> Iterator[Trouble]:
    """Yield sensors that are on, and not evaluated while the daemon is seen at work.

    After it was started, or after nobody looked for a while, they are given time.
    """
    state = _read_cursor(transaction, DAEMON_CURSOR)
    seen_at = datetime.fromisoformat(state["seen_at"]) if state else now - 2 * SILENCE
    since = datetime.fromisoformat(state["since"]) if state else now
    if not timedelta() <= now - seen_at < SILENCE:
        since = now
    _write_cursor(
        transaction, DAEMON_CURSOR, {"since": since.isoformat(), "seen_at": now.isoformat()}
    )
    if now - since >= SILENCE:
        for sensor in silent_sensors(sensors, PLATFORM_SENSORS, now - SILENCE):
            evidence = f"on, but last evaluated {sensor.last_tick_at:%Y-%m-%d %H:%M:%S} UTC"
            yield Trouble(SENSOR_SILENT, sensor.name, evidence)


def _read_cursor(transaction: Transaction, name: str) -> dict[str, Any]:
    row = transaction.connection.execute(
        "SELECT state FROM watch_cursors WHERE name = ?", [name]
    ).fetchone()
    return dict(json.loads(row[0])) if row else {}


def _write_cursor(transaction: Transaction, name: str, state: Mapping[str, Any]) -> None:
    transaction.connection.execute("DELETE FROM watch_cursors WHERE name = ?", [name])
    transaction.connection.execute(
        "INSERT INTO watch_cursors VALUES (?, ?)", [name, json.dumps(dict(state))]
    )


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
