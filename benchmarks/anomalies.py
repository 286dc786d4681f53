"""How many false alarms the judgement of daily series raises, and how soon it finds what is planted.

    python -m benchmarks.anomalies [--seed 2026] [--quick]

The histories are made up (benchmarks/histories.py), and each day is judged by the days before it,
by the functions that make daily_signals. Two rules of thumb are judged beside them: the distance
from the mean of the latest 28 days in their standard deviations, at the threshold that gives as
many false alarms, and three times the median of the latest 14 days.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from benchmarks.histories import (
    DAYS_PER_YEAR,
    KINDS,
    PLAUSIBLE,
    History,
    Incident,
    Kind,
    make_history,
)
from benchmarks.results import save, show
from data_platform.monitoring.series import DAYS_PER_MONTH
from data_platform.monitoring.signals import (
    FEWEST_DAYS,
    FEWEST_SCORED,
    Flags,
    Floats,
    count_signals,
    find_incidents,
    share_signals,
    unusual,
)
from data_platform.schemas.signals import MEASURES

RATES = (0.3, 1.0, 3.0)  # false alarms promised in 30 days
RATE = 1.0
PLATFORMS = {1: 600, 5: 200, 20: 100, 100: 30}  # series of a platform: how many platforms
SERIES = 20  # of a platform of another kind, or with an incident
FIRST_WEEKS = 60  # days
STARTS = (119,) * 7  # days before an incident, one for each weekday
WATCHED_DAYS = 28  # from the begin of an incident on
RUNS = 40  # for each begin
VOLUMES = (5, 50, 500)  # posts a day
SHARE_VOLUMES = (20, 100, 500)
VOLUME_INCIDENTS = (
    *(Incident(days, factor=factor) for factor in (1.5, 2, 3, 5) for days in (1, 3, 7)),
    *(Incident(days, factor=factor) for factor in (0.3, 0) for days in (1, 3, 7)),
    *(Incident(14, factor=factor, is_ramp=True) for factor in (2, 3, 5)),
)
SHARE_INCIDENTS = tuple(
    Incident(days, points=points) for points in (0.1, 0.2, 0.3) for days in (1, 3, 7)
)
EARLY_INCIDENTS = {
    "posts": [Incident(3, factor=factor) for factor in (2, 3, 5, 0)],
    "share": [Incident(3, points=points) for points in (0.2, 0.3)],
}
EARLY_VOLUME = 100  # posts a day
BEGINNINGS = (  # days before
    *(range(5, 7), range(7, 14), range(14, 21)),
    *(range(21, 30), range(30, 60), range(60, 120)),
)
PLANTED = (
    ("posts", VOLUME_INCIDENTS, VOLUMES),
    ("share", SHARE_INCIDENTS, SHARE_VOLUMES),
)
RATIO = 3.0
RULES = ("here", "28 days", f"{RATIO:g} x median")
LIMIT = 3.5  # of low and high, which nothing here looks at


class Scores(NamedTuple):
    """Arrays of series by days: the platform's for both measures, and the rules of thumb's."""

    posts: Floats
    share: Floats
    posts_28: Floats
    share_28: Floats
    ratio: Floats


@dataclass(frozen=True)
class Quiet:
    """Platforms without incidents; rows are series, platform by platform."""

    scores: Scores
    series: int

    @property
    def months(self) -> float:
        rows, days = self.scores.posts.shape
        return rows / self.series * days / DAYS_PER_MONTH

    def alarms(self, measure: str, rate: float = RATE) -> Flags:
        scores: Floats = getattr(self.scores, measure)
        platforms = scores.reshape(-1, self.series, scores.shape[1])
        return np.concatenate([unusual(platform, level(rate)) for platform in platforms])

    def per_month(self, rate: float = RATE) -> tuple[float, float, float, float]:
        """Return unusual days, those of posts, those of shares, and incidents, in a month."""
        posts, share = self.alarms("posts", rate), self.alarms("share", rate)
        incidents = count_incidents(posts, self.scores.posts)
        incidents += count_incidents(share, self.scores.share)
        of_posts, of_share = posts.sum() / self.months, share.sum() / self.months
        return of_posts + of_share, of_posts, of_share, incidents / self.months

    def equal_threshold(self, measure: str) -> float:
        """Return the distance by the rule of 28 days that gives as many alarms."""
        distances = np.abs(getattr(self.scores, f"{measure}_28"))
        in_order = np.sort(distances[np.isfinite(distances)])
        return float(in_order[-1 - self.alarms(measure).sum()])


def main() -> None:
    """Print the tables, and keep what the documentation says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--quick", action="store_true", help="a tenth; results.json stays as it is")
    arguments = parser.parse_args()
    scale = 10 if arguments.quick else 1
    rng = np.random.default_rng(arguments.seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        measured = measure_platforms(rng, scale)
        measure_kinds(rng, scale)
        for measure, incidents, volumes in PLANTED:
            measured |= measure_incidents(rng, measure, incidents, volumes, scale)
        measure_beginning(rng, scale)
    if not arguments.quick:
        save(measured)


def measure_platforms(rng: np.random.Generator, scale: int) -> dict[str, float]:
    """Print the false alarms of plausible platforms of several sizes."""
    rows = []
    measured = {}
    for series, platforms in PLATFORMS.items():
        quiet = quiet_platforms(rng, PLAUSIBLE, platforms // scale, series)
        for rate in RATES:
            rows.append((series, f"{rate:g}", *quiet.per_month(rate)))
            measured[f"anomalies.false_alarms_{series}_series_at_{rate:g}"] = rows[-1][2]
    show(
        "False alarms in 30 days over all series together, plausible series of a year",
        ("series", "promised", "unusual days", "of posts", "of shares", "incidents"),
        rows,
    )
    return measured


def measure_kinds(rng: np.random.Generator, scale: int) -> None:
    """Print the false alarms of platforms whose series are of one kind."""
    rows = []
    for kind in KINDS:
        quiet = quiet_platforms(rng, kind, PLATFORMS[SERIES] // scale)
        late = Quiet(Scores(*(array[:, FIRST_WEEKS:] for array in quiet.scores)), SERIES)
        rows.append((kind.name, *quiet.per_month(), late.per_month()[0]))
    days = ("unusual days", "of posts", "of shares", "incidents", f"days, after {FIRST_WEEKS} days")
    title = f"False alarms in 30 days by the kind of series: {SERIES} of a year, {RATE:g} promised"
    show(title, ("kind", *days), rows)


def measure_incidents(
    rng: np.random.Generator,
    measure: str,
    incidents: Sequence[Incident],
    volumes: Sequence[int],
    scale: int,
) -> dict[str, float]:
    """Print how often and how soon incidents are found, beside the rules of thumb."""
    rules = RULES if measure == "posts" else RULES[:2]
    found: dict[tuple[str, Incident, int], Floats] = {}
    notes = []
    for volume in volumes:
        quiet = quiet_platforms(rng, of_volume(volume), PLATFORMS[SERIES] // scale)
        threshold = quiet.equal_threshold(measure)
        note = f"{volume} posts a day: {quiet.alarms(measure).sum() / quiet.months:.2f}"
        notes.append(f"{note}, 28 days: beyond {threshold:.1f} standard deviations")
        if measure == "posts":
            notes[-1] += f", ratio: {(quiet.scores.ratio > RATIO).sum() / quiet.months:.1f}"
        delays = find(rng, quiet, measure, incidents, volume, STARTS, RUNS // scale, threshold)
        found |= {(rule, incident, volume): days for (rule, incident), days in delays.items()}
    rows = [
        (
            describe(incident),
            *(percent(found[rule, incident, volume]) for rule in rules for volume in volumes),
            *(late([found[rule, incident, volume] for volume in volumes]) for rule in RULES[:2]),
        )
        for incident in incidents
    ]
    show(
        f"Incidents of {measure} in one of {SERIES} series, {RATE:g} false alarm promised: % found,"
        " by posts a day, and days to the alarm",
        (
            "incident",
            *(f"{rule}, {volume}" for rule in rules for volume in volumes),
            *(f"days, {rule}" for rule in RULES[:2]),
        ),
        rows,
    )
    print(f"\nFalse alarms of {measure} in 30 days at {'; '.join(notes)}.")
    return {
        f"anomalies.{measure}_found_share_{rule.replace(' ', '_')}": float(
            np.mean([np.isfinite(days).mean() for (by, _, _), days in found.items() if by == rule])
        )
        for rule in RULES[:2]
    }


def measure_beginning(rng: np.random.Generator, scale: int) -> None:
    """Print what is found, and raised in vain, while the history is short."""
    days = BEGINNINGS[-1].stop
    each = PLATFORMS[SERIES] // scale
    by_weekday = [
        judge(make_history(rng, PLAUSIBLE, each, SERIES, days, first_weekday=weekday))
        for weekday in range(7)
    ]
    scores = Scores(*(np.concatenate(arrays) for arrays in zip(*by_weekday, strict=True)))
    others = quiet_platforms(rng, of_volume(EARLY_VOLUME), PLATFORMS[SERIES] // scale)
    rows = []
    for span in BEGINNINGS:
        early = Quiet(Scores(*(array[:, span.start : span.stop] for array in scores)), SERIES)
        cells: list[object] = [f"{span.start} to {span.stop - 1}", early.per_month()[0]]
        starts = [span[n % len(span)] for n in range(7)]
        for measure, incidents in EARLY_INCIDENTS.items():
            found = find(
                rng, others, measure, incidents, EARLY_VOLUME, starts, RUNS // scale, np.inf
            )
            cells += [percent(found[RULES[0], incident]) for incident in incidents]
        rows.append(cells)
    names = [describe(incident) for incidents in EARLY_INCIDENTS.values() for incident in incidents]
    show(
        f"Short histories: false alarms of {SERIES} series, {RATE:g} promised, and % found at"
        f" {EARLY_VOLUME} posts a day",
        ("days before", "unusual days in 30", *names),
        rows,
    )


def find(
    rng: np.random.Generator,
    quiet: Quiet,
    measure: str,
    incidents: Sequence[Incident],
    volume: int,
    starts: Sequence[int],
    runs: int,
    threshold: float,
) -> dict[tuple[str, Incident], Floats]:
    """Plant each incident in one series of a quiet platform, and see when it is found.

    Args:
        starts: seven numbers of days before the incident, each drawn `runs` times and with
            another first weekday.
        threshold: of the rule of 28 days.

    Returns:
        By rule and incident: days from the begin to the first alarm on the incident's side, within
        its days; NaN where there is none. A ramp is watched for longer.
    """
    delays: dict[tuple[str, Incident], list[Floats]] = {
        (rule, incident): [] for rule in RULES for incident in incidents
    }
    for weekday, start in enumerate(starts):
        watched = slice(start, start + WATCHED_DAYS)
        drawn = [
            make_history(rng, of_volume(volume), runs, 1, watched.stop, incident, start, weekday)
            for incident in incidents
        ]
        scores = judge(join(drawn))
        others = getattr(quiet.scores, measure)[:, watched]
        for number, incident in enumerate(incidents):
            rows = slice(number * runs, (number + 1) * runs)
            own, by_28, ratio = (
                getattr(scores, name)[rows, watched] for name in (measure, f"{measure}_28", "ratio")
            )
            side = 1 if incident.factor > 1 or incident.points > 0 else -1
            unusual_here = np.array([beside(others, n, row) for n, row in enumerate(own)])
            alarms = (
                unusual_here & (np.sign(own) == side),
                side * by_28 > threshold,
                (ratio > RATIO) & (side > 0),
            )
            days = WATCHED_DAYS if incident.is_ramp else incident.days
            for rule, flags in zip(RULES, alarms, strict=True):
                first = np.where(flags[:, :days].any(axis=1), flags.argmax(axis=1), np.nan)
                delays[rule, incident].append(first)
    return {case: np.concatenate(parts) for case, parts in delays.items()}


def join(histories: Sequence[History]) -> History:
    """Put histories of the same days below each other."""
    posts, negative, is_known = (
        np.concatenate([getattr(history, name) for history in histories])
        for name in ("posts", "negative", "is_known")
    )
    return History(posts, negative, is_known, histories[0].weekdays)


def beside(others: Floats, number: int, row: Floats) -> Flags:
    """Judge a series on a platform with quiet ones; return its unusual days."""
    platform = others[SERIES * number % len(others) :][:SERIES].copy()
    platform[0] = row
    return unusual(platform, level(RATE))[0]


def level(rate: float) -> float:
    """Return the false alarms a day of one measure, as refresh_signals shares them out."""
    return rate / DAYS_PER_MONTH / len(MEASURES)


def quiet_platforms(
    rng: np.random.Generator,
    kind: Kind,
    platforms: int,
    series: int = SERIES,
    days: int = DAYS_PER_YEAR,
) -> Quiet:
    return Quiet(judge(make_history(rng, kind, platforms, series, days)), series)


def of_volume(volume: int) -> Kind:
    return replace(PLAUSIBLE, posts=(volume, volume), share=(0.1, 0.4))


def judge(history: History) -> Scores:
    """Judge each day by the days before it, in every way."""
    posts, known = history.posts, history.is_known
    counts = np.where(known, posts, np.nan)
    shares = np.where(known & (posts >= FEWEST_SCORED), history.negative / posts, np.nan)
    return Scores(
        count_signals(posts, known, history.weekdays, LIMIT).score,
        share_signals(history.negative, posts, known, LIMIT).score,
        by_28_days(counts),
        by_28_days(shares),
        by_median(counts),
    )


def by_28_days(values: Floats) -> Floats:
    """Return the distance from the mean of the 28 days before, in their standard deviations."""
    distances = np.full(values.shape, np.nan)
    for day in range(FEWEST_DAYS, values.shape[1]):
        past = values[:, max(0, day - 28) : day]
        count = np.isfinite(past).sum(axis=1)
        mean = np.nansum(past, axis=1) / count
        squares = np.nansum((past - mean[:, None]) ** 2, axis=1)
        spread = np.sqrt(squares / (count - 1))
        judged = (count >= FEWEST_DAYS) & (spread > 0)
        distances[:, day] = np.where(judged, (values[:, day] - mean) / spread, np.nan)
    return distances


def by_median(values: Floats) -> Floats:
    """Return how many times the median of the 14 days before, of which 7 have to be known."""
    ratios = np.full(values.shape, np.nan)
    for day in range(7, values.shape[1]):
        past = values[:, max(0, day - 14) : day]
        enough = np.isfinite(past).sum(axis=1) >= 7
        ratios[enough, day] = values[enough, day] / np.nanmedian(past[enough], axis=1)
    return ratios


def count_incidents(alarms: Flags, scores: Floats) -> int:
    days = [date(2026, 1, 5) + timedelta(days=n) for n in range(alarms.shape[1])]
    return sum(
        len(find_incidents(days, alarms[row], np.ones(len(days), np.bool_), scores[row]))
        for row in np.flatnonzero(alarms.any(axis=1))
    )


def describe(incident: Incident) -> str:
    if incident.is_ramp:
        return f"ramp to x{incident.factor:g} in {incident.days} d"
    what = f"+{100 * incident.points:.0f} points" if incident.points else f"x{incident.factor:g}"
    return f"{what}, {incident.days} d"


def percent(delays: Floats) -> str:
    return f"{100 * np.isfinite(delays).mean():.0f}"


def late(delays: Sequence[Floats]) -> str:
    """Return median and 90th percentile of the days to the alarm, of the incidents that were found."""
    found = np.concatenate(delays)
    found = found[np.isfinite(found)]
    return f"{np.median(found):.0f} / {np.percentile(found, 90):.0f}" if found.size else "–"


if __name__ == "__main__":
    main()
