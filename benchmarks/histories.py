"""Made-up years of daily posts and negative posts, quiet or with an incident planted in each series."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data_platform.monitoring.signals import Flags, Floats

WEEK = np.array([1.1, 1.1, 1.05, 1.05, 1.0, 0.7, 0.6])  # Monday first
DAYS_PER_YEAR = 365


@dataclass(frozen=True)
class Kind:
    """What the series of a platform are like; each series draws its own values from the ranges.

    Attributes:
        posts: lowest and highest mean of a day, drawn evenly on the log scale.
        sizes: size parameters of the negative binomial; variance = mean + mean² / size.
        week: how strong the weekdays differ, 0 to 2; 1: a Sunday has six tenths of a usual day.
        trend: the greatest factor of growth or decline in a year.
        missing_share, zero_share: days that are not complete, and days on which nothing is posted.
        drift: standard deviation of a day's step of the log level, which returns within weeks.
        holidays: days a year on which all series have four tenths of their posts.
        spread: correlation between posts of a day in being negative, beyond the series' own share.
        share: lowest and highest negative share.
        topics: if any, each series is followed by that many, and is their sum, as a feed is of topics.
    """

    name: str
    posts: tuple[float, float] = (2, 2000)
    sizes: tuple[float, ...] = (np.inf, 50, 15, 5)
    week: tuple[float, float] = (0, 1.3)
    trend: float = 2.0
    missing_share: float = 0.02
    zero_share: float = 0.0
    drift: float = 0.0
    holidays: int = 0
    spread: tuple[float, ...] = (0.0, 0.005, 0.02)
    share: tuple[float, float] = (0.05, 0.5)
    topics: int = 0


PLAUSIBLE = Kind("plausible")
KINDS = (
    PLAUSIBLE,
    replace(PLAUSIBLE, name="Poisson", sizes=(np.inf,), spread=(0.0,)),
    replace(PLAUSIBLE, name="size 15", sizes=(15,)),
    replace(PLAUSIBLE, name="size 5", sizes=(5,)),
    replace(PLAUSIBLE, name="size 2", sizes=(2,)),
    replace(PLAUSIBLE, name="2 to 5 posts a day", posts=(2, 5)),
    replace(PLAUSIBLE, name="10 to 40 posts, few negative", posts=(10, 40), share=(0.02, 0.1)),
    replace(PLAUSIBLE, name="feeds of four topics", topics=4),
    replace(PLAUSIBLE, name="one day in five empty", zero_share=0.2),
    replace(PLAUSIBLE, name="one day in five missing", missing_share=0.2),
    replace(PLAUSIBLE, name="level drifts", drift=0.1),
    replace(PLAUSIBLE, name="strong week, ten times a year", week=(1.3, 1.5), trend=10.0),
    replace(PLAUSIBLE, name="ten holidays a year", holidays=10),
)


@dataclass(frozen=True)
class Incident:
    """What is planted from a day on: posts times `factor`, negative share plus `points`.

    Attributes:
        is_ramp: the factor is reached in equal steps over `days`, and stays.
    """

    days: int = 1
    factor: float = 1.0
    points: float = 0.0
    is_ramp: bool = False

    def effect(self) -> Floats:
        """Return how much of it each of its days has, 0 to 1."""
        return np.arange(1, self.days + 1) / self.days if self.is_ramp else np.ones(self.days)


@dataclass(frozen=True)
class History:
    """Arrays of series by days."""

    posts: Floats
    negative: Floats
    is_known: Flags
    weekdays: npt.NDArray[np.int64]


def make_history(
    rng: np.random.Generator,
    kind: Kind,
    platforms: int,
    series: int,
    days: int,
    incident: Incident | None = None,
    start: int = 0,
    first_weekday: int = 0,
) -> History:
    """Draw `platforms` of `series` each; rows are the series, platform by platform.

    Args:
        incident, start: planted in every series, and the number of days before it.
        first_weekday: of the first day; 0 is a Monday.
    """
    shape = (platforms * series, 1)
    day = np.arange(days)
    weekdays = (first_weekday + day) % 7
    log_low, log_high = np.log(kind.posts)
    strength = rng.uniform(*kind.week, shape)
    growth = rng.uniform(-np.log(kind.trend), np.log(kind.trend), shape)
    mean = np.exp(rng.uniform(log_low, log_high, shape))
    mean = mean * np.maximum(1 + strength * (WEEK[weekdays] - 1), 0.05)
    mean = mean * np.exp(growth * (day - days / 2) / DAYS_PER_YEAR + _drift(rng, kind, shape, days))
    off = rng.random((platforms, days)) < kind.holidays / DAYS_PER_YEAR
    mean = mean * np.where(np.repeat(off, series, axis=0), 0.4, 1.0)
    share = np.repeat(rng.uniform(*kind.share, shape), days, axis=1)
    if incident:
        span = slice(start, start + incident.days)
        mean[:, span] *= 1 + (incident.factor - 1) * incident.effect()
        if incident.is_ramp:
            mean[:, span.stop :] *= incident.factor
        share[:, span] = np.clip(share[:, span] + incident.points, 0, 1)
    size = rng.choice(kind.sizes, shape)
    finite = np.where(np.isinf(size), 1, size)
    chance = np.where(np.isinf(size), 1, rng.gamma(finite, 1 / finite, mean.shape))
    posts = rng.poisson(mean * chance) * (rng.random(mean.shape) >= kind.zero_share)
    spread = np.maximum(rng.choice(kind.spread, shape), 1e-6)
    weight = 1 / spread - 1
    inside = np.clip(share, 0.001, 0.999)
    negative = rng.binomial(posts, rng.beta(inside * weight, (1 - inside) * weight))
    is_known = rng.random(mean.shape) >= kind.missing_share
    if kind.topics:
        for array in (posts, negative):
            groups = array.reshape(-1, kind.topics + 1, days)
            groups[:, 0] = groups[:, 1:].sum(axis=1)
        is_known = np.repeat(is_known[:: kind.topics + 1], kind.topics + 1, axis=0)
    return History(posts.astype(float), negative.astype(float), is_known, weekdays)


def _drift(
    rng: np.random.Generator, kind: Kind, shape: tuple[int, int], days: int
) -> Floats | float:
    if not kind.drift:
        return 0.0
    level = np.zeros((shape[0], days))
    for day in range(1, days):
        level[:, day] = 0.95 * level[:, day - 1] + kind.drift * rng.standard_normal(shape[0])
    return level
