"""Jobs: the chain of daily assets, and what follows it for all days together."""

from typing import Any

import dagster as dg

REFRESH_JOB = "refresh_job"
PUBLISH_JOB = "publish_job"


def platform_jobs(assets: list[dg.AssetsDefinition]) -> list[Any]:
    """Return the jobs over `assets` (Dagster does not export the type of an unresolved job).

    refresh_job takes days from collection to daily_sentiment; publish_job brings the tables of
    all days, the snapshot and the report up to date.
    """
    daily = [key for asset in assets for key in asset.keys if asset.partitions_def is not None]
    whole = [key for asset in assets for key in asset.keys if asset.partitions_def is None]
    return [
        dg.define_asset_job(
            REFRESH_JOB,
            selection=dg.AssetSelection.assets(*daily),
            description="Collect and refresh the chosen days, from the feeds to daily_sentiment.",
        ),
        dg.define_asset_job(
            PUBLISH_JOB,
            selection=dg.AssetSelection.assets(*whole),
            description="Bring quarantine, source health, snapshot and report up to date.",
        ),
    ]
