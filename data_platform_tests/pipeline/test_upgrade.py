"""Data homes that earlier versions wrote, opened by this one.

Each archive in homes/ holds what `data-platform run` of the last release with that schema version
left: deliveries with an edit, a deletion, refused records and a post before the first day.
"""

import shutil
import tarfile
from pathlib import Path

import duckdb
import pytest

from data_platform.schemas import SCHEMA_VERSION
from data_platform_tests.pipeline.conftest import Platform

HOMES = Path(__file__).with_name("homes")
VERSIONS = range(1, SCHEMA_VERSION)
CONFIG = {
    "start_date": "2026-03-01",
    "feeds": [
        {
            "name": "shop",
            "kind": "file",
            "path": "shop/*.csv",
            "settle": "0s",
            "default_language": "en",
            "fields": {
                "source_id": "id",
                "posted_at": "at",
                "body": "text",
                "author_handle": "author",
                "edited_at": "edited",
                "is_deleted": "deleted",
                "label": "label",
            },
        }
    ],
}
# Tables that tell of posts, and what is made of them.
CONTENT = (
    "raw_feedback",
    "quarantined_feedback",
    "cleaned_feedback",
    "fct_feedback",
    "dim_author",
    "sentiment_scores",
    "daily_sentiment",
    "weekly_sentiment",
    "source_health",
)


@pytest.fixture
def of_version(tmp_path):
    def unpack(version):
        with tarfile.open(HOMES / f"version_{version}.tar.xz") as archive:
            archive.extractall(tmp_path / "old", filter="data")
        return Platform(tmp_path / "old", CONFIG)

    return unpack


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """What this release makes of the same files with the same author key."""
    platform = Platform(tmp_path_factory.mktemp("fresh"), CONFIG)
    with tarfile.open(HOMES / "version_1.tar.xz") as archive:
        archive.extractall(platform.folder, filter="data")
    for path in platform.home.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "author.key":
            path.unlink()
    platform.run()
    return content(platform)


def content(platform):
    return {name: digest for name, digest in platform.digest().items() if name in CONTENT}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_home_of_an_earlier_version_ends_as_a_new_one(of_version, fresh, version):
    old = of_version(version)
    old.run()
    assert old.rows("SELECT version FROM schema_version") == [(SCHEMA_VERSION,)]
    assert content(old) == fresh
    assert old.run()["refreshed_days"] == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_an_earlier_home_without_its_files_keeps_every_post(of_version, version):
    old = of_version(version)
    for path in (old.folder / "shop").iterdir():
        path.unlink()
    old.run()
    found = old.rows(
        "SELECT source_id, body FROM raw_feedback WHERE is_current AND NOT is_deleted ORDER BY 1"
    )
    assert found == [
        ("1", "What a lovely kettle!"),
        ("2", "It broke on the second day."),
        ("4", "Write to jane@example.org for a refund"),
        ("7", "Terrible service and worse tea"),
    ]
    redacted = old.published("SELECT body_clean FROM feedback WHERE feedback_id = 'shop:4'")
    assert redacted == [("Write to <email> for a refund",)]


def test_a_newer_home_is_refused_and_left_alone(of_version):
    old = of_version(max(VERSIONS))
    path = old.home / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    said = old.cli("run", code=1)
    assert "schema version 99" in said
    assert old.rows("SELECT version FROM schema_version") == [(99,)]
