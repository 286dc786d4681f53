"""What goes wrong becomes an alert, once, and ends when it is mended."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat

from data_platform.automation.watch import _is_alive, end_lost_runs, run_events, tell_the_end
from data_platform.automation.watchdog import watch_over
from data_platform.definitions import watch_of
from data_platform.feed_settings import EnvironmentSecret
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.automation.conftest import feed
from data_platform_tests.ingestion.platforms.server import PlatformServer, Reply

ALERTS = "alert_sensor"
FIRST, LAST = "2026-02-01", "2026-02-03"
ROW = "1,2026-02-01T10:00:00Z,I love it,"


@pytest.fixture
def instance(tmp_path_factory):
    """On disk: the instance in memory keeps no state of sensors."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


def open_alerts(platform):
    """Kind, subject, day and severity of the open alerts."""
    if not platform.settings.warehouse_path.is_file():
        return []
    with Warehouse(platform.settings.warehouse_path).transaction() as transaction:
        return transaction.connection.execute(
            "SELECT kind, subject, day::VARCHAR, severity FROM alerts WHERE resolved_at IS NULL"
            " ORDER BY ALL"
        ).fetchall()


def raised(platform):
    """Look once; return how many alerts were ever raised."""
    platform.tick(ALERTS)
    with Warehouse(platform.settings.warehouse_path).transaction() as transaction:
        return transaction.count("SELECT count(*) FROM alerts")


def refresh(platform, first=FIRST, last=LAST):
    keys = [dg.AssetKey("raw_feedback"), dg.AssetKey("cleaned_feedback")]
    return platform.run("refresh_job", days=(first, last), keys=keys)


def test_while_all_is_well_the_warehouse_is_not_even_opened(live):
    platform = live()
    platform.write("shop/a.csv", ROW)
    assert platform.collect("shop").success
    assert "all is well" in str(platform.tick(ALERTS).skip_reason)
    assert not platform.settings.warehouse_path.exists()


def test_a_failed_run_is_told_once_and_ends_with_a_good_one(live, caplog):
    platform = live()
    wrong = platform.settings.warehouse_path
    wrong.mkdir(parents=True)
    assert not refresh(platform, FIRST, FIRST).success
    wrong.rmdir()
    platform.tick(ALERTS)
    assert open_alerts(platform) == [("run_failed", "raw_feedback", FIRST, "error")]
    assert [r.levelname for r in caplog.records if "run_failed" in r.getMessage()] == ["ERROR"]
    assert raised(platform) == 1
    caplog.clear()
    platform.cursors.clear()  # a lost cursor looks at the same runs again
    assert raised(platform) == 1
    assert caplog.records == []
    assert refresh(platform, "2026-02-02", LAST).success
    platform.tick(ALERTS)
    assert open_alerts(platform) == [("run_failed", "raw_feedback", FIRST, "error")]
    assert refresh(platform, FIRST, FIRST).success
    platform.tick(ALERTS)
    assert open_alerts(platform) == []


def test_a_clock_that_was_ahead_for_a_while_hides_no_failed_run(live):
    platform = live()
    wrong = platform.settings.warehouse_path
    with time_machine.travel(datetime.now(UTC) + timedelta(days=400), tick=True):
        assert refresh(platform, LAST, LAST).success
        platform.tick(ALERTS)
    kept = wrong.with_name("kept")
    wrong.rename(kept)
    wrong.mkdir()
    assert not refresh(platform, FIRST, FIRST).success
    wrong.rmdir()
    kept.rename(wrong)
    platform.tick(ALERTS)
    assert open_alerts(platform) == [("run_failed", "raw_feedback", FIRST, "error")]
    assert raised(platform) == 1


def test_a_broken_rule_is_told_by_its_write_alone(live):
    platform = live()
    platform.write("shop/a.csv", ROW)
    platform.collect("shop")
    refresh(platform)
    with Warehouse(platform.settings.warehouse_path).transaction() as transaction:
        transaction.connection.execute("INSERT INTO raw_feedback SELECT * FROM raw_feedback")
    assert not refresh(platform).success
    expected = [("rule_broken", "raw_feedback: key_is_unique", FIRST, "error")]
    assert open_alerts(platform) == expected
    platform.tick(ALERTS)
    assert open_alerts(platform) == expected
    with Warehouse(platform.settings.warehouse_path).transaction() as transaction:
        transaction.connection.execute("DELETE FROM raw_feedback")
        transaction.connection.execute("DELETE FROM loaded_segments")
    assert refresh(platform).success
    assert open_alerts(platform) == []


