"""Examines the installation and the data home: each finding says what is wrong and what to do."""

import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
import filelock
import pyarrow as pa

from data_platform.automation.health import idle_sensors, read_daemon, read_sensors
from data_platform.automation.sensors import PLATFORM_SENSORS
from data_platform.cleaning.language import identify_languages
from data_platform.errors import DataPlatformError
from data_platform.ingestion.collect import feed_lock
from data_platform.ingestion.feeds import Feeds
from data_platform.sentiment.vader import VaderModel
from data_platform.settings import Settings, protect_new_files
from data_platform.storage.locks import ProcessLock
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import Warehouse

ENOUGH_DISK_BYTES = 1_000_000_000
LOCK_PATIENCE_SECONDS = 3.0
UI_PORT = 3000


@dataclass(frozen=True)
class Finding:
    """One thing that was examined; `message` says what to do if it is not well."""

    subject: str
    is_well: bool
    message: str


def examine(settings: Settings, port: int = UI_PORT) -> list[Finding]:
    """Examine everything, creating nothing; no finding stops the next.

    Args:
        port: where the Dagster UI is, or would be started, on 127.0.0.1.
    """
    examinations: list[Callable[[Settings], Iterator[Finding]]] = [
        _rights,
        _disks,
        _warehouse,
        _feeds,
        _models,
        _automation,
    ]
    findings: list[Finding] = []
    for examination in examinations:
        try:
            findings += examination(settings)
        except (OSError, duckdb.Error, sqlite3.Error, DataPlatformError) as error:
            name = examination.__name__.strip("_")
            findings.append(Finding(name, False, f"cannot be examined: {error}"))
    return [*findings, _port(port)]


def _rights(settings: Settings) -> Iterator[Finding]:
    """Whatever is there of the data home must be readable and writable by this user."""
    home = settings.home
    if not home.exists():
        parent = _existing(home)
        if not os.access(parent, os.W_OK | os.X_OK):
            advice = "set DATA_PLATFORM_HOME to a folder that is"
            yield Finding("data home", False, f"{parent} is not writable; {advice}")
        else:
            yield Finding("data home", True, f"{home} is not there yet; data-platform run makes it")
        return
    folders = [home, settings.landing_path, settings.warehouse_path.parent, settings.dagster_home]
    folders += [settings.snapshot_path.parent, settings.report_path.parent]
    folders += [settings.landing_path / name for name in Feeds(settings).names]
    files = [settings.warehouse_path, settings.snapshot_path, home / "author.key"]
    files += [settings.landing_path / "ledger.sqlite", settings.dagster_home / "dagster.yaml"]
    closed = [
        p
        for p in dict.fromkeys(folders)
        if p.exists() and not os.access(p, os.R_OK | os.W_OK | os.X_OK)
    ]
    closed += [p for p in files if p.exists() and not os.access(p, os.R_OK | os.W_OK)]
    for path in closed:
        advice = f"as its owner: chmod u+rwX {path}; or take it over: chown {os.geteuid()} {path}"
        yield Finding("rights", False, f"this user may not read and write {path}; {advice}")
    if not closed:
        yield Finding("data home", True, f"{home} may be read and written")
    yield from _privacy(settings)


def _privacy(settings: Settings) -> Iterator[Finding]:
    """What others may not create, they may not read either."""
    unwanted = protect_new_files() & (stat.S_IRGRP | stat.S_IROTH)
    places = (settings.home, settings.landing_path, settings.warehouse_path)
    apart = [p for p in places[1:] if not p.is_relative_to(settings.home)]
    for path in (settings.home, *apart):
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & unwanted:
            advice = f"chmod go-rwx {path}; to share results see docs/safety.md"
            text = f"{path} holds personal data, and others may read it ({mode:03o}); {advice}"
            yield Finding("privacy", False, text)


