"""Puts the platform together for Dagster: assembly only."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from data_platform.automation.catch_up import stale_days_sensor
from data_platform.automation.conditions import with_upkeep
from data_platform.automation.erasing import Eraser
from data_platform.automation.jobs import COLLECT_JOB, REFRESH_JOB, platform_jobs
from data_platform.automation.maintenance import maintenance_job, maintenance_schedule
from data_platform.automation.refresh import progress_logger
from data_platform.automation.sensors import refreshing_sensors
from data_platform.automation.staleness import Staleness
from data_platform.automation.watch import Watch, alert_sensor
from data_platform.cleaning.assets import cleaning_assets
from data_platform.cleaning.privacy import Redaction
from data_platform.cleaning.refresh import Cleaning
from data_platform.ingestion.assets import ingestion_assets
from data_platform.ingestion.feeds import Feeds
from data_platform.monitoring.assets import monitoring_assets
from data_platform.partitions import daily_partitions
from data_platform.reporting.assets import read_findings, reporting_assets
from data_platform.reporting.report import write_report
from data_platform.sentiment.assets import sentiment_assets
from data_platform.sentiment.scoring import Scoring
from data_platform.sentiment.vader import VaderModel
from data_platform.settings import Settings, load_settings, protect_new_files
from data_platform.storage.resources import WarehouseResource
from data_platform.storage.warehouse import Warehouse
from data_platform.warehouse.assets import warehouse_assets


def build_definitions(
    settings: Settings, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Return all assets, checks, jobs, sensors and resources under `settings`.

    Args:
        resources: replace resources of the same name, such as `warehouse`.
    """
    config = settings.config
    partitions = daily_partitions(config.start_date)
    feeds = Feeds(settings)
    with warnings.catch_warnings():
        # `backfill_policy` is beta in Dagster 1.13; chunks of days need it.
        warnings.simplefilter("ignore", dg.BetaWarning)
        earlier = [
            *ingestion_assets(feeds, partitions),
            *cleaning_assets(cleaning_of(settings), config.alerts, partitions),
            *warehouse_assets(partitions),
            *sentiment_assets(scoring_of(settings), config.alerts.macro_f1, partitions),
            *monitoring_assets(feeds),
        ]
        assets = with_upkeep([*earlier, *reporting_assets(feeds, partitions, earlier)])
    jobs = platform_jobs(assets, feeds)
    warehouse = Warehouse(settings.warehouse_path)
    checks = [key for asset in assets for key in asset.check_keys]

    def make_eraser(instance: dg.DagsterInstance) -> Eraser:
        def write() -> None:
            found = read_findings(warehouse, feeds, instance, checks)
            write_report(settings.snapshot_path, settings.report_path, found)

        return Eraser(feeds, warehouse, settings.snapshot_path, write)

    staleness = Staleness(feeds, cleaning_of(settings), scoring_of(settings))
    maintenance = maintenance_job(make_eraser, staleness)
    return dg.Definitions(
        assets=assets,
        jobs=[*jobs.values(), maintenance],
        schedules=[maintenance_schedule(maintenance)],
        sensors=[
            *refreshing_sensors(feeds, jobs[COLLECT_JOB]),
            stale_days_sensor(
                staleness,
                warehouse,
                jobs[REFRESH_JOB],
                [
                    key
                    for a in assets
                    for key in a.keys
                    if a.partitions_def and key.path[0] != "feed"
                ],
            ),
            alert_sensor(Watch(feeds, warehouse, assets)),
        ],
        resources={
            "warehouse": WarehouseResource(database=str(settings.warehouse_path)),
            **(resources or {}),
        },
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
    )


def cleaning_of(settings: Settings) -> Cleaning:
    """Return how `settings` wants text cleaned."""
    options = settings.config.cleaning
    redaction = Redaction(frozenset(options.redact), options.phone_regions, options.national_ids)
    return Cleaning(settings.feeds, options.copy_min_characters, redaction, options.threads)


def scoring_of(settings: Settings) -> Scoring:
    """Return how `settings` wants text scored."""
    options = settings.config.sentiment
    return Scoring(
        VaderModel(options.threads, options.words),
        options.languages,
        settings.config.start_date,
        waits=options.new_model == "wait",
    )


def watch_of(settings: Settings, definitions: dg.Definitions) -> Watch:
    """Return what looks for trouble, as the sensor among `definitions` does."""
    assets = [a for a in definitions.assets or () if isinstance(a, dg.AssetsDefinition)]
    return Watch(Feeds(settings), Warehouse(settings.warehouse_path), assets)


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions that Dagster loads, under the process's environment."""
    protect_new_files()
    return build_definitions(load_settings())
