"""Who waits for a lock is told for whom, and nobody is blamed who is gone."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import pytest

from data_platform.errors import BusyError
from data_platform.storage.locks import ProcessLock

HOLD = """
    import sys, time
    from pathlib import Path
    from data_platform.storage.locks import ProcessLock
    with ProcessLock(Path(sys.argv[1]), "it").held(5):
        print("held", flush=True)
        time.sleep(60)
"""


@contextmanager
def held_by_another(path):
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def lock(tmp_path):
    return ProcessLock(tmp_path / "feed" / ".lock", "feed shop")


@pytest.fixture(autouse=True)
def _folder(lock):
    lock.path.parent.mkdir()


def test_a_stopped_process_is_named_with_its_command(lock):
    with held_by_another(lock.path) as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(BusyError) as caught, lock.held(0.2):
            pytest.fail("another process holds it")
    assert str(caught.value).startswith(f"feed shop was held by process {process.pid} (")
    assert f"{sys.executable} -c" in str(caught.value)
    with lock.held(0.2):
        assert lock.holder().startswith(f"process {os.getpid()} (")
    assert lock.holder() == "nobody known"


@pytest.mark.parametrize(
    ("command_line", "told"),
    [
        (["/opt/bin/data-platform", "erase", "--author", "@jane"], "data-platform erase"),
        (["data-platform", "erase", "--author=@jane", "--yes"], "data-platform erase"),
        (["data-platform", "--author", "@jane"], "data-platform"),
        (["/lib/dagster/__main__.py", "api", "grpc", "--location", "jane"], "dagster api"),
        (["/home/me/their_script.py", "jane"], "their_script.py"),
        (["-c", "jane"], f"{sys.executable} -c"),
        ([""], sys.executable),
    ],
)
def test_of_the_command_line_nothing_is_told_but_program_and_command(
    lock, monkeypatch, command_line, told
):
    """A waiting run logs who holds the lock, and an author's handle must not come there."""
    monkeypatch.setattr(sys, "argv", command_line)
    with lock.held(0.2):
        assert lock.holder() == f"process {os.getpid()} ({told})"


def test_a_process_that_is_gone_is_not_blamed(lock):
    """It was killed while it held the lock, and somebody else took it in another way."""
    with held_by_another(lock.path) as process:
        pass
    assert f"process {process.pid}" in lock.holder_path.read_text()
    assert lock.holder() == "nobody known"
