"""Pseudonyms: one author, one id, and a key that is made once and kept private."""

import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest

from data_platform.errors import ConfigurationError
from data_platform.ingestion.authors import hash_authors, load_author_key

KEY = b"k" * 32


def ids(handles, platform="x", key=KEY):
    return hash_authors(pa.array(handles, pa.string()), platform, key).to_pylist()


def test_the_same_author_has_the_same_id_and_others_have_others():
    first, second, third, unknown, empty = ids(["ann", "bob", "ann", None, ""])
    assert first == third
    assert len({first, second, empty}) == 3
    assert unknown is None
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")


def test_another_platform_or_key_gives_another_id():
    assert len({*ids(["ann"]), *ids(["ann"], "y"), *ids(["ann"], key=b"l" * 32)}) == 3


def test_platform_and_handle_cannot_be_shifted_into_each_other():
    assert ids(["b:c"], "a") != ids(["c"], "a:b")


def test_the_hash_is_keyed_blake2b_and_never_changes_between_releases():
    assert ids(["ann"]) == ["31fedde46146f4576b621baa810af8d0"]


@pytest.mark.parametrize("handles", [[], [None, None], ["é", "日本", "a\0b"]])
def test_any_handles_in_any_chunks_keep_their_places(handles):
    whole = ids(handles)
    chunked = pa.chunked_array([pa.array([h], pa.string()) for h in handles], pa.string())
    assert hash_authors(chunked, "x", KEY).to_pylist() == whole
    assert len(whole) == len(handles)


def test_a_key_file_is_made_once_and_for_its_owner_alone(home):
    path = home / "deep" / "author.key"
    key = load_author_key(path, None)
    assert load_author_key(path, None) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["author.key"]


def test_two_homes_have_two_keys(home):
    assert load_author_key(home / "a", None) != load_author_key(home / "b", None)


def test_a_configured_key_is_used_and_no_file_is_written(home):
    key = load_author_key(home / "author.key", "a secret of some length")
    assert key == load_author_key(home / "elsewhere", "a secret of some length")
    assert list(home.iterdir()) == []


def test_a_short_configured_key_is_refused_without_being_shown(home):
    with pytest.raises(ConfigurationError, match="shorter than 16") as caught:
        load_author_key(home / "author.key", "hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_configured_key_of_16_characters_is_long_enough(home):
    assert len(load_author_key(home / "author.key", "k" * 16)) == 32


@pytest.mark.parametrize("content", ["", "  \n", "short"])
def test_a_key_file_that_lost_its_content_is_refused(home, content):
    (home / "author.key").write_text(content)
    with pytest.raises(ConfigurationError, match="does not hold a key"):
        load_author_key(home / "author.key", None)


def test_processes_that_start_together_agree_on_one_key(home):
    script = """
        import os, sys
        from pathlib import Path
        from data_platform.ingestion.authors import load_author_key
        for number in range(8):
            if not os.fork():
                key = load_author_key(Path(sys.argv[1]) / "author.key", None)
                (Path(sys.argv[1]) / f"seen-{number}").write_bytes(key)
                os._exit(0)
        print([os.wait()[1] for _ in range(8)])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(home)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.strip() == str([0] * 8), ended.stderr
    assert len({path.read_bytes() for path in home.glob("seen-*")}) == 1
