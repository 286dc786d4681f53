"""Dagster's history of runs: which of them it may forget, and what they leave on disk."""

from datetime import datetime
from pathlib import Path

import dagster as dg
from dagster import AssetRecordsFilter, DagsterRunStatus
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

FINISHED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
MOST_AT_ONCE = 10_000
IDS_PER_QUERY = 500


def forget_runs(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete runs that ended before a moment and that nothing current is of; return how many.

    A run that materialized what an asset or a partition is now stays, whatever its age: Dagster
    takes a partition for missing when the run is deleted that made it.
    """
    ended = instance.get_run_ids(dg.RunsFilter(statuses=FINISHED, updated_before=before))
    needed = _runs_of_current_partitions(instance) if ended else set()
    forgotten = [run_id for run_id in ended if run_id not in needed][:MOST_AT_ONCE]
    for run_id in forgotten:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        _remove_events(instance, run_id)
    return len(forgotten)


def _runs_of_current_partitions(instance: dg.DagsterInstance) -> set[str]:
    found: set[str] = set()
    for key in instance.get_asset_keys():
        latest = instance.get_latest_materialization_event(key)
        if latest is not None:
            found.add(latest.run_id)
        ids = sorted(
            instance.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION
            ).values()
        )
        for start in range(0, len(ids), IDS_PER_QUERY):
            wanted = AssetRecordsFilter(
                asset_key=key, storage_ids=ids[start : start + IDS_PER_QUERY]
            )
            records = instance.fetch_materializations(wanted, limit=IDS_PER_QUERY).records
            found |= {record.run_id for record in records}
    return found


def _remove_events(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the file of a run's events, which Dagster empties and leaves (seen with 1.13.27)."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        path = Path(storage.path_for_shard(run_id))
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
