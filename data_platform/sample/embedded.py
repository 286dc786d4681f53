"""The sample as the platform's default input: written once into the data home, and kept."""

import datetime as dt
import os
import shutil
from contextlib import suppress
from pathlib import Path

from data_platform.sample.writing import write_sample

MARKER = "last_day"


def ensure_sample(folder: Path, today: dt.date) -> dt.date:
    """Write the sample into `folder` unless it is there; return its last day.

    A new sample ends yesterday, so that all of its days are over. It appears in one step, so
    that two processes that start at once, or one that is killed, leave a whole sample.

    Raises:
        OSError: the disk is full or read-only, or a right is missing; it names the place.
    """
    marker = folder / MARKER
    if not marker.is_file():
        last_day = today - dt.timedelta(days=1)
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            write_sample(draft, last_day)
            (draft / MARKER).write_text(last_day.isoformat(), encoding="ascii")
            with suppress(OSError):  # another process was first
                draft.rename(folder)
        except OSError as error:  # a failed write does not say where it was
            raise OSError(error.errno, error.strerror, error.filename or str(draft)) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return dt.date.fromisoformat(marker.read_text(encoding="ascii").strip())
