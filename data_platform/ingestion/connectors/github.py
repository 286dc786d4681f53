"""GitHub: issues of repositories, and the comments on them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import GitHubFeed
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Listing,
    Record,
    Token,
    Traits,
    Window,
    part,
    utc,
)
from data_platform.ingestion.connectors.http import Answer, Http

PAGE_SIZE = 100  # the most: docs.github.com/rest/issues/issues, "List repository issues"
PATHS = {"issues": "issues", "comments": "issues/comments"}


class GitHubConnector(Connector[GitHubFeed]):
    """Lists what was changed since a moment, the oldest change first, up to the present.

    A window's end cannot be asked for, and what was changed after it is listed behind it. Stopping
    there would lose what was written in the window and changed later, so a window of a day that is
    past reads on to the present.
    """

    traits = Traits(
        title="GitHub",
        reach="everything since the repository began",
        edits="what was edited is listed again, however old it is; GitHub gives the time of the"
        " last change of any kind, such as a label or a new comment",
        deletions="not shown: deleted issues and comments are listed no more, and stay as they are",
        overlap=timedelta(hours=1),
        id_type="whole numbers over all of GitHub, stored behind issue: or comment:, because both"
        " kinds count by themselves",
        cost="a page is 100 issues or comments; 60 requests an hour for each address, 5,000 with a"
        " token",
        needs="nothing for public repositories; a token for more requests, and for private ones",
        listed_by="changed",
    )

    def __init__(self, feed: GitHubFeed, http: Http) -> None:
        super().__init__(feed, http)
        if feed.token is not None:
            secret = feed.token.read()
            http.authorize = lambda _: {"Authorization": f"Bearer {secret}"}

    def streams(self) -> list[str]:
        """Such as 'issues:owner/name@https://…' and 'comments:owner/name@https://…'."""
        kinds = ("issues", "comments") if self.feed.comments else ("issues",)
        names = self.feed.repositories
        return [f"{kind}:{name}@{self.feed.server}" for name in names for kind in kinds]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return one page: the first since the latest change that is known, so that none is skipped.

        Pages by number would skip an issue whenever one before it is changed and moves to the end.
        Only changes of one second that fill a page are followed by the Link header.
        """
        kind, _, name = window.stream.partition("@")[0].partition(":")
        since = window.since if token is None else utc(token["since"]) or window.since
        if token is not None and "url" in token:
            answer, items = self._page(token["url"], {})
        else:
            url = f"{self.feed.server}/repos/{quote(name, safe='/')}/{PATHS[kind]}"
            order = {"state": "all"} if kind == "issues" else {}
            order |= {"sort": "updated", "direction": "asc", "per_page": str(PAGE_SIZE)}
            moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            answer, items = self._page(url, {**order, "since": moment})
        following = answer.links.get("next")
        if following is None:
            return Listing(items)
        times = [at for item in items if (at := utc(part(item, "updated_at")))]
        latest = max(times, default=since)
        if latest > since:
            return Listing(items, {"since": latest.isoformat()})
        return Listing(items, {"since": since.isoformat(), "url": self._own(following)})

    def _own(self, url: str) -> str:
        """Return an address that GitHub leads to.

        Raises:
            PermanentSourceError: it is on another host, where the token must not go.
        """
        if urlsplit(url)[:2] != urlsplit(self.feed.server)[:2]:
            host = urlsplit(url).netloc[:80]
            message = f"{self.feed.server} leads to another host ({host}); it is not asked"
            raise PermanentSourceError(message)
        return url

    def _page(self, url: str, parameters: dict[str, Any]) -> tuple[Answer, list[object]]:
        # The version keeps the answers as they are: docs.github.com/rest/about-the-rest-api/api-versions
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        answer = self.http.request("GET", url, parameters, headers=headers, check=Answer.json)
        items = answer.json()
        if not isinstance(items, list):
            message = f"{urlsplit(url).path} is no list; is {self.feed.server} the API of GitHub?"
            raise PermanentSourceError(message)
        return answer, items

    def record(self, item: Item) -> Record | None:
        """An issue or a comment on one; pull requests, and the talk about them, are no feedback."""
        url = str(item["html_url"])
        is_comment = "issue_url" in item
        if "pull_request" in item or "/pull/" in url:
            return None
        created, updated = item.get("created_at"), item.get("updated_at")
        title, user = item.get("title") or None, item.get("user")
        author = part(user, "id")
        return {
            "source_id": f"{'comment' if is_comment else 'issue'}:{item['id']}",
            "posted_at": created,
            "edited_at": updated if updated != created else None,
            "title": title,
            "body": item.get("body") or title,
            # A login may change, and its number does not; users who are gone are null.
            "author_handle": part(user, "login") if author is None else str(author),
            "conversation_id": url.partition("#")[0],
            "url": url,
            "like_count": part(item, "reactions", "+1"),
            "reply_count": None if is_comment else item.get("comments"),
        }

    def probe(self) -> str:
        """Read a page of each repository's issues of the last hour."""
        seen, now = [], datetime.now(UTC)
        for name in self.feed.repositories:
            stream = f"issues:{name}@{self.feed.server}"
            page = self.fetch(Window(stream, now - timedelta(hours=1), now), None)
            seen.append(f"{name}: {len(page.items)} change(s) in the last hour")
        return "; ".join(seen)