def test_a_failed_check_that_leaves_its_run_green_is_told(live):
    platform = live(alerts={"unknown_language_share": 0.1})
    noise = [f"{n},2026-02-0{1 + n % 2}T10:00:00Z,zxq{n} wvt,en" for n in range(80)]
    platform.write("shop/a.csv", *[row.rsplit(",", 1)[0] + "," for row in noise])
    platform.collect("shop")
    assert refresh(platform).success
    platform.tick(ALERTS)
    subject = "cleaned_feedback: unknown_language_share_is_low"
    assert open_alerts(platform) == [
        ("check_failed", subject, "2026-02-01", "warning"),
        ("check_failed", subject, "2026-02-02", "warning"),
    ]
    assert refresh(platform, LAST, LAST).success  # another day that is well says nothing of them
    assert raised(platform) == 2
    assert len(open_alerts(platform)) == 2
    rows = [f"{n},2026-02-01T10:00:00Z,I love the new coffee machine,true" for n in range(0, 80, 2)]
    platform.write("shop/b.csv", *rows)
    platform.collect("shop")
    assert refresh(platform).success
    platform.tick(ALERTS)
    assert open_alerts(platform) == [("check_failed", subject, "2026-02-02", "warning")]


def test_an_open_gap_is_told_once_by_its_file_and_ends_when_it_is_closed(live):
    platform = live()
    path = platform.settings.base / "shop" / "a.csv"
    path.write_text("nonsense")
    for is_known in (False, True):
        assert platform.collect("shop").success is is_known
        assert platform.run("publish_job").success
        assert raised(platform) == raised(platform) == 1
    assert open_alerts(platform) == [("open_gap", f"feed/shop: {path}", None, "error")]
    platform.write("shop/a.csv", ROW)
    assert platform.collect("shop").success
    platform.tick(ALERTS)
    assert open_alerts(platform) == []


def test_a_run_that_ended_without_a_failed_step_is_told_by_its_job(live):
    """A run worker that was killed: Dagster's monitoring ends the run with a message of its own."""
    platform = live()
    run = platform.instance.create_run_for_job(
        platform.definitions.resolve_job_def("collect_job"), status=dg.DagsterRunStatus.STARTED
    )
    platform.instance.report_run_failed(run, "Run worker was killed")
    platform.tick(ALERTS)
    assert open_alerts(platform) == [("run_failed", "collect_job", None, "error")]
    assert platform.collect("shop").success
    platform.tick(ALERTS)
    assert open_alerts(platform) == []


LOST_RUN = """
    import os, signal, sys
    import dagster as dg

    @dg.asset
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
        dg.Definitions([killed]).resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
"""


def test_a_run_that_was_lost_with_its_process_is_ended_and_told(live, instance):
    platform = live()
    script = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        textwrap.dedent(LOST_RUN),
        instance.root_directory,
    ]
    assert subprocess.run(script, check=False, capture_output=True).returncode == -signal.SIGKILL
    (lost,) = instance.get_runs()
    assert lost.status is dg.DagsterRunStatus.STARTED
    platform.tick(ALERTS)
    (ended,) = instance.get_runs()
    assert ended.status is dg.DagsterRunStatus.FAILURE
    assert raised(platform) == 1


