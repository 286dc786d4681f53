"""Secrets from the environment stand in nothing that the platform writes, prints or logs, whatever goes wrong."""

import base64
import hmac
import json
import logging
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from data_platform.cli import main
from data_platform.ingestion.intake import webhook_application
from data_platform.settings import Environment, load_settings
from data_platform_tests.ingestion.platforms.mastodon import TIMELINE, MastodonPlatform
from data_platform_tests.ingestion.platforms.server import PlatformServer, Reply

CANARY = "canaryC0FFEE5f1e8c0b"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
FIELDS = {"source_id": "id", "posted_at": "at", "body": "text"}


def secret(name):
    """A secret that looks different in JSON, in a URL and as Base64; no two are the same."""
    return f'{name}"{CANARY}+/=&%'


ENVIRONMENT = {
    "CANARY_TOKEN": secret("token"),
    "CANARY_KEY": secret("key"),
    "CANARY_USER": secret("user"),
    "CANARY_PASSWORD": secret("password"),
    "CANARY_CLIENT": secret("client"),
    "CANARY_CLIENT_SECRET": secret("client_secret"),
    "CANARY_HMAC": secret("hmac"),
    "FEEDBACK_AUTHOR_KEY": secret("author"),
}
BROKEN_HEADER = "line\nbreak" + CANARY


