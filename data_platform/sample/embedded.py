"""The sample as the platform's default input: written once into the data home, and kept."""

import datetime as dt
import os
import shutil
from pathlib import Path

from data_platform.sample.writing import write_sample

MARKER = "last_day"


def ensure_sample(folder: Path, today: dt.date) -> dt.date:
    """Write the sample into `folder` unless it is there; return its last day.

    A new sample ends yesterday, so that all of its days are over. It appears in one step, so
    that two processes that start at once, or one that is killed, leave a whole sample.
    """
    marker = folder / MARKER
    if not marker.is_file():
        last_day = today - dt.timedelta(days=1)
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        write_sample(draft, last_day)
        (draft / MARKER).write_text(last_day.isoformat(), encoding="ascii")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.rename(folder)
        except OSError:
            shutil.rmtree(draft)  # another process was first
    return dt.date.fromisoformat(marker.read_text(encoding="ascii").strip())
