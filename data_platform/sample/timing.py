"""When customers write: busy weekdays, busy hours, and the two days of the incident."""

import datetime as dt

import numpy as np
import numpy.typing as npt

from data_platform.sample.randomness import Integers, Numbers, draw_below, stream

SAMPLE_DAYS = 30
WEEKDAY_WEIGHTS = (1.15, 1.05, 1.0, 1.05, 1.1, 0.75, 0.65)  # Monday first
HOUR_WEIGHTS = (2, 1, 1, 1, 1, 2, 4, 6, 8, 8, 7, 7, 8, 7, 7, 7, 8, 9, 9, 8, 8, 7, 5, 3)  # UTC
INCIDENT_FACTOR = 4
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def incident_days(last_day: dt.date, days: int = SAMPLE_DAYS) -> tuple[dt.date, ...]:
    """Return the days of the incident: the 19th and the 20th of 30."""
    first_day = last_day - dt.timedelta(days=days - 1)
    start = days * 18 // 30
    return tuple(first_day + dt.timedelta(days=n) for n in (start, start + 1) if n < days)


def weigh_days(last_day: dt.date, days: int, seed: int, loud_days: tuple[dt.date, ...]) -> Numbers:
    """Return how busy each day is: its weekday, a little chance, and four times on loud days."""
    weights = 0.92 + 0.16 * stream(seed, "busy days").random(days)
    for number in range(days):
        day = last_day - dt.timedelta(days=days - 1 - number)
        factor = INCIDENT_FACTOR if day in loud_days else 1
        weights[number] *= WEEKDAY_WEIGHTS[day.weekday()] * factor
    return weights


def draw_times(places: Numbers, last_day: dt.date, weights: Numbers) -> Integers:
    """Return the time at each place (0 to 1) of the period, in milliseconds since 1970, UTC.

    Rising places give rising times: batches made one after the other stay in order.
    """
    hours = np.outer(weights, np.array(HOUR_WEIGHTS, dtype=np.float64)).ravel()
    bounds = np.concatenate([[0.0], np.cumsum(hours)])
    amount = places * bounds[-1]
    hour = np.clip(np.searchsorted(bounds, amount, side="right") - 1, 0, len(hours) - 1)
    within = np.clip((amount - bounds[hour]) / hours[hour], 0.0, 0.999999)
    start = number_of_day(last_day) - len(weights) + 1
    hour_ms: Integers = start * DAY_MS + hour.astype(np.int64) * HOUR_MS
    return hour_ms + draw_below(HOUR_MS, within)


def are_on_days(written_ms: Integers, days: tuple[dt.date, ...]) -> npt.NDArray[np.bool_]:
    """Return which times lie on one of `days` (UTC)."""
    numbers = np.array([number_of_day(day) for day in days], dtype=np.int64)
    return np.isin(written_ms // DAY_MS, numbers)


def number_of_day(day: dt.date) -> int:
    """Return the days from 1970-01-01 to `day`."""
    return (day - EPOCH.date()).days
