"""What Prometheus scrapes, and the dashboard that shows it."""

import json
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

PROJECT = Path(__file__).resolve().parents[2]
DASHBOARD = PROJECT / "docs" / "grafana" / "feedback_platform.json"


@pytest.fixture(scope="module")
def families(sample):
    platform, _ = sample
    text = platform.cli("metrics")
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_metrics_say_what_the_tables_say(sample, families):
    platform, _ = sample
    found = {s.labels["feed"]: s.value for s in families["feedback_posts"].samples}
    assert found == dict(platform.rows("SELECT feed, post_count FROM source_health"))
    inserted = {
        s.labels["asset"]: s.value
        for s in families["feedback_rows_24h"].samples
        if s.labels["fate"] == "inserted"
    }
    [(cleaned,)] = platform.rows("SELECT count(*) FROM cleaned_feedback")
    assert inserted["cleaned_feedback"] == cleaned
    lag = {s.labels["statistic"]: s.value for s in families["feedback_score_lag_seconds"].samples}
    assert 0 < lag["median"] <= lag["max"]


def test_the_daemon_is_down_while_none_runs(families):
    assert [s.value for s in families["feedback_daemon_up"].samples] == [0.0]


def test_every_panel_of_the_dashboard_asks_for_metrics_that_exist(families):
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) >= 15
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    sensors = {"feedback_sensor_up", "feedback_sensor_tick_timestamp_seconds"}  # while it runs
    for panel in panels:
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            asked = set(re.findall(r"feedback_\w+", target["expr"]))
            assert asked, panel["title"]
            assert asked <= families.keys() | sensors, panel["title"]


def test_scrapes_are_answered_on_this_machine_only_until_it_is_stopped(sample):
    platform, _ = sample
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "data-platform", "metrics", "--serve"]
    with subprocess.Popen(
        [*command, "--port", str(port)], env=platform.environment, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert b"127.0.0.1" in process.stdout.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                assert b"feedback_posts{" in answer.read()
            again = platform.cli("metrics", "--serve", "--port", str(port), code=2)
            assert "choose another --port" in again
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert time.monotonic() - started < 5
        finally:
            process.kill()


def test_a_textfile_is_written_for_node_exporter(sample, tmp_path):
    platform, _ = sample
    path = tmp_path / "feedback.prom"
    platform.cli("metrics", "--textfile", str(path))
    assert "feedback_posts{" in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644, "another user's node_exporter reads it"
    assert list(tmp_path.iterdir()) == [path]


def test_a_textfile_stands_in_no_new_folder_and_beside_no_server(sample, tmp_path):
    platform, _ = sample
    path = tmp_path / "new" / "feedback.prom"
    assert "No such file" in platform.cli("metrics", "--textfile", str(path), code=2)
    said = platform.cli("metrics", "--serve", "--textfile", str(tmp_path / "a.prom"), code=2)
    assert "give one of them" in said
    assert list(tmp_path.iterdir()) == []
