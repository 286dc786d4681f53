"""The webhook as a sender meets it: signatures, limits, answers that mean durable, and a kill in between."""

import asyncio
import contextlib
import hmac
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256

import httpx2
import pytest

from data_platform.errors import PermanentSourceError
from data_platform.ingestion.collect import held_feed
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.intake import Intake, webhook_application
from data_platform.storage.landing import STAGING
from data_platform_tests.ingestion.platforms.stored import landed_rows, stored

SECRET = "a-secret-of-the-survey"
COMMAND = "from data_platform.cli import main; main()"
DAY = datetime.now(UTC).date().isoformat()
BLOCK = {
    "name": "survey",
    "kind": "webhook",
    "secret": {"env": "SURVEY_SECRET"},
    "max_bytes": 20_000,
    "fields": {"source_id": "id", "posted_at": "at", "body": "answer", "is_deleted": "gone"},
}


def answer(number, text="I love it", **changes):
    return {"id": number, "at": f"{DAY}T00:00:01Z", "answer": text, **changes}


def sign(body, secret=SECRET):
    return "sha256=" + hmac.new(secret.encode(), body, sha256).hexdigest()


class Sender:
    def __init__(self, url):
        self.url = url

    def send(self, records, secret=SECRET, name="survey", **headers):
        body = records if isinstance(records, bytes) else json.dumps(records).encode()
        signed = {"X-Signature-256": sign(body, secret), **headers}
        return httpx2.post(f"{self.url}/feeds/{name}", content=body, headers=signed, timeout=30)


@pytest.fixture
def settings(configured, monkeypatch):
    monkeypatch.setenv("SURVEY_SECRET", SECRET)
    return configured({"start_date": "2026-01-01", "feeds": [BLOCK]})


@pytest.fixture
def feeds(settings):
    return Feeds(settings)


