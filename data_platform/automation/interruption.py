"""Ctrl-C and SIGTERM while the command line refreshes: ends after what is being written, never in its middle."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from data_platform.errors import InterruptedRunError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
MESSAGE = (
    "Stopped. What was written before is whole and stays; nothing is half done. The same command"
    " goes on from there."
)


class StopRequest:
    """Tells whether somebody asked this process to stop, also while Dagster holds signals back."""

    def __init__(self, signals: int) -> None:
        self._signals = signals

    def obey(self) -> None:
        """Stop if it was asked for.

        Raises:
            InterruptedRunError: it was.
        """
        try:
            came = os.read(self._signals, 1024)
        except BlockingIOError:
            return
        if any(number in came for number in STOP_SIGNALS):
            raise InterruptedRunError(MESSAGE)


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into `InterruptedRunError`; only in the main thread.

    Dagster 1.13 replaces the handlers while a run executes, fails the step that runs user code,
    and forgets a signal that comes between two steps. The wakeup descriptor sees every signal.
    """
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield StopRequest(reader)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(MESSAGE) from error
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.set_wakeup_fd(descriptor)
        os.close(reader)
        os.close(writer)
