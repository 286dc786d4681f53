"""The sensors that collect: once for what is new, never for what is known, whatever tick is lost."""

import json
import os
import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine

from data_platform.automation.sensors import FEED_TAG
from data_platform.ingestion.intake import Intake
from data_platform.partitions import daily_partitions
from data_platform_tests.automation.conftest import feed, touch_back

NEW, DUE = "new_feedback_sensor", "collect_feeds_sensor"
ROW = "1,2026-02-01T10:00:00Z,I love it,"


def test_all_sensors_are_on_by_default(live):
    sensors = {sensor.name: sensor for sensor in live().definitions.sensors}
    assert set(sensors) == {NEW, DUE, "refresh_sensor", "stale_days_sensor", "alert_sensor"}
    for sensor in sensors.values():
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.description


def test_a_new_file_is_collected_once(live):
    platform = live()
    assert platform.requested(NEW) == []
    platform.write("shop/a.csv", ROW)
    assert platform.requested(NEW) == ["shop"]
    assert platform.collect("shop").success
    assert platform.requested(NEW) == []


def test_a_request_names_today_so_that_the_run_has_a_partition(live):
    platform = live()
    platform.write("shop/a.csv", ROW)
    (request,) = platform.tick(NEW).run_requests
    partitions = daily_partitions(platform.settings.config.start_date)
    assert request.partition_key == partitions.get_last_partition_key()
    assert request.partition_key == datetime.now(UTC).date().isoformat()
    assert [key.to_user_string() for key in request.asset_selection] == ["feed/shop"]


def test_renamed_touched_moved_and_removed_files_start_nothing(live):
    platform = live()
    path = platform.write("shop/a.csv", ROW)
    platform.collect("shop")
    path = path.rename(path.with_name("b.csv"))
    assert platform.requested(NEW) == []
    touch_back(path, 3600)
    assert platform.requested(NEW) == []
    path.with_name("copy.csv").write_bytes(path.read_bytes())
    assert platform.requested(NEW) == []
    path.unlink()
    assert platform.requested(NEW) == []


def test_a_changed_file_is_seen_even_with_its_old_size_and_time(live):
    platform = live()
    path = platform.write("shop/a.csv", ROW)
    platform.collect("shop")
    stat = path.stat()
    path.write_text(path.read_text().replace("love", "hate"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert platform.requested(NEW) == ["shop"]


def test_a_half_written_file_waits_until_nobody_writes_to_it(live):
    platform = live(feed("shop", settle="2s"))
    path = platform.write("shop/a.csv", ROW)
    touch_back(path, 3600)  # as `cp -p` and `rsync -t` do while they write
    first = platform.tick(NEW)
    assert not first.run_requests
    assert "still being written" in str(first.skip_reason)
    with path.open("a") as stream:
        time.sleep(1.2)
        stream.write("2,2026-02-01T11:00:00Z,more,\n")
    time.sleep(1.2)
    assert platform.requested(NEW) == []  # 2.4 s after the first line, 1.2 s after the second
    time.sleep(1)
    assert platform.requested(NEW) == ["shop"]


def test_a_refused_file_is_tried_again_only_after_it_changed(live):
    platform = live()
    path = platform.settings.base / "shop" / "a.csv"
    path.write_text("<html>no such page</html>\n")
    assert platform.requested(NEW) == ["shop"]
    platform.collect("shop")
    (gap,) = platform.feeds.gaps()
    assert gap.subject == str(path)
    assert "an HTML or XML page" in gap.reason
    assert platform.requested(NEW) == []
    platform.write("shop/a.csv", ROW)
    assert platform.requested(NEW) == ["shop"]
    assert platform.collect("shop").success
    assert platform.feeds.gaps() == []


def test_a_refused_file_is_tried_again_after_the_mapping_changed(live):
    platform = live(feed("shop", fields={"source_id": "id", "posted_at": "at", "body": "words"}))
    platform.write("shop/a.csv", ROW)
    platform.collect("shop")
    assert platform.requested(NEW) == []
    mended = live()
    assert mended.requested(NEW) == ["shop"]


def test_a_refused_file_that_was_removed_is_no_gap_any_more(live):
    platform = live()
    path = platform.write("shop/a.csv", ROW)
    path.write_text("nonsense")
    platform.collect("shop")
    assert platform.feeds.gaps()
    path.unlink()
    assert platform.requested(NEW) == ["shop"]
    platform.collect("shop")
    assert platform.feeds.gaps() == []
    assert platform.feeds.ledger.feed("shop").error is None
    assert platform.requested(NEW) == []


def test_a_gap_stays_open_while_its_file_is_being_written_again(live):
    platform = live(feed("shop", settle="1s"))
    path = platform.write("shop/a.csv", ROW)
    path.write_text("nonsense")
    platform.collect("shop")
    path.write_text("more nonsense")
    assert platform.requested(NEW) == []
    assert len(platform.feeds.gaps()) == 1


def test_a_lost_tick_loses_nothing(live):
    """The run that the tick requested never started, and its cursor is gone too."""
    platform = live()
    platform.write("shop/a.csv", ROW)
    assert platform.requested(NEW) == ["shop"]
    platform.cursors.clear()
    assert platform.requested(NEW) == ["shop"]


def test_a_collection_that_comes_to_nothing_is_requested_again_with_growing_pauses(live):
    platform = live()
    platform.write("shop/a.csv", ROW)
    start = datetime.now(UTC)
    minutes = []
    for minute in range(20):
        with time_machine.travel(start + timedelta(minutes=minute, seconds=1), tick=True):
            if platform.requested(NEW):
                minutes.append(minute)
    assert minutes == [0, 1, 3, 7, 15]


def test_a_feed_that_is_being_collected_is_left_alone(live):
    platform = live()
    platform.write("shop/a.csv", ROW)
    run = platform.instance.create_run_for_job(
        platform.definitions.resolve_job_def("collect_job"), tags={FEED_TAG: "shop"}
    )
    assert platform.requested(NEW) == platform.requested(DUE) == []
    platform.instance.delete_run(run.run_id)
    assert platform.requested(NEW) == ["shop"]


def test_a_feed_whose_folder_is_gone_does_not_stop_the_others(live):
    platform = live(feed("shop"), feed("other"))
    platform.write("other/a.csv", ROW)
    (platform.settings.base / "shop").rmdir()
    result = platform.tick(NEW)
    assert [request.tags[FEED_TAG] for request in result.run_requests] == ["other"]
    (gap,) = platform.feeds.gaps()
    assert "does not exist" in gap.reason
    (platform.settings.base / "shop").mkdir()
    assert "shop" in platform.requested(NEW)
    platform.collect("shop")
    assert platform.feeds.gaps() == []


def test_feeds_that_there_was_no_time_for_are_first_the_next_time(live, monkeypatch):
    platform = live(feed("a"), feed("b"), feed("c"))
    for name in "abc":
        platform.write(f"{name}/a.csv", ROW)
    monkeypatch.setattr("data_platform.automation.sensors.BUDGET_SECONDS", -1.0)
    assert platform.requested(NEW) == []
    platform.cursors[NEW] = json.dumps({"resume_after": "b"})
    monkeypatch.setattr("data_platform.automation.sensors.BUDGET_SECONDS", 20.0)
    assert platform.requested(NEW) == ["c", "a", "b"]


def test_many_files_are_looked_at_within_the_budget(live):
    platform = live()
    for number in range(5_000):
        platform.write(f"shop/{number}.csv", ROW)
    assert platform.collect("shop").success
    platform.write("shop/new.csv", ROW.replace("love", "hate"))
    assert platform.requested(NEW) == ["shop"]
    assert "no time was left" not in str(platform.tick(NEW).skip_reason)


def test_every_feed_opens_its_day_and_then_waits_for_its_own_interval(live):
    platform = live(feed("often", every="1m"), feed("rarely", every="2h"))
    assert platform.requested(DUE) == ["often", "rarely"]
    for name in ("often", "rarely"):
        platform.collect(name)
    assert platform.requested(DUE) == []
    for name in ("often", "rarely"):
        platform.write(f"{name}/a.csv", ROW)
    now = datetime.now(UTC)
    if now.hour == 23:
        pytest.skip("too close to midnight (UTC), when every feed is due")
    with time_machine.travel(now + timedelta(seconds=90), tick=True):
        assert platform.requested(DUE) == ["often"]
    with time_machine.travel(now + timedelta(hours=26), tick=True):
        assert platform.requested(DUE) == ["often", "rarely"]


def test_a_clock_that_was_ahead_for_a_while_holds_no_feed_up(live):
    """Its cursors, its ledger and its requests would otherwise wait for that time to come again."""
    platform = live(feed("shop", every="1m"))
    platform.write("shop/a.csv", ROW)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=400), tick=True):
        assert platform.requested(NEW) == ["shop"]
        assert platform.requested(DUE) == ["shop"]
        assert platform.collect("shop").success
        (platform.settings.base / "shop" / "b.csv").write_text("nonsense")
        assert platform.requested(DUE) == []
    assert platform.requested(DUE) == ["shop"]
    assert platform.requested(NEW) == ["shop"]


