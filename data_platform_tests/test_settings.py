"""feedback.yaml and the environment: what is read, and what a person is told when it is wrong."""

import copy
import json
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from pydantic import ValidationError

from data_platform.cli import main
from data_platform.errors import ConfigurationError
from data_platform.feed_settings import FileFeed, interval
from data_platform.sample import SAMPLE_FEEDS
from data_platform.settings import Environment, config_schema, load_settings, read_config

FIELDS = "{source_id: id, posted_at: at, body: text}"
FEED = f"{{name: shop, kind: file, path: a.csv, fields: {FIELDS}}}"
GOOD = f"""start_date: 2026-01-01
feeds:
  - name: shop
    kind: file
    path: a.csv
    fields: {FIELDS}
"""
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefghij")
)


def refusal(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "feedback.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert all(c.isprintable() or c == "\n" for c in message)
    return message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("start_date", "start_dat", "line 1, start_dat: there is no such key; did you mean start_"),
        ("start_date: 2026-01-01\n", "", "line 1, start_date: this key is required"),
        ("2026-01-01", "soon", "line 1, start_date: a date is expected, such as 2026-01-31; found"),
        ("2026-01-01", "2026-02-30", "line 1, start_date: a date is expected"),
        ("2026-01-01", "2999-01-01", "line 1, start_date: 2999-01-01 lies in the future"),
        ("2026-01-01", "[]", "line 1, start_date: a date is expected"),
        ("    path", "    pth", "line 5, feeds[0].pth: there is no such key; did you mean path?"),
        ("    path: a.csv\n", "", "line 3, feeds[0].path: this key is required"),
        ("a.csv", '"a\\0b"', "line 5, feeds[0].path: a path has no line breaks"),
        ("a.csv", "7", "line 5, feeds[0].path: text is expected; put it in quotes; found 7"),
        ("name: shop", "name: My Shop", "line 3, feeds[0].name: text of the form ^[a-z]"),
        (
            "kind: file",
            "kind: files",
            "line 4, feeds[0].kind: 'files' is not one of file, mastodon",
        ),
        ("body: text", "title: text", "line 3, feeds[0]: fields must map body"),
        ("body: text", "bdy: text", "line 6, feeds[0].fields.bdy: 'bdy' is not one of source_id"),
        ("body: text", "bdy: text", "; did you mean body?"),
        ("body: text", "body: 5", "line 6, feeds[0].fields.body: a list is expected"),
        ("body: text", "body: text, rating: r", "rating needs rating_scale"),
        ("a.csv", "a.csv\n    timezone: Mars", "line 6, feeds[0].timezone: 'Mars' is not a time"),
        ("a.csv", "a.csv\n    delimiter: 1", "line 6, feeds[0].delimiter: text is expected"),
        ("a.csv", "a.csv\n    delimiter: ab", "at most 1 character(s) are expected; found 'ab'"),
        ("a.csv", "a.csv\n    trust_ids: maybe", "line 6, feeds[0].trust_ids: true or false is"),
        ("a.csv", "a.csv\n    format: cvs", "'cvs' is not one of csv, tsv,"),
        ("a.csv", "a.csv\n    encoding: utf9", "line 6, feeds[0].encoding: 'utf9' is not an enc"),
        ("a.csv", "a.csv\n    posted_at_format: '%Q'", "'%Q' is no format of dates, such as"),
        ("a.csv", "a.csv\n    posted_at_format: epoch", "'epoch' has no % in it"),
        ("a.csv", "a.csv\n    rating_scale: [1]", "line 6, feeds[0].rating_scale[1]: this key is"),
        ("a.csv", "a.csv\n    path: b.csv", "line 6: the key path stands twice, first in line 5"),
        (
            "feeds:",
            "alerts: {duplicate_shar: 1}\nfeeds:",
            "line 2, alerts.duplicate_shar: there is",
        ),
        ("feeds:", "alerts: {duplicate_shar: 1}\nfeeds:", "; did you mean duplicate_share?"),
        ("feeds:", "alerts: {macro_f1: 2}\nfeeds:", "line 2, alerts.macro_f1: at most 1.0 is"),
        ("feeds:", "sentiment: [1]\nfeeds:", "line 2, sentiment: keys with values are expected"),
        ("feeds:", "sentiment: {threads: 1.5}\nfeeds:", "sentiment.threads: a whole number is exp"),
        ("feeds:", "lateness_days: many\nfeeds:", "line 2, lateness_days: a whole number is"),
        ("    kind", "\tkind", "line 4, column 1: this is not YAML"),
        ("a.csv", '"\\e[31mred\\e[0m"', "a path has no line breaks and no control characters"),
    ],
)
def test_a_mistake_is_named_with_line_key_and_the_nearest_name(tmp_path, old, new, expected):
    assert old in GOOD
    assert expected in refusal(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected keys such as start_date and feeds"),
        ("# nothing\n", "expected keys such as start_date and feeds"),
        ("- a\n- b\n", "expected keys such as start_date and feeds"),
        ("start_date: [2026", "line 1"),
        ("start_date: 2026-01-01\nfeeds: []", "line 2, feeds: at least 1 entries are expected"),
        (f"start_date: 2026-01-01\nfeeds: [{FEED}, {FEED}]", "two feeds are named shop"),
        (GOOD.encode("utf-16"), "is not UTF-8 text; save it as UTF-8"),
        (BOMB, "this stands for more than 200,000 values"),
        ("a: &a [*a]\n", "this alias stands for what it is a part of"),
        ("a: " + "[" * 5_000, "nested too deeply"),
        ("a: b\n" * 2, "the key a stands twice"),
        ("x: " + "y" * 6_000_000, "too large for a configuration"),
        (f"{GOOD}{'k' * 500}: 1\n", "there is no such key"),
    ],
)
def test_a_file_that_is_no_configuration_is_told_why(tmp_path, text, expected):
    message = refusal(tmp_path, text)
    assert expected in message
    assert len(message) < 1_000


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines(tmp_path):
    text = GOOD.replace("2026-01-01", "soon").replace("kind: file", "kind: fax") + "more: 1\n"
    lines = refusal(tmp_path, text).splitlines()
    assert lines[0].endswith("3 thing(s) to mend")
    assert [line.split(",")[0] for line in lines[1:]] == ["  line 1", "  line 4", "  line 7"]