def test_a_lost_run_is_over_when_its_table_is_written_again(live):
    platform = live()
    run = platform.instance.create_run_for_job(
        platform.definitions.resolve_job_def("refresh_job"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": FIRST},
        asset_selection=frozenset({dg.AssetKey("raw_feedback"), dg.AssetKey("sentiment_scores")}),
    )
    platform.instance.report_run_failed(run, "Process 1 of this run is gone")
    platform.tick(ALERTS)
    assert open_alerts(platform) == [("run_failed", "raw_feedback", FIRST, "error")]
    assert refresh(platform, FIRST, FIRST).success
    platform.tick(ALERTS)
    assert open_alerts(platform) == []


def test_a_process_that_is_younger_than_the_run_is_another_one():
    assert _is_alive(os.getpid(), time.time())
    assert not _is_alive(os.getpid(), time.time() - 10 * 86_400)
    assert not _is_alive(2**22 + 1, time.time())  # beyond the largest process id of Linux


def test_a_run_under_way_is_left_alone(live, instance):
    platform = live()
    seen = []

    @dg.asset
    def looks(context):
        seen.extend(end_lost_runs(instance))
        seen.append(context.run.status)

    assert dg.materialize([looks], instance=instance).success
    assert len(seen) == 1
    assert platform.tick(ALERTS).skip_reason


def test_a_warehouse_that_is_busy_is_written_at_the_next_look(live, monkeypatch):
    monkeypatch.setattr("data_platform.automation.watch.LOCK_PATIENCE_SECONDS", 0.2)
    platform = live()
    (platform.settings.base / "shop" / "a.csv").write_text("nonsense")
    platform.collect("shop")
    with Warehouse(platform.settings.warehouse_path).transaction():
        assert "was held by" in str(platform.tick(ALERTS).skip_reason)
    assert raised(platform) == 1


def test_more_runs_than_one_look_takes_are_all_looked_at(live, monkeypatch):
    monkeypatch.setattr("data_platform.automation.watch.RUNS_PER_LOOK", 2)
    platform = live(*(feed(f"shop_{n}") for n in range(5)))
    wrong = platform.settings.warehouse_path
    wrong.mkdir(parents=True)
    for day in range(1, 6):
        assert not refresh(platform, f"2026-02-0{day}", f"2026-02-0{day}").success
    wrong.rmdir()
    assert [raised(platform) for _ in range(4)] == [2, 4, 5, 5]


def test_who_looks_second_tells_nothing_again(live, caplog):
    """The sensor, the end of a command and the watchdog share what was looked at."""
    platform = live()
    wrong = platform.settings.warehouse_path
    wrong.mkdir(parents=True)
    assert not refresh(platform, FIRST, FIRST).success
    wrong.rmdir()
    watch = watch_of(platform.settings, platform.definitions)
    tell_the_end(watch, platform.instance)
    told = [r.getMessage() for r in caplog.records if r.name == "data_platform.alerts"]
    assert len(told) == 1
    watch_over(watch, platform.instance, None)
    platform.tick(ALERTS)
    assert refresh(platform, FIRST, FIRST).success
    platform.tick(ALERTS)
    tell_the_end(watch, platform.instance)
    told = [r.getMessage() for r in caplog.records if r.name == "data_platform.alerts"]
    assert [line.split(" ")[0] for line in told] == ["opened", "resolved"]


def test_two_that_look_at_the_same_run_at_once_tell_it_once(live, monkeypatch):
    """The first finds the cursor moved under it, and looks again."""
    platform = live()
    wrong = platform.settings.warehouse_path
    wrong.mkdir(parents=True)
    assert not refresh(platform, FIRST, FIRST).success
    wrong.rmdir()
    with Warehouse(wrong).transaction():
        pass  # it is there, so that both read how far the other looked
    watch = watch_of(platform.settings, platform.definitions)
    looks = []

    def while_another_reads_the_events(*arguments):
        if not looks:
            looks.append(True)
            watch.look(platform.instance, None, None)
        return run_events(*arguments)

    monkeypatch.setattr("data_platform.automation.watch.run_events", while_another_reads_the_events)
    assert watch.look(platform.instance, None, None).changes.raised == []
    with Warehouse(platform.settings.warehouse_path).transaction() as transaction:
        assert transaction.count("SELECT sum(occurrence_count) FROM alerts") == 1
        assert transaction.count("SELECT count(*) FROM notifications") == 1


def test_while_an_alert_stays_as_it_is_the_warehouse_is_not_opened(live):
    platform = live()
    (platform.settings.base / "shop" / "a.csv").write_text("nonsense")
    platform.collect("shop")
    assert raised(platform) == 1
    platform.tick(ALERTS)
    before = platform.settings.warehouse_path.stat().st_mtime_ns
    with Warehouse(platform.settings.warehouse_path).transaction():
        assert "1 alert(s) open, 0 of them new" in str(platform.tick(ALERTS).skip_reason)
    assert platform.settings.warehouse_path.stat().st_mtime_ns == before
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=11), tick=True):
        assert "1 alert(s) open" in str(platform.tick(ALERTS).skip_reason)


