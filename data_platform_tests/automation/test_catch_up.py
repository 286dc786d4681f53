"""Days that stay out of date are refreshed, for whatever reason they are, and not over and over."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from data_platform.storage.warehouse import Warehouse
from data_platform_tests.automation.conftest import feed

STALE = "stale_days_sensor"
ROWS = ["1,2026-02-01T10:00:00Z,I love it,", "2,2026-02-02T10:00:00Z,Ich liebe das sehr,"]
DAYS = ("2026-02-01", "2026-02-02")
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture
def landed(live):
    """A platform whose file was collected, and then everything was killed."""
    platform = live()
    platform.write("shop/a.csv", *ROWS)
    assert platform.collect("shop").success
    return platform


def look(platform):
    """Look once; return the requested ranges of days."""
    requests = platform.tick(STALE).run_requests
    return [(request.tags[START], request.tags[END]) for request in requests]


def do(platform, request):
    """Run what was requested."""
    days = (request.tags[START], request.tags[END])
    return platform.run("refresh_job", days=days, keys=request.asset_selection)


def test_landed_days_that_nobody_refreshed_are_refreshed_at_the_second_look(landed):
    assert look(landed) == []
    (request,) = landed.tick(STALE).run_requests
    assert (request.tags[START], request.tags[END]) == DAYS
    assert do(landed, request).success
    assert look(landed) == look(landed) == []
    with Warehouse(landed.settings.warehouse_path).transaction() as transaction:
        assert transaction.count("SELECT sum(post_count) FROM daily_sentiment") == 2


def test_days_that_were_refreshed_in_between_are_left_alone(landed):
    look(landed)
    assert landed.run("refresh_job", days=DAYS).success
    assert look(landed) == look(landed) == []


def test_a_day_that_fails_is_requested_again_an_hour_later(landed):
    """The disk is full, or a rule does not hold: nothing changes that would start the day again."""
    now = datetime.now(UTC)
    requested = []
    for minutes in range(0, 150, 5):
        with time_machine.travel(now + timedelta(minutes=minutes), tick=True):
            requested += [minutes] * len(look(landed))
    assert requested == [5, 65, 125]


def test_a_changed_configuration_makes_days_that_are_refreshed(live, landed):
    assert landed.run("refresh_job", days=DAYS).success
    assert look(landed) == look(landed) == []
    changed = live(feed("shop"), sentiment={"languages": ["en", "de"]})
    look(changed)
    (request,) = changed.tick(STALE).run_requests
    assert do(changed, request).success
    assert look(changed) == look(changed) == []


def test_while_a_run_is_under_way_nothing_is_requested(landed):
    look(landed)
    run = landed.instance.create_run_for_job(landed.definitions.resolve_job_def("publish_job"))
    assert look(landed) == []
    landed.instance.delete_run(run.run_id)
    assert look(landed) == [DAYS]


@pytest.mark.usefixtures("landed")
def test_a_warehouse_that_is_busy_is_looked_at_the_next_time(live, monkeypatch):
    monkeypatch.setattr("data_platform.automation.catch_up.LOCK_PATIENCE_SECONDS", 0.2)
    patient = live()
    look(patient)
    with Warehouse(patient.settings.warehouse_path).transaction():
        assert "was held by" in str(patient.tick(STALE).skip_reason)
    assert look(patient) == [DAYS]


def test_where_nothing_landed_no_warehouse_is_made(live):
    platform = live()
    assert look(platform) == look(platform) == []
    assert not platform.settings.warehouse_path.exists()


def test_many_days_are_few_runs(live):
    platform = live(start_date="2025-01-01")
    rows = [f"{n},{datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=n)},fine," for n in range(200)]
    platform.write("shop/a.csv", *rows)
    platform.collect("shop")
    look(platform)
    assert len(look(platform)) == 4
    assert len(look(platform)) == 3
    assert look(platform) == []
