"""A platform in a folder of its own, driven as its users drive it: by the command line."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from click.testing import CliRunner

from data_platform.cli import main

COMMAND = Path(sys.executable).with_name("data-platform")
FIELDS = {
    "source_id": "id",
    "posted_at": "at",
    "body": "text",
    "author_handle": "user",
    "is_deleted": "deleted",
}
SHOP: Mapping[str, Any] = {
    "start_date": "2026-03-01",
    "feeds": [
        {
            "name": "shop",
            "kind": "file",
            "path": "incoming/*.csv",
            "default_language": "en",
            "fields": FIELDS,
            "settle": "0s",
        }
    ],
}


class Platform:
    """One installation; `config` None means the embedded sample."""

    def __init__(self, folder: Path, config: Mapping[str, Any] | None) -> None:
        self.folder = folder
        self.home = folder / "data"
        (folder / "incoming").mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{
                name: os.environ[name]
                for name in ("PATH", "HOME", "PYTHONPATH")
                if name in os.environ
            },
            "DATA_PLATFORM_HOME": str(self.home),
        }
        if config is not None:
            path = folder / "feedback.yaml"
            path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
            self.environment["DATA_PLATFORM_CONFIG"] = str(path)

    def cli(self, *arguments: str, code: int = 0) -> str:
        """Call `data-platform` here and return what it printed; the exit code must be `code`."""
        previous = os.environ.get("DAGSTER_HOME")
        done = CliRunner().invoke(main, arguments, env=self.environment)
        if previous is None:
            os.environ.pop("DAGSTER_HOME", None)
        else:
            os.environ["DAGSTER_HOME"] = previous
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return str(done.output)

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start `data-platform` in a process group of its own."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self) -> dict[str, Any]:
        """Run `data-platform run --json` and return its summary."""
        output = self.cli("run", "--json")
        summary: dict[str, Any] = json.loads(output[output.index("{") :])
        return summary

    def digest(self) -> dict[str, str]:
        digests: dict[str, str] = json.loads(self.cli("digest", "--json"))
        return digests

    def deliver(self, name: str, rows: Sequence[Mapping[str, str]], day: int) -> None:
        """Write a CSV file whose modification time is noon of that day of April 2026."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*FIELDS.values()], restval="")
        writer.writeheader()
        writer.writerows(rows)
        path = self.folder / "incoming" / name
        path.write_text(text.getvalue(), encoding="utf-8")
        moment = datetime(2026, 4, day, 12, tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the live warehouse; no other process may be using it."""
        return _query(self.home / "warehouse.duckdb", sql)

    def published(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the published snapshot."""
        return _query(self.home / "published" / "feedback.duckdb", sql)


def _query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


def kill(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 for a process and all it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def shop(tmp_path: Path) -> Platform:
    """A platform with one feed of CSV files, `incoming/*.csv`, and no file yet."""
    return Platform(tmp_path, SHOP)


@pytest.fixture
def platform_in(tmp_path: Path) -> Callable[[str, Mapping[str, Any] | None], Platform]:
    """Make further platforms, each in a folder of its own."""
    return lambda name, config: Platform(tmp_path / name, config)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, dict[str, Any]]:
    """The embedded sample after one run, and the summary of that run; tests must not change it."""
    platform = Platform(tmp_path_factory.mktemp("sample"), None)
    return platform, platform.run()