def test_a_byte_order_mark_and_shared_values_are_fine(tmp_path):
    path = tmp_path / "feedback.yaml"
    text = GOOD.replace("fields: ", "fields: &f ")
    second = text.split("feeds:\n")[1].replace("shop", "mall").replace(f"&f {FIELDS}", "*f")
    path.write_bytes((text + second).encode("utf-8-sig"))
    assert [feed.name for feed in read_config(path).feeds] == ["shop", "mall"]


def test_thousands_of_feeds_are_read(tmp_path):
    path = tmp_path / "feedback.yaml"
    feeds = "".join(f"- {FEED.replace('shop', f'shop_{n}')}\n" for n in range(2_000))
    path.write_text(f"start_date: 2026-01-01\nfeeds:\n{feeds}")
    assert len(read_config(path).feeds) == 2_000


def test_a_folder_in_the_place_of_the_file_is_no_reason_to_show_the_sample(tmp_path):
    (tmp_path / "feedback.yaml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(Environment(data_platform_home=tmp_path / "home"), tmp_path)


# --- the JSON Schema


def test_the_schema_for_editors_is_the_one_of_the_code():
    committed = json.loads(files("data_platform").joinpath("feedback.schema.json").read_text())
    assert committed == config_schema(), "run: make schema"


def test_every_key_of_the_schema_is_described():
    schema = config_schema()
    for name, model in [("feedback.yaml", schema), *schema["$defs"].items()]:
        for key, told in model["properties"].items():
            described = told if "$ref" not in told else schema["$defs"][told["$ref"].split("/")[-1]]
            assert described.get("description"), f"{name}: {key}"


def test_the_schema_takes_what_the_platform_takes_and_refuses_mistakes():
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    template = yaml.safe_load(
        files("data_platform").joinpath("feed_templates/file.yaml").read_text()
    )
    template["start_date"] = template["start_date"].isoformat()
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(template)
    template["feeds"][0]["fields"]["body"] = ["text", "message"]
    validator.validate(template)
    validator.validate({"start_date": "2026-01-01", "feeds": SAMPLE_FEEDS})
    for key, value in (("pth", "x"), ("format", "cvs"), ("fields", {"bdy": "x"}), ("trust_ids", 3)):
        wrong = copy.deepcopy(template)
        wrong["feeds"][0][key] = value
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(wrong)


@pytest.mark.parametrize("is_below", [True, False])
def test_init_writes_a_file_whose_editor_finds_the_schema(tmp_path, is_below):
    package = Path(str(files("data_platform"))).resolve()
    path = tmp_path / "feedback.yaml"
    if is_below:
        path = tmp_path / "project" / "feedback.yaml"
        path.parent.mkdir()
        (path.parent / "data_platform").symlink_to(package)
    done = CliRunner().invoke(main, ["init", "--path", str(path)])
    assert done.exit_code == 0, done.output
    mark, place = path.read_text().splitlines()[0].split("$schema=")
    assert mark == "# yaml-language-server: "
    assert json.loads(Path(place.removeprefix("file://")).read_text()) == config_schema()
    assert read_config(path).feeds[0].name == "my_reviews"


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

    with as_file(files("data_platform").joinpath("feed_templates/file.yaml")) as path:
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


@pytest.mark.parametrize(
    ("cleaning", "expected"),
    [
        ("redact: [emial]", "cleaning.redact[0]"),
        ("redact: email", "cleaning.redact"),
        ("phone_regions: [UK]", "there is no region 'UK'"),
        ("phone_regions: [us]", "cleaning.phone_regions[0]"),
        ("national_ids: [PL]", "cleaning.national_ids[0]"),
    ],
)
def test_what_can_be_redacted_is_checked(tmp_path, cleaning, expected):
    assert expected in refusal(tmp_path, f"{GOOD}cleaning: {{{cleaning}}}\n")


def test_redaction_is_turned_off_by_an_empty_list(tmp_path):
    path = tmp_path / "feedback.yaml"
    path.write_text(f"{GOOD}cleaning: {{redact: [], phone_regions: [JP], national_ids: []}}\n")
    assert read_config(path).cleaning.redact == ()
