"""The daily partitions that every stage shares: the day on which a post was written, in UTC."""

from datetime import date

import dagster as dg

DAYS_PER_RUN = 31


def daily_partitions(start_date: date) -> dg.DailyPartitionsDefinition:
    """Return the days from `start_date` to today (UTC), today included."""
    return dg.DailyPartitionsDefinition(
        start_date=start_date.isoformat(), timezone="UTC", end_offset=1
    )


def backfill_policy() -> dg.BackfillPolicy:
    """Return the policy of every stage: chunks of days, each day committed and logged by itself."""
    return dg.BackfillPolicy.multi_run(DAYS_PER_RUN)
