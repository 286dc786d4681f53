"""The dashboard's page, run without a browser: what it shows under a filter, and when there is nothing."""

import sys
from datetime import date, timedelta

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from data_platform.cli import main
from data_platform.commands.dashboard import server_options
from data_platform.reporting.snapshot import publish
from data_platform.schemas import INCIDENTS
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.reporting.conftest import filler, insert

LAST = date(2026, 3, 31)


def page(path):
    """Return the page over the snapshot at `path`, drawn once."""

    def script(path):
        from data_platform.reporting.dashboard import show

        show(path)

    return AppTest.from_function(script, kwargs={"path": path}, default_timeout=60).run()


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Restore what AppTest leaves its script in: processes that start later would run it."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Sixteen days: a shop that is negative in the latest eight, and a German forum without scores."""
    home = tmp_path_factory.mktemp("dashboard")
    warehouse, path = Warehouse(home / "warehouse.duckdb"), home / "feedback.duckdb"
    fill = filler(warehouse)
    for back in range(16):
        label = "negative" if back < 8 else "positive"
        fill(LAST - timedelta(days=back), 4, label=label, text="a parcel {}", topic="delivery")
    fill(LAST, 60, label=None, feed="forum", language="de", text="ein Paket {}")
    with warehouse.transaction() as transaction:
        incident = {"incident_id": "1", "feed": "shop", "topic": "all", "measure": "post_count"}
        days = {"first_date": LAST, "last_date": LAST, "peak_date": LAST, "direction": "up"}
        insert(transaction, INCIDENTS, incident | days)
    publish(warehouse, path)
    return path


def cards(app):
    return {card.label: (card.value, card.delta) for card in app.metric}


def listed(app):
    """Return the rows of the table of posts."""
    assert not app.exception
    return next(frame.value for frame in app.dataframe if "text" in frame.value.columns)


def test_cards_compare_with_the_period_before(published):
    app = page(published)
    assert app.selectbox(key="period").value == "Last 7 days"
    shown = cards(app)
    assert shown["Posts"] == ("88", "+214%")  # 28 before: 4 a day
    assert shown["Negative"][0] == "100.0%"
    assert shown["Negative"][1] == "+85.7 points"  # one day in seven was negative before
    assert shown["Net sentiment"] == ("−1.00", "-1.71")
    assert shown["With a score"][0] == "32%"
    app.selectbox(key="period").set_value("All days").run()
    assert cards(app)["Posts"] == ("124", "")
    assert any("do not reach back far enough" in text.value for text in app.caption)


def test_filters_narrow_posts_and_reset_gives_them_back(published):
    app = page(published)
    app.multiselect(key="feeds").set_value(["shop"]).run()
    assert cards(app)["Posts"][0] == "28"
    assert set(listed(app)["feed"]) == {"shop"}
    app.text_input(key="search").set_value("PARCEL 6").run()
    assert all("6" in text for text in listed(app)["text"])
    app.text_input(key="search").set_value("nothing like that").run()
    assert any("No post matches" in text.value for text in app.info)
    next(button for button in app.button if button.label == "Reset").click().run()
    assert cards(app)["Posts"][0] == "88"
    app.multiselect(key="labels").set_value(["negative"]).run()
    assert set(listed(app)["label"]) == {"negative"}
    assert cards(app)["Negative"][0] == "100.0%"


def test_pages_and_orders_of_the_posts(published):
    app = page(published)
    assert len(listed(app)) == 50
    app.number_input(key="page").set_value(2).run()
    assert len(listed(app)) == 38
    app.selectbox(key="order").set_value("most negative").run()
    assert app.number_input(key="page").value == 1
    assert listed(app)["compound"].iloc[0] == -0.6


def test_own_days_may_be_one(published):
    app = page(published)
    app.selectbox(key="period").set_value("Own days").run()
    app.date_input(key="own_days").set_value((LAST, LAST)).run()
    assert cards(app)["Posts"][0] == "64"


def test_the_second_tab_tells_of_feeds_and_incidents(published):
    app = page(published)
    app.session_state["tab"] = "Feeds and quality"
    app.run()
    assert not app.exception
    incidents = next(frame.value for frame in app.dataframe if "What" in frame.value.columns)
    assert incidents["What"].tolist() == ["more posts than usual in shop"]
    assert not app.metric, "what is not looked at is not computed"


def test_a_chosen_feed_that_is_gone_is_not_asked_for(tmp_path):
    warehouse, path = Warehouse(tmp_path / "warehouse.duckdb"), tmp_path / "feedback.duckdb"
    fill = filler(warehouse)
    fill(LAST, 1, feed="shop")
    publish(warehouse, path)
    app = page(path)
    app.session_state["feeds"] = ["forum"]
    app.run()
    assert not app.exception
    assert app.multiselect(key="feeds").value == []


def test_without_a_snapshot_it_says_what_makes_one(tmp_path):
    path = tmp_path / "feedback.duckdb"
    app = page(path)
    assert "data-platform run" in app.info[0].value
    path.write_bytes(b"this is no database")
    app.run()
    assert "data-platform publish" in app.text[0].value
    path.unlink()
    publish(Warehouse(tmp_path / "warehouse.duckdb"), path)
    app.run()
    assert "no posts yet" in app.info[0].value
    assert not app.exception


def test_without_streamlit_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("data_platform.commands.dashboard.find_spec", lambda _: None)
    result = CliRunner().invoke(main, ["dashboard"])
    assert result.exit_code == 2
    assert "pip install 'customer-feedback-platform[dashboard]'" in result.stderr


@pytest.mark.parametrize(
    ("host", "public_host", "names"),
    [
        ("127.0.0.1", None, {"localhost", "127.0.0.1", "::1"}),
        ("127.0.0.1", "a.example", {"localhost", "127.0.0.1", "::1", "a.example"}),
        ("10.0.0.5", None, {"localhost", "127.0.0.1", "::1", "10.0.0.5"}),
        ("0.0.0.0", None, set()),  # noqa: S104
    ],
)
def test_it_answers_to_its_own_names(host, public_host, names):
    flags = server_options(host, 8501, public_host)
    limits = {flag.split("=")[1] for flag in flags if flag.startswith("--server.allowedHosts=")}
    assert limits == names
    assert {"--browser.gatherUsageStats=false", f"--server.address={host}"} <= set(flags)
