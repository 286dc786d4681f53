"""The Dagster instance of the platform: its home, and the dagster.yaml written there."""

import os
from pathlib import Path

import dagster as dg
import filelock

DAGSTER_YAML = """\
# Written by data-platform; change it as you like, it is not written again.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 4
    tag_concurrency_limits:
      - key: data_platform/feed
        value: {applyLimitPerUniqueValue: true}
        limit: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
  cancel_timeout_seconds: 180
  poll_interval_seconds: 30
  free_slots_after_run_end_seconds: 30
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
retention:
  sensor:
    purge_after_days:
      skipped: 1
      success: 30
      failure: 90
      started: 1
  schedule:
    purge_after_days: 30
sensors:
  use_threads: true
  num_workers: 4
"""


def open_instance(folder: Path) -> dg.DagsterInstance:
    """Open the instance at `folder`: its runs are the history that the UI shows.

    A new home gets its dagster.yaml and databases here, one process at a time: two that create
    Dagster's SQLite schema at once leave it with two versions (seen with 1.13.27).
    """
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "dagster.yaml"
    os.environ["DAGSTER_HOME"] = str(folder)
    with filelock.FileLock(folder / ".lock", mode=0o600):
        if not configuration.exists():
            configuration.write_text(DAGSTER_YAML, encoding="utf-8")
        return dg.DagsterInstance.get()
