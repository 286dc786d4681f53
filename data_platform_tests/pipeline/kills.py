"""Kills a command with SIGKILL at its N-th commit point: before or after whatever makes a change durable."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The children are forks of a process that has imported everything and has no threads.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["data_platform_tests.pipeline.kill_preload"])
NEVER = 1_000_000


def run_killed(
    environment: dict[str, str], folder: Path, arguments: Sequence[str], point: int = NEVER
) -> int:
    """Run `data-platform` in a process of its own that kills itself at a commit point.

    Returns:
        How many commit points it passed; -1 if it was killed.
    """
    told = folder / "points"
    told.unlink(missing_ok=True)
    process = SERVER.Process(
        target=_child, args=(environment, str(folder), list(arguments), point, str(told))
    )
    process.start()
    process.join(240)
    if process.exitcode is None:
        process.kill()
        message = f"{arguments} did not end, killed at {point}"
        raise TimeoutError(message)
    if process.exitcode == -signal.SIGKILL:
        return -1
    return int(told.read_text())


class Points:
    """Counts commit points, and kills the process at one of them."""

    def __init__(self, deadly: int) -> None:
        self.deadly, self.count = deadly, 0

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self()
            result = function(*args, **kwargs)
            self()
            return result

        return watched

    def around_context(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A context whose end commits: points at the end of its body, and behind the commit."""

        @contextmanager
        def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with function(*args, **kwargs) as value:
                yield value
                self()
            self()

        return watched


def _child(
    environment: dict[str, str], folder: str, arguments: list[str], point: int, told: str
) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    points = Points(point)
    _watch(points)
    from data_platform.cli import main

    try:
        main(arguments, standalone_mode=False)
    finally:
        Path(told).write_text(str(points.count))


def _watch(points: Points) -> None:
    """Put points around every rename, and around the commits of warehouse and ledger."""
    from data_platform.ingestion.ledger import Ledger
    from data_platform.storage.warehouse import Warehouse

    Path.replace = points.around(Path.replace)  # type: ignore[method-assign]
    Path.unlink = points.around(Path.unlink)  # type: ignore[method-assign]
    os.replace = points.around(os.replace)
    os.fsync = points.around(os.fsync)
    Warehouse.transaction = points.around_context(Warehouse.transaction)  # type: ignore[method-assign]
    Ledger._open = points.around_context(Ledger._open)  # type: ignore[method-assign]
