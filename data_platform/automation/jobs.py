"""Jobs: collecting feeds, the chain of daily assets, and what follows it for all days together."""

from typing import Any

import dagster as dg
from pydantic import Field

from data_platform.errors import DataPlatformError
from data_platform.ingestion.assets import landed_materialization
from data_platform.ingestion.feeds import Feeds

COLLECT_JOB = "collect_job"
REFRESH_JOB = "refresh_job"
PUBLISH_JOB = "publish_job"
REPLAY_JOB = "replay_job"
REPLAY_OP = "replay_quarantine"


def platform_jobs(assets: list[dg.AssetsDefinition], feeds: Feeds) -> dict[str, Any]:
    """Return the jobs by name (Dagster does not export the type of an unresolved job).

    collect_job lands what is new in feeds; refresh_job takes days from collection to
    daily_sentiment; publish_job brings the tables of all days, the snapshot and the report up to
    date; replay_job lands what passes the contract now of the records in quarantine.
    """
    daily = [key for asset in assets for key in asset.keys if asset.partitions_def is not None]
    whole = [key for asset in assets for key in asset.keys if asset.partitions_def is None]
    feed_keys = [key for key in daily if key.path[0] == "feed"]
    jobs: list[Any] = [
        dg.define_asset_job(
            COLLECT_JOB,
            selection=dg.AssetSelection.assets(*feed_keys),
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
        _replay_job(feeds),
    ]
    return {job.name: job for job in jobs}


class ReplayConfig(dg.Config):
    """What to replay."""

    feeds: list[str] = Field(default=[], description="Names of feeds; none: all of them.")


def _replay_job(feeds: Feeds) -> dg.JobDefinition:
    @dg.op(name=REPLAY_OP)
    def replay(context: dg.OpExecutionContext, config: ReplayConfig) -> dict[str, int]:
        """Land what passes, and log the days that it changed, which are then refreshed."""
        released = 0
        if unknown := sorted(set(config.feeds) - set(feeds.names)):
            message = f"There is no feed {', '.join(unknown)}. Feeds: {', '.join(feeds.names)}."
            raise dg.Failure(message, allow_retries=False)
        for name in config.feeds or feeds.names:
            try:
                found = feeds.replay(name)
            except DataPlatformError as error:
                raise dg.Failure(str(error)) from error
            context.log.info(
                f"{name}: {found.released_count} of {found.examined_count} records left quarantine;"
                f" {found.unreadable_count} more are not whole, only their file helps"
            )
            released += found.released_count
            for day, count in sorted(found.landed_by_day.items()):
                if day in feeds.open_days:
                    numbers = {"records_landed": count}
                    context.log_event(landed_materialization(feeds, name, day, numbers))
        return {"released": released}

    @dg.job(
        name=REPLAY_JOB,
        description="Run quarantine through the current contract, and land what passes, once.",
    )
    def replay_job() -> None:
        replay()

    return replay_job
