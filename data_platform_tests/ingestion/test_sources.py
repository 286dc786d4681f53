"""What a person finds who chooses a source: the list, a page for each kind, a block to start from."""

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from data_platform.cli import main
from data_platform.feed_settings import FEED_KINDS
from data_platform.ingestion.connectors.registry import CONNECTORS, connector_class
from data_platform.ingestion.sources import source_traits, template
from data_platform.settings import FeedbackConfig, read_config

PAGES = Path(__file__).parents[2] / "docs" / "sources"


@pytest.mark.parametrize("kind", FEED_KINDS)
def test_the_block_to_start_from_is_a_configuration(kind, tmp_path):
    path = tmp_path / "feedback.yaml"
    path.write_text(template(kind), encoding="utf-8")
    (feed,) = read_config(path).feeds
    assert feed.kind == kind


@pytest.mark.parametrize("kind", [kind for kind in FEED_KINDS if kind != "file"])
def test_each_source_has_a_page_with_a_block_that_can_be_copied(kind):
    text = (PAGES / f"{kind}.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    config = FeedbackConfig.model_validate(yaml.safe_load(block))
    assert {feed.kind for feed in config.feeds} == {kind}


@pytest.mark.parametrize("kind", [kind for kind in FEED_KINDS if kind != "file"])
def test_the_page_of_a_source_names_its_keys(kind, tmp_path):
    path = tmp_path / "feedback.yaml"
    path.write_text(template(kind), encoding="utf-8")
    (feed,) = read_config(path).feeds
    text = (PAGES / f"{kind}.md").read_text("utf-8")
    written = set(yaml.safe_load(template(kind))["feeds"][0]) - {"name", "kind"}
    assert {key for key in written if key not in text} == set()
    assert feed.name in template(kind)


@pytest.mark.parametrize("kind", CONNECTORS)
def test_each_connector_declares_what_its_platform_allows(kind):
    traits = connector_class(kind).traits
    for told in (
        traits.reach,
        traits.edits,
        traits.deletions,
        traits.id_type,
        traits.cost,
        traits.needs,
    ):
        assert len(told) > 5


def test_the_command_lists_all_kinds():
    shown = CliRunner().invoke(main, ["sources"]).output
    assert all(f"\n{kind}  " in f"\n{shown}" for kind in FEED_KINDS)
    told = json.loads(CliRunner().invoke(main, ["sources", "--json"]).output)
    assert told == source_traits()


def test_init_writes_a_block_of_a_kind_and_tells_the_nearest_for_a_mistake(tmp_path):
    path = tmp_path / "feedback.yaml"
    ended = CliRunner().invoke(main, ["init", "--source", "mastodon", "--path", str(path)])
    assert ended.exit_code == 0
    assert read_config(path).feeds[0].kind == "mastodon"
    ended = CliRunner().invoke(main, ["init", "--source", "mastadon", "--path", str(path)])
    assert ended.exit_code == 2
    assert "did you mean mastodon?" in ended.output
