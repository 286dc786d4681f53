"""What the platform writes is its owner's alone, whatever the umask of the shell that started it."""

import os
import stat

import pytest
from click.testing import CliRunner

from data_platform.cli import main

ROWS = [{"id": "1", "at": "2026-03-02", "text": "I love it", "user": "ann"}]


@pytest.fixture
def careless():
    """A shell that lets everybody read and write what is created."""
    before = os.umask(0o000)
    yield
    os.umask(before)


def modes(folder):
    """Return the rights of group and others, by path, of all that is there."""
    paths = [folder, *folder.rglob("*")]
    return {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) & 0o077 for p in paths}


@pytest.mark.usefixtures("careless")
def test_nothing_is_open_to_others_also_after_it_was_replaced(shop):
    shop.deliver("a.csv", ROWS, 1)
    shop.run()
    shop.deliver("b.csv", [{**ROWS[0], "id": "2"}, {"id": "", "at": "x"}], 2)
    shop.run()
    shop.cli("report")
    found = modes(shop.home)
    assert {path for path, mode in found.items() if mode} == set()
    assert {"author.key", "warehouse.duckdb", "published/feedback.duckdb"} <= set(found)
    shop.home.chmod(0o755)
    shown = shop.cli("doctor", "--port", "1", code=1)
    assert f"chmod go-rwx {shop.home}" in shown
    shop.environment["DATA_PLATFORM_UMASK"] = "027"
    shop.home.chmod(0o750)
    assert "chmod go-rwx" not in shop.cli("doctor", "--port", "1")
    shop.cli("report", "--output", str(shop.folder / "shared.html"))
    assert stat.S_IMODE((shop.folder / "shared.html").stat().st_mode) == 0o640


@pytest.mark.parametrize("text", ["27", "999", "777", "rwx", "0o77", "", "-07"])
def test_an_umask_that_is_none_or_locks_the_owner_out_is_refused(text):
    done = CliRunner().invoke(main, ["sources"], env={"DATA_PLATFORM_UMASK": text})
    assert done.exit_code == 2
    assert "three octal digits" in done.output
