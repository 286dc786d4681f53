"""The channels: how a message gets to the log, to a webhook, and to whatever apprise reaches."""

import hmac
import json
import logging
import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

import httpx2

from data_platform import __version__
from data_platform.alert_settings import AppriseChannel, LogChannel, WebhookChannel
from data_platform.errors import ConfigurationError, DataPlatformError
from data_platform.feed_settings import EnvironmentSecret
from data_platform.monitoring.evidence import plot
from data_platform.monitoring.messages import Message
from data_platform.printable import one_line

logger = logging.getLogger("data_platform.alerts")
# They log addresses, and with them the secrets that stand there.
for noisy in ("httpx2", "httpcore2", "urllib3"):
    logging.getLogger(noisy).setLevel(logging.WARNING)

TIMEOUT_SECONDS = 10.0
MOST_BYTES = 100_000  # of an answer that nobody needs
SHOWN_CHARACTERS = 200
SECRET_CHARACTERS = 4  # shorter parts of an address are no secrets, and stand in every text
LEVELS = {"error": logging.ERROR, "warning": logging.WARNING}
AnyChannel = LogChannel | AppriseChannel | WebhookChannel


class ChannelError(DataPlatformError):
    """A channel did not take a message; its text holds no secret."""


def send(channel: AnyChannel, message: Message) -> None:
    """Send a message.

    Raises:
        ChannelError: the channel did not take it, or not in time.
        ConfigurationError: an environment variable that it names is not set.
    """
    if isinstance(channel, LogChannel):
        _log(message)
    elif isinstance(channel, WebhookChannel):
        _post(channel, message)
    else:
        _notify(channel, message)


def ping(url: str) -> None:
    """Ask an address, so that who waits for it knows that all is well.

    Raises:
        ChannelError: it did not answer, or not with success.
    """
    _ask(url, lambda client: client.build_request("GET", url), [])


def without_secrets(text: str, *secrets: str) -> str:
    """Return `text` on one short line, without the secrets and without any part of an address."""
    parts = {part for secret in secrets for part in (secret, *re.split(r"[/?&=:@#;,]+", secret))}
    for part in sorted({*parts, *map(unquote, parts)}, key=len, reverse=True):
        if len(part) >= SECRET_CHARACTERS:
            text = text.replace(part, "***")
    return one_line(" ".join(text.split()), SHOWN_CHARACTERS)


def _log(message: Message) -> None:
    for told in message.alerts:
        level = logging.WARNING if told.event == "resolved" else LEVELS[told.severity]
        logger.log(level, "%s: %s", told.line, "; ".join(told.details))
    for line in message.further:
        logger.warning("%s", line)


def _post(channel: WebhookChannel, message: Message) -> None:
    url = channel.url.read() if isinstance(channel.url, EnvironmentSecret) else channel.url
    secret = channel.secret.read()
    body = json.dumps(message.document, ensure_ascii=False).encode()
    signature = hmac.new(secret.encode(), body, sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": message.message_id,
        channel.signature_header: f"sha256={signature}",
    }
    _ask(
        url,
        lambda client: client.build_request("POST", url, content=body, headers=headers),
        [secret],
    )


def _ask(url: str, build: Callable[[httpx2.Client], httpx2.Request], secrets: list[str]) -> None:
    """Make one request; what is no 2xx counts as refused, redirects too."""
    agent = {"User-Agent": f"customer-feedback-platform/{__version__}"}
    try:
        with httpx2.Client(timeout=TIMEOUT_SECONDS, headers=agent) as client:
            answer = client.send(build(client), stream=True)
            with suppress(httpx2.HTTPError):  # the status has said it
                _read_out(answer)
            answer.close()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        reason = without_secrets(f"{type(error).__name__}: {error}", url, *secrets)
        raise ChannelError(reason) from None  # its traceback would name the address
    if not answer.is_success:
        message = f"it answered HTTP {answer.status_code}"
        raise ChannelError(message)


def _read_out(answer: httpx2.Response) -> None:
    """Read what a service has to say, within bounds: some undo their work if nobody listens."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    byte_count = 0
    for chunk in answer.iter_raw():
        byte_count += len(chunk)
        if byte_count > MOST_BYTES or time.monotonic() > deadline:
            return


def _notify(channel: AppriseChannel, message: Message) -> None:
    """Hand a message to apprise, which needs an extra and loads only here."""
    url = channel.url.read()
    # What it has to say of a failure comes with the result; its own log names addresses.
    logging.getLogger("apprise").propagate = False
    with warnings.catch_warnings():
        # It imports imghdr until that goes with Python 3.13 (2.2.0), with its first address.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import apprise.attachment.memory
        except ImportError as error:
            text = "apprise is not installed: pip install 'customer-feedback-platform[alerts]'"
            raise ConfigurationError(text) from error
        asset = apprise.AppriseAsset(app_id="Feedback platform", storage_mode="memory")
        target = apprise.Apprise(asset=asset)
        is_known = target.add(url)
    if not is_known:
        text = f"apprise does not understand the address in the variable {channel.url.env}"
        raise ChannelError(text)
    attachment = None
    if message.series and any(service.attachment_support for service in target):
        picture = plot(message.series)
        memory: Any = apprise.attachment.memory
        attachment = memory.AttachMemory(picture, "days.png", "image/png")
    types = apprise.NotifyType
    kind = {"error": types.FAILURE, "warning": types.WARNING}.get(message.severity, types.SUCCESS)
    result = target.notify(
        body=message.text,
        title=message.title,
        notify_type=kind,
        body_format=apprise.NotifyFormat.TEXT,
        attach=attachment,
        timeout=TIMEOUT_SECONDS,
    )
    if not result:
        told = [e.message for found in result for attempt in found.attempts for e in attempt]
        reason = told[-1] if told else str(result.status.name).lower()
        raise ChannelError(without_secrets(reason, url))
