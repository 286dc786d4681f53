"""What keeps the data home in order, twice a day: erasures, old text, small segments, free space, old runs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from data_platform.automation.closed_days import refresh_closed_days
from data_platform.automation.erasing import Eraser, ErasureLeftoverError
from data_platform.automation.run_history import forget_runs
from data_platform.automation.staleness import Staleness
from data_platform.cleaning.raw_text import TextRedactor
from data_platform.cleaning.refresh import Cleaning
from data_platform.errors import DataPlatformError
from data_platform.feed_settings import interval
from data_platform.ingestion.raw_retention import RetentionLedger, redact_raw
from data_platform.ingestion.segment_compaction import compact_segments
from data_platform.storage.compaction import compact, free_share
from data_platform.storage.resources import day_materialization
from data_platform.storage.warehouse import DayWrite, Warehouse

MAINTENANCE_JOB = "maintenance_job"
MAINTENANCE_SCHEDULE = "maintenance_schedule"
TWICE_A_DAY = "30 3,15 * * *"
# Freed blocks are used again; a file that is rewritten all the time grows by a quarter (measured).
MOST_FREE_SHARE = 0.4
LEAST_BYTES = 64 * 1024 * 1024  # a small file is not worth it


def maintain(
    eraser: Eraser,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    staleness: Staleness,
    refresh: Callable[[list[DayWrite]], None],
) -> dict[str, int]:
    """Complete open erasures, purge the text of deleted posts, redact old text, compact what is scattered.

    Small segments of the landing zone become one, a warehouse of much free space is written anew,
    and Dagster forgets old runs (`keep_runs`).

    Args:
        staleness: knows which closed days are behind, and how they are refreshed; what its cleaning
            redacts, the raw zone does not keep either after `raw_text_days`.
        refresh: told which days of raw_feedback changed, so that what is made of them follows.

    Returns:
        What was done: erasures completed, segments purged, segments less, records redacted, bytes
        given back, runs forgotten.
    """
    done = {"erasures": 0}
    is_erasing = bool(eraser.pending)
    if is_erasing:
        refresh(eraser.remove())
    refresh_closed_days(staleness, warehouse)
    if is_erasing:
        done["erasures"] = len(eraser.finish())
    done["purged_segments"] = eraser.purge()
    done["merged_segments"] = compact_segments(eraser.feeds, warehouse)
    done["redacted_records"] = _redact_old_text(eraser, warehouse, staleness.cleaning, refresh)
    refresh_closed_days(staleness, warehouse)
    done["freed_bytes"] = 0
    size = warehouse.database.stat().st_size
    if size >= LEAST_BYTES and free_share(warehouse) > MOST_FREE_SHARE:
        compacted = compact(warehouse)
        done["freed_bytes"] = compacted.before_bytes - compacted.after_bytes
    kept = interval(eraser.feeds.settings.config.keep_runs)
    done["forgotten_runs"] = forget_runs(instance, datetime.now(UTC) - kept)
    return done


def _redact_old_text(
    eraser: Eraser,
    warehouse: Warehouse,
    cleaning: Cleaning,
    refresh: Callable[[list[DayWrite]], None],
) -> int:
    """Redact text that was collected more than `raw_text_days` ago; return of how many records."""
    days = eraser.feeds.settings.config.raw_text_days
    ledger = RetentionLedger(eraser.ledger.path)
    count, writes = 0, list[DayWrite]()
    if days is not None:
        before = datetime.now(UTC) - timedelta(days=days)
        redacted = redact_raw(eraser.feeds, warehouse, TextRedactor(cleaning.redaction), before)
        count, writes = redacted.record_count, redacted.writes
    if ledger.has_open_redaction():
        compact(warehouse)
        ledger.finish_redaction(datetime.now(UTC))
    if writes:
        refresh(writes)
    return count


def maintenance_job(
    make_eraser: Callable[[dg.DagsterInstance], Eraser], staleness: Staleness
) -> dg.JobDefinition:
    """Return the job that maintains; days that it changed are refreshed by the sensors.

    Args:
        make_eraser: given the instance, for what the report says of checks.
        staleness: how closed days are refreshed, which no sensor can request.
    """

    @dg.op(name="maintain")
    def maintain_op(context: dg.OpExecutionContext) -> dict[str, int]:
        """Complete erasures, purge deleted and redact old text, compact files, forget old runs."""
        eraser = make_eraser(context.instance)

        def log(writes: list[DayWrite]) -> None:
            for write in writes:
                context.log_event(day_materialization(write))

        try:
            done = maintain(eraser, eraser.warehouse, context.instance, staleness, log)
        except ErasureLeftoverError as error:
            context.log.warning(f"{error}")  # the next look finds the days refreshed
            return {}
        except DataPlatformError as error:
            raise dg.Failure(str(error)) from error
        context.log.info(", ".join(f"{name}: {count}" for name, count in done.items()))
        return done

    @dg.job(
        name=MAINTENANCE_JOB,
        description="Complete open erasures, purge the text of deleted posts, redact old text,"
        " compact what is scattered, forget old runs.",
    )
    def job() -> None:
        maintain_op()

    return job


def maintenance_schedule(job: Any) -> dg.ScheduleDefinition:
    """Return the schedule that maintains every twelve hours (UTC), on by default."""
    return dg.ScheduleDefinition(
        name=MAINTENANCE_SCHEDULE,
        job=job,
        cron_schedule=TWICE_A_DAY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Twice a day: open erasures, deleted and old text, small segments, free space, old runs.",
    )
