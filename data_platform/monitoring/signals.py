"""Which days of which series are unusual: what was to be expected of the days before, and how far off a day is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import erfc, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

WINDOW_DAYS = 56
LEVEL_DAYS = 14
FEWEST_DAYS = 5  # complete days before a day is judged
WEEKDAYS_FROM = 21  # complete days: three of each weekday
FEWEST_WEEKS = 3
# The square root of a Poisson count varies by a half, whatever its mean: Anscombe 1948, Biometrika 35:246.
LEAST_SPREAD = 0.5
ANSCOMBE = 3 / 8
FEWEST_SCORED = 10  # posts of a day whose negative share is judged
DRAWN_TO = 3.0  # standard deviations
MAD_TO_SPREAD = 1.4826  # of the normal distribution
LEAST_SCORE = 3.5
EMPTY = np.nan


class Signals(NamedTuple):
    """Arrays of series by days; NaN where a day cannot be judged.

    Attributes:
        expected, low, high: in the unit of what was observed; beyond low and high a value is
            further off than the limit of one series.
        score: distance from expected, as a standard normal score.
    """

    expected: Floats
    low: Floats
    high: Floats
    score: Floats


def count_signals(counts: Floats, is_known: Flags, weekdays: npt.NDArray[np.int64]) -> Signals:
    """Judge the posts a day of each series by the days before it, and by no later one.

    The model is a level times a weekday's factor on the square-root scale (Anscombe), over the
    latest 56 known days; the level is that of the latest 14. Factors are medians, and days that
    lie far from the others are drawn in (winsorised) before level and spread are taken, so that
    an incident neither hides the next nor becomes usual at once. Student's t makes up for short
    histories.

    Args:
        counts: series by days, consecutive days; 0 where nothing was posted.
        is_known: the same shape: days that are complete.
        weekdays: 0 (Monday) to 6, of the days.
    """
    values = np.where(is_known, counts, EMPTY)
    signals = _unjudged(counts.shape)
    for day in range(FEWEST_DAYS, counts.shape[1]):
        window = slice(max(0, day - WINDOW_DAYS), day)
        past, of_days = values[:, window], weekdays[window]
        known = np.isfinite(past).sum(axis=1)
        can_judge = (known >= FEWEST_DAYS) & (np.nansum(past, axis=1) > 0)
        usual = _usual_by_weekday(np.where(can_judge[:, None], past, 0.0), of_days)
        rest = _drawn_in(np.sqrt(past + ANSCOMBE) - np.sqrt(usual[:, of_days] + ANSCOMBE))
        level, level_days = _latest_mean(rest)
        spread = np.maximum(_spread(rest), LEAST_SPREAD) * np.sqrt(1 + 1 / level_days)
        center = level + np.sqrt(usual[:, weekdays[day]] + ANSCOMBE)
        score = normal_score((np.sqrt(counts[:, day] + ANSCOMBE) - center) / spread, known - 1.0)
        reach = [_squared(center + times * spread) for times in (-LEAST_SCORE, LEAST_SCORE)]
        _set_day(signals, day, can_judge, is_known[:, day], _squared(center), reach, score)
    return signals


def share_signals(negative: Floats, scored: Floats, is_known: Flags) -> Signals:
    """Judge the negative share of scored posts of each day by the days before it.

    The standard error is that of a binomial share, times what the days before vary beyond that
    (quasi-binomial: Pearson's chi square over its degrees of freedom, McCullagh and Nelder 1989,
    4.5), so that a thin day has to be far off before it is unusual.

    Args:
        negative, scored: series by days.
        is_known: days that are complete.
    """
    usable = is_known & (scored >= FEWEST_SCORED)
    hits = np.where(usable, negative, EMPTY)
    totals = np.where(usable, scored, EMPTY)
    signals = _unjudged(negative.shape)
    for day in range(FEWEST_DAYS, negative.shape[1]):
        window = slice(max(0, day - WINDOW_DAYS), day)
        known = np.isfinite(totals[:, window]).sum(axis=1)
        total = np.nansum(totals[:, window], axis=1)
        can_judge = (known >= FEWEST_DAYS) & usable[:, day]
        posts = np.maximum(total, 1)
        share = np.clip((np.nansum(hits[:, window], axis=1) + 0.5) / (posts + 1), 0.005, 0.995)
        one = share * (1 - share)
        misfit = (hits[:, window] - totals[:, window] * share[:, None]) ** 2 / (
            totals[:, window] * one[:, None]
        )
        excess = np.maximum(np.nansum(misfit, axis=1) / np.maximum(known - 1, 1), 1.0)
        of_day = np.maximum(scored[:, day], 1)
        error = np.sqrt(excess * one * (1 / of_day + 1 / posts))
        score = normal_score((negative[:, day] / of_day - share) / error, known - 1.0)
        reach = [np.clip(share + times * error, 0, 1) for times in (-LEAST_SCORE, LEAST_SCORE)]
        _set_day(signals, day, can_judge, usable[:, day], share, reach, score)
        kept = np.clip(
            negative[:, day] / of_day, share - DRAWN_TO * error, share + DRAWN_TO * error
        )
        hits[:, day] = np.where(can_judge, kept * of_day, hits[:, day])
    return signals


def unusual(scores: Floats, alarms_per_day: float) -> Flags:
    """Say which scores are more than chance, of all series tested on a day together.

    Benjamini and Hochberg 1995 (J. R. Statist. Soc. B 57:289) on the two-sided p-values of a day,
    at the level `alarms_per_day`, and never less than 3.5 standard deviations: with nothing unusual
    in any series, a day raises an alarm with at most that probability.

    Args:
        scores: series by days, NaN where there is none.
    """
    found = np.zeros(scores.shape, np.bool_)
    for day, column in enumerate(scores.T):
        tested = np.flatnonzero(np.isfinite(column))
        if tested.size:
            p = two_sided(column[tested])
            order = np.argsort(p)
            passes = p[order] <= alarms_per_day * np.arange(1, p.size + 1) / p.size
            count = int(np.flatnonzero(passes).max()) + 1 if passes.any() else 0
            found[tested[order[:count]], day] = True
    return found & (np.abs(np.nan_to_num(scores)) >= LEAST_SCORE)


def two_sided(scores: Floats) -> Floats:
    """Return the probability of a standard normal value at least as far from 0."""
    return np.array([erfc(abs(value) / sqrt(2)) for value in scores])


def normal_score(t: Floats, degrees: Floats) -> Floats:
    """Return the standard normal score as improbable as Student's t (Wallace 1959, Ann. Math. Stat. 30:1124)."""
    degrees = np.maximum(degrees, 1.0)
    scaled = np.sqrt(degrees * np.log1p(t * t / degrees))
    return np.copysign((8 * degrees + 1) / (8 * degrees + 3) * scaled, t)


