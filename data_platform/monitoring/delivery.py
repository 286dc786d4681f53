"""Delivery: what waits in the outbox goes to its channels, each message once."""

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from data_platform.alert_settings import AlertOptions
from data_platform.errors import ConfigurationError
from data_platform.monitoring.channels import ChannelError, send
from data_platform.monitoring.messages import Message, compose
from data_platform.monitoring.notifications import Parcel, next_parcel, settle
from data_platform.storage.locks import ProcessLock
from data_platform.storage.warehouse import Warehouse

logger = logging.getLogger(__name__)

LOCK_FILE = "notifications.lock"


@dataclass
class Delivery:
    """What a delivery did.

    Attributes:
        sent_count: messages that were taken.
        failures: channel to why it did not take one; it is tried again later.
    """

    sent_count: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def deliver(
    warehouse: Warehouse, options: AlertOptions, *, seconds: float, patience_seconds: float
) -> Delivery:
    """Send what is due; a channel that fails is left alone until the next call.

    One process at a time delivers. The warehouse is open before and after each message, not while
    it is sent. A process that ends between the two, after the channel took the message, leaves it
    unsent for us: it goes out again with the same id.

    Args:
        seconds: no message is begun later than this after the call.
        patience_seconds: how long to wait for another process that delivers.

    Raises:
        BusyError: another process delivers, or held the warehouse for longer than its time limit.
    """
    delivery = Delivery()
    deadline = time.monotonic() + seconds
    lock = ProcessLock(warehouse.database.with_name(LOCK_FILE), "the delivery of alerts")
    with lock.held(patience_seconds):
        while time.monotonic() < deadline:
            channels = set(options.by_name) - set(delivery.failures)
            now = datetime.now(UTC)
            with warehouse.transaction() as transaction:
                parcel = next_parcel(transaction, channels, now)
                if parcel is None:
                    break
                message = compose(transaction, parcel, options, now)
            error = _send(options, parcel, message)
            with warehouse.transaction() as transaction:
                settle(transaction, parcel, error, datetime.now(UTC))
            if error is None:
                delivery.sent_count += 1
            else:
                delivery.failures[parcel.channel] = error
                logger.warning("channel %s: not delivered: %s", parcel.channel, error)
    return delivery


def _send(options: AlertOptions, parcel: Parcel, message: Message) -> str | None:
    """Send; return why it failed, None if it did not."""
    try:
        send(options.by_name[parcel.channel], message)
    except (ChannelError, ConfigurationError) as error:
        return str(error)
    return None
