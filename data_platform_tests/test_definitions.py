"""The graph as Dagster loads it: whole, described, and shaped like the way of the data."""

import dagster as dg
import pytest

from data_platform.definitions import build_definitions

CONFIG = {
    "start_date": "2026-03-01",
    "feeds": [
        {
            "name": "shop",
            "kind": "file",
            "path": "incoming/*.csv",
            "fields": {"source_id": "id", "posted_at": "at", "body": "text"},
        }
    ],
}


@pytest.fixture
def definitions(configured):
    return build_definitions(configured(CONFIG))


def test_the_definitions_load(definitions):
    dg.Definitions.validate_loadable(definitions)


def test_data_walks_one_way(definitions):
    graph = definitions.resolve_asset_graph()
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.materializable_asset_keys
    }
    assert parents["raw_feedback"] == {"feed/shop"}
    assert parents["quarantined_feedback"] == {"feed/shop"}
    assert parents["cleaned_feedback"] == {"raw_feedback"}
    assert parents["fct_feedback"] == {"raw_feedback", "cleaned_feedback"}
    assert parents["sentiment_scores"] == {"cleaned_feedback"}
    assert parents["sentiment_evaluation"] == {
        "raw_feedback",
        "cleaned_feedback",
        "sentiment_scores",
    }
    assert parents["daily_sentiment"] == {"cleaned_feedback", "sentiment_scores"}
    assert parents["source_health"] == {"feed/shop", "raw_feedback", "quarantined_feedback"}
    assert parents["feedback_report"] == {"feedback_snapshot"}
    assert {"daily_sentiment", "source_health", "fct_feedback", "sentiment_evaluation"} <= parents[
        "feedback_snapshot"
    ]
    assert "raw_feedback" not in parents["feedback_snapshot"]


def test_exports_are_an_asset_only_where_some_are_configured(definitions, configured):
    key = dg.AssetKey("feedback_export")
    assert key not in definitions.resolve_asset_graph().materializable_asset_keys
    graph = build_definitions(
        configured({**CONFIG, "exports": [{"table": "feedback"}]})
    ).resolve_asset_graph()
    assert graph.get(key).parent_keys == {dg.AssetKey("feedback_snapshot")}


def test_every_asset_says_what_it_is_and_whose(definitions):
    for key in definitions.resolve_asset_graph().materializable_asset_keys:
        spec = definitions.resolve_assets_def(key).specs_by_key[key]
        assert spec.description, key
        assert spec.owners, key
        assert spec.group_name in {
            "ingestion",
            "cleaning",
            "warehouse",
            "sentiment",
            "monitoring",
            "reporting",
        }
        assert spec.kinds, key
        assert spec.code_version, key


def test_every_check_says_what_holds(definitions):
    graph = definitions.resolve_asset_graph()
    for key in graph.asset_check_keys:
        assert graph.get(key).description, key
