"""Turns what Dagster's event log says of materializations into rows of pipeline_metrics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from data_platform.schemas import PIPELINE_METRICS
from data_platform.storage.warehouse import RuleResult, Transaction

KEPT = timedelta(days=90)
WHOLE_TABLE = "all"
# Of what a materialization says of itself, under these names, first found first taken.
INPUTS = ("records_read", "records_landed")
ROW_COUNTS = ("dagster/partition_row_count", "dagster/row_count")
ROWS_IN = ("inserted", "updated", "unchanged")
MEASURED = PIPELINE_METRICS.arrow_schema.append(
    pa.field("step_started_at", pa.timestamp("us", tz="UTC"))
)
# A collection says these once for all its days.
OF_A_COLLECTION = {
    "request_count": "requests",
    "throttled_seconds": "throttled_seconds",
    "quota_unit_count": "quota_units",
    "cost_usd": "cost_usd",
}


@dataclass
class StepRun:
    """One step of a run, and what it materialized.

    Attributes:
        ended_at: when it ended, well or not; None while it runs.
        told: asset and partition to what was said last of each number, and when.
    """

    run_id: str
    job_name: str
    started_at: datetime
    ended_at: datetime | None = None
    told: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def add(self, asset: str, partition: str, at: datetime, numbers: Mapping[str, Any]) -> None:
        """Note a materialization; a later one of the same partition adds to what is known."""
        self.told.setdefault((asset, partition), {}).update({**numbers, "at": at})


def metric_rows(steps: Iterable[StepRun]) -> pa.Table:
    """Return one row for each run, asset and partition, in the columns of `MEASURED`, without lags."""
    rows = [row for step in steps for row in _step_rows(step)]
    return pa.Table.from_pylist(rows, schema=MEASURED)


def refresh_metrics(
    transaction: Transaction, measured: pa.Table, now: datetime
) -> tuple[pa.Table, tuple[RuleResult, ...]]:
    """Add what was measured to pipeline_metrics, with the lag from posting to score; forget old rows.

    Returns:
        The rows that were added or changed, and the rules that hold.
    """
    connection = transaction.connection
    connection.register("measured", measured)
    lags = """
        SELECT m.run_id, m.asset, m.partition, median(lag) AS median_lag, max(lag) AS max_lag
        FROM (SELECT * FROM measured WHERE asset = 'sentiment_scores' AND inserted_count > 0) m
        JOIN (SELECT posted_at, scored_at, epoch(scored_at) - epoch(posted_at) AS lag
              FROM sentiment_scores WHERE scored_at >= $since AND posted_at >= $first) s
          ON CAST(timezone('UTC', s.posted_at) AS DATE) = TRY_CAST(m.partition AS DATE)
         AND s.scored_at BETWEEN m.step_started_at AND m.materialized_at
        GROUP BY ALL
    """
    since, first = connection.execute(
        "SELECT coalesce(min(step_started_at), now()),"
        " coalesce(min(TRY_CAST(partition AS DATE)), current_date)::TIMESTAMPTZ"
        " FROM measured WHERE asset = 'sentiment_scores'"
    ).fetchall()[0]
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE new_metrics AS"
        " SELECT m.* EXCLUDE (step_started_at)"
        " REPLACE (l.median_lag AS median_lag_seconds, l.max_lag AS max_lag_seconds)"
        f" FROM measured m LEFT JOIN ({lags}) l USING (run_id, asset, partition)",
        {"since": since, "first": first},
    )
    transaction.merge(PIPELINE_METRICS, "new_metrics", delete_where=None)
    connection.execute(
        f"DELETE FROM {PIPELINE_METRICS.name} WHERE materialized_at < ?", [now - KEPT]
    )
    return transaction.arrow("SELECT * FROM new_metrics"), transaction.audit_all(PIPELINE_METRICS)


def _step_rows(step: StepRun) -> Sequence[dict[str, Any]]:
    """Return the rows of a step, whose seconds are divided by the rows that came in."""
    inputs = {place: _input_count(told) for place, told in step.told.items()}
    weights = {place: (count or 0) + 1 for place, count in inputs.items()}
    latest = max((told["at"] for told in step.told.values()), default=step.started_at)
    seconds = max(((step.ended_at or latest) - step.started_at).total_seconds(), 0.0)
    rows = []
    counted: set[str] = set()
    for (asset, partition), told in sorted(step.told.items()):
        share = seconds * weights[asset, partition] / sum(weights.values())
        count = inputs[asset, partition]
        is_first = asset not in counted
        counted.add(asset)
        rows.append(
            {
                "step_started_at": step.started_at,
                "run_id": step.run_id,
                "asset": asset,
                "partition": partition,
                "materialized_at": told["at"],
                "job_name": step.job_name,
                "input_count": count,
                "inserted_count": _first(told, ("inserted", "records_landed")),
                "updated_count": told.get("updated"),
                "unchanged_count": _first(told, ("unchanged", "records_known")),
                "deleted_count": told.get("deleted"),
                "quarantined_count": told.get("records_refused"),
                "row_count": _first(told, ROW_COUNTS),
                "seconds": round(share, 6),
                "rows_per_second": round(count / share, 3) if count and share else None,
                "peak_memory_bytes": told.get("peak_memory_bytes"),
                **{
                    name: told.get(said, 0) or 0 if is_first else 0
                    for name, said in OF_A_COLLECTION.items()
                },
            }
        )
    return rows


def _input_count(told: Mapping[str, Any]) -> int | None:
    counts = [told[name] for name in ROWS_IN if told.get(name) is not None]
    return sum(counts) if counts else _first(told, INPUTS)


def _first(told: Mapping[str, Any], names: Sequence[str]) -> int | None:
    found = [told[name] for name in names if told.get(name) is not None]
    return int(found[0]) if found else None
