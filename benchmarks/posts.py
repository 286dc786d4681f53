"""Made-up posts as files on disk, and a platform of its own that reads them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import yaml

from data_platform.automation.instance import open_instance
from data_platform.automation.interruption import stoppable
from data_platform.automation.refresh import Refresher
from data_platform.definitions import build_definitions
from data_platform.sample import iterate_posts
from data_platform.settings import Environment, Settings, load_settings

FIELDS = {
    "source_id": "post_id",
    "posted_at": "created_at",
    "body": "text",
    "author_handle": "author",
    "like_count": "likes",
    "share_count": "reposts",
    "reply_count": "replies",
    "url": "permalink",
}
POSTED_AT_FORMAT = "%Y-%m-%d %H:%M:%S %z"


def write_posts(path: Path, count: int, last_day: date, days: int) -> None:
    """Write `count` posts of `days` days as lines of JSON."""
    with path.open("w", encoding="utf-8") as stream:
        for batch in iterate_posts(count, last_day, days=days):
            stream.writelines(
                json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in batch.to_pylist()
            )


def settings_of(home: Path, start_date: date, language: str | None) -> Settings:
    """Configure a platform in `home` that reads the .ndjson files there.

    Args:
        language: what the source states of every post; None: it is identified.
    """
    feed = {
        "name": "posts",
        "kind": "file",
        "path": "*.ndjson",
        "settle": "0s",
        "fields": FIELDS,
        "posted_at_format": POSTED_AT_FORMAT,
        "constants": {"language": language} if language else {},
    }
    text = yaml.safe_dump({"start_date": start_date, "feeds": [feed]})
    (home / "feedback.yaml").write_text(text, encoding="utf-8")
    environment = Environment(
        data_platform_home=home / "data", data_platform_config=home / "feedback.yaml"
    )
    return load_settings(environment)


@contextmanager
def opened(settings: Settings) -> Iterator[Refresher]:
    """Open what `data-platform run` drives, with the same Dagster instance on disk."""
    with (
        stoppable() as stop,
        open_instance(settings.dagster_home, captures_output=False) as instance,
    ):
        yield Refresher(build_definitions(settings), instance, lambda *_: None, stop)
