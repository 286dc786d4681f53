"""Catches up on days that are out of date though nothing changed lately: what every other mechanism let slip."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from data_platform.automation.jobs import REFRESH_JOB
from data_platform.automation.refresh import RANGE_END, RANGE_START, chunks
from data_platform.automation.sensors import STALE_DAYS_SENSOR, UNFINISHED
from data_platform.automation.staleness import Staleness
from data_platform.errors import BusyError
from data_platform.storage.warehouse import Warehouse

LOCK_PATIENCE_SECONDS = 5.0
RUNS_PER_LOOK = 4
PAUSE = timedelta(hours=1)


def stale_days_sensor(
    staleness: Staleness, warehouse: Warehouse, refresh_job: Any, tables: Sequence[dg.AssetKey]
) -> dg.SensorDefinition:
    """Return the sensor that requests days which stay out of date, on by default.

    The warehouse knows from what each day was made. So it does not matter why a day is behind:
    it landed before refresh_sensor first looked, its run failed, or the configuration or the
    model is another one now. A day is requested when two looks in a row find it behind while
    nothing is running, and again an hour later if that did not help.

    Args:
        tables: the daily assets behind the feeds.
    """
    patient = Warehouse(warehouse.database, LOCK_PATIENCE_SECONDS)

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        state: dict[str, Any] = json.loads(context.cursor or "{}")
        now = datetime.now(UTC)
        if context.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)):
            return dg.SensorResult(skip_reason="runs are under way", cursor=context.cursor)
        if not warehouse.database.exists() and not staleness.feeds.landed_days():
            return dg.SensorResult(skip_reason="nothing has landed yet")
        try:
            stale = [day.isoformat() for day in staleness.stale_days(patient)]
        except BusyError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        requested: Mapping[str, str] = {
            day: at for day, at in state.get("requested", {}).items() if day in stale
        }
        due = [
            date.fromisoformat(day)
            for day in stale
            if day in state.get("stale", [])
            and (day not in requested or abs(now - datetime.fromisoformat(requested[day])) >= PAUSE)
        ]
        ranges = list(chunks(due))[:RUNS_PER_LOOK]
        asked = {day.isoformat(): now.isoformat() for days in ranges for day in days}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    job_name=REFRESH_JOB,
                    asset_selection=list(tables),
                    tags={RANGE_START: days[0].isoformat(), RANGE_END: days[-1].isoformat()},
                )
                for days in ranges
            ],
            skip_reason=None if ranges else f"{len(stale)} day(s) are out of date",
            cursor=json.dumps({"stale": stale, "requested": {**requested, **asked}}),
        )

    return dg.SensorDefinition(
        name=STALE_DAYS_SENSOR,
        job=refresh_job,
        evaluation_fn=evaluate,
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Refreshes days that stay out of date: after a failure, after a change of the"
            " configuration or the model, or landed before anybody looked."
        ),
    )