def _disks(settings: Settings) -> Iterator[Finding]:
    """Each file system that data is written to, once."""
    size = settings.warehouse_path.stat().st_size if settings.warehouse_path.exists() else 0
    needed = max(ENOUGH_DISK_BYTES, 3 * size)  # a snapshot and a compaction are copies of it
    seen = set()
    for path in (settings.home, settings.landing_path, settings.warehouse_path):
        existing = _existing(path)
        if (device := existing.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(existing).free
        text = f"{free / 1e9:.1f} GB free at {existing}"
        if free < needed:
            advice = "make room there, or move DATA_PLATFORM_HOME to a larger disk"
            yield Finding("disk", False, f"{text}, {needed / 1e9:.1f} GB wanted; {advice}")
        else:
            yield Finding("disk", True, text)


def _warehouse(settings: Settings) -> Iterator[Finding]:
    if not settings.warehouse_path.exists():
        yield Finding("warehouse", True, "none yet; data-platform run makes it")
        return
    warehouse = Warehouse(settings.warehouse_path, lock_timeout_seconds=LOCK_PATIENCE_SECONDS)
    if not _is_free(warehouse.lock):
        yield Finding("warehouse", False, _stuck(warehouse.lock))
        return
    try:
        with warehouse.transaction():
            yield Finding("warehouse", True, f"{settings.warehouse_path} opens")
    except DataPlatformError as error:
        yield Finding("warehouse", False, str(error))


def _feeds(settings: Settings) -> Iterator[Finding]:
    feeds = Feeds(settings)
    for name in feeds.names:
        subject = f"feed {name}"
        lock = feed_lock(feeds.landing, name)
        try:
            found = feeds.probe(name)
        except DataPlatformError as error:
            yield Finding(subject, False, str(error))
            continue
        if not _is_free(lock):
            yield Finding(subject, False, _stuck(lock))
            continue
        gaps = [g for g in feeds.gaps() if g.feed == name] if feeds.ledger.path.exists() else []
        for gap in gaps:
            yield Finding(subject, False, gap.reason)
        if not gaps:
            yield Finding(subject, True, found)


def _models(_: Settings) -> Iterator[Finding]:
    found = identify_languages(pa.array(["the coffee machine works very well"]))
    language = found.language[0].as_py()
    yield Finding("language model", language == "en", f"calls an English sentence {language!r}")
    model = VaderModel()
    compound = model.score(pa.array(["I love it"]))["compound"][0].as_py()
    text = f"vader, {model.identity.version}: 'I love it' {compound:+.2f}"
    yield Finding("sentiment model", compound > 0, text)


def _automation(settings: Settings) -> Iterator[Finding]:
    """Daemon and sensors, as Dagster's own records tell."""
    if not (settings.dagster_home / "dagster.yaml").exists():
        yield Finding("daemon", True, "never started; make ui starts it")
        return
    with (
        explained(settings.dagster_home),
        dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance,
    ):
        daemon = read_daemon(instance)
        idle = idle_sensors(read_sensors(instance), PLATFORM_SENSORS)
    if daemon.is_running:
        yield Finding("daemon", True, "running")
    elif daemon.last_heartbeat_at is None:
        yield Finding("daemon", True, "never started; make ui starts it")
    else:
        text = f"last seen {daemon.last_heartbeat_at:%Y-%m-%d %H:%M:%S} UTC; nothing refreshes by itself"
        yield Finding("daemon", False, f"{text}. Start it: make ui")
    for sensor in idle:
        subject = f"sensor {sensor.name}"
        if sensor.is_on:
            advice = "its evaluations are listed in the UI under Automation"
            yield Finding(subject, False, f"fails: {sensor.error}; {advice}")
        else:
            yield Finding(subject, False, "is off; turn it on in the UI under Automation")


def _port(port: int) -> Finding:
    """Who answers on the port of the UI."""
    subject = f"port {port}"
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return Finding(subject, True, "free; make ui starts the Dagster UI there")
    url = f"http://127.0.0.1:{port}"
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=5) as answer:  # noqa: S310
            about = json.load(answer)
            if isinstance(about, dict) and "dagster_version" in about:
                return Finding(subject, True, f"the Dagster UI runs at {url}")
    except (OSError, ValueError):
        pass  # whoever it is, it is not Dagster
    advice = f"start the UI elsewhere: make ui PORT={port + 1}"
    return Finding(subject, False, f"is used by another program; {advice}")


def _is_free(lock: ProcessLock) -> bool:
    """True if the lock can be had within a moment; makes no file."""
    if not lock.path.exists():
        return True
    try:
        with filelock.FileLock(lock.path, mode=0o600).acquire(timeout=LOCK_PATIENCE_SECONDS):
            return True
    except filelock.Timeout:
        return False


def _stuck(lock: ProcessLock) -> str:
    """Say who holds a lock, since when, and what to do."""
    holder = lock.holder()
    found = re.match(r"process (\d+)", holder)
    if found is None:
        return f"the lock {lock.path} is held, by nobody known. Look for its process: fuser {lock.path}"
    since = datetime.fromtimestamp(lock.holder_path.stat().st_mtime, UTC)
    return (
        f"the lock {lock.path} has been held since {since:%Y-%m-%d %H:%M:%S} UTC by {holder}."
        f" Wait for it, or end it: kill {found[1]}"
    )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
