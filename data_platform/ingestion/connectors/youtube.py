"""YouTube: comments under videos, or under all videos of a channel, and the replies to them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from data_platform.errors import BudgetSpentError, GoneError, RefusedError, TokenExpiredError
from data_platform.feed_settings import YouTubeFeed
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
    list_at,
    objects,
    part,
    required_list,
    utc,
)
from data_platform.ingestion.connectors.http import Http

PAGE_SIZE = 100  # the most: developers.google.com/youtube/v3/docs/commentThreads/list
UNITS_PER_CALL = 1.0  # developers.google.com/youtube/v3/determine_quota_cost: every list
QUOTA = ("quotaExceeded", "dailyLimitExceeded", "rateLimitExceeded", "userRateLimitExceeded")
PARAMETER = {"video": "videoId", "channel": "allThreadsRelatedToChannelId"}


class YouTubeConnector(Connector[YouTubeFeed]):
    """Walks threads from the newest back to the window's begin, and the replies of each thread.

    Threads stand in the order of their top comments; a thread shows some of its replies, the others
    are listed by themselves.
    """

    traits = Traits(
        title="YouTube comments",
        reach="all comments of a video or channel",
        edits="comments carry updatedAt; seen while their thread is within the overlap",
        deletions="comments that are missing from what is read again are asked for, 50 at a time",
        overlap=timedelta(days=2),
        id_type="text, such as UgxKREWxIgDrw8w2e_Z4AaABAg",
        cost="1 quota unit a page of 100; a project has 10,000 units a day",
        needs="an API key of a Google Cloud project with the YouTube Data API v3",
    )
    asked_at_once = 50  # the most ids of comments.list

    def __init__(self, feed: YouTubeFeed, http: Http) -> None:
        super().__init__(feed, http)
        key = feed.key.read()
        http.authorize = lambda _: {"X-Goog-Api-Key": key}

    def streams(self) -> list[str]:
        """Such as 'video:ID' and 'channel:ID'."""
        return [
            *(f"video:{name}" for name in self.feed.videos),
            *(f"channel:{name}" for name in self.feed.channels),
        ]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return a page of threads, or of the replies of a thread that did not show them all."""
        state: dict[str, Any] = dict(token or {"page": None, "threads": [], "is_last": False})
        if state["threads"]:
            return self._replies(state)
        kind, _, name = window.stream.partition(":")
        answer = self._list(
            "commentThreads",
            {
                "part": "snippet,replies",
                PARAMETER[kind]: name,
                "order": "time",
                "pageToken": state["page"],
            },
        )
        threads = required_list(answer, "items")
        items: list[object] = []
        open_threads: list[list[str | None]] = []
        times = []
        for thread in threads:
            top = part(thread, "snippet", "topLevelComment")
            video = part(thread, "snippet", "videoId")
            shown = [_of_video(c, video) for c in list_at(thread, "replies", "comments")]
            items += [top if top is not None else thread, *shown]
            at = utc(part(top, "snippet", "publishedAt"))
            times += [at] if at else []
            count = part(thread, "snippet", "totalReplyCount")
            if isinstance(count, int) and count > len(shown) and at and at >= window.since:
                open_threads.append([str(part(thread, "id")), None, video])
        below = part(answer, "nextPageToken")
        is_beyond = bool(times) and max(times) < window.since
        is_last = not isinstance(below, str) or is_beyond
        following = {"page": below, "threads": open_threads, "is_last": is_last}
        return Listing(items, None if is_last and not open_threads else following)

    def _replies(self, state: dict[str, Any]) -> Listing:
        (parent, page, video), *others = state["threads"]
        query = {"part": "snippet", "parentId": parent, "pageToken": page}
        try:
            answer = self._list("comments", query)
        except GoneError:  # commentNotFound: the thread was deleted after it was listed
            answer = {"items": []}
        below = part(answer, "nextPageToken")
        threads = [[parent, below, video], *others] if isinstance(below, str) else others
        items = [_of_video(c, video) for c in required_list(answer, "items")]
        if state["is_last"] and not threads:
            return Listing(items)
        return Listing(items, {**state, "threads": threads})

    def _list(self, kind: str, parameters: Mapping[str, Any]) -> Any:
        """Ask for a page; a quota that is spent ends the run without an error."""
        self.http.budget.require_units(UNITS_PER_CALL)
        query = {"maxResults": PAGE_SIZE, "textFormat": "plainText", **parameters}
        try:
            answer = self.http.get_json(f"{self.feed.server}/{kind}", query)
        except RefusedError as error:
            if any(reason in error.body for reason in QUOTA):
                message = "YouTube says that the quota of the project is spent; it is new at midnight Pacific time"
                raise BudgetSpentError(message) from error
            if parameters.get("pageToken") and error.status == 400:
                raise TokenExpiredError(str(error)) from error
            raise
        self.http.budget.charge(UNITS_PER_CALL)
        return answer

    def record(self, item: Item) -> Record:
        """A comment, or a reply to one."""
        said = item["snippet"]
        posted_at, updated_at = said.get("publishedAt"), said.get("updatedAt")
        video = said.get("videoId")
        return {
            "source_id": item.get("id"),
            "posted_at": posted_at,
            "edited_at": updated_at if updated_at != posted_at else None,
            "body": said.get("textOriginal") or said.get("textDisplay"),
            "author_handle": part(said, "authorChannelId", "value")
            or said.get("authorDisplayName"),
            "conversation_id": video,
            "parent_id": said.get("parentId"),
            "url": f"https://www.youtube.com/watch?v={video}&lc={item.get('id')}"
            if video
            else None,
            "like_count": said.get("likeCount"),
        }

    def native_id(self, item: Item, stream: str) -> str:  # noqa: ARG002 (one id everywhere)
        """The comment's id with its video, which a comment that is asked for by id does not name."""
        return f"{item.get('id')}@{part(item, 'snippet', 'videoId') or ''}"

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        """Ask for comments 50 at a time; what is not answered is gone."""
        found = Rechecked()
        for start in range(0, len(posts), self.asked_at_once):
            asked = posts[start : start + self.asked_at_once]
            videos = dict(post.native_id.split("@", 1) for post in asked)
            ids = ",".join(videos)
            answer = self._list("comments", {"part": "snippet", "id": ids, "maxResults": None})
            items = list(objects(required_list(answer, "items")))
            there = {item.get("id") for item in items}
            found.items += [_of_video(item, videos.get(str(item.get("id")))) for item in items]
            found.gone += [post.source_id for post in asked if post.source_id not in there]
        return found

    def probe(self) -> str:
        """Read the newest page of the first listing."""
        stream, now = self.streams()[0], datetime.now(UTC)
        page = self.fetch(Window(stream, now - timedelta(minutes=1), now), None)
        return f"{stream}: {len(page.items)} comment(s) on a page"


def _of_video(comment: Any, video: object) -> Any:
    """Return a comment with the id of its video: comments.list leaves it out, commentThreads.list not."""
    if not video or not isinstance(part(comment, "snippet"), dict):
        return comment
    return {**comment, "snippet": {"videoId": video, **comment["snippet"]}}
