"""Jobs: collecting feeds, the chain of daily assets, and what follows it for all days together."""

from typing import Any

import dagster as dg

COLLECT_JOB = "collect_job"
REFRESH_JOB = "refresh_job"
PUBLISH_JOB = "publish_job"


def platform_jobs(assets: list[dg.AssetsDefinition]) -> dict[str, Any]:
    """Return the jobs over `assets` by name (Dagster does not export the type of an unresolved job).

    collect_job lands what is new in feeds; refresh_job takes days from collection to
    daily_sentiment; publish_job brings the tables of all days, the snapshot and the report up to
    date.
    """
    daily = [key for asset in assets for key in asset.keys if asset.partitions_def is not None]
    whole = [key for asset in assets for key in asset.keys if asset.partitions_def is None]
    feeds = [key for key in daily if key.path[0] == "feed"]
    jobs = [
        dg.define_asset_job(
            COLLECT_JOB,
            selection=dg.AssetSelection.assets(*feeds),
            description="Land what is new in the chosen feeds, on whatever days it was posted.",
        ),
        dg.define_asset_job(
            REFRESH_JOB,
            selection=dg.AssetSelection.assets(*daily),
            description="Collect and refresh the chosen days, from the feeds to daily_sentiment.",
        ),
        dg.define_asset_job(
            PUBLISH_JOB,
            selection=dg.AssetSelection.assets(*whole),
            description="Bring quarantine, source health, evaluation, snapshot and report up to date.",
        ),
    ]
    return {job.name: job for job in jobs}
