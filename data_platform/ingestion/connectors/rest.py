"""Any API that answers with JSON, as feedback.yaml describes it: paging, a window of time, credentials, mapping."""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import RestAuthentication, RestFeed, RestWindow
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Listing,
    Record,
    Token,
    Traits,
    Window,
)
from data_platform.ingestion.connectors.http import CREDENTIAL, Answer, Authorize, Http
from data_platform.ingestion.connectors.json_records import value_at
from data_platform.ingestion.connectors.mapping import mapped_record, records_in
from data_platform.ingestion.connectors.oauth import ClientCredentials

FIRST_NUMBER = {"page": 1, "offset": 0}
TICKS_PER_SECOND = {
    "epoch_seconds": 1,
    "epoch_milliseconds": 1_000,
    "epoch_microseconds": 1_000_000,
}


class RestConnector(Connector[RestFeed]):
    """Reads what the configuration says; of the platform it knows nothing else."""

    traits = Traits(
        title="any JSON API (REST)",
        reach="what the API lists; without window, everything on every collection",
        edits="records that are listed again: window.by: edited_at, or within the overlap",
        deletions="records whose mapped change or is_deleted says so; absence is no proof",
        overlap=timedelta(hours=1),
        id_type="as the API writes it, as text; numbers keep all their digits",
        cost="a request a page; requests_per_run and requests_per_day bound them",
        needs="the address, and credentials if the API wants them",
        listed_by="posted",
    )

    def __init__(self, feed: RestFeed, http: Http) -> None:
        super().__init__(feed, http)
        if feed.auth is not None:
            http.authorize = _authorization(feed.auth, http)

    def streams(self) -> list[str]:
        """One, such as 'records@https://…': an API that is asked in several ways is several feeds.

        A digest stands for the parameters; those that prove who asks may change.
        """
        place, _, query = self.feed.url.partition("?")
        asked = [*parse_qsl(query), *self.feed.parameters.items()]
        told = urlencode(sorted(pair for pair in asked if not CREDENTIAL.search(pair[0])))
        digest = sha256(told.encode()).hexdigest()[:12]
        return [f"records@{place}?{digest}" if told else f"records@{place}"]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return one page, as `paging` and `window` of the feed say."""
        paging = self.feed.paging
        if token is not None and "url" in token:
            answer = self._ask(token["url"], dict(self._credentials()))
        else:
            parameters: dict[str, Any] = {**self.feed.parameters}
            if paging.size is not None and paging.size_parameter:
                parameters[paging.size_parameter] = paging.size
            if self.feed.window is not None:
                parameters |= _bounds(self.feed.window, window)
            place = dict(token or self._first_place())
            if place:
                parameters[paging.parameter or paging.by] = place[paging.by]
            answer = self._ask(self.feed.url, parameters)
        document = answer.json()
        try:
            items = records_in(document, self.feed.records, "the answer")
        except ValueError as error:
            message = f"{self.feed.url.partition('?')[0]}: {error}"
            raise PermanentSourceError(message) from error
        return Listing(items, self._next(answer, document, items, token))

    def _ask(self, url: str, parameters: Mapping[str, Any]) -> Answer:
        return self.http.request(
            "GET", url, parameters, headers=self.feed.headers, check=Answer.json
        )

    def _credentials(self) -> list[tuple[str, str]]:
        """Return the configured parameters that prove who asks."""
        configured = [*parse_qsl(urlsplit(self.feed.url).query), *self.feed.parameters.items()]
        return [(name, value) for name, value in configured if CREDENTIAL.search(name)]

    def _without_credentials(self, url: str) -> str:
        """Return the address of a page as the ledger may keep it."""
        credentials, parts = self._credentials(), urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        kept = [pair for pair in query if pair not in credentials]
        return url if kept == query else parts._replace(query=urlencode(kept)).geturl()

    def _first_place(self) -> dict[str, Any]:
        by = self.feed.paging.by
        if by not in FIRST_NUMBER:
            return {}
        first = self.feed.paging.first
        return {by: FIRST_NUMBER[by] if first is None else first}

    def _next(
        self, answer: Answer, document: object, items: list[object], token: Token | None
    ) -> Token | None:
        """Return where the next page is.

        Raises:
            PermanentSourceError: it is on another host, where the credentials must not go.
        """
        paging = self.feed.paging
        match paging.by:
            case "link":
                found = (
                    value_at(document, paging.next_path)
                    if paging.next_path
                    else answer.links.get("next")
                )
                if not isinstance(found, str) or not found:
                    return None
                url = urljoin(answer.url, found)
                if urlsplit(url)[:2] != urlsplit(self.feed.url)[:2]:
                    message = (
                        f"the next page of {self.feed.url.partition('?')[0]} is on another host"
                        f" ({urlsplit(url).netloc[:80]}); credentials are not sent there"
                    )
                    raise PermanentSourceError(message)
                return {"url": self._without_credentials(url)}
            case "cursor":
                assert paging.next_path is not None
                found = value_at(document, paging.next_path)
                return {"cursor": found} if found not in (None, "", False) else None
            case "page" | "offset":
                is_last = len(items) < paging.size if paging.size else not items
                if is_last:
                    return None
                place = dict(token or self._first_place())
                step = 1 if paging.by == "page" else len(items)
                return {paging.by: int(place[paging.by]) + step}
            case _:
                return None

    def record(self, item: Item) -> Record:
        """The mapped fields of a record."""
        return mapped_record(self.feed, item)

    def probe(self) -> str:
        """Read the first page of the last day."""
        answer = self._ask(self.feed.url, self.feed.parameters)
        try:
            count = len(records_in(answer.json(), self.feed.records, "the answer"))
        except ValueError as error:
            raise PermanentSourceError(str(error)) from error
        return f"{count} record(s) on a page"


def _bounds(form: RestWindow, window: Window) -> dict[str, str]:
    bounds = {form.since_parameter: _written(window.since, form.format)}
    if form.until_parameter is not None:
        bounds[form.until_parameter] = _written(window.until, form.format, round_up=True)
    return bounds


def _written(moment: datetime, form: str, *, round_up: bool = False) -> str:
    """Return a time as the API wants it; the end of a window is rounded up, so that none falls between two."""
    if form in TICKS_PER_SECOND:
        ticks = moment.timestamp() * TICKS_PER_SECOND[form]
        return str(int(ticks) + (1 if round_up and ticks % 1 else 0))
    rough = _next_second(moment) if round_up and "%f" not in form else moment
    return rough.strftime(form)


def _next_second(moment: datetime) -> datetime:
    """Return the next whole second, or `moment` if it is one."""
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)


def _authorization(auth: RestAuthentication, http: Http) -> Authorize:
    if auth.token_url and auth.client_id and auth.client_secret:
        form = {"scope": auth.scope} if auth.scope else {}
        return ClientCredentials(
            http, auth.token_url, auth.client_id.read(), auth.client_secret.read(), form
        )
    if auth.user and auth.password:
        pair = f"{auth.user.read()}:{auth.password.read()}"
        header = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    else:
        assert auth.secret is not None
        secret = auth.secret.read()
        name = auth.header or "Authorization"
        header = {name: f"Bearer {secret}" if auth.bearer else secret}
    return lambda _: header
