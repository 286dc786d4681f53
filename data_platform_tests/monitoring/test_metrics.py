"""What a materialization took, as the event log tells it."""

from datetime import UTC, date, datetime, timedelta

import pytest

from data_platform.monitoring.metrics import KEPT, StepRun, metric_rows, refresh_metrics
from data_platform.schemas import SENTIMENT_SCORES
from data_platform_tests.reporting.conftest import insert

START = datetime(2026, 3, 2, 10, tzinfo=UTC)


def step(seconds=10, job="refresh_job", run="run-1"):
    return StepRun(run, job, START, START + timedelta(seconds=seconds))


def by_partition(*steps):
    return {row["partition"]: row for row in metric_rows(steps).to_pylist()}


def test_the_seconds_of_a_step_are_divided_by_the_rows_that_came_in():
    work = step(seconds=12)
    work.add("raw_feedback", "2026-03-01", START, {"inserted": 2, "updated": 1, "unchanged": 4})
    work.add("raw_feedback", "2026-03-02", START, {"inserted": 3, "deleted": 5})
    found = by_partition(work)
    assert [found[d]["seconds"] for d in sorted(found)] == [8.0, 4.0]
    assert [found[d]["input_count"] for d in sorted(found)] == [7, 3]
    assert found["2026-03-02"]["deleted_count"] == 5
    assert found["2026-03-01"]["rows_per_second"] == 7 / 8


def test_requests_of_a_collection_count_once_though_each_of_its_days_tells_them():
    work = step()
    told = {"records_read": 30, "requests": 7, "throttled_seconds": 2.5, "cost_usd": 0.15}
    for day in ("2026-03-01", "2026-03-02", "2026-03-03"):
        work.add("feed/x", day, START, {**told, "records_landed": 10})
    rows = metric_rows([work]).to_pylist()
    assert [row["request_count"] for row in rows] == [7, 0, 0]
    assert sum(row["cost_usd"] for row in rows) == 0.15


def test_a_closing_event_without_numbers_does_not_hide_those_told_before():
    work = step()
    work.add("raw_feedback", "2026-03-01", START, {"inserted": 4, "peak_memory_bytes": 9})
    work.add("raw_feedback", "2026-03-01", START + timedelta(seconds=5), {})
    (row,) = metric_rows([work]).to_pylist()
    assert (row["inserted_count"], row["peak_memory_bytes"]) == (4, 9)
    assert row["materialized_at"] == START + timedelta(seconds=5)


def test_a_step_that_still_runs_has_taken_the_time_until_its_last_word():
    work = StepRun("run-1", "refresh_job", START)
    work.add("raw_feedback", "2026-03-01", START + timedelta(seconds=3), {"inserted": 1})
    assert metric_rows([work])["seconds"].to_pylist() == [3.0]


@pytest.mark.parametrize("times", [1, 2])
def test_the_lag_is_of_what_the_step_scored_and_reading_again_adds_nothing(warehouse, times):
    posted = datetime(2026, 3, 1, 9, tzinfo=UTC)
    with warehouse.transaction() as transaction:
        for number, (hours, scored) in enumerate(((0, 5), (1, 6), (4, 7), (0, -86_400))):
            row = {
                "feedback_id": f"shop:{number}",
                "posted_at": posted + timedelta(hours=hours),
                "scored_at": START + timedelta(seconds=scored),
            }
            insert(transaction, SENTIMENT_SCORES, row)
    work = step()
    work.add("sentiment_scores", "2026-03-01", START + timedelta(seconds=9), {"inserted": 3})
    work.add("sentiment_scores", "2026-03-02", START + timedelta(seconds=9), {"inserted": 0})
    for _ in range(times):
        with warehouse.transaction() as transaction:
            refresh_metrics(transaction, metric_rows([work]), START)
            found = transaction.connection.execute(
                "SELECT partition, median_lag_seconds, max_lag_seconds FROM pipeline_metrics"
                " ORDER BY ALL"
            ).fetchall()
    day = 24 * 3600
    # Scored at 10:00:05, :06 and :07 on the next day: 25 h, 24 h and 21 h after they were posted.
    assert found == [
        ("2026-03-01", pytest.approx(day + 6), pytest.approx(day + 3600 + 5)),
        ("2026-03-02", None, None),
    ]


def test_rows_are_kept_for_ninety_days(warehouse):
    work = step()
    work.add("raw_feedback", date(2026, 3, 1).isoformat(), START, {})
    for later in (timedelta(0), KEPT + timedelta(days=1)):
        with warehouse.transaction() as transaction:
            refresh_metrics(transaction, metric_rows([work] if not later else []), START + later)
            count = transaction.count("SELECT count(*) FROM pipeline_metrics")
        assert count == (0 if later else 1)