@pytest.fixture
def endpoint(settings):
    """The command, as a user starts it, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "DATA_PLATFORM_HOME": str(settings.home),
        "DATA_PLATFORM_CONFIG": str(settings.config_path),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "webhook", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    sender = Sender(f"http://127.0.0.1:{port}")
    for _ in range(200):
        try:
            httpx2.get(f"{sender.url}/health")
            break
        except httpx2.TransportError:
            assert process.poll() is None
            time.sleep(0.05)
    yield sender, process
    process.terminate()
    process.wait(20)


def test_what_is_answered_with_200_is_landed(endpoint, feeds, home):
    sender, process = endpoint
    found = sender.send([answer(1), answer(2, ""), "no record", answer(3)])
    assert (found.status_code, found.json()) == (200, {"landed": 2, "quarantined": 2})
    assert sender.send(answer(4)).json() == {"landed": 1, "quarantined": 0}
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert stored(feeds, home) == {"1": "I love it", "3": "I love it", "4": "I love it"}
    assert feeds.ledger.feed("survey").refused_count == 2


def test_many_senders_at_once_are_all_answered_and_landed_once(endpoint, feeds, home):
    sender, _ = endpoint
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: sender.send([answer(n), answer(n + 1000)]), range(100)))
    assert {response.status_code for response in found} == {200}
    assert len(stored(feeds, home)) == landed_rows(feeds) == 200


def test_sent_again_changed_and_deleted(endpoint, feeds, home):
    sender, _ = endpoint
    for records in (
        answer(1),
        answer(1),
        answer(1, "No, I hate it"),
        answer(2),
        answer(2, gone=True),
    ):
        assert sender.send(records).status_code == 200
    assert stored(feeds, home) == {"1": "No, I hate it"}


REFUSED = [
    (answer(1), {"X-Signature-256": "sha256=00"}, 401),
    (answer(1), {"X-Signature-256": "é"}, 401),
    (b"not json", {}, 400),
    (b"\xff\xfe", {}, 400),
    (b"12", {}, 400),
    (b"[" * 15_000, {}, 400),
    (b'"' + b"x" * 30_000 + b'"', {}, 413),
    (answer(1), {"Content-Encoding": "gzip"}, 415),
]


def test_what_cannot_be_taken_is_refused_and_nothing_is_kept(endpoint, feeds):
    sender, _ = endpoint
    for body, headers, status in REFUSED:
        found = sender.send(body, **{name: value.encode() for name, value in headers.items()})
        assert found.status_code == status, found.text
        assert SECRET not in found.text
    assert landed_rows(feeds) == 0
    assert sender.send(answer(9)).status_code == 200


def test_a_feed_that_is_no_webhook_is_not_there(endpoint):
    sender, _ = endpoint
    assert sender.send(answer(1), name="other").status_code == 404


@pytest.mark.parametrize(("point", "landed"), [("begin_pull", 0), ("record", 1)])
def test_records_that_were_not_acknowledged_are_not_doubled_when_they_come_again(
    settings, feeds, home, point, landed
):
    """Killed before or after the landing zone had them: the sender got no answer, and sends again."""
    script = (
        "import os, signal, sys\n"
        "from data_platform.ingestion.feeds import Feeds\n"
        "from data_platform.ingestion.intake import Intake\n"
        "from data_platform.ingestion.windows import WindowLedger\n"
        "from data_platform.settings import load_settings\n"
        f"WindowLedger.{point} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Intake(Feeds(load_settings()), 'survey').submit([{answer(1)!r}]).result()\n"
    )
    environment = {
        **os.environ,
        "DATA_PLATFORM_HOME": str(settings.home),
        "DATA_PLATFORM_CONFIG": str(settings.config_path),
    }
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert landed_rows(feeds) == landed
    intake = Intake(feeds, "survey")
    intake.submit([answer(1)]).result(30)
    intake.close()
    assert landed_rows(feeds) == 1
    assert stored(feeds, home) == {"1": "I love it"}
    assert not list((feeds.landing.root / STAGING).iterdir())


def test_a_body_of_a_gigabyte_is_refused_at_its_beginning(endpoint):
    sender, _ = endpoint
    host, port = sender.url.removeprefix("http://").split(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /feeds/survey HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError):
            connection.setblocking(False)
            while sent < 50_000_000 and not select.select([connection], [], [], 0)[0]:
                select.select([], [connection], [], 5)
                sent += connection.send(bytes(65_536))
        connection.settimeout(20)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    assert sent < 50_000_000


def test_a_body_that_arrives_byte_by_byte_is_not_waited_for(settings, monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.intake.SECONDS_TO_SEND", 0.3)
    scope = {"type": "http", "method": "POST", "path": "/feeds/survey", "headers": []}
    statuses = []

    async def receive():
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        statuses.append(message.get("status"))

    application = webhook_application(settings)
    asyncio.run(asyncio.wait_for(application({**scope, "query_string": b""}, receive, send), 10))
    assert statuses[0] == 408


def test_a_request_that_waited_too_long_does_not_end_the_intake(settings, feeds, monkeypatch):
    """Somebody holds the feed; the sender is told to send again, and the next request is landed."""
    monkeypatch.setattr("data_platform.ingestion.intake.SECONDS_TO_WAIT", 0.3)
    application = webhook_application(settings)
    with held_feed(feeds.landing, "survey"):
        assert post_to(application, json.dumps(answer(1)).encode())[0] == 503
        assert post_to(application, json.dumps(answer(2)).encode())[0] == 503
    monkeypatch.setattr("data_platform.ingestion.intake.SECONDS_TO_WAIT", 30.0)
    assert post_to(application, json.dumps(answer(3)).encode())[0] == 200
    assert landed_rows(feeds) == 2  # the first was being landed when its sender went


def test_nothing_is_taken_in_while_a_restore_is_not_complete(settings, feeds):
    """What is answered with 200 would be moved aside with the former landing zone."""
    application = webhook_application(settings)
    settings.restore_journal_path.parent.mkdir()
    settings.restore_journal_path.touch()
    assert post_to(application, json.dumps(answer(1)).encode())[0] == 503
    assert not (settings.landing_path / "survey").exists()
    settings.restore_journal_path.unlink()
    assert post_to(application, json.dumps(answer(1)).encode())[0] == 200
    assert landed_rows(feeds) == 1


def test_ids_that_were_destroyed_are_refused_for_good_and_spoil_no_other_request(
    configured, monkeypatch
):
    monkeypatch.setenv("SURVEY_SECRET", SECRET)
    block = {**BLOCK, "trust_ids": False}
    settings = configured({"start_date": "2026-01-01", "feeds": [block]})
    feeds = Feeds(settings)
    status, told = post_to(webhook_application(settings), json.dumps(answer("1.5E+17")).encode())
    assert status == 400
    assert "scientific notation" in told["error"]
    intake = Intake(feeds, "survey")
    with held_feed(feeds.landing, "survey"):
        first = intake.submit([answer(1)])
        time.sleep(0.2)
        later = [intake.submit([answer("1.5E+17")]), intake.submit([answer(2)])]
    assert first.result(30).landed == later[1].result(30).landed == 1
    with pytest.raises(PermanentSourceError):
        later[0].result(30)
    intake.close()


def post_to(application, body):
    """Send a rightly signed body to the feed `survey`, without a network; return status and answer."""
    sent = []
    headers = [(b"x-signature-256", sign(body).encode())]
    scope = {"type": "http", "method": "POST", "path": "/feeds/survey", "headers": headers}

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(application({**scope, "query_string": b""}, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])
