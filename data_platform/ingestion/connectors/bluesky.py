"""Bluesky: follows Jetstream in bursts, and looks back by the feeds of named authors and by search."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from data_platform.errors import PermanentSourceError, RefusedError, UnreachableError
from data_platform.feed_settings import BlueskyFeed, interval
from data_platform.ingestion.connectors.connector import (
    KNOWN_ONLY,
    Connector,
    Item,
    Known,
    Listing,
    Rechecked,
    Record,
    Token,
    Traits,
    Window,
    objects,
    part,
    required_list,
    utc,
)
from data_platform.ingestion.connectors.http import Answer, HiccupError, Http
from data_platform.ingestion.connectors.json_records import parse_json

POSTS = "app.bsky.feed.post"
JETSTREAM = "jetstream"
PAGE_SIZE = 100  # getAuthorFeed, searchPosts: limit at most 100 (their lexicons)
# Events are kept for about a day for those who come back; what is older cannot be followed.
ARCHIVE = timedelta(hours=24)
# Coming back, the last seconds are read again: events are in order for each account, not overall.
REWIND = timedelta(seconds=5)
CLAMPED_BY = timedelta(minutes=1)
QUIET_SECONDS = 2.0
# createdAt is what the author's program claims; beyond this it is not believed.
CLAIMED_WITHIN = timedelta(days=1)
# Messages that are on their way hold up a courteous end.
CLOSE_SECONDS = 0.2
MAX_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass
class _Burst:
    """What one connection has brought.

    Attributes:
        cursor: where to go on: the number of the last message (v2: is_sequence), or its time (v1).
        moment: time of the last event.
    """

    items: list[object] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    cursor: int | None = None
    is_sequence: bool = False
    first: datetime | None = None
    moment: datetime | None = None
    count: int = 0
    is_caught_up: bool = False


class BlueskyConnector(Connector[BlueskyFeed]):
    """Reads the network's own stream of events: created, updated and deleted posts, and accounts.

    The stream promises each event at least once. A burst ends when it has caught up with the
    window's end, after `burst` or `burst_events`, or when the connection breaks; the cursor waits
    in the ledger until the next.
    """

    traits = Traits(
        title="Bluesky",
        reach="following: from the last day on; named authors: all their posts; search: what the"
        " service allows",
        edits="events of the stream (update)",
        deletions="events of the stream: posts, and accounts with all their posts; for authors and"
        " searches, posts that are missing are asked for",
        overlap=timedelta(hours=6),
        id_type="at:// address of the post",
        cost="nothing; the stream has no limit, the service says its own",
        needs="nothing; an access token for searches, where the service allows them at all",
    )
    asked_at_once = 25  # getPosts: at most 25 (its lexicon)
    remembers: ClassVar[timedelta | None] = None

    def __init__(self, feed: BlueskyFeed, http: Http) -> None:
        super().__init__(feed, http)
        if feed.token is not None:
            secret = feed.token.read()
            http.authorize = lambda _: {"Authorization": f"Bearer {secret}"}
        words = "|".join(re.escape(word.casefold()) for word in feed.words)
        self._words = re.compile(rf"(?<!\w)({words})(?!\w)") if words else None

    def streams(self) -> list[str]:
        """'jetstream', and such as 'author:shop.bsky.social' and 'search:words'."""
        return [
            *([JETSTREAM] if self.feed.jetstream else []),
            *(f"author:{name.lstrip('@')}" for name in self.feed.authors),
            *(f"search:{words}" for words in self.feed.search),
        ]

    def overlap(self, stream: str) -> timedelta:
        """The stream goes on exactly where it was left; listings are read again."""
        return timedelta() if stream == JETSTREAM else self.traits.overlap

    def lists_all(self, stream: str) -> bool:
        """The stream tells deletions itself; the search misses what it likes."""
        return stream.startswith("author:")

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return one burst of the stream, or one page of a listing."""
        kind, _, name = window.stream.partition(":")
        if kind == JETSTREAM:
            return self._follow(window, token)
        if kind == "author":
            return self._author(name, window, token)
        return self._search(name, window, token)

    def _follow(self, window: Window, token: Token | None) -> Listing:
        place = token or window.position
        now = datetime.now(UTC)
        if place is None and window.until < now - ARCHIVE:
            message = "the stream keeps events for a day; name authors to list their earlier posts"
            raise UnreachableError(message)
        cursor: int | None
        if place is None:
            cursor = _micros(max(window.since, now - ARCHIVE))
        else:
            cursor = int(place["cursor"])
            if token is None and not place.get("is_sequence"):
                cursor -= int(REWIND / timedelta(microseconds=1))
        servers = list(self.feed.jetstream or ())
        is_foreign = False
        if place is not None and place.get("is_sequence"):  # numbers are the server's own
            is_foreign = place["server"] not in servers
            servers = servers if is_foreign else [place["server"]]
        burst, server, is_too_old = self._burst(
            servers, None if is_foreign else cursor, window.until
        )
        is_too_old = is_too_old or is_foreign
        if burst.cursor is None:
            # Nothing came: the next burst asks for the same moment, or the first day would be lost.
            position = dict(place) if place else {"cursor": cursor, "server": server}
        else:
            position = {"cursor": burst.cursor, "server": server, "is_sequence": burst.is_sequence}
        lost = _lost(window, place, burst, is_too_old)
        if not lost and token is not None and "lost_before" in token:
            lost = {
                "unreachable_before": utc(token["lost_before"]),
                "unreachable_reason": token["lost_reason"],
            }
        following = None if burst.is_caught_up or burst.cursor is None else position
        if following is not None and lost:
            # Another run may end the window, and it has to know.
            following = {
                **following,
                "lost_before": lost["unreachable_before"].isoformat(),
                "lost_reason": lost["unreachable_reason"],
            }
        return Listing(burst.items, following, position, tuple(burst.gone), **lost)

    def _burst(
        self, servers: Sequence[str], cursor: int | None, until: datetime
    ) -> tuple[_Burst, str, bool]:
        """Follow the first server that answers; also say whether the cursor was too old for it."""
        for server in servers[:-1]:
            try:
                return self._burst_of(server, cursor, until)
            except HiccupError:
                continue
        return self._burst_of(servers[-1], cursor, until)

    def _burst_of(
        self, server: str, cursor: int | None, until: datetime
    ) -> tuple[_Burst, str, bool]:
        try:
            burst = self.http.attempt(server, lambda: self._listen(server, cursor, until))
        except RefusedError as error:
            if "CursorTooOld" not in error.body:
                raise
            return (
                self.http.attempt(server, lambda: self._listen(server, None, until)),
                server,
                True,
            )
        return burst, server, False

    def _listen(self, server: str, cursor: int | None, until: datetime) -> _Burst:
        """Read messages until the burst is over.

        Raises:
            HiccupError: the connection broke before it brought anything.
        """
        query: dict[str, Any] = {"wantedCollections": POSTS}
        if self.feed.dids:
            query["wantedDids"] = list(self.feed.dids)
        if cursor is not None:
            query["cursor"] = cursor
        url = f"{server}/subscribe?{urlencode(query, doseq=True)}"
        burst = _Burst()
        seconds = interval(self.feed.burst).total_seconds()
        end = time.monotonic() + seconds
        try:
            with connect(
                url,
                open_timeout=interval(self.feed.timeout).total_seconds(),
                close_timeout=CLOSE_SECONDS,
                max_size=MAX_MESSAGE_BYTES,
                user_agent_header="customer-feedback-platform",
                proxy=None,
            ) as connection:
                self._read(connection, burst, end, until)
        except InvalidStatus as error:
            response = error.response
            headers = {name.lower(): value for name, value in response.headers.raw_items()}
            body = bytes(response.body or b"")
            self.http.refuse(Answer(server, response.status_code, headers, body, datetime.now(UTC)))
        except (InvalidHandshake, ConnectionClosed, OSError, EOFError) as error:
            if "CursorTooOld" in str(error):
                message = f"{server} does not know the cursor any more"
                raise RefusedError(message, 400, "CursorTooOld") from error
            if burst.cursor is None:
                message = f"{server} did not answer: {type(error).__name__}"
                raise HiccupError(message) from error
        return burst

    def _read(
        self, connection: ClientConnection, burst: _Burst, end: float, until: datetime
    ) -> None:
        while burst.count < self.feed.burst_events and time.monotonic() < end:
            try:
                message = connection.recv(timeout=QUIET_SECONDS)
            except TimeoutError:
                burst.is_caught_up = True
                return
            burst.count += 1
            self._take(message, burst)
            if burst.moment is not None and burst.moment >= until:
                burst.is_caught_up = True
                return

    def _take(self, message: str | bytes, burst: _Burst) -> None:
        text = message if isinstance(message, str) else message.decode("utf-8", "surrogateescape")
        try:
            event = parse_json(text)
        except (ValueError, RecursionError):
            burst.items.append(text)
            return
        if not isinstance(event, dict):
            burst.items.append(event)
            return
        if event.get("error") == "CursorTooOld":
            refusal = "the server does not know the cursor any more"
            raise RefusedError(refusal, 400, "CursorTooOld")
        moment = _moment(event.get("time_us"))
        place = event.get("seq", event.get("time_us") if moment else None)
        if isinstance(place, int) and 0 <= place < 2**63:
            burst.cursor, burst.is_sequence = place, "seq" in event
        if moment is not None:
            burst.moment = moment
            burst.first = burst.first or moment
        match event.get("kind"):
            case "commit" if part(event, "commit", "collection") == POSTS:
                if self._is_wanted(event):
                    burst.items.append(event)
            case "account" if part(event, "account", "active") is False and part(
                event, "account", "status"
            ) in ("deleted", "takendown"):
                burst.gone.append(f"at://{event.get('did')}/")

    def _is_wanted(self, event: Item) -> bool:
        """Created posts have to hold a word; whether others are known, the ledger tells."""
        if part(event, "commit", "operation") != "create" or self._words is None:
            return True
        text = part(event, "commit", "record", "text")
        return not isinstance(text, str) or bool(self._words.search(text.casefold()))

    def _author(self, actor: str, window: Window, token: Token | None) -> Listing:
        query = {"actor": actor, "limit": PAGE_SIZE, "filter": "posts_with_replies"}
        answer = self._ask(
            "app.bsky.feed.getAuthorFeed", {**query, "cursor": part(token, "cursor")}
        )
        entries = required_list(answer, "feed")
        # With a reason it is the repost of another's post, or one that is pinned to the top.
        items = [part(e, "post") or e for e in entries if part(e, "reason") is None]
        times = [at for e in entries if (at := utc(part(e, "post", "indexedAt")))]
        below = part(answer, "cursor")
        is_beyond = bool(times) and max(times) < window.since
        go_on = isinstance(below, str) and bool(below) and bool(entries) and not is_beyond
        return Listing(items, {"cursor": below} if go_on else None)

    def _search(self, words: str, window: Window, token: Token | None) -> Listing:
        query = {
            "q": words,
            "sort": "latest",
            "since": window.since.isoformat(),
            "until": window.until.isoformat(),
            "limit": PAGE_SIZE,
            "cursor": part(token, "cursor"),
        }
        try:
            answer = self._ask("app.bsky.feed.searchPosts", query)
        except RefusedError as error:
            if error.status not in (401, 403):
                raise
            message = (
                "the service does not let programs search. Follow the stream instead (jetstream, with"
                " words), or set token"
            )
            raise PermanentSourceError(message) from error
        below, items = part(answer, "cursor"), required_list(answer, "posts")
        go_on = isinstance(below, str) and bool(below) and bool(items)
        return Listing(items, {"cursor": below} if go_on else None)

    def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        return self.http.get_json(f"{self.feed.service}/xrpc/{method}", parameters)

    def record(self, item: Item) -> Record | None:
        """An event of the stream, or a post of a listing; a post of pictures alone says nothing."""
        if "commit" not in item:
            return self._post(item["uri"], item["record"], part(item, "author", "did"), item)
        commit, did = item["commit"], item["did"]
        uri = f"at://{did}/{commit['collection']}/{commit['rkey']}"
        if commit["operation"] == "delete":
            return {"source_id": uri, "change": "delete", KNOWN_ONLY: True}
        moment = _moment(item["time_us"])
        found = self._post(uri, commit["record"], did, {})
        if found is None or moment is None:
            return found
        claimed = utc(found["posted_at"])
        if claimed is None or abs(claimed - moment) > CLAIMED_WITHIN:
            found["posted_at"] = moment.isoformat()
        if commit["operation"] != "update":
            return found
        text = commit["record"].get("text")
        is_wanted = self._words is None or bool(self._words.search(str(text).casefold()))
        found |= {"edited_at": moment.isoformat(), KNOWN_ONLY: not is_wanted}
        if claimed is None or abs(claimed - moment) > CLAIMED_WITHIN:
            found["posted_at"] = claimed.isoformat() if claimed else moment.isoformat()
        return found

    def _post(self, uri: str, said: Any, did: Any, view: Item) -> dict[str, object] | None:
        text = said.get("text")
        if text == "":
            return None
        author, _, key = uri.removeprefix("at://").partition("/")
        return {
            "source_id": uri,
            "posted_at": said.get("createdAt"),
            "body": text if isinstance(text, str) else None,
            "author_handle": did,
            "language": part(said, "langs", 0),
            "conversation_id": part(said, "reply", "root", "uri") or uri,
            "parent_id": part(said, "reply", "parent", "uri"),
            "url": f"https://bsky.app/profile/{author}/post/{key.rpartition('/')[2]}",
            "like_count": view.get("likeCount"),
            "share_count": view.get("repostCount"),
            "reply_count": view.get("replyCount"),
        }

    def native_id(self, item: Item, stream: str) -> str:  # noqa: ARG002 (one id everywhere)
        """The at:// address."""
        return str(item.get("uri", ""))

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        """Ask for posts 25 at a time; those that are not answered are gone."""
        found = Rechecked()
        for start in range(0, len(posts), self.asked_at_once):
            asked = posts[start : start + self.asked_at_once]
            answer = self._ask("app.bsky.feed.getPosts", {"uris": [p.source_id for p in asked]})
            items = list(objects(required_list(answer, "posts")))
            there = {item.get("uri") for item in items}
            found.items += items
            found.gone += [post.source_id for post in asked if post.source_id not in there]
        return found

    def probe(self) -> str:
        """Listen for a moment, and read the newest page of the first listing."""
        now = datetime.now(UTC)
        seen = []
        for stream in self.streams():
            window = Window(stream, now - timedelta(seconds=10), now)
            page = self.fetch(window, None)
            seen.append(f"{stream}: {len(page.items)} post(s)")
        return "; ".join(seen)


