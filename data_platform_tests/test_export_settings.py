"""What feedback.yaml says of exports: what is taken, and what a person is told when it is wrong."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from data_platform.errors import ConfigurationError
from data_platform.settings import (
    Environment,
    Settings,
    config_schema,
    load_settings,
    read_config,
)

CONFIG = """start_date: 2026-01-01
feeds: [{name: shop, kind: file, path: a.csv, fields: {source_id: i, posted_at: a, body: t}}]
exports:
"""


def read(tmp_path, exports):
    path = tmp_path / "feedback.yaml"
    path.write_text(CONFIG + exports, encoding="utf-8")
    return read_config(path)


@pytest.mark.parametrize(
    ("exports", "expected"),
    [
        ("- {table: feedbak}", "'feedbak' is not one of active_model, "),
        ("- {table: feedbak}", "; did you mean feedback?"),
        ("- {table: raw_feedback}", "'raw_feedback' is not one of"),
        ("- {format: csv}", "line 4, exports[0].table: this key is required"),
        ("- {table: feedback, format: xlsx}", "'xlsx' is not one of parquet, csv, arrow"),
        ("- {table: feedback, days: 0}", "exports[0].days: at least 1 is expected"),
        ("- {table: feedback, dys: 3}", "there is no such key; did you mean days?"),
        ("- {table: campaigns, days: 3}", "campaigns has no column of days; leave days out"),
        ("- {table: feedback}\n- {table: feedback}", "two exports write feedback.parquet"),
        (
            "- {table: feedback, path: x/}\n- {table: feedback, days: 3, path: ./x}",
            "two exports write x/feedback.parquet; give one another path",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, exports, expected):
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, exports)
    assert expected in str(caught.value)


def test_files_stand_in_the_data_home_or_where_the_path_says(tmp_path):
    config = read(
        tmp_path,
        "- {table: feedback}\n"
        "- {table: feedback, format: csv, path: for_bi, days: 90}\n"
        "- {table: weekly_sentiment, format: arrow, path: /srv/exports}",
    )
    settings = Settings(home=tmp_path / "data", config_path=None, base=tmp_path, config=config)
    assert [settings.export_path(export) for export in config.exports] == [
        tmp_path / "data" / "exports" / "feedback.parquet",
        tmp_path / "for_bi" / "feedback.csv",
        Path("/srv/exports/weekly_sentiment.arrow"),
    ]


@pytest.mark.parametrize(
    ("export", "is_taken"),
    [
        ({"table": "feedback"}, True),
        ({"table": "feedback", "format": "csv", "path": "x", "days": 30}, True),
        ({"table": "raw_feedback"}, False),
        ({"table": "feedback", "format": "xlsx"}, False),
        ({"table": "feedback", "days": 0}, False),
    ],
)
def test_the_schema_for_editors_takes_what_the_platform_takes(export, is_taken):
    config = {**yaml.safe_load(CONFIG), "start_date": "2026-01-01", "exports": [export]}
    validator = jsonschema.Draft202012Validator(config_schema())
    assert validator.is_valid(config) == is_taken


@pytest.mark.parametrize("folder", ["data/landing/shop", "elsewhere/landing", "data"])
def test_a_file_among_those_that_the_platform_keeps_is_refused(tmp_path, folder):
    (tmp_path / "feedback.yaml").write_text(
        f"landing: elsewhere/landing\n{CONFIG}- {{table: feedback, path: {folder}}}",
        encoding="utf-8",
    )
    with pytest.raises(ConfigurationError, match="where the platform keeps its own files"):
        load_settings(Environment(data_platform_home=tmp_path / "data"), tmp_path)
