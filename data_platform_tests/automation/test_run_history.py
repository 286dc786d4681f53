"""Runs that Dagster forgets: only those of which nothing is current, with all their files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from data_platform.automation.instance import open_instance
from data_platform.automation.run_history import forget_runs
from data_platform_tests.automation.conftest import Live, feed

DAYS = ("2026-02-01", "2026-02-02")
LATER = timedelta(minutes=1)


@pytest.fixture
def instance(home):
    """A Dagster instance on disk."""
    with open_instance(home / "dagster") as instance:
        yield instance


def materialized(platform: Live) -> dict[dg.AssetKey, object]:
    """Return what Dagster knows of each asset: its partitions, and the latest data version."""
    return {
        key: (
            platform.instance.get_materialized_partitions(key),
            platform.instance.get_latest_data_version_record(key).storage_id,
        )
        for key in platform.instance.get_asset_keys()
        if platform.instance.get_latest_data_version_record(key)
    }


def files(home: Path, run_id: str) -> list[Path]:
    return [p for p in (home / "dagster").rglob("*") if run_id in str(p) and p.is_file()]


def test_runs_of_which_nothing_is_current_go_with_their_files(live, home):
    platform = live(feed("shop"))
    platform.write("shop/a.csv", "1,2026-02-01T10:00:00Z,fine,", "2,2026-02-02T10:00:00Z,good,")
    first = platform.run("refresh_job", days=DAYS)
    platform.write("shop/b.csv", "3,2026-02-02T11:00:00Z,bad,")
    second = platform.run("refresh_job", days=(DAYS[1], DAYS[1]))
    third = platform.run("refresh_job", days=(DAYS[1], DAYS[1]))
    assert all(run.success for run in (first, second, third))
    assert files(home, second.run_id)
    known = materialized(platform)
    assert len(known) >= 8
    assert forget_runs(platform.instance, datetime.now(UTC) + LATER) == 1
    # The first run made the first day, which nothing has made since.
    kept = {run.run_id for run in platform.instance.get_runs()}
    assert kept == {first.run_id, third.run_id}
    assert files(home, second.run_id) == []
    assert materialized(platform) == known
    assert forget_runs(platform.instance, datetime.now(UTC) + LATER) == 0


def test_recent_and_unfinished_runs_stay(live):
    platform = live(feed("shop"))
    platform.write("shop/a.csv", "1,2026-02-01T10:00:00Z,fine,")
    for _ in range(3):
        assert platform.collect("shop").success
    job = platform.definitions.resolve_job_def("publish_job")
    going_on = platform.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert forget_runs(platform.instance, datetime.now(UTC) - LATER) == 0
    assert forget_runs(platform.instance, datetime.now(UTC) + LATER) == 1
    assert platform.instance.has_run(going_on.run_id)
