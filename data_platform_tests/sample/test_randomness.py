"""Tests that chance is the same on every machine."""

import numpy as np

from data_platform.sample.randomness import draw_below, draw_shares, shuffled, stream


def test_a_stream_gives_the_numbers_it_always_gave():
    """The sample's bytes hang on it: a new NumPy must not change them unseen."""
    assert draw_below(1_000, stream(7, "a stream").random(6)).tolist() == [
        500,
        177,
        840,
        133,
        683,
        793,
    ]
    assert shuffled(8, stream(7, "an order")) == [2, 5, 4, 0, 3, 7, 1, 6]


def test_streams_of_other_names_and_seeds_differ():
    firsts = {stream(seed, name).random() for seed in (7, 8) for name in ("a", "b")}
    assert len(firsts) == 4


def test_shares_are_kept():
    draws = np.arange(1_000) / 1_000
    assert np.bincount(draw_shares((2, 0, 5, 3), draws)).tolist() == [200, 0, 500, 300]
