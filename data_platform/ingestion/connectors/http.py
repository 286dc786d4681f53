"""The one way to make HTTP requests: waits as long as platforms ask, tries hiccups again, keeps to budgets."""

import base64
import json as json_text
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import httpx2
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from data_platform import __version__
from data_platform.errors import (
    BudgetSpentError,
    GoneError,
    PermanentSourceError,
    RefusedError,
    ThrottledError,
    TransientSourceError,
)
from data_platform.ingestion.connectors.json_records import parse_json
from data_platform.ingestion.connectors.throttling import is_used_up, retry_moment
from data_platform.printable import one_line

# They log every address, and with it what stands in its query.
logging.getLogger("httpx2").setLevel(logging.WARNING)
logging.getLogger("httpcore2").setLevel(logging.WARNING)
logger = logging.getLogger(__name__)

LONGEST_SLEEP = timedelta(minutes=5)
LONGEST_BACKOFF_SECONDS = 30.0
ATTEMPTS = 5
MAX_BODY_BYTES = 64 * 1024 * 1024
SHOWN_CHARACTERS = 200
KEPT_CHARACTERS = 10_000
MOST_REDIRECTS = 5
# 408, 425: RFC 9110 15.5.9, RFC 8470 5.2. 5xx: the server's own trouble.
INVITES_RETRY = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524})
TOO_MANY = frozenset({420, 429})
# Names of parameters and headers whose values prove who asks.
CREDENTIAL = re.compile(r"auth|cookie|cred|key|pass|secret|sig|token", re.IGNORECASE)
SECRET_CHARACTERS = 4  # what is shorter stands in every text

Authorize = Callable[[bool], Mapping[str, str]]
Result = TypeVar("Result")


class HiccupError(TransientSourceError):
    """Something that another attempt a moment later may not meet."""


@dataclass
class Budget:
    """What a run of a feed may still use, and what it has used.

    Attributes:
        requests_left: requests, of the run and of the day together.
        units_left: quota units, or money in USD; None: nothing is counted.
        unit: what they are called, for people.
        request_count, unit_count, throttled_seconds: what was used so far.
    """

    requests_left: int = 1_000
    units_left: float | None = None
    unit: str = "quota units"
    request_count: int = 0
    unit_count: float = 0.0
    throttled_seconds: float = 0.0

    def take_request(self) -> None:
        """Count a request that is about to be made.

        Raises:
            BudgetSpentError: there is none left.
        """
        if self.requests_left <= 0:
            message = (
                f"the budget of requests is spent ({self.request_count} in this run); the next run"
                " goes on here (requests_per_run, requests_per_day)"
            )
            raise BudgetSpentError(message)
        self.requests_left -= 1
        self.request_count += 1

    def require_units(self, units: float) -> None:
        """Make sure that so many units may still be spent.

        Raises:
            BudgetSpentError: fewer are left.
        """
        if self.units_left is not None and self.units_left < units:
            message = (
                f"the budget of the day is spent: {self.units_left:g} {self.unit} are left, and the"
                f" next page may cost {units:g}; the first run of the next day goes on here"
            )
            raise BudgetSpentError(message)

    def charge(self, units: float) -> None:
        """Count units that were spent."""
        self.unit_count += units
        if self.units_left is not None:
            self.units_left -= units


