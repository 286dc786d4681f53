"""Which days of which series are unusual: what was to be expected of the days before, and how far off a day is."""

from collections.abc import Callable, Sequence
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
WEEKDAYS_VARY = 0.2  # of the mean: what weekdays differ by before there are weeks to know it from
# The square root of a Poisson count varies by a half, whatever its mean: Anscombe 1948, Biometrika 35:246.
LEAST_SPREAD = 0.5
ANSCOMBE = 3 / 8
LEAST_MEAN = 0.1  # posts a day
FEWEST_SCORED = 10  # posts of a day whose negative share is judged
DRAWN_TO = 3.0  # standard deviations
MAD_TO_SPREAD = 1.4826  # of the normal distribution
OCCASIONS = 3
RECURRING = 1.9  # standard deviations: as improbable as 3 days of 56
EMPTY = np.nan


class Signals(NamedTuple):
    """Arrays of series by days; NaN where a day cannot be judged.

    Attributes:
        expected, low, high: in the unit of what was observed; low and high lie `limit` standard
            deviations off.
        score: distance from expected, as a standard normal score.
    """

    expected: Floats
    low: Floats
    high: Floats
    score: Floats


@dataclass(frozen=True)
class Law:
    """How the counts of a day are spread: a power of them is normal, with an estimated variance.

    The power is the one that leaves no skewness, 1 - skewness / (3 x coefficient of variation): a
    third for the gamma distribution (Wilson and Hilferty 1931, PNAS 17:684), two thirds for Poisson.
    Student's t makes up for short histories.

    Attributes:
        mean: above 0.
        variance: of a day's count, with what the estimated mean leaves open.
        skew: skewness over coefficient of variation, at most 2.
        degrees: of freedom of the variance, at least 1.
    """

    mean: Floats
    variance: Floats
    skew: Floats
    degrees: Floats

    def score(self, counts: Floats) -> Floats:
        """Return the standard normal scores that are as improbable as the counts or any beyond."""
        power, spread, middle = self._normal()
        off = counts - self.mean
        edge = self.mean + np.sign(off) * np.maximum(np.abs(off) - 0.5, 0)
        return normal_score(((edge / self.mean) ** power - middle) / spread, self.degrees)

    def value(self, score: float) -> Floats:
        """Return the counts, not below 0 and not whole, that have this score."""
        power, spread, middle = self._normal()
        root = np.maximum(middle + student_t(score, self.degrees) * spread, 0)
        edge = self.mean * root ** (1 / power)
        count: Floats = np.maximum(edge + np.copysign(0.5, score), 0)
        return count

    def _normal(self) -> tuple[Floats, Floats, Floats]:
        """Return the power, and the spread and mean of (count / mean) ** power."""
        power = 1 - self.skew / 3
        relative = self.variance / self.mean**2
        return power, power * np.sqrt(relative), 1 + power * (power - 1) / 2 * relative


def count_signals(
    counts: Floats, is_known: Flags, weekdays: npt.NDArray[np.int64], limit: float
) -> Signals:
    """Judge the posts a day of each series by the days before it, and by no later one.

    The model is a level plus a weekday's difference on the square-root scale (Anscombe), over the
    latest 56 days; the level is that of the latest 14 known ones. Days that lie far from the medians
    are drawn in (winsorised) before means and spread are taken, so that an incident neither hides
    the next nor becomes usual at once. What was as far off on three occasions is usual.

    Args:
        counts: series by days, consecutive days; 0 where nothing was posted.
        is_known: the same shape: days that are complete.
        weekdays: 0 (Monday) to 6, of the days.
        limit: standard deviations at which low and high lie.
    """
    roots = np.sqrt(np.where(is_known, counts, EMPTY) + ANSCOMBE)
    signals = _unjudged(counts.shape)
    for day in range(FEWEST_DAYS, counts.shape[1]):
        window = slice(max(0, day - WINDOW_DAYS), day)
        past = roots[:, window]
        law, center, outliers = _expect(past, weekdays[window], int(weekdays[day]))
        score = law.score(counts[:, day])
        off = np.sqrt(counts[:, day] + ANSCOMBE) - center
        recurs = _occasions(outliers, off) >= OCCASIONS
        score = np.where(recurs, np.clip(score, -RECURRING, RECURRING), score)
        reach = (law.value(-limit), law.value(limit))
        has_posts = (np.nan_to_num(past) > np.sqrt(ANSCOMBE)).any(axis=1)
        can_judge = has_posts & (np.isfinite(past).sum(axis=1) >= FEWEST_DAYS)
        _set_day(signals, day, can_judge, is_known[:, day], law.mean, reach, score)
    return signals


