"""The platform as its users have it: Dagster's webserver and daemon as two processes, and a browser."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from playwright.sync_api import Page, sync_playwright

from data_platform.storage.warehouse import Warehouse

PROJECT = Path(__file__).resolve().parents[2]
SCREENSHOTS = PROJECT / "build" / "screenshots"
BIN = Path(sys.executable).parent
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
FEEDS = ("shop", "forum", "kiosk")
FIELDS = {"source_id": "id", "posted_at": "at", "body": "text", "author_handle": "user"}
HEALTH = "{instance{daemonHealth{allDaemonStatuses{daemonType healthy required}}}}"
LOADED = "{repositoriesOrError{... on RepositoryConnection{nodes{name}}}}"


class Server:
    """A running platform with one folder of CSV files for each feed.

    Attributes:
        today: the day on which it was started (UTC); days of the tests lie before it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "data"
        self.today = datetime.now(UTC).date()
        self.processes: list[subprocess.Popen[bytes]] = []
        feeds = [
            {
                "name": name,
                "kind": "file",
                "path": f"{name}/*.csv",
                "default_language": "en",
                "fields": FIELDS,
                "settle": "1s",
                "every": "30s",
            }
            for name in FEEDS
        ]
        for name in FEEDS:
            (folder / name).mkdir(parents=True)
        config = {"start_date": self.day(60), "feeds": feeds}
        (folder / "feedback.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DATA_PLATFORM_HOME": str(self.home),
            "DATA_PLATFORM_CONFIG": str(folder / "feedback.yaml"),
            "DAGSTER_HOME": str(self.home / "dagster"),
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def day(self, before_today: int) -> date:
        return self.today - timedelta(days=before_today)

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Call `data-platform` as a process of its own."""
        return subprocess.run(
            [BIN / "data-platform", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self) -> None:
        """Start webserver and daemon, and wait until both are at work."""
        assert self.cli("dagster-home").returncode == 0
        web = [BIN / "dagster-webserver", "-h", "127.0.0.1", "-p", str(self.port)]
        for name, command in (("web", web), ("daemon", [BIN / "dagster-daemon", "run"])):
            with (self.folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    [*command, "-w", str(PROJECT / "workspace.yaml")],
                    env=self.environment,
                    cwd=PROJECT,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    # a test run in the background of a shell has SIGINT ignored
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                )
            self.processes.append(process)
        self.wait(lambda: bool(self.query(LOADED)["repositoriesOrError"].get("nodes")), 120)
        self.wait(self.daemon_is_healthy, 120)

    def daemon_is_healthy(self) -> bool:
        found = self.query(HEALTH)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(status["healthy"] for status in found if status["required"])

    def stop(self) -> float:
        """Interrupt both, as Ctrl-C does; return the seconds until both have ended."""
        started = time.monotonic()
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        for process in self.processes:
            process.wait(60)
        return time.monotonic() - started

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def query(self, query: str) -> dict[str, Any]:
        """Ask the webserver's GraphQL; {} for each name while it does not answer."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except OSError:
            return {
                "repositoriesOrError": {},
                "instance": {
                    "daemonHealth": {"allDaemonStatuses": [{"required": True, "healthy": False}]}
                },
            }

    def wait(self, is_done: Callable[[], bool], seconds: float) -> float:
        """Wait until `is_done`; return how long it took."""
        started = time.monotonic()
        while not is_done():
            passed = time.monotonic() - started
            if passed > seconds:
                logs = "\n".join(
                    p.read_text(errors="replace")[-3000:] for p in self.folder.glob("*.log")
                )
                pytest.fail(f"not done after {seconds} s\n{logs}", pytrace=True)
            time.sleep(0.5)
        return time.monotonic() - started

    def drop(self, feed: str, name: str, rows: Sequence[Mapping[str, str]]) -> Path:
        """Drop a CSV file into the folder of a feed."""
        path = self.folder / feed / name
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [*FIELDS.values()], restval="")
            writer.writeheader()
            writer.writerows(rows)
        return path

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the live warehouse between two writes; nothing before there is one."""
        path = self.home / "warehouse.duckdb"
        if not path.exists():
            return []
        with Warehouse(path).transaction() as transaction:
            return transaction.connection.execute(sql).fetchall()

    def published(self, sql: str) -> list[tuple[Any, ...]]:
        path = self.home / "published" / "feedback.duckdb"
        if not path.exists():
            return []
        with duckdb.connect(str(path), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the distribution's own Chromium."""
    found = [path for name in CHROMIUM_NAMES if (path := shutil.which(name))]
    if not found:
        reason = "needs Chromium; on Debian and Ubuntu: apt install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found[0]


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One platform for all browser tests; each uses a feed and days of its own."""
    request.getfixturevalue("chromium")  # without it there is nothing to start
    running = Server(tmp_path_factory.mktemp("browser"))
    try:
        running.start()
        yield running
        assert running.stop() < 30, "webserver and daemon end when they are interrupted"
    finally:
        running.kill()


@pytest.fixture
def page(chromium: str, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page whose last state is kept as a screenshot in build/screenshots.

    The browser ends with the test: playwright's event loop would be in the way of Dagster's in
    later tests of the same process.
    """
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": 1600, "height": 1000}, base_url=server.url)
        page.set_default_timeout(30_000)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        yield page
        name = re.sub(r"\W+", "_", request.node.name).removeprefix("test_")
        page.screenshot(path=SCREENSHOTS / f"{name}.png")
        browser.close()
