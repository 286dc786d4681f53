"""The channels: what they are given, and that their secrets stay secret."""

import base64
import io
import logging
import subprocess
import sys
from datetime import timedelta

import pytest

from data_platform.monitoring.channels import ChannelError, ping, without_secrets
from data_platform.storage.days import utc_today
from data_platform.storage.warehouse import Trouble
from data_platform_tests.ingestion.platforms.server import Reply, cut, status
from data_platform_tests.monitoring.conftest import FAILED, UNUSUAL, hook

CANARY = "xoxb-canary-7531"
APPRISE = {"name": "team", "kind": "apprise", "url": {"env": "TEAM_URL"}}


def json_url(sink):
    host = sink.url.removeprefix("http://")
    return f"json://user:{CANARY}@{host}/{CANARY}?+x={CANARY}"


def test_apprise_is_given_title_text_and_how_severe_it_is(alerts, sink, monkeypatch):
    monkeypatch.setenv("TEAM_URL", json_url(sink))
    platform = alerts(channels=[APPRISE])
    platform.look(FAILED)
    assert platform.deliver().sent_count == 1
    (message,) = sink.taken
    assert message["title"] == "opened (error): run_failed: raw_feedback of 2026-02-01"
    assert "disk full" in message["message"]
    assert "http://127.0.0.1:3000/assets/raw_feedback?partition=2026-02-01" in message["message"]
    assert message["type"] == "failure"


def test_apprise_is_given_a_plot_of_the_days_if_it_takes_attachments(
    alerts, sink, fill, monkeypatch
):
    for back in range(5):
        fill(utc_today() - timedelta(days=back), 3)
    monkeypatch.setenv("TEAM_URL", json_url(sink))
    platform = alerts(channels=[APPRISE])
    platform.look(Trouble("feed_stale", "feed/shop", "the latest post is of 2026-01-01"))
    platform.deliver()
    (attachment,) = sink.taken[0]["attachments"]
    assert attachment["mimetype"] == "image/png"
    assert base64.b64decode(attachment["base64"]).startswith(b"\x89PNG")


@pytest.fixture
def log():
    """All that a log at its most talkative holds."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize("kind", ["apprise", "webhook"])
@pytest.mark.parametrize("trouble", ["refused", "unreachable", "no address", "taken"])
def test_a_secret_address_is_seen_nowhere(alerts, sink, monkeypatch, log, capfd, kind, trouble):
    url = json_url(sink) if kind == "apprise" else f"{sink.url}/{CANARY}?token={CANARY}"
    if trouble == "unreachable":
        url = url.replace(sink.url.rpartition(":")[2], "9")
    elif trouble == "no address":
        url = f"nonsense-{CANARY}:[{CANARY}"
    elif trouble == "refused":
        sink.fault = status(403)
    monkeypatch.setenv("TEAM_URL", url)
    channel = APPRISE if kind == "apprise" else hook(sink, "team", url={"env": "TEAM_URL"})
    platform = alerts(channels=[channel])
    platform.look(FAILED)
    delivery = platform.deliver()
    assert bool(delivery.failures) == (trouble != "taken")
    assert all(reason for reason in delivery.failures.values())
    assert "notifications.lock" in log.getvalue()
    seen = [log.getvalue(), str(delivery), str(platform.rows("SELECT * FROM notifications"))]
    seen += [*capfd.readouterr(), repr(platform.options)]
    assert [text for text in seen if CANARY in text] == []


def test_a_heartbeat_address_is_not_told_when_it_fails(sink):
    sink.fault = status(500)
    with pytest.raises(ChannelError) as caught:
        ping(f"{sink.url}/{CANARY}")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["at https://h.example/sec%20ret/abcd?k=token99", "sec ret", "token99 and abcd"]
)
def test_no_part_of_an_address_is_left(text):
    told = without_secrets(text, "https://h.example/sec%20ret/abcd?k=token99")
    assert not {"token99", "abcd", "sec ret", "sec%20ret"} & set(told.split())
    assert "token99" not in told


def test_without_the_extra_it_says_what_to_install():
    """In a process of its own, whose import of apprise fails."""
    script = f"""
import sys
sys.modules["apprise"] = None
from data_platform.alert_settings import AlertOptions
from data_platform.monitoring.channels import send
from data_platform.monitoring.messages import test_message
from datetime import datetime, UTC
options = AlertOptions.model_validate(dict(channels=[{APPRISE!r}]))
send(options.by_name["team"], test_message("team", datetime.now(UTC)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"TEAM_URL": "json://127.0.0.1:9", "PYTHONPATH": ":".join(sys.path)},
    )
    assert "pip install 'customer-feedback-platform[alerts]'" in done.stderr


def test_an_answer_without_an_end_counts_by_its_status(alerts, sink):
    sink.fault = lambda *_: Reply(b"x" * 5_000_000)
    platform = alerts(channels=[hook(sink)])
    platform.look(FAILED)
    assert platform.deliver().sent_count == 1
    sink.fault = cut(0.5)
    platform.look(UNUSUAL)
    assert platform.deliver().sent_count == 1
    assert len(sink.requests) == 2
