"""The kinds of feeds in feedback.yaml: the keys of each, what they mean, and what may stand in them."""

import codecs
import os
import re
from datetime import date, timedelta
from typing import Annotated, ClassVar, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from data_platform.errors import ConfigurationError

ContractField = Literal[
    "source_id",
    "posted_at",
    "body",
    "title",
    "author_handle",
    "edited_at",
    "is_deleted",
    "language",
    "rating",
    "label",
    "topic",
    "conversation_id",
    "parent_id",
    "url",
    "like_count",
    "share_count",
    "reply_count",
    "change",
]
FileFormat = Literal["csv", "tsv", "ndjson", "json", "parquet", "xlsx"]
CONTRACT_FIELDS: tuple[str, ...] = get_args(ContractField)
EPOCH_FORMATS = ("epoch_seconds", "epoch_milliseconds", "epoch_microseconds")
REQUIRED_FIELDS = ("source_id", "posted_at", "body")


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def interval(text: str) -> timedelta:
    """Return the length of an interval that was written as in feedback.yaml, such as 5m."""
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


def _check_interval(text: str) -> str:
    if not re.fullmatch(r"\d{1,6}[smhd]", text):
        message = f"{text!r} is not an interval; write a number and s, m, h or d, such as 5m"
        raise ValueError(message)
    return text


def _check_positive(text: str) -> str:
    if not interval(text):
        message = "it must be longer than 0"
        raise ValueError(message)
    return text


def _check_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        message = f"{name!r} is not a time zone; write a name such as UTC or Europe/Berlin"
        raise ValueError(message) from error
    return name


def _check_encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        message = f"{name!r} is not an encoding; write a name such as utf-8, cp1252 or utf-16"
        raise ValueError(message) from error


def _check_path(text: str) -> str:
    if not text.isprintable():
        message = "a path has no line breaks and no control characters"
        raise ValueError(message)
    return text


def _check_date_format(text: str) -> str:
    if text in EPOCH_FORMATS:
        return text
    import duckdb  # reads the dates, so it says what a format is

    try:
        duckdb.execute("SELECT try_strptime('', ?)", [text])
    except duckdb.Error as error:
        names = ", ".join(EPOCH_FORMATS)
        message = f"{text!r} is no format of dates, such as '%d.%m.%Y %H:%M', and none of {names}"
        raise ValueError(message) from error
    if "%" not in text:
        message = f"{text!r} has no % in it; write a format such as '%d.%m.%Y %H:%M'"
        raise ValueError(message)
    return text


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


PathText = Annotated[str, AfterValidator(_check_path)]
DateFormat = Annotated[str, AfterValidator(_check_date_format)]
Interval = Annotated[str, AfterValidator(_check_interval)]
Encoding = Annotated[str, AfterValidator(_check_encoding)]
ColumnNames = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_one_or_several, json_schema_input_type=str | list[str]),
]
TimeZoneName = Annotated[str, AfterValidator(_check_time_zone)]
FeedName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]


