"""Small files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_platform.storage.locks import is_there


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step: who reads it meanwhile, or after a failure, sees it whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
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

    Only its owner can read the draft, and then the file. Drafts of processes that were killed are
    removed: they may hold text that was erased since.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    for left in path.parent.iterdir():
        number = left.name.removeprefix(f".{path.name}.")
        if number != left.name and number.isdigit() and not is_there(int(number)):
            left.unlink(missing_ok=True)
    try:
        draft.unlink(missing_ok=True)
        draft.touch(0o600, exist_ok=False)
        yield draft
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
