"""Zendesk: tickets of your own account by the incremental export, with edits and deletions."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from data_platform.errors import RefusedError, TokenExpiredError
from data_platform.feed_settings import ZendeskFeed
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Listing,
    Record,
    Token,
    Traits,
    Window,
    part,
    required_list,
)
from data_platform.ingestion.connectors.http import Http

PAGE_SIZE = 1_000  # the most: developer.zendesk.com, "Incremental Exports", cursor-based
# "The start_time must be at least one minute in the past": the same page.
FRESHEST = timedelta(seconds=65)
LABELS = {"good": "positive", "bad": "negative"}


class ZendeskConnector(Connector[ZendeskFeed]):
    """Follows what was changed, by the cursor of the export; deleted tickets are listed as deleted."""

    traits = Traits(
        title="Zendesk tickets",
        reach="everything, by the time of the last change",
        edits="a ticket that was changed is listed again, however old it is",
        deletions="deleted tickets are listed with the status deleted",
        overlap=timedelta(minutes=5),
        id_type="whole numbers of the account, stored as text",
        cost="a page is 1,000 tickets; 10 requests a minute",
        needs="the address of an agent and an API token (Admin Center, Apps and integrations)",
        listed_by="changed",
    )

    def __init__(self, feed: ZendeskFeed, http: Http) -> None:
        super().__init__(feed, http)
        pair = f"{feed.email.read()}/token:{feed.token.read()}"
        header = f"Basic {base64.b64encode(pair.encode()).decode()}"
        http.authorize = lambda _: {"Authorization": header}

    def streams(self) -> list[str]:
        """One: the tickets of the account, such as 'tickets@https://…'."""
        return [f"tickets@{self.feed.server}"]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return a page of the export, which ends at the present whatever the window's end is."""
        cursor = part(token, "cursor") or part(window.position, "cursor")
        if cursor:
            parameters: dict[str, Any] = {"cursor": cursor}
        else:
            begin = min(window.since, datetime.now(UTC) - FRESHEST)
            parameters = {"start_time": int(begin.timestamp())}
        try:
            answer = self.http.get_json(
                f"{self.feed.server}/api/v2/incremental/tickets/cursor.json",
                {**parameters, "per_page": PAGE_SIZE},
            )
        except RefusedError as error:
            if token is not None and error.status in (400, 422):
                raise TokenExpiredError(str(error)) from error
            raise
        self.http.pause(timedelta(minutes=1) / self.feed.requests_per_minute, "pace of the export")
        following = part(answer, "after_cursor")
        position = {"cursor": following} if isinstance(following, str) and following else None
        is_last = bool(part(answer, "end_of_stream")) or position is None
        return Listing(required_list(answer, "tickets"), None if is_last else position, position)

    def record(self, item: Item) -> Record:
        """A ticket; its description is the first comment, as the customer wrote it."""
        if item.get("status") == "deleted":
            return {
                "source_id": item.get("id"),
                "posted_at": item.get("created_at"),
                "change": "delete",
            }
        posted_at, updated_at = item.get("created_at"), item.get("updated_at")
        score = part(item, "satisfaction_rating", "score")
        return {
            "source_id": item.get("id"),
            "posted_at": posted_at,
            "edited_at": updated_at if updated_at != posted_at else None,
            "title": item.get("subject"),
            "body": item.get("description") or item.get("subject"),
            "author_handle": item.get("requester_id"),
            "label": LABELS.get(score) if isinstance(score, str) else None,
            "url": item.get("url"),
        }

    def probe(self) -> str:
        """Read the tickets that were changed in the last minutes."""
        (stream,), now = self.streams(), datetime.now(UTC)
        page = self.fetch(Window(stream, now - timedelta(minutes=5), now), None)
        return f"{len(page.items)} ticket(s) changed in the last minutes"
