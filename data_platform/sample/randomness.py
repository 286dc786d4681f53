"""Random numbers that are the same on every machine: named streams and draws built on them.

Only `Generator.random` and integer arithmetic are used. Other methods of NumPy's generators may
change their streams between versions (NEP 19), and so may `random.choice` between Pythons.
"""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the stream `name` of `seed` (0 or more); streams of other names are independent."""
    return np.random.Generator(np.random.PCG64([seed, *name.encode()]))


def draw_below(limit: int | Integers, draws: Numbers) -> Integers:
    """Return whole numbers from 0 to `limit` - 1, one for each draw in [0, 1)."""
    numbers: Integers = (draws * limit).astype(np.int64)
    return numbers


def draw_shares(shares: tuple[float, ...], draws: Numbers) -> Integers:
    """Return positions in `shares`, each as often as its share of the sum says."""
    bounds = np.cumsum(shares)
    positions: Integers = np.searchsorted(bounds, draws * bounds[-1], side="right")
    return positions


def shuffled(count: int, rng: np.random.Generator) -> list[int]:
    """Return the numbers from 0 to `count` - 1 in a random order."""
    order: list[int] = np.argsort(rng.random(count), kind="stable").tolist()
    return order