def spellings(text: str) -> list[bytes]:
    """What is in `text` whatever stands before it: as it is, and in the three ways that Base64 cuts it."""
    cut = [base64.b64encode(b"x" * n + text.encode())[4 : 4 * (len(text) // 4)] for n in range(3)]
    return [
        text.encode(),
        quote(text).encode(),
        text.encode("utf-16-le"),
        text.encode().hex().encode(),
        *cut,
    ]


def found_in(content: bytes) -> list[bytes]:
    return [spelling for spelling in spellings(CANARY) if spelling in content]


def unpacked(path: Path) -> bytes:
    """Return the bytes of a file, and of a database or Parquet file what its columns hold."""
    content = path.read_bytes()
    if content.startswith(b"PAR1"):
        table = pq.read_table(path)
        content += repr((table.schema.metadata, table.to_pylist())).encode("utf-8", "replace")
    elif path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            for (name,) in names:
                rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
                content += repr(rows).encode("utf-8", "replace")
    elif content.startswith(b"SQLite format 3"):
        with sqlite3.connect(path) as connection:
            content += "".join(connection.iterdump()).encode("utf-8", "replace")
    return content


def leaks(folder: Path) -> dict[str, list[bytes]]:
    """Return the files below `folder` that hold the canary, or are named after it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        named = found_in(str(path.relative_to(folder)).encode())
        held = found_in(unpacked(path)) if path.is_file() else []
        if named or held:
            found[str(path)] = [*named, *held]
    return found


def listing(request):
    """Answer whoever shows a secret; the page after the first repeats what was asked."""
    if request.path == "/token":
        return Reply({"access_token": f"issued-{CANARY}", "expires_in": 3600})
    if request.path == "/alerts":
        return Reply({"seen": dict(request.headers)}, 500)
    if request.path == "/rss":
        page = "<rss version='2.0'><channel><title>x</title></channel></rss>"
        return Reply(page.encode(), headers={"Content-Type": "application/rss+xml"})
    headers = {}
    if request.path == "/query" and "page" not in request.query:
        key = quote(request.query["api_key"], safe="")
        headers["Link"] = f'<{request.url}?api_key={key}&page=2>; rel="next"'
    post = {"id": f"{request.path}-{request.query.get('page')}", "text": "I love it"}
    return Reply([{**post, "at": YESTERDAY.isoformat()}], headers=headers)


def echo(status):
    """A fault that repeats whatever was sent, in several spellings, in body and headers."""

    def fault(request, _):
        if request.path == TIMELINE and status == 200:
            return Reply(f"<html>{request.headers}".encode(), 200)
        said = {**request.headers, **request.query}
        plain = " ".join(said.values())
        body = {
            "said": said,
            "quoted": quote(plain, safe=""),
            "base64": [base64.b64encode(v.encode()).decode() for v in said.values()],
            "last": [value.rpartition(" ")[2] for value in said.values()],
        }
        content = json.dumps(body).encode()
        return Reply(content if status != 200 else b"<html>" + content, status)

    return fault


def hang(_, reply):
    time.sleep(1.5)
    return reply


@pytest.fixture
def servers(monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.connectors.http.LONGEST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr("data_platform.ingestion.connectors.http.ATTEMPTS", 2)
    mastodon, other = MastodonPlatform(), PlatformServer(listing)
    mastodon.add(1, YESTERDAY)
    yield mastodon, other
    mastodon.close()
    other.close()


@pytest.fixture
def platform(platform_in, servers, monkeypatch):
    mastodon, other = servers
    urls = {
        "CANARY_ALERTS": f"{other.url}/alerts/{CANARY}?key={CANARY}",
        "CANARY_APPRISE": f"json://{CANARY}:{CANARY}@127.0.0.1:9/{CANARY}",
        "CANARY_BROKEN": BROKEN_HEADER,
    }
    for name, value in {**ENVIRONMENT, **urls}.items():
        monkeypatch.setenv(name, value)

    def rest(name, **changes):
        common = {"kind": "rest", "url": f"{other.url}/{name}", "timeout": "1s", "fields": FIELDS}
        return {"name": name, **common, **changes}

    def env(name):
        return {"env": name}

    feeds = [
        {"name": "brand", "kind": "mastodon", "timeout": "1s", **mastodon.block()},
        rest("bearer", auth={"bearer": True, "secret": env("CANARY_TOKEN")}),
        rest("header", auth={"header": "X-Api-Key", "secret": env("CANARY_KEY")}),
        rest("basic", auth={"user": env("CANARY_USER"), "password": env("CANARY_PASSWORD")}),
        rest("broken", auth={"bearer": True, "secret": env("CANARY_BROKEN")}),
        rest(
            "oauth",
            auth={
                "token_url": f"{other.url}/token",
                "client_id": env("CANARY_CLIENT"),
                "client_secret": env("CANARY_CLIENT_SECRET"),
            },
        ),
        rest(
            "query",
            parameters={"api_key": secret("query")},
            paging={"by": "link"},
            requests_per_run=1,
        ),
        {"name": "news", "kind": "rss", "timeout": "1s", "urls": f"{other.url}/rss?token={CANARY}"},
        {"name": "survey", "kind": "webhook", "secret": env("CANARY_HMAC"), "fields": FIELDS},
    ]
    feeds[0]["token"] = env("CANARY_TOKEN")
    hook = {"kind": "webhook", "url": env("CANARY_ALERTS"), "secret": env("CANARY_HMAC")}
    channels = [
        {"name": "hook", **hook},
        {"name": "team", "kind": "apprise", "url": env("CANARY_APPRISE")},
    ]
    return platform_in(
        "secrets",
        {
            "start_date": YESTERDAY.date().isoformat(),
            "feeds": feeds,
            "alerts": {"channels": channels, "heartbeat_url": env("CANARY_ALERTS")},
        },
    )


def say(platform, *arguments):
    """Return what a command prints, whether it is well or not."""
    done = CliRunner().invoke(main, arguments, env=platform.environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.output


def test_no_secret_is_written_printed_or_logged_whatever_the_servers_do(
    platform, servers, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    mastodon, other = servers
    printed = []
    printed.append(say(platform, "run"))
    # Each request meets another trouble than the one before.
    troubles = cycle([echo(401), echo(500), echo(200), hang, echo(403)])

    def trouble(request, reply):
        return next(troubles)(request, reply)

    mastodon.server.fault = other.fault = trouble
    printed.append(say(platform, "run"))
    mastodon.server.fault = other.fault = echo(403)
    printed.append(say(platform, "check"))
    _send(platform, monkeypatch)
    commands = [
        ("status",),
        ("status", "--json"),
        ("alerts",),
        ("alerts", "test"),
        ("doctor", "--port", "1"),
        ("metrics",),
        ("report",),
    ]
    printed += [say(platform, *arguments) for arguments in commands]
    asked = [
        value for r in (*other.requests, *mastodon.server.requests) for value in r.headers.values()
    ]
    assert sum(CANARY in value for value in asked) > 9  # the secrets were used
    assert any(r.query.get("page") == "2" for r in other.requests)
    everything = "\n".join(printed)
    assert "answered 403" in everything
    assert "***" in everything
    assert found_in(everything.encode()) == []
    assert found_in(caplog.text.encode()) == []
    (platform.folder / "feedback.yaml").unlink()  # the user's own words
    assert leaks(platform.folder) == {}


def _send(platform, monkeypatch):
    """Send to the webhook, rightly and wrongly signed."""
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    body = json.dumps([{"id": 1, "at": YESTERDAY.isoformat(), "text": "I hate it"}]).encode()
    key = ENVIRONMENT["CANARY_HMAC"].encode()
    signature = "sha256=" + hmac.new(key, body, sha256).hexdigest()
    with TestClient(webhook_application(load_settings(Environment()))) as client:
        for value, code in ((signature, 200), (ENVIRONMENT["CANARY_HMAC"], 401)):
            headers = {"X-Signature-256": quote(value, safe="=")}
            answer = client.post("/feeds/survey", content=body, headers=headers)
            assert answer.status_code == code
            assert found_in(answer.content) == []


def test_the_search_finds_what_is_hidden_in_any_file(tmp_path):
    pq.write_table(pa.table({"a": [CANARY] * 3}), tmp_path / "a.parquet")
    with duckdb.connect(str(tmp_path / "b.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT ? AS x FROM range(100000)", [CANARY])
    for n in range(3):
        coded = base64.b64encode(b"Basic:"[:n] + CANARY.encode() + b"tail")
        (tmp_path / f"c{n}.txt").write_bytes(coded)
    assert len(leaks(tmp_path)) == 5


@pytest.mark.parametrize("text", ["token: {}", "token: [{}]", "server: https://me:{}@x"])
def test_a_secret_that_was_written_into_the_configuration_is_not_told(platform_in, text):
    block = text.format(f"sk_{CANARY}")
    platform = platform_in("told", {"start_date": "2026-03-01"})
    path = platform.folder / "feedback.yaml"
    feed = f"{{name: brand, kind: mastodon, hashtags: [a], {block}}}"
    path.write_text(f"start_date: 2026-03-01\nfeeds: [{feed}]\n", encoding="utf-8")
    output = platform.cli("check", code=2)
    assert "feeds[0]" in output
    assert found_in(output.encode()) == []
