"""Examines the installation and the data home: each finding says what is wrong and what to do."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from data_platform.cleaning.language import identify_languages
from data_platform.errors import DataPlatformError
from data_platform.ingestion.feeds import Feeds
from data_platform.sentiment.vader import VaderModel
from data_platform.settings import Settings
from data_platform.storage.warehouse import Warehouse

ENOUGH_DISK_BYTES = 1_000_000_000
LOCK_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was examined; `message` says what to do if it is not well."""

    subject: str
    is_well: bool
    message: str


def examine(settings: Settings) -> list[Finding]:
    """Examine everything; no finding stops the next."""
    return [
        _home(settings),
        _disk(settings),
        _warehouse(settings),
        _language_model(),
        _sentiment_model(),
        *_feeds(settings),
    ]


def _home(settings: Settings) -> Finding:
    home = settings.home
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            "data home",
            False,
            f"{existing} is not writable; set DATA_PLATFORM_HOME to a folder that is",
        )
    return Finding("data home", True, str(home))


def _disk(settings: Settings) -> Finding:
    home = settings.home
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    size = settings.warehouse_path.stat().st_size if settings.warehouse_path.exists() else 0
    needed = max(ENOUGH_DISK_BYTES, 3 * size)
    text = f"{free / 1e9:.1f} GB free"
    if free < needed:
        return Finding("disk", False, f"{text}, {needed / 1e9:.1f} GB wanted; make room")
    return Finding("disk", True, text)


def _warehouse(settings: Settings) -> Finding:
    if not settings.warehouse_path.exists():
        return Finding("warehouse", True, "none yet; data-platform run makes it")
    warehouse = Warehouse(settings.warehouse_path, lock_timeout_seconds=LOCK_PATIENCE_SECONDS)
    try:
        with warehouse.transaction():
            return Finding("warehouse", True, f"{settings.warehouse_path} opens")
    except DataPlatformError as error:
        return Finding("warehouse", False, str(error))


def _language_model() -> Finding:
    found = identify_languages(pa.array(["the coffee machine works very well"]))
    language = found.language[0].as_py()
    return Finding("language model", language == "en", f"calls an English sentence {language!r}")


def _sentiment_model() -> Finding:
    model = VaderModel()
    compound = model.score(pa.array(["I love it"]))["compound"][0].as_py()
    version = model.identity.version
    return Finding(
        "sentiment model", compound > 0, f"vader, {version}: 'I love it' {compound:+.2f}"
    )


def _feeds(settings: Settings) -> Iterator[Finding]:
    feeds = Feeds(settings)
    for name in feeds.names:
        try:
            found = len(feeds.connector(name).files())
        except DataPlatformError as error:
            yield Finding(f"feed {name}", False, str(error))
        else:
            yield Finding(f"feed {name}", True, f"{found} file(s)")