def test_a_look_that_a_clock_that_was_ahead_has_put_off_is_taken_at_once(live):
    platform = live()
    (platform.settings.base / "shop" / "a.csv").write_text("nonsense")
    platform.collect("shop")
    watch = watch_of(platform.settings, platform.definitions)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=3), tick=True):
        hint = watch.look(platform.instance, None, None).hint
    now = watch.look(platform.instance, hint, None)
    assert now.changes is not None
    assert watch.look(platform.instance, now.hint, None).changes is None


def beat(instance, at):
    """Write the heartbeats of a daemon at work."""
    for name in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), name, "d", []))


def test_a_daemon_that_falls_silent_is_told_by_the_watchdog_and_no_heartbeat_goes_out(
    live, monkeypatch
):
    sink = PlatformServer(lambda _: Reply({}))
    monkeypatch.setenv("HEARTBEAT", f"{sink.url}/ping")
    heartbeat = EnvironmentSecret(env="HEARTBEAT")
    platform = live()
    platform.write("shop/a.csv", ROW)
    platform.collect("shop")
    refresh(platform)
    watch = watch_of(platform.settings, platform.definitions)
    now = datetime.now(UTC)
    assert "heartbeat sent" in watch_over(watch, platform.instance, heartbeat)
    assert open_alerts(platform) == []  # a daemon that never ran is missed by nobody
    beat(platform.instance, now)
    assert "heartbeat sent" in watch_over(watch, platform.instance, heartbeat)
    beat(platform.instance, now - timedelta(minutes=5))
    assert "no heartbeat was sent" in watch_over(watch, platform.instance, heartbeat)
    assert open_alerts(platform) == [("daemon_silent", "daemon", None, "error")]
    tell_the_end(watch, platform.instance)  # a command does not judge the daemon
    assert len(open_alerts(platform)) == 1
    beat(platform.instance, now)
    watch_over(watch, platform.instance, heartbeat)
    assert open_alerts(platform) == []
    assert len(sink.requests) == 3
    sink.close()


def test_a_feed_is_not_collected_again_because_the_daemon_fell_silent_too(live):
    platform = live({"kind": "mastodon", "name": "social", "hashtags": ["shop"]})
    now = datetime.now(UTC)
    platform.feeds.ledger.finish("social", now - timedelta(days=1), None)
    watch = watch_of(platform.settings, platform.definitions)
    for age in (timedelta(), timedelta(minutes=5)):
        beat(platform.instance, now - age)
        watch_over(watch, platform.instance, None)
        assert ("feed_not_collected", "feed/social", None, "error") in open_alerts(platform)
    beat(platform.instance, now)
    platform.feeds.ledger.finish("social", now, None)
    watch_over(watch, platform.instance, None)
    assert open_alerts(platform) == []


def tick_of(platform, sensor, at):
    """Write an evaluation of a sensor, as the daemon does."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__")
    state = InstigatorState(
        RemoteInstigatorOrigin(repository, sensor), InstigatorType.SENSOR, InstigatorStatus.RUNNING
    )
    if (
        platform.instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
        is None
    ):
        platform.instance.add_instigator_state(state)
    data = TickData(
        state.instigator_origin_id,
        sensor,
        InstigatorType.SENSOR,
        TickStatus.SKIPPED,
        at.timestamp(),
        selector_id=state.selector_id,
    )
    platform.instance.create_tick(data)


def test_a_sensor_that_is_not_evaluated_is_told_when_the_daemon_has_had_time(live):
    platform = live()
    platform.write("shop/a.csv", ROW)
    platform.collect("shop")
    refresh(platform)
    watch = watch_of(platform.settings, platform.definitions)
    evaluated_at = datetime.now(UTC)
    tick_of(platform, "refresh_sensor", evaluated_at)

    def look(minutes):
        with time_machine.travel(evaluated_at + timedelta(minutes=minutes), tick=True):
            beat(platform.instance, datetime.now(UTC))
            watch_over(watch, platform.instance, None)
        return [kind for kind, *_ in open_alerts(platform)]

    assert look(1) == []
    assert look(600) == []  # the machine was off over night, and the daemon has just begun
    assert look(610) == []
    assert look(616) == ["sensor_silent"]
    tick_of(platform, "refresh_sensor", evaluated_at + timedelta(minutes=617))
    assert look(618) == []


@pytest.mark.parametrize("text", ["a\x1b[31mb\nc", "x" * 2_000])
def test_evidence_is_one_short_line_without_control_characters(text):
    from data_platform.automation.watch import shorten

    assert len(shorten(text)) <= 500
    assert shorten(text).isprintable()