def share_signals(negative: Floats, scored: Floats, is_known: Flags, limit: float) -> Signals:
    """Judge the negative share of scored posts of each day by the days before it.

    The variance is that of a binomial count whose posts are alike within a day: their correlation
    is what makes Pearson's chi square of the days before as large as it is (Williams 1982, Appl.
    Stat. 31:144). So a thin day has to be far off before it is unusual, and a day of very many
    posts is not judged as if each spoke for itself.

    Args:
        negative, scored: series by days.
        is_known: days that are complete.
        limit: standard deviations at which low and high lie.
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
        others = np.nansum(totals[:, window] - 1, axis=1)
        alike = np.maximum(np.nansum(misfit, axis=1) - (known - 1), 0) / np.maximum(others, 1)
        alike = np.minimum(alike, 1)
        of_day = np.maximum(scored[:, day], 1)
        mean_of_posts = np.nansum(totals[:, window] ** 2, axis=1) / posts
        uncertain = of_day / posts * (1 + alike * np.maximum(mean_of_posts - 1, 0))
        variance = one * of_day * (1 + alike * (of_day - 1) + uncertain)
        turned = share > 0.5  # the law is that of the rarer posts, negative or not
        rarer = np.minimum(share, 1 - share)
        skew = (1 - 2 * rarer) / (1 - rarer) * (2 - of_day * one / variance)
        law = Law(of_day * rarer, variance, skew, np.maximum(known - 1.0, 1.0))
        score = law.score(np.where(turned, of_day - negative[:, day], negative[:, day]))
        score = np.where(turned, -score, score)
        few, many = (np.minimum(law.value(times) / of_day, 1) for times in (-limit, limit))
        reach = (np.where(turned, 1 - many, few), np.where(turned, 1 - few, many))
        _set_day(signals, day, can_judge, usable[:, day], share, reach, score)
        near = DRAWN_TO * np.sqrt(variance)
        kept = np.clip(negative[:, day], share * of_day - near, share * of_day + near)
        hits[:, day] = np.where(can_judge, kept, hits[:, day])
    return signals


def unusual(scores: Floats, alarms_per_day: float) -> Flags:
    """Say which scores are more than chance, of all series tested on a day together.

    Benjamini and Hochberg 1995 (J. R. Statist. Soc. B 57:289) on the two-sided p-values of a day,
    at the level `alarms_per_day`: with nothing unusual in any series, a day raises an alarm with
    that probability.

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
    return found


def two_sided(scores: Floats) -> Floats:
    """Return the probability of a standard normal value at least as far from 0."""
    return np.array([erfc(abs(value) / sqrt(2)) for value in scores])


def normal_score(t: Floats, degrees: Floats) -> Floats:
    """Return the standard normal score as improbable as Student's t (Wallace 1959, Ann. Math. Stat. 30:1124)."""
    degrees = np.maximum(degrees, 1.0)
    scaled = np.sqrt(degrees * np.log1p(t * t / degrees))
    return np.copysign((8 * degrees + 1) / (8 * degrees + 3) * scaled, t)


def student_t(score: float, degrees: Floats) -> Floats:
    """Return Student's t that is as improbable as a standard normal score: the inverse of normal_score."""
    scaled = abs(score) * (8 * degrees + 3) / (8 * degrees + 1)
    return np.copysign(np.sqrt(degrees * np.expm1(scaled**2 / degrees)), score)


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


