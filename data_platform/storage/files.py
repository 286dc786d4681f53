"""Small files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_platform.storage.locks import is_there


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step: who reads it meanwhile, or after a failure, sees it whole."""
    draft = _draft_of(path)
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield an empty draft beside `path`; it takes the place of `path` in one step if the block ends well.

    Only its owner can read the draft, and then the file.
    """
    draft = _draft_of(path)
    try:
        draft.unlink(missing_ok=True)
        draft.touch(0o600, exist_ok=False)
        yield draft
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _draft_of(path: Path) -> Path:
    """Return where this process writes what is to take the place of `path`.

    Drafts of processes that were killed are removed: they may hold text that was erased since.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.iterdir():
        number = left.name.removeprefix(f".{path.name}.")
        if number != left.name and number.isdigit() and not is_there(int(number)):
            left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}")


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
