"""Stack Exchange: questions of a site, all or by tag, and the answers to them."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from data_platform.errors import PermanentSourceError, RefusedError, ThrottledError
from data_platform.feed_settings import StackExchangeFeed
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Known,
    Listing,
    Rechecked,
    Record,
    Token,
    Traits,
    Window,
    iso,
    objects,
    part,
)
from data_platform.ingestion.connectors.http import Answer, Http

PAGE_SIZE = 100  # the most, of pages and of lists of ids: api.stackexchange.com/docs/paging
MOST_BACKOFF_SECONDS = 86_400  # more is nonsense, and may be more than a date can hold
PATHS = {"question": "questions", "answer": "answers"}


class StackExchangeConnector(Connector[StackExchangeFeed]):
    """Lists what was written in a window, oldest first.

    Answers cannot be listed by tag. An answer is activity of its question, though, so those to
    tagged questions are found through the questions that were active since the window's begin.
    """

    traits = Traits(
        title="Stack Exchange",
        reach="everything since the site began",
        edits="edited questions and answers carry last_edit_date; seen while they are within the"
        " overlap",
        deletions="posts that are missing from what is read again are asked for, 100 at a time;"
        " those that are not there are gone",
        overlap=timedelta(hours=6),
        id_type="whole numbers, one row for the questions and answers of a site; stored behind the"
        " site's name, because other sites have the same",
        cost="a page is 100 posts; 300 requests a day for each address, 10,000 with a key",
        needs="nothing; a key for more than 300 requests a day",
    )
    asked_at_once = PAGE_SIZE

    def __init__(self, feed: StackExchangeFeed, http: Http) -> None:
        super().__init__(feed, http)
        self._key = feed.key.read() if feed.key is not None else None

    def streams(self) -> list[str]:
        """Such as 'question@https://…?site=stackoverflow', or 'question:python@https://…' by tag."""
        kinds = ("question", "answer") if self.feed.answers else ("question",)
        tags = [f":{tag}" for tag in self.feed.tags] or [""]
        place = f"{self.feed.server}?site={self.feed.site}"
        return [f"{kind}{tag}@{place}" for tag in tags for kind in kinds]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return one page; of the answers by tag, every other one names questions and lists nothing."""
        kind, _, tag = window.stream.partition("@")[0].partition(":")
        if kind == "question" or not tag:
            parameters = {"tagged": tag} if tag else {}
            items, place = self._page(PATHS[kind], parameters, window, token)
            return Listing(items, place)
        if token is not None and "questions" in token:
            path = f"questions/{token['questions']}/answers"
            items, place = self._page(path, {}, window, token["answers"])
            if place is not None:
                return Listing(items, {**token, "answers": place})
            return Listing(items, token["then"])
        return self._active_questions(tag, window, token)

    def _page(
        self, path: str, parameters: Mapping[str, Any], window: Window, token: Token | None
    ) -> tuple[list[object], Token | None]:
        """Return a page of posts by the time of their creation, and where the next one is."""
        since = math.floor(window.since.timestamp())
        place = dict(token or {"since": since, "page": 1})
        bounds = {"fromdate": place["since"], "todate": math.ceil(window.until.timestamp())}
        order = {"sort": "creation", "order": "asc", "page": place["page"]}
        items, has_more = self._ask(path, {**parameters, **bounds, **order})
        return items, _next(place, items, "creation_date") if has_more else None

    def _active_questions(self, tag: str, window: Window, token: Token | None) -> Listing:
        since = math.floor(window.since.timestamp())
        place = dict(token or {"since": since, "page": 1})
        order = {"sort": "activity", "order": "asc", "min": place["since"], "page": place["page"]}
        items, has_more = self._ask("questions", {**order, "tagged": tag})
        then = _next(place, items, "last_activity_date") if has_more else None
        ids = [str(item["question_id"]) for item in objects(items) if "question_id" in item]
        if not ids:
            return Listing([], then)
        return Listing([], {"questions": ";".join(ids), "answers": None, "then": then})

    def _ask(self, path: str, parameters: Mapping[str, Any]) -> tuple[list[object], bool]:
        """Return the items of an answer, and whether there are more.

        Raises:
            ThrottledError: the requests of the day are spent.
        """
        url = f"{self.feed.server}/{path}"
        fixed = {"site": self.feed.site, "pagesize": PAGE_SIZE, "filter": "withbody"}
        query = {**parameters, **fixed, "key": self._key}
        try:
            answer = self.http.request("GET", url, query, check=Answer.json).json()
        except RefusedError as error:
            if (wait := _wait_of(error)) is None:
                raise
            self.http.pause(wait, "the requests of the day are spent")
            until = datetime.now(UTC) + wait
            message = (
                f"Stack Exchange answers no more requests of this address; the next run goes on"
                f" here, not before {until:%Y-%m-%d %H:%M:%S} UTC. A key allows 10,000 a day"
            )
            raise ThrottledError(message, until) from error
        items = part(answer, "items")
        if not isinstance(items, list):
            message = f"{url} lists no items; is it the API of Stack Exchange?"
            raise PermanentSourceError(message)
        # Both stand in the body and in no header: api.stackexchange.com/docs/throttle
        if isinstance(backoff := part(answer, "backoff"), int):
            wait = timedelta(seconds=min(max(backoff, 0), MOST_BACKOFF_SECONDS))
            self.http.pause(wait, "backoff of Stack Exchange")
        if part(answer, "quota_remaining") == 0:
            self.http.pause(_until_tomorrow(), "the requests of the day are spent")
        return items, part(answer, "has_more") is True

    def record(self, item: Item) -> Record:
        """A question, or an answer, which has no title of its own."""
        site, owner = self.feed.site, item.get("owner")
        question = f"{site}:{item['question_id']}"
        is_answer = "answer_id" in item
        user, score = part(owner, "user_id"), item.get("score")
        return {
            "source_id": f"{site}:{item['answer_id']}" if is_answer else question,
            "posted_at": iso(item.get("creation_date")),
            "edited_at": iso(item.get("last_edit_date")),
            "title": item.get("title") or None,
            "body": item.get("body"),
            # A name may change, and users who are gone have no number.
            "author_handle": part(owner, "display_name") if user is None else f"{site}:{user}",
            "conversation_id": question,
            "parent_id": question if is_answer else None,
            "url": item.get("link"),
            # More may have voted against it than for it.
            "like_count": max(score, 0) if isinstance(score, int) else score,
            "reply_count": item.get("answer_count"),
        }

    def native_id(self, item: Item, stream: str) -> str:  # noqa: ARG002 (the item says its kind)
        """The kind and the number, such as 'answer:42'."""
        kind = "answer" if "answer_id" in item else "question"
        return f"{kind}:{item.get(f'{kind}_id')}"

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        """Ask for questions and for answers, 100 at a time: what is not there is gone."""
        found = Rechecked()
        for kind, path in PATHS.items():
            same = [post for post in posts if post.native_id.startswith(f"{kind}:")]
            for start in range(0, len(same), PAGE_SIZE):
                asked = same[start : start + PAGE_SIZE]
                ids = ";".join(post.native_id.partition(":")[2] for post in asked)
                items, _ = self._ask(f"{path}/{ids}", {})
                there = {self.native_id(item, kind) for item in objects(items)}
                found.items += objects(items)
                found.gone += [post.source_id for post in asked if post.native_id not in there]
        return found

    def probe(self) -> str:
        """Read a page of the last day of the first listing."""
        stream, now = self.streams()[0], datetime.now(UTC)
        page = self.fetch(Window(stream, now - timedelta(days=1), now), None)
        return f"{self.feed.site}, {stream}: {len(page.items)} post(s) of the last day on a page"


def _next(place: Mapping[str, Any], items: Sequence[object], field: str) -> Token:
    """Return where to go on: from the latest moment that was listed, else on the page behind.

    Numbers of pages alone would skip a post whenever one before it is deleted or becomes active,
    and end at 25 without a key.
    """
    moments = [at for item in objects(items) if isinstance(at := item.get(field), int)]
    latest = max(moments, default=place["since"])
    if latest > place["since"]:
        return {"since": latest, "page": 1}
    return {**place, "page": place["page"] + 1}


def _wait_of(error: RefusedError) -> timedelta | None:
    """Return the wait that a throttle violation (error 502) asks for; None for another error.

    api.stackexchange.com/docs/error-handling; the seconds stand in the message only.
    """
    try:
        answer = json.loads(error.body)
    except ValueError:
        return None
    if part(answer, "error_name") != "throttle_violation":
        return None
    seconds = re.search(r"available in (\d{1,6}) seconds", str(part(answer, "error_message")))
    return timedelta(seconds=int(seconds[1])) if seconds else _until_tomorrow()


def _until_tomorrow() -> timedelta:
    """Return the time to the next day in UTC."""
    now = datetime.now(UTC)
    return (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0) - now
