"""Locks between processes: a lock file, and beside it who holds it, so that who waits can say for whom."""

import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from data_platform.errors import BusyError
from data_platform.printable import one_line
from data_platform.storage.refusals import explained

logger = logging.getLogger(__name__)

NOBODY_KNOWN = "nobody known"
MAX_COMMAND_CHARACTERS = 120
PATIENCE_SECONDS = 5.0
WITH_COMMANDS = ("data-platform", "dagster")  # programs whose first argument is a command


class ProcessLock:
    """A lock that one process at a time holds, until it releases it or ends, however it ends.

    Args:
        path: the lock file, named '….lock'; the holder's name is kept beside it, in '….holder'.
        subject: what is locked, for messages.
    """

    def __init__(self, path: Path, subject: str) -> None:
        self.path = path
        self.subject = subject

    @property
    def holder_path(self) -> Path:
        return self.path.with_name(self.path.name.removesuffix(".lock") + ".holder")

    def holder(self) -> str:
        """Return who holds the lock, as 'process 123 (command)'; 'nobody known' if that is not known.

        A process that was killed left its name behind; it is not blamed for who came after it.
        """
        try:
            told = self.holder_path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return NOBODY_KNOWN
        found = re.match(r"process (\d+)", told)
        return told if found and is_there(int(found[1])) else NOBODY_KNOWN

    @contextmanager
    def held(self, timeout_seconds: float) -> Iterator[None]:
        """Hold the lock; after some seconds of waiting, log for whom.

        Raises:
            BusyError: another process held it for longer than `timeout_seconds`.
            StorageError: the lock file cannot be made or opened.
        """
        lock = filelock.FileLock(self.path, mode=0o600)
        started = time.monotonic()
        patience = min(PATIENCE_SECONDS, timeout_seconds)
        with explained(self.path):
            try:
                try:
                    lock.acquire(timeout=patience, poll_interval=0.02)
                except filelock.Timeout:
                    logger.warning("waiting for %s, held by %s", self.subject, self.holder())
                    lock.acquire(timeout=max(0.0, timeout_seconds - patience), poll_interval=0.05)
            except filelock.Timeout as error:
                waited = time.monotonic() - started
                message = (
                    f"{self.subject} was held by {self.holder()} for {waited:.0f} s. Wait for that"
                    " process to end, or end it, and run again; nothing was written."
                )
                raise BusyError(message) from error
        try:
            self._tell(f"process {os.getpid()} ({_command()})")
            yield
        finally:
            self._tell("")
            lock.release()

    def _tell(self, holder: str) -> None:
        """Note who holds the lock; on a full disk nobody does, and who only reads still can."""
        with suppress(OSError):
            self.holder_path.write_text(holder, encoding="utf-8")


def _command() -> str:
    """Return this process's program and the command that it was given, for a person.

    Nothing else of the command line: what follows may be the handle of an author.
    """
    script = Path(sys.argv[0])
    name = script.parent.name if script.name == "__main__.py" else script.name
    words = [name] if name not in ("", "-c", "-m") else [sys.executable, name]
    if name in WITH_COMMANDS and len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        words.append(sys.argv[1])
    return one_line(" ".join(words).strip(), MAX_COMMAND_CHARACTERS)


def is_there(pid: int) -> bool:
    """True if a process of that number runs here."""
    try:
        os.kill(pid, 0)  # sends nothing
    except PermissionError:
        return True  # another user's
    except (ProcessLookupError, OverflowError):
        return False
    return True