@dataclass(frozen=True)
class Answer:
    """What a platform answered.

    Attributes:
        headers: by lower-case name.
        content: the body as it came, decompressed.
        received_at: when it came, by our clock.
        hide: returns a text without the secrets of the feed.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    received_at: datetime
    links: Mapping[str, str] = field(default_factory=dict)
    hide: Callable[[str], str] = field(default=str, repr=False)

    @property
    def text(self) -> str:
        """The body; a byte that is no UTF-8 becomes half a surrogate, which no contract lets in."""
        return self.content.decode("utf-8-sig", errors="surrogateescape")

    def json(self) -> Any:
        """Return the body as JSON, whose numbers with a fraction are text.

        Raises:
            TransientSourceError: it is none: cut, or a page for people.
        """
        try:
            return parse_json(self.text)
        except (ValueError, RecursionError) as error:
            kind = self.headers.get("content-type", "")
            message = (
                f"{_place(self.url)} answered {self.status} with {len(self.content):,} bytes that"
                f" are no JSON ({kind or 'no content type'}): {_shown(self.hide(self.text))}"
            )
            raise HiccupError(message) from error


class Http:
    """Requests of one feed in one run; not shared between threads.

    Waits: never before the moment that a platform named, by any of its headers; otherwise with
    full jitter. No more than five minutes of a run: then the run gives up its turn.

    Args:
        budget: what may be used.
        timeout: longest wait for an answer, in seconds.
        not_before: no request is made before, as an earlier run was told.
        now, sleep: the clock.
        secrets: what no message may hold, in whatever form; what proves who asks is kept out anyway.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        timeout: float = 30.0,
        not_before: datetime | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        secrets: Collection[str] = (),
    ) -> None:
        self.budget = budget
        self.not_before = not_before
        self.authorize: Authorize | None = None
        self._now, self._sleep_for = now, sleep
        self._slept = timedelta()
        self._secrets: set[str] = {form for secret in secrets for form in _forms(secret)}
        self._client = httpx2.Client(
            timeout=timeout,
            headers={"User-Agent": f"customer-feedback-platform/{__version__}"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(
        self,
        url: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (200,),
    ) -> Answer:
        """Ask for `url`; see `request`."""
        return self.request("GET", url, parameters, headers=headers, accept=accept)

    def get_json(
        self,
        url: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask for `url` and return its JSON; an answer that is none is asked for again."""
        return self.request("GET", url, parameters, headers=headers, check=Answer.json).json()

    def request(
        self,
        method: str,
        url: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (200,),
        check: Callable[[Answer], object] | None = None,
        authorized: bool = True,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer:
        """Make a request, again after a hiccup, and wait as the platform asks.

        Args:
            parameters: of the query; those that are None are left out.
            accept: statuses that are answers and no errors.
            check: called with the answer; what it raises counts as a hiccup.
            authorized: False: without the headers of `authorize`.
            json, data, content: body, as JSON, as a form, or as it is.

        Raises:
            ThrottledError: the platform wants a longer pause than a run may wait.
            BudgetSpentError: no request is left.
            GoneError: 404 or 410.
            RefusedError: another status from 400 on, such as 401 for bad credentials.
            TransientSourceError: hiccups, five in a row.
        """
        told = {"json": json, "data": data, "content": content}
        body = {name: value for name, value in told.items() if value is not None}
        query = {name: value for name, value in (parameters or {}).items() if value is not None}
        authorize = self.authorize if authorized else None
        secret = dict(authorize(False)) if authorize else {}
        for attempt in self._attempts():
            with attempt:
                answer = self._once(method, url, query, headers or {}, secret, authorize, body)
                self._require(answer, accept)
                if check is not None and answer.status in accept:
                    check(answer)
        return answer

    def attempt(self, url: str, action: Callable[[], Result]) -> Result:
        """Do what is no HTTP request under the same rules: turns, budget, hiccups tried again.

        Args:
            action: raises HiccupError for what another attempt may not meet; see `refuse`.

        Raises:
            SourceError: as `request` does.
        """
        for attempt in self._attempts():
            with attempt:
                self._wait_for_turn(url)
                self.budget.take_request()
                return action()
        raise AssertionError  # the last attempt returns or raises

    def refuse(self, answer: Answer) -> None:
        """Judge an answer that is not what was asked for; a pause that it names is kept.

        Raises:
            SourceError: always, in the kind that `request` would raise.
        """
        if self._is_throttled(answer):
            self.not_before = retry_moment(answer.headers, self._now()) or self.not_before
            message = f"{_place(answer.url)} answered {answer.status}"
            raise HiccupError(message)
        if answer.status < 400:
            message = f"{_place(answer.url)} answered {answer.status}, which is no answer to this"
            raise HiccupError(message)
        self._require(answer, ())

    def _attempts(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(HiccupError),
            wait=wait_random_exponential(multiplier=0.5, max=LONGEST_BACKOFF_SECONDS),
            stop=stop_after_attempt(ATTEMPTS),
            sleep=lambda seconds: self._sleep(timedelta(seconds=seconds), "after a hiccup"),
            reraise=True,
        )

    def _is_throttled(self, answer: Answer) -> bool:
        return answer.status in TOO_MANY or (
            answer.status in (403, 503)
            and ("retry-after" in answer.headers or is_used_up(answer.headers))
        )

    def _once(
        self,
        method: str,
        url: str,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        secret: Mapping[str, str],
        authorize: Authorize | None,
        body: Mapping[str, Any],
    ) -> Answer:
        renewed = False
        while True:
            self._wait_for_turn(url)
            self.budget.take_request()
            self._keep_secret(*secret.values(), *_credentials(url, query, headers))
            answer = self._send(method, url, query, {**headers, **secret}, body)
            if answer.status == 401 and authorize and not renewed:
                renewed = True  # a token may have been revoked before its time
                former, secret = secret, dict(authorize(True))
                if secret != former:
                    continue
            if self._is_throttled(answer):
                now = self._now()
                moment = retry_moment(answer.headers, now)
                if moment is None:
                    message = f"{_place(url)} answered {answer.status} and not until when"
                    raise HiccupError(message)
                self.not_before = max(moment, self.not_before or moment)
                continue
            if is_used_up(answer.headers) and answer.status < 400:
                now = self._now()
                moment = retry_moment(answer.headers, now)
                self.not_before = moment or self.not_before
            return answer

    def _wait_for_turn(self, url: str) -> None:
        if self.not_before is not None and (wait := self.not_before - self._now()) > timedelta():
            self._sleep(wait, f"as {_place(url)} asked")

    def pause(self, wait: timedelta, reason: str) -> None:
        """Make no request for `wait`: a platform asked for it in the body of an answer."""
        moment = self._now() + wait
        self.not_before = max(moment, self.not_before or moment)
        logger.debug("no request for %s: %s", wait, reason)

    def _sleep(self, wait: timedelta, reason: str) -> None:
        if self._slept + wait > LONGEST_SLEEP:
            until = self._now() + wait
            message = (
                f"a pause of {wait.total_seconds():,.0f} s {reason} is more than this run may wait;"
                f" the next one goes on here, not before {until:%Y-%m-%d %H:%M:%S} UTC"
            )
            raise ThrottledError(message, until)
        logger.info("waiting %.1f s %s", wait.total_seconds(), reason)
        self._slept += wait
        self.budget.throttled_seconds += wait.total_seconds()
        self._sleep_for(wait.total_seconds())

    def _send(
        self,
        method: str,
        url: str,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        body: Mapping[str, Any],
    ) -> Answer:
        try:
            asked = httpx2.URL(url).copy_merge_params(dict(query))
            request = self._client.build_request(method, asked, headers=dict(headers), **body)
            with closing(self._client.send(request, stream=True)) as response:
                for _ in range(MOST_REDIRECTS):
                    if response.next_request is None:
                        break
                    _require_same_server(request.url, response.next_request.url)
                    response.close()
                    response = self._client.send(response.next_request, stream=True)
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_BODY_BYTES:
                        message = f"{_place(url)} answered with more than {MAX_BODY_BYTES:,} bytes"
                        raise PermanentSourceError(message)
                return Answer(
                    str(response.url),
                    response.status_code,
                    {name.lower(): value for name, value in response.headers.items()},
                    bytes(content),
                    self._now(),
                    {
                        rel: str(link["url"])
                        for rel, link in response.links.items()
                        if rel and "url" in link
                    },
                    self._without_secrets,
                )
        # Without their causes: these quote what was sent, such as a header that is none.
        except (httpx2.LocalProtocolError, httpx2.InvalidURL, ValueError) as error:
            reason = self._without_secrets(str(error))
            message = f"{_place(url)} cannot be asked: {_shown(reason)}"
            raise PermanentSourceError(message) from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            reason = self._without_secrets(str(error))
            message = f"{_place(url)} did not answer: {type(error).__name__} {_shown(reason)}"
            raise HiccupError(message) from None

    def _require(self, answer: Answer, accept: Collection[int]) -> None:
        if answer.status in accept:
            return
        body = self._without_secrets(answer.text)
        message = f"{_place(answer.url)} answered {answer.status}: {_shown(body)}"
        if answer.status in INVITES_RETRY or answer.status >= 500:
            raise HiccupError(message)
        if answer.status in (404, 410):
            raise GoneError(message)
        if answer.status in (401, 403):
            message += ". Look at the token or key, and at its rights"
        raise RefusedError(message, answer.status, body[:KEPT_CHARACTERS])

    def _without_secrets(self, text: str) -> str:
        """Return an answer without what we sent to prove who we are; some servers repeat it."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _keep_secret(self, *values: str) -> None:
        for value in values:
            self._secrets |= {*_forms(value), *_forms(value.rpartition(" ")[2])}


def _forms(secret: str) -> set[str]:
    """Return a secret in the ways in which servers and libraries repeat it."""
    if len(secret) < SECRET_CHARACTERS:
        return set()
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json_text.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(secret.encode("utf-8", "replace")).decode(),
    }


def _credentials(url: str, query: Mapping[str, Any], headers: Mapping[str, str]) -> list[str]:
    """Return the values in a request whose names say that they prove who asks."""
    named = [*parse_qsl(urlsplit(url).query), *query.items(), *headers.items()]
    return [str(value) for name, value in named if CREDENTIAL.search(name)]


def _require_same_server(asked: httpx2.URL, told: httpx2.URL) -> None:
    """Refuse a redirect to another server: neither credentials nor requests from within a network go there.

    Raises:
        PermanentSourceError: it leads to another host, another port, or from https to http.
    """
    is_upgrade = (asked.scheme, told.scheme) == ("http", "https")
    is_same = (asked.scheme, asked.port) == (told.scheme, told.port)
    if asked.host != told.host or not (is_same or is_upgrade):
        message = (
            f"{_place(str(asked))} sends on to {_shown(_place(str(told)))}, which is another server;"
            " if that is right, write its address in feedback.yaml"
        )
        raise PermanentSourceError(message)


def _place(url: str) -> str:
    """Return an address without its query, which may hold what is private."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _shown(text: str) -> str:
    return one_line(text.strip(), SHOWN_CHARACTERS)
