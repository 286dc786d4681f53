"""The Dagster instance of the platform: its home, and the dagster.yaml written there."""

import os
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef  # not public; nothing else takes overrides

from data_platform.storage.files import replace_text
from data_platform.storage.locks import ProcessLock
from data_platform.storage.refusals import explained

PREPARATION_SECONDS = 120.0
NO_CAPTURE = {
    "module": "dagster._core.storage.noop_compute_log_manager",
    "class": "NoOpComputeLogManager",
}
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


def open_instance(folder: Path, *, captures_output: bool = True) -> dg.DagsterInstance:
    """Open the instance at `folder`: its runs are the history that the UI shows.

    A new home gets its dagster.yaml and databases here, one process at a time: two that create
    Dagster's SQLite schema at once leave it with two versions (seen with 1.13.27).

    Args:
        captures_output: whether what a step prints is kept for the UI, by two processes for each
            step. On Ctrl-C these print tracebacks to the terminal.

    Raises:
        BusyError: another process holds the folder's lock.
        StorageError: the disk is full or read-only, or a right is missing.
    """
    configuration = folder / "dagster.yaml"
    os.environ["DAGSTER_HOME"] = str(folder)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessLock(folder / ".lock", str(folder)).held(PREPARATION_SECONDS):
            if not configuration.exists():
                replace_text(configuration, DAGSTER_YAML)
            overrides = {} if captures_output else {"compute_logs": NO_CAPTURE}
            return dg.DagsterInstance.from_ref(
                InstanceRef.from_dir(str(folder), overrides=overrides)
            )
