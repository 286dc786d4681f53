"""What Dagster is told of an evaluation: numbers to plot, a confusion table, and a check that warns."""

import dagster as dg
import pytest

from data_platform.definitions import build_definitions
from data_platform.sentiment.assets import F1_CHECK, MODEL_CHECK
from data_platform.storage.resources import WarehouseResource

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
RIGHT = [{"label": "positive", "scored": "positive"}, {"label": "negative", "scored": "negative"}]
WRONG = [{"label": "positive", "scored": "negative"}, {"label": "negative", "scored": "positive"}]


@pytest.fixture
def evaluate(configured, warehouse):
    """Materialize sentiment_evaluation; return the check's result and the metadata."""

    def run(**alerts):
        definitions = build_definitions(
            configured(CONFIG | {"alerts": alerts}),
            {"warehouse": WarehouseResource(database=str(warehouse.database))},
        )
        result = dg.materialize([definitions.resolve_assets_def("sentiment_evaluation")])
        checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
        warned = {F1_CHECK, MODEL_CHECK}  # the scores here are of no model that is configured
        assert all(check.passed for name, check in checks.items() if name not in warned)
        assert len(checks) == 3
        [materialization] = [
            told
            for told in result.asset_materializations_for_node("sentiment_evaluation")
            if told.asset_key == dg.AssetKey("sentiment_evaluation")
        ]
        return checks[F1_CHECK], materialization.metadata

    return run


def test_a_feed_below_the_limit_warns_and_does_not_stop_the_run(evaluate, put_posts):
    put_posts(*RIGHT * 60, *({**post, "feed": "forum"} for post in WRONG * 50))
    check, _ = evaluate()
    assert not check.passed
    assert not check.blocking
    assert check.severity is dg.AssetCheckSeverity.WARN
    found = {name: value.value for name, value in check.metadata.items()}
    assert found == {
        "limit": 0.4,
        "lowest_macro_f1": 0,
        "evaluations_judged": 2,
        "below_limit": "forum_label",
        "shop_label_macro_f1": 1,
        "forum_label_macro_f1": 0,
    }


def test_the_limit_is_configured(evaluate, put_posts):
    put_posts(*RIGHT * 40, *WRONG * 20)
    assert evaluate()[0].passed
    assert not evaluate(macro_f1=0.7)[0].passed


def test_too_few_posts_are_shown_and_not_judged(evaluate, put_posts):
    put_posts(*WRONG * 49)
    check, metadata = evaluate()
    assert check.passed
    assert check.metadata["shop_label_macro_f1"].value == 0
    assert "lowest_macro_f1" not in check.metadata
    assert metadata["shop_label_sample_count"].value == 98


def test_the_materialization_has_numbers_to_plot_and_the_confusion_table(evaluate, put_posts):
    put_posts(*RIGHT * 3, {"rating": 1.0, "scored": "neutral"})
    _, metadata = evaluate()
    assert metadata["dagster/row_count"].value == 16
    assert isinstance(metadata["shop_label_macro_f1"], dg.FloatMetadataValue)
    assert metadata["shop_label_macro_f1"].value == 1
    assert metadata["shop_rating_macro_f1"].value == 0
    assert metadata["shop_rating_sample_count"].value == 1
    table = metadata["shop_label_confusion"]
    assert isinstance(table, dg.MarkdownMetadataValue)
    assert "| all | negative | 3 | 0 | 0 |" in table.value


def test_a_warehouse_without_labels_is_well(evaluate, put_posts):
    put_posts({}, {})
    check, metadata = evaluate()
    assert check.passed
    assert metadata["dagster/row_count"].value == 0