def _expect(
    past: Floats, weekdays: npt.NDArray[np.int64], weekday: int
) -> tuple[Law, Floats, Floats]:
    """Return what to expect of a day: its law, its middle, and which of the days before lie far off.

    Args:
        past: series by days before, on the square-root scale; NaN where they are not known.

    Returns:
        The middle on that scale, and the distance of each day before from its median; 0 unless
        it was drawn in.
    """
    known = np.isfinite(past).sum(axis=1)
    of_weekday = np.isfinite(past[:, weekdays == weekday]).sum(axis=1)
    has_weeks = (known >= WEEKDAYS_FROM) & (of_weekday >= FEWEST_WEEKS)
    fitted = np.where(has_weeks, 7.0, 1.0)
    degrees = np.maximum(known - fitted, 1.0)
    median = _by_weekday(past, weekdays, _median)
    rest = past - median[:, weekdays]
    near = _drawn_in(rest, fitted)
    shift = _by_weekday(near, weekdays, _mean)
    residual = near - shift[:, weekdays]
    level, level_days = _latest_mean(residual)
    middle = median[:, weekday] + shift[:, weekday] + level
    spread_squared = np.nansum(residual**2, axis=1) / degrees
    mean = np.maximum(middle**2 + spread_squared - ANSCOMBE, LEAST_MEAN)
    # The weekday's mean is uncertain too, but for the seventh of it that is in the level.
    uncertain = 1 / level_days + np.where(has_weeks, 6 / 7 / np.maximum(of_weekday, 1), 0)
    seen = 4 * mean * np.maximum(spread_squared, LEAST_SPREAD**2) * (1 + uncertain)
    variance = seen + np.where(has_weeks, 0, (WEEKDAYS_VARY * mean) ** 2)
    # A negative binomial count: its skewness is between Poisson's (1) and gamma's (2).
    law = Law(mean, variance, 2 - mean / variance, degrees * (variance / seen) ** 2)
    return law, middle, np.where(rest == near, 0, rest)


def _by_weekday(
    past: Floats, weekdays: npt.NDArray[np.int64], middle: Callable[[Floats], Floats]
) -> Floats:
    """Return the middle of each series and weekday; of all days while there are not three weeks."""
    known = np.isfinite(past).sum(axis=1)
    usual = np.repeat(middle(past)[:, None], 7, axis=1)
    for weekday in range(7):
        part = past[:, weekdays == weekday]
        enough = (known >= WEEKDAYS_FROM) & (np.isfinite(part).sum(axis=1) >= FEWEST_WEEKS)
        usual[:, weekday] = np.where(enough, middle(part), usual[:, weekday])
    return usual


def _occasions(outliers: Floats, off: Floats) -> npt.NDArray[np.int64]:
    """Count on how many occasions each series was at least half as far off on the same side.

    Days at most one day apart are one occasion, as in an incident.
    """
    side = np.sign(off)[:, None]
    far = outliers * side > np.abs(off)[:, None] / 2
    before = np.pad(far, ((0, 0), (2, 0)))
    occasions: npt.NDArray[np.int64] = (far & ~before[:, 1:-1] & ~before[:, :-2]).sum(axis=1)
    return occasions


def _drawn_in(rest: Floats, fitted: Floats) -> Floats:
    """Return `rest` with what lies beyond 3 robust standard deviations drawn to there.

    Args:
        fitted: medians that were taken off; each made a distance 0 that says nothing of the spread,
            so that the middle one of the others is taken.
    """
    distance = np.sort(np.abs(rest), axis=1)  # NaN last
    known = np.isfinite(rest).sum(axis=1)
    place = np.clip((known + fitted) // 2, 0, np.maximum(known - 1, 0)).astype(np.int64)
    middle = np.nan_to_num(distance[np.arange(len(rest)), place])
    reach = DRAWN_TO * np.maximum(MAD_TO_SPREAD * middle, LEAST_SPREAD)[:, None]
    return np.clip(rest, -reach, reach)


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


def _mean(values: Floats) -> Floats:
    """Return the mean of what is known of each row, 0 where nothing is."""
    mean: Floats = np.nansum(values, axis=1) / np.maximum(np.isfinite(values).sum(axis=1), 1)
    return mean


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
