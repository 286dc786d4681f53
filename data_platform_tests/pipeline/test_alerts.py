"""Alerts as their users meet them: by the command line, with a place that they are sent to."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from data_platform_tests.ingestion.platforms.server import status
from data_platform_tests.monitoring.conftest import SECRET, Sink, hook
from data_platform_tests.pipeline.conftest import COMMAND, SHOP, Platform

GOOD = [{"id": "1", "at": "2026-03-02T10:00:00Z", "text": "Lovely coffee", "user": "ann"}]
INCIDENT = """
    INSERT INTO incidents VALUES ('i', 'shop', 'all', 'negative_share', 'up', current_date - 1,
        current_date - 1, current_date - 1, 0.6, 0.1, 6.0, 100, {is_over})
"""


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def shop(tmp_path, sink) -> Platform:
    """A shop whose alerts go to the sink."""
    platform = Platform(tmp_path, {**SHOP, "alerts": {"channels": [hook(sink)]}})
    platform.environment["HOOK_SECRET"] = SECRET
    return platform


def test_a_gap_is_told_at_the_end_of_a_run_once_and_so_is_its_end(shop, sink):
    bad = shop.folder / "incoming" / "a.csv"
    bad.write_text("nonsense")
    shop.cli("run", code=1)
    assert [event for event, _ in sink.told] == ["opened"]
    assert sink.is_signed()
    shop.cli("run", code=1)
    shop.cli("watchdog", "--once")
    shop.cli("backfill", "--from", "2026-03-01", "--to", "2026-03-02", code=1)
    assert len(sink.requests) == 1
    (alert,) = json.loads(shop.cli("alerts", "--json"))
    assert (alert["kind"], alert["status"]) == ("open_gap", "open")
    assert f"{alert['alert_id'][:8]}  open  open_gap: feed/shop: {bad}" in shop.cli("alerts")
    bad.unlink()
    shop.deliver("b.csv", GOOD, day=1)
    shop.cli("run")
    assert [event for event, _ in sink.told] == ["opened", "resolved"]
    assert "Nothing is wrong." in shop.cli("alerts")
    assert "resolved  open_gap" in shop.cli("alerts", "--all")


def query(shop, sql):
    import duckdb

    with duckdb.connect(str(shop.home / "warehouse.duckdb")) as connection:
        connection.execute(sql)


def test_an_incident_is_told_once_by_whoever_looks_and_resolved_when_it_is_over(shop, sink):
    shop.deliver("a.csv", GOOD, day=1)
    shop.run()
    query(shop, INCIDENT.format(is_over="FALSE"))
    processes = [shop.start("watchdog", "--once") for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    shop.cli("watchdog", "--once")
    assert sink.told == [("opened", "feed/shop all negative_share")]
    query(shop, "UPDATE incidents SET is_over = TRUE")
    shop.cli("watchdog", "--once")
    assert [event for event, _ in sink.told] == ["opened", "resolved"]


def test_an_alert_is_snoozed_and_resolved_by_hand(shop, sink):
    shop.deliver("a.csv", GOOD, day=1)
    shop.run()
    query(shop, INCIDENT.format(is_over="FALSE"))
    shop.cli("watchdog", "--once")
    (alert,) = json.loads(shop.cli("alerts", "--json"))
    alert_id = alert["alert_id"][:8]
    assert "Snoozed until" in shop.cli("alerts", "snooze", alert_id, "--for", "2d")
    assert f"{alert_id}  snoozed until" in shop.cli("alerts")
    assert "Resolved: incident" in shop.cli("alerts", "resolve", alert_id)
    shop.cli("watchdog", "--once")
    shop.cli("watchdog", "--once")
    assert [event for event, _ in sink.told] == ["opened", "resolved"]
    assert "No alert that is open" in shop.cli("alerts", "resolve", alert_id, code=2)
    assert "is not an interval" in shop.cli("alerts", "snooze", alert_id, "--for", "soon", code=2)


def test_a_channel_is_tested_by_hand(shop, sink):
    output = shop.cli("alerts", "test")
    assert "hook: taken" in output
    assert "log: taken" in output
    assert sink.taken[0]["title"] == (
        "A test of the channel hook: alerts of the feedback platform arrive here."
    )
    sink.fault = status(401)
    assert "hook: not taken: it answered HTTP 401" in shop.cli("alerts", "test", "hook", code=1)
    assert "did you mean hook?" in shop.cli("alerts", "test", "hok", code=2)


def test_a_channel_that_is_down_does_not_fail_a_run_and_is_seen(shop, sink):
    sink.fault = status(503)
    (shop.folder / "incoming" / "a.csv").write_text("nonsense")
    shop.cli("run", code=1)
    listed = shop.cli("alerts")
    assert "1 message(s) wait: it answered HTTP 503" in listed
    assert SECRET not in listed
    for path in shop.home.rglob("*"):
        assert SECRET.encode() not in (path.read_bytes() if path.is_file() else b""), path


def test_the_watchdog_runs_until_it_is_stopped_also_past_a_damaged_warehouse(shop, sink):
    shop.deliver("a.csv", GOOD, day=1)
    shop.run()
    watchdog = subprocess.Popen(
        [COMMAND, "watchdog", "--every", "1s"],
        env={**shop.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    warehouse = shop.home / "warehouse.duckdb"
    kept, damaged = warehouse.with_name("kept"), warehouse.with_name("damaged")
    damaged.write_bytes(b"rubbish" * 1000)
    with watchdog:
        assert watchdog.stdout is not None
        for _ in range(2):
            assert "0 alert(s) open" in watchdog.stdout.readline()
        warehouse.rename(kept)
        assert any("There is no warehouse" in line for line in watchdog.stdout)
        damaged.rename(warehouse)
        assert any("is damaged" in line for line in watchdog.stdout)
        kept.rename(warehouse)
        assert any("0 alert(s) open" in line for line in watchdog.stdout)
        watchdog.terminate()
        assert watchdog.wait(30) == 0
    assert sink.requests == []