def _lost(window: Window, place: Token | None, burst: _Burst, is_too_old: bool) -> dict[str, Any]:
    """Say what of the window the stream did not hold any more."""
    if place is None and burst.is_sequence:
        # A time means nothing to a server that counts, so the first burst begins at the present.
        reason = "the stream counts events and cannot be asked for a time; followed from here on"
        return {"unreachable_before": burst.first or window.until, "unreachable_reason": reason}
    if place is None:
        since = max(window.since, datetime.now(UTC) - ARCHIVE)
        if window.since >= since:
            return {}
        reason = "the stream keeps events for a day; name authors to list their earlier posts"
        return {"unreachable_before": since, "unreachable_reason": reason}
    if burst.first is None:
        return {}
    came_back_at = None if place.get("is_sequence") else utc(int(place["cursor"]) / 1_000_000)
    # A server that has forgotten the moment begins with its oldest event, and does not say so.
    is_clamped = (
        came_back_at is not None
        and came_back_at < datetime.now(UTC) - ARCHIVE
        and burst.first - came_back_at > CLAMPED_BY
    )
    if not (is_too_old or is_clamped):
        return {}
    reason = (
        "the stream did not keep the events since the last burst: collect more often than daily"
    )
    return {"unreachable_before": burst.first, "unreachable_reason": reason}


def _moment(micros: object) -> datetime | None:
    """Return the time of an event; None if it is none, which no cursor may come from."""
    return utc(micros / 1_000_000) if isinstance(micros, int) and 0 < micros < 2**63 else None


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
