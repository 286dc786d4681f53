"""Fixtures that all tests share: a data home, a configuration, a warehouse, and the larger test data."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from data_platform.settings import Environment, Settings, load_settings
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.examples import SOAK_EXAMPLES

TEST_DATA_VARIABLE = "FEEDBACK_TEST_DATA"
settings.register_profile("soak", max_examples=SOAK_EXAMPLES)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)


# A worker runs a whole file: those that take minutes must not be what the others wait for.
LONGEST_FILES = ("test_ui.py", "test_kills.py", "test_platforms.py", "test_machine_failures.py")
LONG_FOLDERS = ("browser", "pipeline")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, and end with the shortest tests."""
    items.sort(
        key=lambda item: (
            item.path.name not in LONGEST_FILES,
            item.path.parent.name not in LONG_FOLDERS,
        )
    )


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Take back the umask that a command sets when it runs within a test."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for everything that the platform writes."""
    return tmp_path


@pytest.fixture
def warehouse(home: Path) -> Warehouse:
    """A warehouse that does not exist yet; its first transaction creates it."""
    return Warehouse(home / "warehouse.duckdb", lock_timeout_seconds=30)


@pytest.fixture
def configured(home: Path) -> Callable[..., Settings]:
    """Write feedback.yaml and files below the home; return the settings read from them."""

    def configure(
        config: Mapping[str, Any], files: Mapping[str, str | bytes] | None = None
    ) -> Settings:
        for name, content in (files or {}).items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        (home / "feedback.yaml").write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        return load_settings(Environment(data_platform_home=home / "data"), home)

    return configure


@pytest.fixture
def test_data() -> Callable[[str], Path]:
    """Return the path of one file or folder of the larger test data, which git does not hold.

    Without it a test is skipped; on CI it fails, so that the data cannot go missing unseen.
    """

    def find(name: str) -> Path:
        folder = os.environ.get(TEST_DATA_VARIABLE)
        path = Path(folder) / name if folder else None
        if path is not None and path.exists():
            return path
        reason = f"{path} does not exist" if path else f"{TEST_DATA_VARIABLE} is not set"
        if os.environ.get("CI"):
            pytest.fail(f"this test needs the test data: {reason}", pytrace=False)
        return pytest.skip(f"needs the test data: {reason}")

    return find