@dataclass(frozen=True)
class Incident:
    """Unusual days of one series in one direction, at most one usual day apart."""

    first: date
    last: date
    peak: date
    is_over: bool


def find_incidents(
    days: Sequence[date], is_unusual: Flags, is_known: Flags, scores: Floats
) -> list[Incident]:
    """Return the incidents of one series, in order; arrays are of its days."""
    found: list[Incident] = []
    for direction in (1.0, -1.0):
        own = np.flatnonzero(is_unusual & (np.sign(np.nan_to_num(scores)) == direction))
        for run in np.split(own, np.flatnonzero(np.diff(own) > 2) + 1) if own.size else []:
            last = int(run[-1])
            found.append(
                Incident(
                    days[int(run[0])],
                    days[last],
                    days[int(run[np.argmax(np.abs(scores[run]))])],
                    bool(is_known[last + 1 :].any()),
                )
            )
    return sorted(found, key=lambda incident: incident.first)


def _usual_by_weekday(past: Floats, weekdays: npt.NDArray[np.int64]) -> Floats:
    """Return the median of each series and weekday; of all days while there are not three weeks."""
    known = np.isfinite(past).sum(axis=1)
    usual = np.repeat(_median(past)[:, None], 7, axis=1)
    for weekday in range(7):
        part = past[:, weekdays == weekday]
        enough = (known >= WEEKDAYS_FROM) & (np.isfinite(part).sum(axis=1) >= FEWEST_WEEKS)
        usual[:, weekday] = np.where(enough, _median(part), usual[:, weekday])
    return usual


def _drawn_in(rest: Floats) -> Floats:
    """Return `rest` with what lies beyond 3 robust standard deviations drawn to there."""
    middle = _median(rest)[:, None]
    scale = np.maximum(MAD_TO_SPREAD * _median(np.abs(rest - middle)), LEAST_SPREAD)[:, None]
    return np.clip(rest, middle - DRAWN_TO * scale, middle + DRAWN_TO * scale)


def _median(values: Floats) -> Floats:
    """Return the median of what is known of each row, 0 where nothing is."""
    count = np.isfinite(values).sum(axis=1)
    if values.shape[1] == 0:
        return np.zeros(len(values))
    ordered = np.sort(values, axis=1)  # NaN last
    rows = np.arange(len(values))
    low, high = (ordered[rows, np.maximum(place, 0)] for place in ((count - 1) // 2, count // 2))
    return np.where(count > 0, (low + high) / 2, 0.0)


def _latest_mean(rest: Floats) -> tuple[Floats, Floats]:
    """Return the mean of the latest known days of each series, and how many they are (at least 1)."""
    known = np.isfinite(rest)
    rank = np.cumsum(known[:, ::-1], axis=1)[:, ::-1]
    recent = known & (rank <= LEVEL_DAYS)
    count = np.maximum(recent.sum(axis=1), 1)
    return np.where(recent, np.nan_to_num(rest), 0).sum(axis=1) / count, count.astype(np.float64)


def _spread(rest: Floats) -> Floats:
    known = np.isfinite(rest)
    count = known.sum(axis=1)
    mean = np.nansum(rest, axis=1) / np.maximum(count, 1)
    squares = np.where(known, (np.nan_to_num(rest) - mean[:, None]) ** 2, 0).sum(axis=1)
    spread: Floats = np.sqrt(squares / np.maximum(count - 1, 1))
    return spread


def _squared(root: Floats) -> Floats:
    squared: Floats = np.maximum(np.maximum(root, 0) ** 2 - ANSCOMBE, 0)
    return squared


def _unjudged(shape: tuple[int, ...]) -> Signals:
    return Signals(*(np.full(shape, EMPTY) for _ in Signals._fields))


def _set_day(
    signals: Signals,
    day: int,
    can_judge: Flags,
    is_known: Flags,
    expected: Floats,
    reach: Sequence[Floats],
    score: Floats,
) -> None:
    for array, values in zip(signals[:3], (expected, *reach), strict=True):
        array[:, day] = np.where(can_judge, values, EMPTY)
    signals.score[:, day] = np.where(can_judge & is_known, score, EMPTY)
