"""How many examples a property tries, and how long one of them may take."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import settings

SOAK_EXAMPLES = 1_000  # for each 100 of a usual run: see conftest.py


def examples(count: int) -> settings:
    """Try `count` examples in a usual run, and so many for each 100 that the profile says."""
    return settings(deadline=None, max_examples=max(1, count * settings().max_examples // 100))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the body takes more CPU time than that; what else runs on the machine does not count."""

    def stop(*_: object) -> None:
        message = f"it took more than {seconds} s"
        raise AssertionError(message)

    former = signal.signal(signal.SIGVTALRM, stop)
    started = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)
    # What the body catches does not excuse it.
    assert time.process_time() - started < seconds, f"it took more than {seconds} s"
