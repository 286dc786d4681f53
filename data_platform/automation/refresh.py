"""Refreshing from the command line: runs in this process, in chunks of days, recorded like every other run."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from socket import gethostname
from typing import Any

import dagster as dg

from data_platform.automation.closed_days import refresh_closed_days
from data_platform.automation.interruption import StopRequest
from data_platform.automation.jobs import (
    COLLECT_JOB,
    PUBLISH_JOB,
    REFRESH_JOB,
    REPLAY_JOB,
    REPLAY_OP,
)
from data_platform.automation.staleness import Staleness
from data_platform.automation.watch import HOST_TAG, failure_reason
from data_platform.errors import DataPlatformError
from data_platform.ingestion.assets import (
    COLLECT_NEW,
    COLLECT_TAG,
    EVERY_DELIVERY_WAS_READ,
    feed_key,
)
from data_platform.partitions import DAYS_PER_RUN
from data_platform.storage.days import utc_today
from data_platform.storage.resources import DATA_VERSION_TAG, day_materialization
from data_platform.storage.warehouse import DayWrite, Warehouse

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
QUIET: dict[str, Any] = {"loggers": {"progress": {}}}

Progress = Callable[[str, int, int], None]


@dataclass
class RefreshOutcome:
    """What a refresh from the command line did.

    Attributes:
        days: days that were refreshed.
        changed: table-days whose content is another now.
        failures: messages of what failed, in plain words; the rest went on.
    """

    days: int = 0
    changed: int = 0
    failures: list[str] = field(default_factory=list)


def _progress(_: dg.InitLoggerContext) -> logging.Logger:
    """Hand log records to the Python logger of the command line."""
    logger = logging.getLogger("data_platform.progress")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


progress_logger = dg.LoggerDefinition(_progress)


class Refresher:
    """Runs the platform's jobs in this process.

    Args:
        definitions: the platform's definitions.
        instance: where runs are recorded.
        progress: told (stage, day number, days) after each day of a stage.
        stop: obeyed between runs.
    """

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        progress: Progress,
        stop: StopRequest,
    ) -> None:
        self._definitions = definitions
        self.instance = instance
        self._handler = _ProgressHandler(progress)
        self._stop = stop

    def complete_history(self, warehouse: Warehouse) -> int:
        """Record days whose committed content is not the history's latest; return how many.

        A run that was killed between a commit and its end leaves such days, and so does a
        DAGSTER_HOME that was removed. The UI then shows what the warehouse holds.
        """
        with warehouse.transaction() as transaction:
            versions = transaction.connection.execute(
                "SELECT table_name, day, digest, row_count FROM day_versions"
            ).fetchall()
        recorded: dict[str, Mapping[str, Mapping[str, str]]] = {}
        missing = 0
        for table, day, digest, row_count in versions:
            if table not in recorded:
                recorded[table] = self.instance.event_log_storage.get_latest_tags_by_partition(
                    dg.AssetKey(table),
                    dg.DagsterEventType.ASSET_MATERIALIZATION,
                    [DATA_VERSION_TAG],
                )
            if recorded[table].get(day.isoformat(), {}).get(DATA_VERSION_TAG) != digest:
                found = DayWrite(table, day, row_count=row_count, digest=digest)
                self.instance.report_runless_asset_event(day_materialization(found))
                missing += 1
        return missing

    def collect(
        self, feeds: Sequence[Sequence[str]], days: Sequence[date], outcome: RefreshOutcome
    ) -> None:
        """Collect groups of feeds, one run each: one feed that fails does not hold up the others.

        Args:
            feeds: a group is collected in one run, its feeds at the same time.
            days: none: what is new.
        """
        tags = {} if days else {COLLECT_TAG: COLLECT_NEW}
        for number, group in enumerate(feeds, start=1):
            self._handler.progress("collecting", number - 1, len(feeds))
            keys = [feed_key(name) for name in group]
            for chunk in chunks(days or [utc_today()]):
                self._run(COLLECT_JOB, outcome, chunk, keys, tags)
            self._handler.progress("collecting", number, len(feeds))

    def refresh(self, days: Sequence[date], outcome: RefreshOutcome) -> None:
        """Refresh every table behind the feeds for `days`; a failed chunk does not stop the next."""
        job = self._definitions.resolve_job_def(REFRESH_JOB)
        keys = [key for key in job.asset_layer.executable_asset_keys if key.path[0] != "feed"]
        for chunk in chunks(days):
            self._run(REFRESH_JOB, outcome, chunk, keys)
            outcome.days += len(chunk)

    def refresh_moved(
        self,
        staleness: Staleness,
        warehouse: Warehouse,
        besides: Sequence[date],
        outcome: RefreshOutcome,
    ) -> None:
        """Refresh the days that loading other days changed: posts moved away from there.

        So are the closed days that are behind, which no run can refresh.

        Args:
            besides: days to leave alone, because they were out of date before.
        """
        moved = set(staleness.outdated_days(warehouse)) - set(besides)
        if moved and not outcome.failures:
            self.refresh(sorted(moved), outcome)
        try:
            writes = refresh_closed_days(staleness, warehouse)
        except DataPlatformError as error:
            outcome.failures.append(str(error))
        else:
            outcome.days += len({write.day for write in writes})
            outcome.changed += sum(write.changed for write in writes)
        self._stop.obey()

    def replay(self, feeds: Sequence[str], outcome: RefreshOutcome) -> int:
        """Land what passes the contract now of the records in quarantine; return how many."""
        result = self._definitions.resolve_job_def(REPLAY_JOB).execute_in_process(
            run_config={**QUIET, "ops": {REPLAY_OP: {"config": {"feeds": list(feeds)}}}},
            instance=self.instance,
            tags={HOST_TAG: gethostname()},
            raise_on_error=False,
        )
        self._stop.obey()
        for event in result.all_events:
            if event.is_step_failure:
                outcome.failures.append(f"{event.step_key}: {failure_reason(event)}")
        return int(result.output_for_node(REPLAY_OP)["released"]) if result.success else 0

    def publish(self, outcome: RefreshOutcome) -> None:
        """Bring quarantine, health, snapshot and report up to date."""
        self._run(PUBLISH_JOB, outcome, [], None)

    def _run(
        self,
        job_name: str,
        outcome: RefreshOutcome,
        days: Sequence[date],
        keys: Sequence[dg.AssetKey] | None,
        further_tags: Mapping[str, str] | None = None,
    ) -> None:
        tags = {HOST_TAG: gethostname(), **(further_tags or {})}
        if days:
            tags |= {RANGE_START: days[0].isoformat(), RANGE_END: days[-1].isoformat()}
        logger = logging.getLogger("data_platform.progress")
        logger.addHandler(self._handler)
        try:
            result = self._definitions.resolve_job_def(job_name).execute_in_process(
                run_config=QUIET,
                instance=self.instance,
                asset_selection=keys,
                tags=tags,
                raise_on_error=False,
            )
        finally:
            logger.removeHandler(self._handler)
        self._stop.obey()
        seen = set()
        refused: list[str] = []
        for event in result.all_events:
            if event.is_step_failure:
                if not refused:  # then the step has failed for what is told already
                    outcome.failures.append(f"{event.step_key}: {failure_reason(event)}")
            elif event.event_type_value == "ASSET_CHECK_EVALUATION":
                refused += _refused(event.asset_check_evaluation_data)
            elif event.event_type_value == "ASSET_MATERIALIZATION":
                found = event.step_materialization_data.materialization
                if (c := found.metadata.get("content_changed")) is not None and c.value:
                    seen.add((found.asset_key, found.partition))
        outcome.changed += len(seen)
        outcome.failures += refused


def chunks(days: Sequence[date], size: int = DAYS_PER_RUN) -> Iterator[list[date]]:
    """Yield `days` in order as runs of consecutive days, of at most `size` days each."""
    run: list[date] = []
    for day in sorted(days):
        if run and (len(run) == size or day != run[-1] + timedelta(days=1)):
            yield run
            run = []
        run.append(day)
    if run:
        yield run


class _ProgressHandler(logging.Handler):
    """Reads '… (3 of 30): …' from what the stages log."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        words = str(meta.get("orig_message", "")).split(" ")
        if len(words) > 3 and words[1].startswith("(") and words[2] == "of":
            number, total = words[1].lstrip("("), words[3].rstrip("):")
            if number.isdigit() and total.isdigit():
                self.progress(str(meta.get("step_key", "")), int(number), int(total))


def _refused(evaluation: dg.AssetCheckEvaluation) -> list[str]:
    """Return why deliveries of a feed were refused."""
    if evaluation.check_name != EVERY_DELIVERY_WAS_READ or evaluation.passed:
        return []
    reasons = [v.value for n, v in evaluation.metadata.items() if n.startswith("refused_")]
    name = evaluation.asset_key.to_user_string()
    return [f"{name}: {reason}" for reason in reasons if isinstance(reason, str)]
