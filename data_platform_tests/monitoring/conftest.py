"""A place on this machine that alerts are sent to, and alerts to be sent."""

import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

import pytest

from data_platform.alert_settings import AlertOptions
from data_platform.feed_settings import interval
from data_platform.monitoring.alerts import AlertChanges, Recovery, update_alerts
from data_platform.monitoring.delivery import Delivery, deliver
from data_platform.monitoring.notifications import enqueue
from data_platform.storage.warehouse import Trouble, Warehouse
from data_platform_tests.ingestion.platforms.server import PlatformServer, Reply
from data_platform_tests.reporting.conftest import fill

__all__ = ["fill"]

SECRET = "correct horse battery staple"
DAY = date(2026, 2, 1)
FAILED = Trouble("run_failed", "raw_feedback", "disk full", DAY)
UNUSUAL = Trouble("check_failed", "daily_sentiment: volume_is_usual", "4.2x", DAY, "warning")


class Sink(PlatformServer):
    """Takes webhooks; `faults` of the server make it fail."""

    def __init__(self) -> None:
        super().__init__(lambda _: Reply({"taken": True}))

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The messages, in the order in which they came, taken or not."""
        return [json.loads(request.body) for request in self.requests]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Event and subject of each alert in the messages."""
        return [(a["event"], a["subject"]) for m in self.taken for a in m["alerts"]]

    @property
    def keys(self) -> list[str]:
        return [request.headers["idempotency-key"] for request in self.requests]

    def is_signed(self, number: int = 0) -> bool:
        request = self.requests[number]
        expected = hmac.new(SECRET.encode(), request.body, sha256).hexdigest()
        return request.headers["x-signature-256"] == f"sha256={expected}"


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def other_sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


def hook(sink: PlatformServer, name: str = "hook", **told: Any) -> dict[str, Any]:
    """Return the configuration of a channel that sends to a sink."""
    secret = {"env": "HOOK_SECRET"}
    return {"name": name, "kind": "webhook", "url": f"{sink.url}/in", "secret": secret, **told}


class Alerts:
    """A warehouse with alerts that are told under some options.

    Attributes:
        options: who is told of what.
    """

    def __init__(self, warehouse: Warehouse, **options: Any) -> None:
        self.warehouse = warehouse
        self.options = AlertOptions.model_validate(options)

    def look(self, *events: Trouble | Recovery, present: Any = (), kinds: Any = ()) -> AlertChanges:
        """Bring the alerts up to date as of now, as a look at the platform does."""
        now = datetime.now(UTC)
        after = self.options.escalate_after
        with self.warehouse.transaction() as transaction:
            changes = update_alerts(
                transaction, events, present, kinds, now, interval(after) if after else None
            )
            enqueue(transaction, self.options, now)
        return changes

    def deliver(self) -> Delivery:
        return deliver(self.warehouse, self.options, seconds=20, patience_seconds=0.1)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.warehouse.transaction() as transaction:
            return transaction.connection.execute(sql).fetchall()


@pytest.fixture
def alerts(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Alerts]:
    """Make the alerts of a warehouse, told under the given options."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    return lambda **options: Alerts(warehouse, **options)
