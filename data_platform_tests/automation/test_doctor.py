"""`data-platform doctor`: each trouble of the machine is found, and says what to do."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner
from dagster._daemon.types import DaemonHeartbeat

from data_platform.automation.instance import open_instance
from data_platform.automation.sensors import PLATFORM_SENSORS
from data_platform.cli import main
from data_platform_tests.automation.conftest import feed

NOBODY = 65534
FREE_PORT = "1"  # nobody listens there


@pytest.fixture
def settings(live, monkeypatch):
    """A configured platform that `data-platform` finds by the environment."""
    found = live().settings
    monkeypatch.setenv("DATA_PLATFORM_HOME", str(found.home))
    monkeypatch.setenv("DATA_PLATFORM_CONFIG", str(found.config_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return found


def doctor(*arguments, port=FREE_PORT):
    """Return the findings by subject, and the exit code."""
    done = CliRunner().invoke(main, ["doctor", "--json", "--port", port, *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    findings = json.loads(done.output)
    return {f["subject"]: (f["is_well"], f["message"]) for f in findings}, done.exit_code


def test_a_new_installation_is_well_and_nothing_is_created(settings):
    findings, code = doctor()
    assert code == 0, findings
    assert not settings.home.exists()
    assert "make ui starts it" in findings["daemon"][1]
    assert findings["port 1"][0]


@pytest.mark.usefixtures("settings")
def test_the_findings_are_lines_for_people():
    done = CliRunner().invoke(main, ["doctor", "--port", FREE_PORT])
    assert done.exit_code == 0
    assert "well  feed shop: 0 file(s)" in done.output


def test_a_feed_without_its_folder_is_found(settings):
    (settings.base / "shop").rmdir()
    findings, code = doctor()
    assert code == 1
    assert "create it, or mend path" in findings["feed shop"][1]


def test_a_refused_file_is_found(live, monkeypatch):
    platform = live(feed("shop"))
    monkeypatch.setenv("DATA_PLATFORM_HOME", str(platform.settings.home))
    monkeypatch.setenv("DATA_PLATFORM_CONFIG", str(platform.settings.config_path))
    (platform.settings.base / "shop" / "a.csv").write_text("nonsense")
    platform.collect("shop")
    is_well, message = doctor()[0]["feed shop"]
    assert not is_well
    assert "Mend fields in feedback.yaml" in message


HOLD = """
    import sys, time
    from pathlib import Path
    from data_platform.storage.warehouse import Warehouse
    with Warehouse(Path(sys.argv[1])).transaction():
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_stuck_lock_is_found_with_its_process(settings, monkeypatch):
    monkeypatch.setattr("data_platform.automation.doctor.LOCK_PATIENCE_SECONDS", 0.3)
    script = [sys.executable, "-c", textwrap.dedent(HOLD), str(settings.warehouse_path)]
    with subprocess.Popen(script, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)  # a process that hangs, lock in hand
        findings, code = doctor()
        holder.kill()
    is_well, message = findings["warehouse"]
    assert (code, is_well) == (1, False)
    assert f"kill {holder.pid}" in message
    assert "python" in message
    assert doctor()[0]["warehouse"][0]


@pytest.mark.usefixtures("settings")
def test_another_program_on_the_port_is_found():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.1)
        port = listener.getsockname()[1]
        is_well, message = doctor(port=str(port))[0][f"port {port}"]
    assert not is_well
    assert f"make ui PORT={port + 1}" in message


class Null(BaseHTTPRequestHandler):
    """Answers every question with JSON that is not an object."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"null")

    def log_message(self, *_):
        pass


@pytest.mark.usefixtures("settings")
def test_a_program_that_answers_nonsense_on_the_port_is_another_program():
    with ThreadingHTTPServer(("127.0.0.1", 0), Null) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        findings, _ = doctor(port=str(server.server_port))
        server.shutdown()
    assert "used by another program" in findings[f"port {server.server_port}"][1]


def test_a_file_that_is_no_warehouse_is_found_and_stops_no_other_finding(settings):
    settings.home.mkdir()
    settings.warehouse_path.write_bytes(b"this is no DuckDB file" * 1_000)
    findings, code = doctor()
    assert code == 1
    assert not findings["warehouse"][0]
    assert findings["sentiment model"][0]


def test_a_damaged_ledger_or_history_stops_no_other_finding(settings):
    for path in (
        settings.landing_path / "ledger.sqlite",
        settings.dagster_home / "history" / "runs.db",
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"rubbish" * 1000)
    (settings.dagster_home / "dagster.yaml").touch()
    findings, code = doctor()
    assert code == 1
    for subject in ("feeds", "automation"):
        is_well, message = findings[subject]
        assert not is_well
        assert "damaged" in message
    assert findings["sentiment model"][0]
    assert findings["port 1"][0]


def beat(instance, seconds_ago):
    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(
            DaemonHeartbeat(time.time() - seconds_ago, kind, "daemon id", [])
        )


def test_a_daemon_that_died_is_found(settings, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(settings.dagster_home) as instance:
        beat(instance, 0)
        assert doctor()[0]["daemon"] == (True, "running")
        beat(instance, 3600)
    is_well, message = doctor()[0]["daemon"]
    assert not is_well
    assert "last seen" in message
    assert "make ui" in message


def test_a_nearly_full_disk_is_found(settings, tmp_path_factory):
    small = tmp_path_factory.mktemp("small")
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system in memory")
    try:
        settings.home.mkdir()
        settings.home.rmdir()
        settings.home.symlink_to(small)
        is_well, message = doctor()[0]["disk"]
        assert not is_well
        assert "GB wanted; make room there" in message
    finally:
        settings.home.unlink()
        subprocess.run(["umount", str(small)], check=True)


RIGHTS = """
    import json, os, sys
    from data_platform.automation.doctor import _rights
    from data_platform.settings import Environment, load_settings
    settings = load_settings(Environment())
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    print(json.dumps([[f.is_well, f.message] for f in _rights(settings)]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root may")
def test_a_missing_right_is_found_with_the_command_that_gives_it(settings):
    """Examined as nobody: the superuser may read and write everything."""
    for path in (settings.home, settings.landing_path):
        path.mkdir(mode=0o700)
        os.chown(path, NOBODY, NOBODY)
    settings.warehouse_path.write_bytes(b"")
    settings.warehouse_path.chmod(0o600)
    # the folders above belong to the test run; whoever looks must be able to pass
    for parent in (settings.home.parent, *settings.home.parent.parents):
        if parent.stat().st_uid == 0 and parent != parent.parent:
            parent.chmod(parent.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(RIGHTS)],
        capture_output=True,
        text=True,
        check=True,
    )
    [[is_well, message]] = json.loads(done.stdout)
    assert not is_well
    assert f"may not read and write {settings.warehouse_path}" in message
    assert f"chown {NOBODY} {settings.warehouse_path}" in message


def test_the_sensors_that_doctor_knows_are_those_that_there_are(live):
    assert {s.name for s in live().definitions.sensors} == set(PLATFORM_SENSORS)
