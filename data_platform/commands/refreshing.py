"""What commands share that work on the warehouse: opening it, refreshing with progress, writing the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data_platform.errors import ConfigurationError
from data_platform.settings import Settings
from data_platform.storage.landing import LandingZone
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import Warehouse

err = Console(stderr=True, highlight=False, soft_wrap=True)


def existing_warehouse(settings: Settings) -> Warehouse:
    """Return the warehouse of the data home.

    Raises:
        BusyError: a restore that was cut off has taken it away and not put the other one there.
        ConfigurationError: there is none yet.
    """
    if not settings.warehouse_path.exists():
        LandingZone(settings.landing_path, settings.restore_journal_path).require_open()
        message = (
            f"There is no warehouse at {settings.warehouse_path} yet; data-platform run makes it."
        )
        raise ConfigurationError(message)
    return Warehouse(settings.warehouse_path)


@contextmanager
def refreshing(settings: Settings) -> Iterator[tuple[Any, Any, Any, Warehouse]]:
    """Open the instance and yield what `run` and `backfill` drive; shows progress on a terminal."""
    from data_platform.automation.instance import open_instance
    from data_platform.automation.interruption import stoppable
    from data_platform.automation.refresh import Refresher, RefreshOutcome
    from data_platform.automation.watch import tell_the_end
    from data_platform.definitions import build_definitions, watch_of

    warehouse = Warehouse(settings.warehouse_path)
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    tasks: dict[str, Any] = {}
    with (
        explained(settings.dagster_home),
        stoppable() as stop,
        open_instance(settings.dagster_home, captures_output=False) as instance,
        Progress(*columns, console=err, disable=not err.is_terminal) as bar,
    ):

        def show(stage: str, number: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=number, total=total)

        definitions = build_definitions(settings)
        refresher = Refresher(definitions, instance, show, stop)
        yield refresher, RefreshOutcome(), staleness_of(settings), warehouse
        tell_the_end(watch_of(settings, definitions), instance)


def staleness_of(settings: Settings) -> Any:
    from data_platform.automation.staleness import Staleness
    from data_platform.definitions import cleaning_of, scoring_of
    from data_platform.ingestion.feeds import Feeds

    return Staleness(Feeds(settings), cleaning_of(settings), scoring_of(settings))


def rewrite_report(settings: Settings, path: Path) -> int:
    """Write the report; return how many findings stand on top."""
    from data_platform.automation.instance import open_instance
    from data_platform.definitions import build_definitions
    from data_platform.ingestion.feeds import Feeds
    from data_platform.reporting.assets import read_findings
    from data_platform.reporting.report import write_report

    checks = build_definitions(settings).resolve_asset_graph().asset_check_keys
    with explained(settings.dagster_home), open_instance(settings.dagster_home) as instance:
        found = read_findings(existing_warehouse(settings), Feeds(settings), instance, checks)
    write_report(settings.snapshot_path, path, found)
    return len(found)
