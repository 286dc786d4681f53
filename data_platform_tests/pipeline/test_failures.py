"""When something is wrong: the good goes on, the wrong thing is named, and every table is as it was."""

import subprocess

import duckdb
import pytest

from data_platform.storage.warehouse import Warehouse
from data_platform_tests.pipeline.conftest import COMMAND

GOOD = [
    {"id": "1", "at": "2026-03-02T10:00:00Z", "text": "I love the new shop", "user": "ann"},
    {"id": "2", "at": "2026-03-03T10:00:00Z", "text": "I hate to wait", "user": "bo"},
]


def test_a_broken_file_is_named_and_the_good_ones_go_on(shop):
    shop.deliver("good.csv", GOOD, day=1)
    (shop.folder / "incoming" / "broken.csv").write_text("<html>\nno, such\npage\n")
    output = shop.cli("run", code=1)
    assert "broken.csv" in output
    assert "HTML or XML page" in output
    assert "Replace it" in output
    assert shop.published("SELECT sum(post_count) FROM daily_sentiment") == [(2,)]
    assert "broken.csv" in shop.cli("status", code=1)


def test_a_broken_row_is_kept_with_its_reason_and_the_others_land(shop):
    shop.deliver("a.csv", [*GOOD, {"id": "3", "at": "yesterday", "text": "hm"}], day=1)
    assert shop.run()["post_count"] == 2
    [(reason, payload, file, row)] = shop.rows(
        "SELECT reason, payload, file, row_number FROM quarantined_feedback"
    )
    assert (reason, file, row) == ("posted_at cannot be read as a date and time", "a.csv", 3)
    assert "yesterday" in payload


def test_a_rule_that_does_not_hold_rolls_back_its_day_and_leaves_an_alert(shop):
    """A row that somebody damaged by hand: its day fails, the day before it stays green."""
    shop.deliver("a.csv", GOOD, day=1)
    shop.run()
    with duckdb.connect(str(shop.home / "warehouse.duckdb")) as connection:
        connection.execute(
            "INSERT INTO raw_feedback SELECT * FROM raw_feedback WHERE source_id = '2'"
        )
    before = shop.rows("SELECT * FROM cleaned_feedback ORDER BY ALL")
    output = shop.cli("backfill", "--from", "2026-03-02", "--to", "2026-03-03", code=1)
    assert "'key_is_unique' does not hold" in output
    assert shop.rows("SELECT * FROM cleaned_feedback ORDER BY ALL") == before
    [(kind, subject, day, evidence)] = shop.rows(
        "SELECT kind, subject, day::VARCHAR, evidence FROM alerts"
    )
    assert (kind, subject, day) == (
        "rule_broken",
        "raw_feedback: key_is_unique",
        "2026-03-03",
    )
    assert "shop:2" in evidence
    assert "raw_feedback: key_is_unique of 2026-03-03" in shop.cli("status", code=1)


def test_posts_of_a_closed_day_wait_and_come_in_when_it_opens(platform_in):
    from data_platform_tests.pipeline.conftest import SHOP

    early = {"id": "0", "at": "2026-02-27T10:00:00Z", "text": "Early and happy", "user": "eve"}
    platform = platform_in("p", SHOP)
    platform.deliver("a.csv", [early, *GOOD], day=1)
    assert platform.run()["quarantined_count"] == 1
    opened = platform_in("p", {**SHOP, "start_date": "2026-02-01"})
    summary = opened.run()
    assert (summary["post_count"], summary["quarantined_count"]) == (3, 0)


def test_a_changed_mapping_reads_the_files_again_and_replaces_what_was_read(platform_in):
    from data_platform_tests.pipeline.conftest import FIELDS, SHOP

    wrong = {**SHOP["feeds"][0], "fields": {**FIELDS, "body": "user"}}
    platform = platform_in("p", {**SHOP, "feeds": [wrong]})
    platform.deliver("a.csv", GOOD, day=1)
    platform.run()
    assert platform.rows("SELECT body FROM raw_feedback ORDER BY 1") == [("ann",), ("bo",)]
    mended = platform_in("p", SHOP)
    mended.run()
    assert mended.rows("SELECT body FROM raw_feedback ORDER BY 1") == [
        ("I hate to wait",),
        ("I love the new shop",),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["backfill", "--from", "2026-03-05", "--to", "2026-03-01"], 2, "is before --from"),
        (["backfill", "--from", "2020-01-01", "--to", "2020-01-02"], 2, "leaves that range"),
        (["preview", "shap"], 2, "did you mean shop?"),
        (["digest"], 2, "data-platform run makes it"),
        (["status"], 2, "data-platform run makes it"),
        (["watchdog", "--once"], 2, "data-platform run makes it"),
        (["replay"], 2, "data-platform run makes it"),
        (["init", "--path", __file__], 2, "is there already"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_a_users_mistake_gets_a_message_and_exit_code_2(shop, arguments, code, message):
    assert message in shop.cli(*arguments, code=code)
    assert not shop.home.exists()


@pytest.mark.parametrize(
    ("name", "commands", "advice"),
    [
        (
            "warehouse.duckdb",
            [
                "digest",
                "status",
                "backup",
                "maintain",
                "export --author ann --output -",
                "watchdog --once",
            ],
            "data-platform restore PATH --replace",
        ),
        ("landing/ledger.sqlite", ["status", "metrics"], "data-platform restore PATH --replace"),
        (
            "published/feedback.duckdb",
            ["export feedback --output -", "metrics", "report"],
            "Remove it; data-platform publish makes it anew",
        ),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(shop, name, commands, advice):
    with Warehouse(shop.home / "warehouse.duckdb").transaction():
        pass
    path = shop.home / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"rubbish" * 1000)
    for command in commands:
        said = " ".join(shop.cli(*command.split(), code=1).split())
        assert f"{path} is damaged, or is no database." in said
        assert advice in said


def test_posts_are_not_judged_without_a_terminal(sample):
    done = subprocess.run(
        [COMMAND, "label"],
        env=sample[0].environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,  # no terminal is left to be opened
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: There is no terminal to ask at")


def test_a_folder_that_is_not_there_is_exit_code_3(shop):
    (shop.folder / "incoming").rmdir()
    assert "does not exist" in shop.cli("check", code=3)


def test_control_characters_of_feedback_do_not_reach_the_terminal(shop):
    shop.deliver("a.csv", [{**GOOD[0], "text": "hi \x1b[31mred\x07"}], day=1)
    output = shop.cli("preview", "shop")
    assert "\x1b[31m" not in output
    assert "\x07" not in output


def test_ids_that_a_spreadsheet_destroyed_fail_the_run_and_change_no_table(shop):
    good = [
        {"id": str(570306133677760513 + n), "at": f"2026-03-02T10:{n}:00Z", "text": "I love it"}
        for n in range(10, 40)
    ]
    shop.deliver("good.csv", good, day=1)
    shop.run()
    before = {k: v for k, v in shop.digest().items() if k != "source_health"}
    shop.deliver("bad.csv", [{**row, "id": f"{float(row['id']):.5E}"} for row in good], day=2)
    output = shop.cli("run", code=1)
    assert "30 of 30 ids are in scientific notation" in " ".join(output.split())
    assert {k: v for k, v in shop.digest().items() if k != "source_health"} == before
    (shop.folder / "incoming" / "bad.csv").unlink()
    assert shop.run()["failures"] == []
    assert {k: v for k, v in shop.digest().items() if k != "source_health"} == before