class Strict(BaseModel):
    """Refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _shown(address: str) -> str:
    """Return an address for a message: without the user, the password and the query in it."""
    return repr(re.sub(r"(?<=//)[^/]*@|[?#].*", "***", address)[:60])


def _check_server(text: str) -> str:
    server = text.rstrip("/")
    if not re.fullmatch(r"(https?|wss?)://[^\s/@?#]+(/[^\s?#@]*)?", server):
        message = f"{_shown(text)} is not an address; write one such as https://mastodon.social"
        raise ValueError(message)
    return server


def _check_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        message = "the name of an environment variable is expected, such as MASTODON_TOKEN"
        raise ValueError(message)
    return name


def _check_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s@#]+", text):
        message = f"{_shown(text)} is not an address; write one such as https://shop.example/api"
        raise ValueError(message)
    return text


Server = Annotated[str, AfterValidator(_check_server)]
Servers = Annotated[
    tuple[Server, ...],
    Field(min_length=1),
    BeforeValidator(_one_or_several, json_schema_input_type=str | list[str]),
]
Words = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=500)], ...],
    BeforeValidator(_one_or_several, json_schema_input_type=str | list[str]),
]
Address = Annotated[str, AfterValidator(_check_address)]
PositiveInterval = Annotated[Interval, AfterValidator(_check_positive)]


class EnvironmentSecret(Strict):
    """A secret that an environment variable holds; feedback.yaml names the variable alone."""

    env: Annotated[str, AfterValidator(_check_variable)] = Field(
        description="Name of the environment variable that holds the secret."
    )

    def read(self) -> str:
        """Return the secret.

        Raises:
            ConfigurationError: the variable is not set, or empty.
        """
        value = os.environ.get(self.env, "").strip()
        if not value:
            message = f"The environment variable {self.env} is not set; feedback.yaml names it."
            raise ConfigurationError(message)
        return value

    @model_validator(mode="before")
    @classmethod
    def _refuse_the_secret_itself(cls, value: object) -> object:
        """Say what to write; the usual message would show what stands there."""
        if not isinstance(value, dict | EnvironmentSecret):
            message = (
                "write the variable that holds it, such as {env: MY_TOKEN}; a secret does not stand"
                " in this file"
            )
            raise ValueError(message)
        return value


def secrets_in(part: object) -> list[str]:
    """Return every secret below a part of the configuration, of those variables that are set."""
    if isinstance(part, EnvironmentSecret):
        value = os.environ.get(part.env, "").strip()
        return [value] if value else []
    if isinstance(part, BaseModel):
        return [secret for _, value in part for secret in secrets_in(value)]
    return []


class Feed(Strict):
    """What every kind of feed has."""

    kind: str = Field(description="The kind of feed.")
    name: FeedName = Field(description="Name of the feed: a-z, digits and _, 41 characters.")
    source: FeedName | None = Field(
        default=None, description="Platform that the ids belong to; default: the feed's name."
    )
    default_language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}$",
        description="Language that undetermined short texts take.",
    )
    stale_after: PositiveInterval | None = Field(
        default="3d", description="A person is told when no new post came for so long; null: never."
    )

    @property
    def platform(self) -> str:
        """The platform whose ids the feed delivers."""
        return self.source or self.name


class MappedFeed(Feed):
    """A feed whose columns the user maps to the post contract."""

    timezone: TimeZoneName = Field(default="UTC", description="Time zone of dates that carry none.")
    posted_at_format: DateFormat | None = Field(
        default=None,
        description="strptime format of the dates, or epoch_seconds, epoch_milliseconds or"
        " epoch_microseconds;"
        " default: ISO 8601.",
    )
    trust_ids: bool = Field(
        default=False,
        description="True: land files even if their ids look rounded or cut by a spreadsheet.",
    )
    fields: dict[ContractField, ColumnNames] = Field(
        description="Field of the post contract: column of the file, path in JSON (user.name),"
        " or a list of those, of which a file has one."
    )
    constants: dict[ContractField, str] = Field(
        default_factory=dict, description="Field of the post contract: the same value for all."
    )
    rating_scale: tuple[float, float] | None = Field(
        default=None, description="Lowest and highest rating, such as [1, 5]."
    )
    keep: tuple[str, ...] = Field(
        default=(), description="Further columns to keep in source_metadata (personal zone)."
    )

    @model_validator(mode="after")
    def _check_mapping(self) -> Self:
        mapped = {*self.fields, *self.constants}
        required = ("source_id",) if "change" in mapped else REQUIRED_FIELDS
        missing = [field for field in required if field not in mapped]
        if missing:
            message = f"fields must map {', '.join(missing)} to a column of the file"
            raise ValueError(message)
        if "source_id" in self.constants:
            message = "source_id cannot be a constant: every post needs its own"
            raise ValueError(message)
        both = sorted(set(self.fields) & set(self.constants))
        if both:
            message = f"{', '.join(both)} stands under fields and under constants; keep one"
            raise ValueError(message)
        if "rating" in self.fields and self.rating_scale is None:
            message = "rating needs rating_scale, such as rating_scale: [1, 5]"
            raise ValueError(message)
        if self.rating_scale and self.rating_scale[0] >= self.rating_scale[1]:
            message = "rating_scale must be [lowest, highest]"
            raise ValueError(message)
        return self


class FileFeed(MappedFeed):
    """A feed of files: a path, a folder or a glob, of one format or several."""

    kind: Literal["file"] = Field(description="The kind of feed: file.")
    path: PathText = Field(min_length=1, description="File, folder or glob, relative to this file.")
    format: FileFormat | None = Field(
        default=None, description="Format of the files; default: told by their suffix."
    )
    encoding: Encoding | None = Field(
        default=None,
        description="Encoding of text files that state none; default: UTF-8, or UTF-16 if they look so.",
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="Between the columns of CSV; default: the one of , ; tab | that fits the header.",
    )
    quoted: bool = Field(
        default=True,
        description="Whether a CSV field may stand in double quotes; false: a quote is a letter.",
    )
    comment: str | None = Field(
        default=None, min_length=1, description="Lines of CSV that begin with this are left out."
    )
    columns: tuple[str, ...] = Field(
        default=(), description="Names of the columns, for CSV and Excel files without a header."
    )
    sheet: str | None = Field(
        default=None, description="Sheet of an Excel workbook; default: the first."
    )
    records: str | None = Field(
        default=None,
        description="Path of the list of records in a JSON file, such as data.items;"
        " default: the file itself, or the one list of objects in it.",
    )
    every: PositiveInterval = Field(
        default="1m", description="How often the feed is looked at, at the latest."
    )
    settle: Interval = Field(
        default="5s",
        description="A file is read when nobody has changed it for this long;"
        " 0s where files arrive by rename.",
    )
    stale_after: PositiveInterval | None = Field(
        default=None,
        description="A person is told when no new post came for so long; default: never.",
    )


class ApiFeed(Feed):
    """A feed that a connector collects from an interface on the network."""

    every: PositiveInterval = Field(default="5m", description="How often the feed is collected.")
    overlap: Interval | None = Field(
        default=None,
        description="What each collection reads again, for late, edited and deleted posts;"
        " default: what the platform needs, see data-platform sources.",
    )
    recheck_after: PositiveInterval | None = Field(
        default=None,
        description="Posts that were not seen for so long are asked for again, where the platform"
        " allows it: what was edited or deleted meanwhile follows; default: never.",
    )
    since: date | None = Field(
        default=None, description="First day to collect; default: start_date of the platform."
    )
    requests_per_run: int = Field(
        default=1_000,
        ge=1,
        description="A run stops after so many requests; the next one goes on there.",
    )
    requests_per_day: int | None = Field(
        default=None, ge=1, description="The same for a day (UTC); default: no limit."
    )
    unreachable_days: Literal["fail", "skip"] = Field(
        default="fail",
        description="What becomes of a day that the platform cannot serve: its run fails, or the"
        " day is skipped; never an empty one that looks complete.",
    )
    timeout: PositiveInterval = Field(default="30s", description="Longest wait for one answer.")


class PlatformFeed(ApiFeed):
    """A feed whose connector knows the platform: dates in ISO 8601, ids as the platform writes them."""

    timezone: ClassVar[str] = "UTC"
    posted_at_format: ClassVar[str | None] = None
    trust_ids: ClassVar[bool] = True
    rating_scale: ClassVar[tuple[float, float] | None] = None


class MastodonFeed(PlatformFeed):
    """Posts of Mastodon servers, and of others that speak its API."""

    kind: Literal["mastodon"] = Field(description="The kind of feed: mastodon.")
    source: FeedName | None = Field(default="mastodon", description="Platform of the ids.")
    server: Servers = Field(
        default=("https://mastodon.social",), description="One server, or a list of them."
    )
    hashtags: Words = Field(default=(), description="Hashtags, without #.")
    accounts: Words = Field(default=(), description="Accounts, such as shop@mastodon.social.")
    search: Words = Field(default=(), description="Searches; most servers want a token for them.")
    public: bool = Field(default=False, description="True: the whole public timeline.")
    history: bool = Field(
        default=False,
        description="True: also the earlier versions of edited posts; a request for each of them.",
    )
    token: EnvironmentSecret | None = Field(
        default=None, description="Access token with the right read:statuses."
    )

    @model_validator(mode="after")
    def _check_listings(self) -> Self:
        if not (self.hashtags or self.accounts or self.search or self.public):
            message = "name what to collect: hashtags, accounts, search or public: true"
            raise ValueError(message)
        return self


class BlueskyFeed(PlatformFeed):
    """Posts of Bluesky: live from Jetstream, and back in time for named accounts."""

    kind: Literal["bluesky"] = Field(description="The kind of feed: bluesky.")
    source: FeedName | None = Field(default="bluesky", description="Platform of the ids.")
    jetstream: Servers | None = Field(
        default=(
            "wss://jetstream2.us-east.bsky.network",
            "wss://jetstream1.us-west.bsky.network",
        ),
        description="Jetstream servers, the first that answers is used; null: do not follow.",
    )
    words: Words = Field(
        default=(), description="Words of which a post must hold one; none: all posts."
    )
    dids: Words = Field(
        default=(), description="Accounts to follow, by their DID (did:plc:…); none: everybody."
    )
    service: Server = Field(
        default="https://public.api.bsky.app", description="AppView for looking back."
    )
    authors: Words = Field(
        default=(), description="Accounts whose earlier posts are listed, by handle or DID."
    )
    search: Words = Field(
        default=(), description="Searches; the service is often closed to them (see the page)."
    )
    token: EnvironmentSecret | None = Field(
        default=None, description="Access token (accessJwt) for the service."
    )
    burst: PositiveInterval = Field(
        default="20s", description="Longest time of one burst of following."
    )
    burst_events: int = Field(
        default=20_000, ge=10, description="Most events of one burst of following."
    )

    @model_validator(mode="after")
    def _check_listings(self) -> Self:
        if not (self.jetstream or self.authors or self.search):
            message = "name what to collect: jetstream, authors or search"
            raise ValueError(message)
        return self


class HackerNewsFeed(PlatformFeed):
    """Stories and comments of Hacker News, complete since 2006."""

    kind: Literal["hackernews"] = Field(description="The kind of feed: hackernews.")
    source: FeedName | None = Field(default="hackernews", description="Platform of the ids.")
    queries: Words = Field(
        default=(), description="Words to search for; none: everything that is written."
    )
    tags: Words = Field(default=("story", "comment"), description="Kinds of items.")
    server: Server = Field(
        default="https://hn.algolia.com/api/v1", description="The search (Algolia)."
    )
    items: Server = Field(
        default="https://hacker-news.firebaseio.com/v0", description="The items (Firebase)."
    )


class RedditFeed(PlatformFeed):
    """Posts and comments of subreddits, and searches."""

    kind: Literal["reddit"] = Field(description="The kind of feed: reddit.")
    source: FeedName | None = Field(default="reddit", description="Platform of the ids.")
    subreddits: Words = Field(default=(), description="Subreddits: their posts and comments.")
    search: Words = Field(default=(), description="Searches over all of Reddit.")
    comments: bool = Field(default=True, description="Whether comments are collected too.")
    client_id: EnvironmentSecret = Field(description="Client id of the approved application.")
    client_secret: EnvironmentSecret = Field(description="Its secret.")
    user_agent: str = Field(
        default="python:customer-feedback-platform:v0.1 (by /u/unknown)",
        min_length=1,
        description="What Reddit asks for: platform:application:version (by /u/name).",
    )
    server: Server = Field(default="https://oauth.reddit.com", description="The API.")
    token_server: Server = Field(
        default="https://www.reddit.com", description="Where access tokens come from."
    )

    @model_validator(mode="after")
    def _check_listings(self) -> Self:
        if not (self.subreddits or self.search):
            message = "name what to collect: subreddits or search"
            raise ValueError(message)
        return self


class YouTubeFeed(PlatformFeed):
    """Comments under YouTube videos, and their replies."""

    kind: Literal["youtube"] = Field(description="The kind of feed: youtube.")
    source: FeedName | None = Field(default="youtube", description="Platform of the ids.")
    videos: Words = Field(default=(), description="Ids of videos.")
    channels: Words = Field(default=(), description="Ids of channels: comments on all its videos.")
    key: EnvironmentSecret = Field(description="API key of a Google Cloud project.")
    recheck_after: PositiveInterval | None = Field(
        default="25d",
        description="Posts that were not seen for so long are asked for again: YouTube wants what is"
        " kept refreshed, or deleted, within 30 days.",
    )
    units_per_day: int = Field(
        default=9_000, ge=1, description="Quota units that the feed may spend a day (of 10,000)."
    )
    server: Server = Field(default="https://www.googleapis.com/youtube/v3", description="The API.")

    @model_validator(mode="after")
    def _check_listings(self) -> Self:
        if not (self.videos or self.channels):
            message = "name what to collect: videos or channels"
            raise ValueError(message)
        return self


class XFeed(PlatformFeed):
    """Posts of X that a search finds."""

    kind: Literal["x"] = Field(description="The kind of feed: x.")
    source: FeedName | None = Field(default="x", description="Platform of the ids.")
    queries: Words = Field(min_length=1, description="Searches, in the syntax of X.")
    archive: bool = Field(
        default=False, description="True: the full archive; false: the last seven days."
    )
    token: EnvironmentSecret = Field(description="Bearer token of the application.")
    usd_per_post: float = Field(default=0.005, ge=0, description="Price of one post read.")
    usd_per_day: float = Field(
        default=5.0, gt=0, description="Money that the feed may spend a day."
    )
    compliance_from: int = Field(
        default=20,
        ge=1,
        description="From so many posts on, a compliance job re-checks them: free, but slower.",
    )
    server: Server = Field(default="https://api.x.com/2", description="The API.")

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        least = 10 * self.usd_per_post
        if self.usd_per_day < least:
            message = f"usd_per_day must be at least {least:g}: X sells ten posts at a time"
            raise ValueError(message)
        return self


class AppStoreFeed(PlatformFeed):
    """Customer reviews of the App Store."""

    kind: Literal["app_store"] = Field(description="The kind of feed: app_store.")
    source: FeedName | None = Field(default="app_store", description="Platform of the ids.")
    rating_scale: ClassVar[tuple[float, float] | None] = (1.0, 5.0)
    apps: Words = Field(min_length=1, description="Numeric ids of apps.")
    countries: Words = Field(
        default=("us",), description="Storefronts of the public feed, by two-letter code."
    )
    key: EnvironmentSecret | None = Field(
        default=None,
        description="Private key (.p8) of App Store Connect, for your own apps: complete history.",
    )
    key_id: str | None = Field(default=None, description="Id of that key.")
    issuer_id: str | None = Field(default=None, description="Issuer of that key.")
    server: Server = Field(
        default="https://itunes.apple.com", description="The public feed of reviews."
    )
    connect_server: Server = Field(
        default="https://api.appstoreconnect.apple.com", description="App Store Connect."
    )

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.key and not (self.key_id and self.issuer_id):
            message = "key needs key_id and issuer_id beside it"
            raise ValueError(message)
        return self


class GooglePlayFeed(PlatformFeed):
    """Reviews of your own apps on Google Play, of the last week."""

    kind: Literal["google_play"] = Field(description="The kind of feed: google_play.")
    source: FeedName | None = Field(default="google_play", description="Platform of the ids.")
    rating_scale: ClassVar[tuple[float, float] | None] = (1.0, 5.0)
    packages: Words = Field(min_length=1, description="Package names, such as com.example.app.")
    service_account: EnvironmentSecret = Field(
        description="JSON key of a service account with the right to reply to reviews."
    )
    server: Server = Field(
        default="https://androidpublisher.googleapis.com/androidpublisher/v3",
        description="The API.",
    )


class ZendeskFeed(PlatformFeed):
    """Tickets of your Zendesk account, with edits and deletions."""

    kind: Literal["zendesk"] = Field(description="The kind of feed: zendesk.")
    source: FeedName | None = Field(default="zendesk", description="Platform of the ids.")
    server: Server = Field(description="Your account, such as https://shop.zendesk.com.")
    email: EnvironmentSecret = Field(description="Address of the agent that the token is of.")
    token: EnvironmentSecret = Field(description="API token.")
    requests_per_minute: int = Field(
        default=10, ge=1, description="Pace of the export; Zendesk allows 10 a minute."
    )


class GitHubFeed(PlatformFeed):
    """Issues of GitHub repositories, and the comments on them."""

    kind: Literal["github"] = Field(description="The kind of feed: github.")
    source: FeedName | None = Field(default="github", description="Platform of the ids.")
    repositories: Words = Field(min_length=1, description="Repositories, as owner/name.")
    comments: bool = Field(default=True, description="Whether comments are collected too.")
    token: EnvironmentSecret | None = Field(
        default=None, description="Token; without one GitHub answers 60 requests an hour."
    )
    server: Server = Field(default="https://api.github.com", description="The API.")


class StackExchangeFeed(PlatformFeed):
    """Questions and answers of a site of Stack Exchange."""

    kind: Literal["stackexchange"] = Field(description="The kind of feed: stackexchange.")
    source: FeedName | None = Field(default="stackexchange", description="Platform of the ids.")
    site: str = Field(default="stackoverflow", min_length=1, description="The site.")
    tags: Words = Field(default=(), description="Tags, each by itself; none: every question.")
    answers: bool = Field(default=True, description="Whether answers are collected too.")
    key: EnvironmentSecret | None = Field(
        default=None, description="Key of an application: 10,000 requests a day instead of 300."
    )
    server: Server = Field(default="https://api.stackexchange.com/2.3", description="The API.")


class RssFeed(PlatformFeed):
    """Entries of RSS and Atom feeds."""

    kind: Literal["rss"] = Field(description="The kind of feed: rss.")
    urls: Annotated[
        tuple[Address, ...],
        Field(min_length=1),
        BeforeValidator(_one_or_several, json_schema_input_type=str | list[str]),
    ] = Field(description="Addresses of the feeds.")
    every: PositiveInterval = Field(default="15m", description="How often the feed is collected.")


class RestAuthentication(Strict):
    """How a request proves who asks: one of header, bearer, basic or OAuth 2."""

    header: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9-]+$", description="Name of a header for the secret."
    )
    secret: EnvironmentSecret | None = Field(
        default=None, description="Secret of the header, or of bearer: true."
    )
    bearer: bool = Field(default=False, description="True: Authorization: Bearer SECRET.")
    user: EnvironmentSecret | None = Field(default=None, description="User of HTTP Basic.")
    password: EnvironmentSecret | None = Field(default=None, description="Its password.")
    token_url: Address | None = Field(
        default=None, description="OAuth 2 client credentials: where tokens come from."
    )
    client_id: EnvironmentSecret | None = Field(default=None, description="OAuth 2 client id.")
    client_secret: EnvironmentSecret | None = Field(default=None, description="Its secret.")
    scope: str | None = Field(default=None, description="OAuth 2 scope.")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        ways = {
            "header and secret": (self.header, self.secret),
            "bearer: true and secret": (self.bearer, self.secret),
            "user and password": (self.user, self.password),
            "token_url, client_id and client_secret": (
                self.token_url,
                self.client_id,
                self.client_secret,
            ),
        }
        chosen = [name for name, parts in ways.items() if all(parts)]
        begun = [bool(p) for p in (self.header, self.bearer, self.user, self.token_url)]
        if len(chosen) != 1 or sum(begun) != 1:
            message = f"write one of: {'; '.join(ways)}"
            raise ValueError(message)
        return self


class RestPaging(Strict):
    """How one page leads to the next."""

    by: Literal["none", "link", "cursor", "page", "offset"] = Field(
        default="none",
        description="link: a Link header with rel=next, or next_path; cursor: a value of the"
        " answer; page and offset: numbers; none: one page.",
    )
    next_path: str | None = Field(
        default=None,
        description="Path in the answer of the next address (link) or of the cursor (cursor).",
    )
    parameter: str | None = Field(
        default=None, description="Parameter of the cursor, page or offset; default: its name."
    )
    size: int | None = Field(default=None, ge=1, description="Records of a page.")
    size_parameter: str | None = Field(
        default=None, description="Parameter that asks for that size."
    )
    first: int | None = Field(
        default=None, ge=0, description="First page or offset; default: 1, 0."
    )

    @model_validator(mode="after")
    def _check_paging(self) -> Self:
        if self.by == "cursor" and not self.next_path:
            message = "by: cursor needs next_path, where the answer says the next cursor"
            raise ValueError(message)
        if self.by == "offset" and not self.size:
            message = "by: offset needs size, the records of a full page"
            raise ValueError(message)
        return self


class RestWindow(Strict):
    """How the API is asked for a stretch of time."""

    since_parameter: str = Field(min_length=1, description="Parameter of the window's begin.")
    until_parameter: str | None = Field(
        default=None, description="Parameter of the window's end; default: none, it is the present."
    )
    format: str = Field(
        default="%Y-%m-%dT%H:%M:%SZ",
        description="strftime format of both (UTC), or epoch_seconds or epoch_milliseconds.",
    )
    by: Literal["posted_at", "edited_at"] = Field(
        default="posted_at", description="Which time of a record the window is about."
    )

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        if self.format not in EPOCH_FORMATS and "%" not in self.format:
            message = "format is a strftime format such as %Y-%m-%d, or one of the epochs"
            raise ValueError(message)
        return self


class RestFeed(ApiFeed, MappedFeed):
    """Any API that answers with JSON."""

    kind: Literal["rest"] = Field(description="The kind of feed: rest.")
    url: Address = Field(description="Address of the records.")
    parameters: dict[str, str] = Field(
        default_factory=dict, description="Parameters of every request."
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="Headers of every request; secrets go under auth."
    )
    auth: RestAuthentication | None = Field(default=None, description="How to prove who asks.")
    records: str | None = Field(
        default=None,
        description="Path of the list of records in an answer, such as data.items; default: the"
        " answer itself, or the one list in it.",
    )
    paging: RestPaging = Field(default=RestPaging(), description="How pages follow each other.")
    window: RestWindow | None = Field(
        default=None,
        description="How to ask for a stretch of time; without one every collection reads all.",
    )
    trust_ids: bool = Field(
        default=True, description="False: refuse answers whose ids look rounded or cut."
    )


class DltFeed(ApiFeed, MappedFeed):
    """A resource of dlt (the library), read as a feed."""

    kind: Literal["dlt"] = Field(description="The kind of feed: dlt.")
    resource: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:function that returns a dlt resource or source.",
    )
    arguments: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Keyword arguments of that function."
    )
    trust_ids: bool = Field(
        default=True, description="False: refuse records whose ids look rounded or cut."
    )


class WebhookFeed(MappedFeed):
    """Feedback that others send: `data-platform webhook` takes it in."""

    kind: Literal["webhook"] = Field(description="The kind of feed: webhook.")
    secret: EnvironmentSecret = Field(description="Secret that senders sign their requests with.")
    signature_header: str = Field(
        default="X-Signature-256",
        pattern=r"^[A-Za-z0-9-]+$",
        description="Header of the signature: sha256=HEX, HMAC-SHA256 of the body.",
    )
    records: str | None = Field(
        default=None,
        description="Path of the list of records in a request; default: the request is one record,"
        " or a list of them.",
    )
    max_bytes: int = Field(
        default=1_000_000, ge=1, le=100_000_000, description="Longest request that is taken."
    )
    trust_ids: bool = Field(
        default=True, description="False: refuse requests whose ids look rounded or cut."
    )
    every: PositiveInterval = Field(default="1m", description="How often new days are looked for.")


AnyFeed = Annotated[
    FileFeed
    | MastodonFeed
    | BlueskyFeed
    | HackerNewsFeed
    | RedditFeed
    | YouTubeFeed
    | XFeed
    | AppStoreFeed
    | GooglePlayFeed
    | ZendeskFeed
    | GitHubFeed
    | StackExchangeFeed
    | RssFeed
    | RestFeed
    | DltFeed
    | WebhookFeed,
    Field(discriminator="kind"),
]

FEED_KINDS: tuple[str, ...] = tuple(
    get_args(model.model_fields["kind"].annotation)[0] for model in get_args(get_args(AnyFeed)[0])
)
