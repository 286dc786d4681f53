"""feedback.yaml and the environment: what is read, and what a person is told when it is wrong."""

import re

import pytest
from pydantic import ValidationError

from data_platform.errors import ConfigurationError
from data_platform.settings import Environment, FileFeed, interval, load_settings, read_config

FIELDS = "{source_id: id, posted_at: at, body: text}"
FEED = f"{{name: shop, kind: file, path: a.csv, fields: {FIELDS}}}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("start_date: [2026", "line 1"),
        ("- a\n- b\n", "expected keys such as start_date"),
        (
            f"start_dat: 2026-01-01\nfeeds: [{FEED}]",
            "start_dat: there is no such key; did you mean start_date?",
        ),
        (f"feeds: [{FEED}]", "start_date: this key is required"),
        ("start_date: 2026-01-01\nfeeds: []", "feeds: "),
        (f"start_date: 2026-01-01\nfeeds: [{FEED}, {FEED}]", "two feeds are named shop"),
        (f"start_date: soon\nfeeds: [{FEED}]", "start_date: "),
        (
            f"start_date: 2026-01-01\nfeeds: [{FEED.replace('path', 'pth')}]",
            "pth: there is no such key; did you mean path?",
        ),
        (
            f"start_date: 2026-01-01\nfeeds: [{FEED.replace('shop', 'My Shop')}]",
            "feeds[0].name: ",
        ),
        (
            f"start_date: 2026-01-01\nfeeds: [{FEED.replace('body: text', 'title: text')}]",
            "fields must map body",
        ),
        (
            f"start_date: 2026-01-01\nfeeds: [{FEED.replace('body: text', 'body: text, rating: stars')}]",
            "rating needs rating_scale",
        ),
        (
            f"start_date: 2026-01-01\nfeeds: [{FEED.replace('a.csv', 'a.csv, timezone: Mars')}]",
            "'Mars' is not a time zone",
        ),
        (
            f"start_date: 2026-01-01\nfeeds: [{FEED}]\nalerts: {{duplicate_shar: 0.1}}",
            "did you mean duplicate_share?",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key_and_the_nearest_name(tmp_path, text, expected):
    path = tmp_path / "feedback.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(expected)) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_a_configuration_that_is_named_must_exist(tmp_path):
    environment = Environment(data_platform_config=tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="is not a file"):
        load_settings(environment, tmp_path)


def test_paths_start_from_the_file_and_data_goes_home(tmp_path):
    path = tmp_path / "feedback.yaml"
    path.write_text(f"start_date: 2026-01-01\nwarehouse: else/w.duckdb\nfeeds: [{FEED}]")
    settings = load_settings(Environment(data_platform_home=tmp_path / "home"), tmp_path)
    assert settings.warehouse_path == tmp_path / "else" / "w.duckdb"
    assert settings.landing_path == tmp_path / "home" / "landing"
    assert settings.feed("shop").platform == "shop"


def test_without_a_file_the_sample_is_configured_and_stays(tmp_path):
    settings = load_settings(Environment(data_platform_home=tmp_path / "home"), tmp_path)
    assert settings.is_sample
    assert len(settings.feeds) == 3
    again = load_settings(Environment(data_platform_home=tmp_path / "home"), tmp_path)
    assert again.config.start_date == settings.config.start_date


def test_the_author_key_is_never_shown(tmp_path):
    environment = Environment(
        data_platform_home=tmp_path / "home", feedback_author_key="canary-secret-canary"
    )
    settings = load_settings(environment, tmp_path)
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(environment)):
        assert "canary-secret" not in text


def test_the_template_of_init_is_valid():
    from importlib.resources import as_file, files

    with as_file(files("data_platform").joinpath("feedback_template.yaml")) as path:
        assert read_config(path).feeds[0].name == "my_reviews"


@pytest.mark.parametrize("every", ["0s", "5", "soon", "-1m", "1w"])
def test_an_interval_that_is_none_is_refused(every):
    with pytest.raises(ValidationError, match="every"):
        FileFeed.model_validate(
            {
                "kind": "file",
                "name": "shop",
                "path": "x",
                "every": every,
                "fields": {"source_id": "id", "posted_at": "at", "body": "text"},
            }
        )


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("15s", 15), ("5m", 300), ("2h", 7_200), ("1d", 86_400)]
)
def test_an_interval_is_a_number_and_a_unit(text, seconds):
    assert interval(text).total_seconds() == seconds