def test_a_failing_feed_is_not_collected_over_and_over(live):
    platform = live(feed("shop", every="1s"))
    (platform.settings.base / "shop" / "a.csv").write_text("nonsense")
    assert platform.requested(DUE) == ["shop"]
    platform.collect("shop")
    time.sleep(1.1)
    assert platform.requested(DUE) == []


def test_days_that_a_killed_run_landed_are_told_to_dagster(live):
    """The run landed its file and was killed before it could log one materialization."""
    platform = live(feed("shop", every="1s"))
    platform.write("shop/a.csv", ROW, "2,2026-02-03T10:00:00Z,fine,")
    platform.feeds.collect("shop")
    time.sleep(1.1)
    events = platform.tick(DUE).asset_events
    assert [event.partition for event in events] == ["2026-02-01", "2026-02-03"]
    for event in events:
        platform.instance.report_runless_asset_event(event)
    time.sleep(1.1)
    assert platform.tick(DUE).asset_events == []


def test_the_days_of_a_webhook_are_told_however_steadily_requests_come(live, monkeypatch):
    monkeypatch.setenv("SURVEY_SECRET", "a-secret-of-the-survey")
    fields = {"source_id": "id", "posted_at": "at", "body": "text"}
    secret = {"env": "SURVEY_SECRET"}
    block = {"name": "survey", "kind": "webhook", "secret": secret, "fields": fields}
    platform = live({**block, "every": "5m"})
    platform.collect("survey")
    start = datetime.now(UTC).replace(hour=9, minute=0)
    intake, told = Intake(platform.feeds, "survey"), []
    for minute in range(0, 12, 2):  # a request every two minutes
        with time_machine.travel(start + timedelta(minutes=minute)):
            intake.submit(
                [{"id": minute, "at": f"{start.date()}T08:00:00Z", "text": "I love it"}]
            ).result()
        with time_machine.travel(start + timedelta(minutes=minute + 1)):
            told += [event.partition for event in platform.tick(DUE).asset_events]
    intake.close()
    assert told == [start.date().isoformat()] * 2
