"""A platform whose Dagster instance lives in memory: sensors and conditions are evaluated, not waited for."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from data_platform.definitions import build_definitions
from data_platform.ingestion.feeds import Feeds
from data_platform.settings import Settings

FIELDS = {"source_id": "id", "posted_at": "at", "body": "text", "is_deleted": "deleted"}
HEADER = "id,at,text,deleted\n"


def feed(name: str, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a file feed whose files count as settled at once."""
    told = {"kind": "file", "name": name, "path": f"{name}/*.csv", "fields": FIELDS, "settle": "0s"}
    return {**told, **changes}


class Live:
    """The definitions of some feeds on an instance in memory.

    Attributes:
        cursors: of each sensor, as Dagster keeps them.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance = settings, instance
        self.definitions = build_definitions(settings)
        self.feeds = Feeds(settings)
        self.cursors: dict[str, str | None] = {}

    def write(self, path: str, *rows: str) -> Path:
        """Write a CSV file of rows 'id,at,text,deleted' below the configuration's folder."""
        file = self.settings.base / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")
        return file

    def tick(self, sensor: str) -> dg.SensorResult:
        """Evaluate a sensor once, with the cursor that its last evaluation left."""
        (definition,) = (s for s in self.definitions.sensors or () if s.name == sensor)
        with dg.build_sensor_context(
            self.instance, cursor=self.cursors.get(sensor), definitions=self.definitions
        ) as context:
            result = definition(context)
        assert isinstance(result, dg.SensorResult)
        self.cursors[sensor] = result.cursor
        return result

    def requested(self, sensor: str) -> list[str]:
        """Evaluate a sensor and return the feeds that it wants collected."""
        found = self.tick(sensor).run_requests or []
        assert all(request.run_key is None for request in found)
        return [request.tags["data_platform/feed"] for request in found]

    def run(
        self, job: str, *, days: tuple[str, str] | None = None, keys: Any = None
    ) -> dg.ExecuteInProcessResult:
        """Run a job, or some assets of it, in this process."""
        tags = {}
        if days:
            tags = {
                "dagster/asset_partition_range_start": days[0],
                "dagster/asset_partition_range_end": days[1],
            }
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, asset_selection=keys, raise_on_error=False
        )

    def collect(self, name: str) -> dg.ExecuteInProcessResult:
        """Run the collection of one feed, as its sensor requests it."""
        today = self.feeds.open_days.last.isoformat()
        return self.run("collect_job", days=(today, today), keys=[dg.AssetKey(["feed", name])])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def live(
    configured: Callable[..., Settings], home: Path, instance: dg.DagsterInstance
) -> Callable[..., Live]:
    """Make a platform of the given feeds."""

    def make(*feeds: Mapping[str, Any], **top_level: Any) -> Live:
        chosen = list(feeds) or [feed("shop")]
        for told in chosen:
            (home / str(told["name"])).mkdir(exist_ok=True)
        config = {"start_date": "2026-01-01", "feeds": chosen, **top_level}
        return Live(configured(config), instance)

    return make


def touch_back(path: Path, seconds: float) -> None:
    """Set a file's modification time back; its change time stays that of the clock."""
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))
