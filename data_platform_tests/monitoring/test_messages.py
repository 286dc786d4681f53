"""What a message shows, and that text from customers has no power in it."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from data_platform.monitoring.evidence import Series, plot
from data_platform.monitoring.harmless import harmless, harmless_quote
from data_platform.monitoring.incident_alerts import read_incidents
from data_platform.schemas import INCIDENTS
from data_platform.storage.days import utc_today
from data_platform.storage.warehouse import Trouble
from data_platform_tests.monitoring.conftest import hook
from data_platform_tests.reporting.conftest import insert

HOSTILE = (
    "<script>alert(1)</script> [win](https://evil.example/x) ![p](http://evil.example/p.png)"
    " @everyone <!channel> <@U123> **bold** `code` ~s~ \x1b[31mred\x07 \u202egnp.exe\u2066"
    " ｈｔｔｐｓ：／／evil.example www.evil.example javascript:alert(1) # head | cell\r\n\u2028- x \\"
    ' =HYPERLINK("http://evil.example") __init__'
)
POWERS = ("<", ">", "[", "]", "`", "*", "~", "@", "|", "#", "\\", "\x1b", "\u202e", "\u2066")
POWERS += ("\n", "\r", "\u2028", "://", "javascript:", "evil.example", "_")


@pytest.mark.parametrize("start", range(0, 400, 23))
def test_text_from_outside_has_no_power_wherever_it_is_cut(start):
    text = harmless_quote(HOSTILE[start:])
    rest = text.replace("[:]", "").replace("[.]", "")
    assert [power for power in POWERS if power in rest] == []
    assert text.isprintable()
    assert len(text) <= 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I love it ❤️ 100 %, 10:30 o'clock", "I love it ❤️ 100 %, 10:30 o'clock"),
        ("Größe passt nicht. Schade!", "Größe passt nicht. Schade!"),
        ("コーヒーが冷たい", "コーヒーが冷たい"),
        ("raw_feedback: key_is_unique", "raw_feedback: key_is_unique"),
        ("see https://a.example/b", "see https[:]//a[.]example/b"),
        ("a" * 500, "a" * 199 + "…"),
    ],
)
def test_what_is_harmless_stays_readable(text, expected):
    assert harmless(text) == expected


def test_a_sparkline_shows_days_without_posts():
    series = Series("posts", date(2026, 2, 1), [0.0, 5.0, None, 10.0])
    assert series.sparkline == "▁▅·█"
    assert series.last == date(2026, 2, 4)
    assert plot(series).startswith(b"\x89PNG")


@pytest.fixture
def incident(alerts, sink, fill, warehouse):
    """A flood of complaints about late parcels yesterday, and what the message about it shows."""
    yesterday = utc_today() - timedelta(days=1)
    for back in range(2, 20):
        fill(yesterday - timedelta(days=back), 4)
    for word in ("monday", "tuesday", "friday"):
        fill(yesterday, text=f"the parcel came late again on {word}", label="negative", topic="box")
    fill(yesterday, text="unrelated grumble about everything", label="negative", topic="box")
    fill(yesterday, text="lovely parcel", label="positive", topic="box")
    fill(yesterday, text="elsewhere the parcel came late again", label="negative", feed="other")
    fill(yesterday, text=f"parcel came late again {HOSTILE}", label="negative", topic="<b>")

    def tell(*, topic="all", measure="negative_share", direction="up", **channel):
        row = {
            "incident_id": "i",
            "feed": "shop",
            "topic": topic,
            "measure": measure,
            "direction": direction,
            **dict.fromkeys(("first_date", "last_date", "peak_date"), yesterday),
            "observed": 0.8,
            "expected": 0.1,
            "score": 6.0,
            "post_count": 6,
        }
        platform = alerts(channels=[hook(sink, **channel)])
        with warehouse.transaction() as transaction:
            insert(transaction, INCIDENTS, row)
            found = read_incidents(transaction, utc_today(), 14)
        platform.look(present=found.current, kinds=["incident"])
        assert platform.deliver().sent_count == 1
        (message,) = sink.taken
        (alert,) = message["alerts"]
        return alert

    tell.day = yesterday
    return tell


def test_an_incident_is_shown_with_numbers_days_posts_and_a_link(incident):
    alert = incident()
    assert alert["subject"] == "feed/shop all negative_share"
    assert alert["severity"] == "error"
    day = incident.day.isoformat()
    assert f"negative share 0.80 on {day}, expected 0.10 (6.0 standard" in alert["evidence"]
    assert alert["series"]["name"] == "negative share"
    assert len(alert["series"]["values"]) == 28
    values = [v for v in alert["series"]["values"] if v is not None]
    assert values[-1] == pytest.approx(5 / 6)
    assert set(values[:-1]) == {0.0}
    assert alert["url"] == (
        f"http://127.0.0.1:3000/assets/daily_sentiment?partition={day}&view=partitions"
    )
    assert len(alert["examples"]) == 3
    assert all("parcel came late" in example for example in alert["examples"])


def test_examples_are_of_the_topic_and_harmless(incident):
    alert = incident(topic="<b>", examples=5)
    assert alert["subject"] == "feed/shop ‹b› negative_share"
    (example,) = alert["examples"]
    rest = example.replace("[:]", "").replace("[.]", "")
    assert [power for power in POWERS if power in rest] == []


def test_a_lack_of_posts_has_no_examples(incident):
    assert incident(measure="post_count", direction="down")["examples"] == []


def test_a_channel_without_examples_gets_none(incident):
    assert incident(examples=0)["examples"] == []


def test_no_feedback_text_is_kept_or_logged(incident, warehouse, caplog, sink, alerts):
    incident()
    assert "parcel" in json.dumps(sink.taken)
    kept = alerts()
    for table in ("alerts", "notifications", "watch_cursors"):
        assert "parcel" not in str(kept.rows(f"SELECT * FROM {table}"))
    kept.look(Trouble("incident", "feed/shop all negative_share", "more", incident.day))
    with warehouse.transaction() as transaction:
        transaction.connection.execute(
            "UPDATE notifications SET channel = 'log', sent_at = NULL, message_id = NULL"
        )
    assert kept.deliver().sent_count == 1
    (line,) = [r.getMessage() for r in caplog.records if r.name == "data_platform.alerts"]
    assert "feed/shop all negative_share" in line
    assert "▁" in line
    assert "parcel" not in line


@pytest.mark.parametrize(
    ("trouble", "url"),
    [
        (Trouble("run_failed", "feed/shop", "x"), "/assets/feed/shop"),
        (Trouble("open_gap", "feed/shop: a.csv", "x"), "/assets/feed/shop"),
        (
            Trouble("rule_broken", "raw_feedback: key_is_unique", "x", date(2026, 2, 1)),
            "/assets/raw_feedback?partition=2026-02-01&view=partitions",
        ),
        (Trouble("run_failed", "collect_job", "x"), "/runs"),
        (Trouble("sensor_failed", "refresh_sensor", "x"), "/automation"),
        (Trouble("daemon_silent", "daemon", "x"), "/deployment"),
    ],
)
def test_the_link_leads_to_what_the_alert_is_about(alerts, sink, trouble, url):
    platform = alerts(channels=[hook(sink)], ui_url="https://feedback.example/")
    platform.look(trouble)
    platform.deliver()
    assert sink.taken[0]["alerts"][0]["url"] == f"https://feedback.example{url}"


def test_a_message_says_since_when(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    platform.look(Trouble("run_failed", "raw_feedback", "x"))
    platform.deliver()
    (alert,) = sink.taken[0]["alerts"]
    raised = datetime.fromisoformat(alert["raised_at"])
    assert abs(datetime.now(UTC) - raised) < timedelta(minutes=1)
    assert alert["resolved_at"] is None
