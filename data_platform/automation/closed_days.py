"""Keeps loaded days in step that are not open any more: they have no partition that a run could refresh."""

from functools import partial

from data_platform.automation.staleness import Staleness
from data_platform.ingestion.raw import load_days
from data_platform.reporting.marts import refresh_daily_sentiment, refresh_topic_sentiment
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import DayWrite, Warehouse
from data_platform.warehouse.star import refresh_star


def refresh_closed_days(staleness: Staleness, warehouse: Warehouse) -> list[DayWrite]:
    """Bring the closed days that are behind up to date in every daily table.

    A day closes after it was loaded when `start_date` moves forward, or when a clock was ahead.
    Deletions, edits and erasures still reach its posts.

    Returns:
        What was written, in order.

    Raises:
        DataPlatformError: a rule does not hold, or an input kept moving; later days are not done.
    """
    writes: list[DayWrite] = []
    landing, names = staleness.feeds.landing, staleness.feeds.names
    for day in staleness.unloaded_closed_days(warehouse):
        days = DaySpan.of(day)
        writes += warehouse.written(partial(load_days, landing=landing, feeds=names, days=days))
    for day in staleness.outdated_closed_days(warehouse):
        days = DaySpan.of(day)
        writes += staleness.cleaning.refresh_days(warehouse, days)
        with warehouse.transaction() as transaction:
            writes += refresh_star(transaction, days)
        writes += staleness.scoring.refresh_days(warehouse, days)
        with warehouse.transaction() as transaction:
            writes += refresh_daily_sentiment(transaction, days)
            writes += refresh_topic_sentiment(transaction, days)
    return writes
