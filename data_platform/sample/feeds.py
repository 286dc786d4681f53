"""The three feeds of the sample: how the platform reads them, and what is planted in each."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data_platform.sample.composition import Voice
from data_platform.sample.generation import SOCIAL_VOICE

SAMPLE_FEEDS: list[dict[str, Any]] = [
    {
        "name": "larkwing_social",
        "kind": "file",
        "source": "chirper",
        "path": "larkwing_social/*.csv*",
        "format": "csv",
        "posted_at_format": "%Y-%m-%d %H:%M:%S %z",
        "fields": {
            "source_id": "post_id",
            "posted_at": "created_at",
            "body": "text",
            "author_handle": "author",
            "like_count": "likes",
            "share_count": "reposts",
            "reply_count": "replies",
            "url": "permalink",
            "label": "sentiment_label",
            "is_deleted": "deleted",
        },
        "every": "1m",
        "settle": "0s",
    },
    {
        "name": "kaffeklar_reviews",
        "kind": "file",
        "path": "kaffeklar_reviews/*.ndjson",
        "fields": {
            "source_id": "review_id",
            "posted_at": "submitted_at",
            "edited_at": "edited_at",
            "title": "headline",
            "body": "review",
            "author_handle": "reviewer",
            "language": "lang",
            "rating": "stars",
            "url": "link",
        },
        "rating_scale": [1, 5],
        "every": "1m",
        "settle": "0s",
    },
    {
        "name": "fonwisp_support",
        "kind": "file",
        "path": "fonwisp_support/*.parquet",
        "timezone": "Europe/Berlin",
        "default_language": "de",
        "fields": {
            "source_id": "message_id",
            "conversation_id": "ticket_id",
            "parent_id": "reply_to",
            "posted_at": "written_at",
            "body": "message",
            "author_handle": "customer",
            "language": "language",
            "is_deleted": "removed",
        },
        "every": "1m",
        "settle": "0s",
    },
]


@dataclass(frozen=True)
class FeedPlan:
    """How much of what stands in a feed.

    Attributes:
        posts: Number of posts that keep the contract, late ones included.
        periods: First and last day (0 to 29) of each file, in order of delivery.
        file_name: Name of a file, with `{first}` and `{last}` for the days it covers.
        broken: Number of broken rows by reason.
        late_files: Fewest and most files by which a late post comes after its own file.
    """

    name: str
    voice: Voice
    posts: int
    periods: tuple[tuple[int, int], ...]
    file_name: str
    late: int
    late_files: tuple[int, int]
    redelivered: int
    edits: int
    deletions: int = 0
    retweets: int = 0
    campaign_posts: int = 0
    author_repeats: int = 0
    mojibake: int = 0
    broken: Mapping[str, int] = field(default_factory=dict)
    has_incident: bool = False

    def path_of(self, number: int, first_day: dt.date) -> str:
        """Return the path of file `number`, relative to the folder of the sample."""
        first, last = (first_day + dt.timedelta(days=day) for day in self.periods[number])
        name = self.file_name.format(first=first, last=last)
        is_gzipped = name.endswith(".csv") and first != last
        return f"{self.name}/{name}{'.gz' if is_gzipped else ''}"

    def file_of(self, day: int) -> int:
        """Return the number of the file that covers `day`."""
        return next(n for n, (first, last) in enumerate(self.periods) if first <= day <= last)


COMMON_FAULTS = (
    "missing_id",
    "unreadable_date",
    "future_date",
    "date_before_first_day",
    "empty_body",
)
FEED_PLANS = (
    FeedPlan(
        name="larkwing_social",
        voice=SOCIAL_VOICE,
        posts=3_900,
        periods=((0, 6), (7, 13), *((day, day) for day in range(14, 30))),
        file_name="posts-{last}.csv",
        late=40,
        late_files=(2, 5),
        redelivered=60,
        edits=30,
        deletions=15,
        retweets=40,
        campaign_posts=40,
        author_repeats=15,
        mojibake=12,
        broken=dict.fromkeys((*COMMON_FAULTS, "too_few_columns"), 7),
        has_incident=True,
    ),
    FeedPlan(
        name="kaffeklar_reviews",
        voice=Voice("coffee", (0.3, 0.32, 0.16, 0.22), (0.5, 0.12, 0.23, 0.15)),
        posts=900,
        periods=tuple((day, day + 2) for day in range(0, 30, 3)),
        file_name="reviews-{last}.ndjson",
        late=15,
        late_files=(1, 2),
        redelivered=15,
        edits=25,
        author_repeats=5,
        mojibake=6,
        broken=dict.fromkeys((*COMMON_FAULTS, "malformed_json"), 3),
    ),
    FeedPlan(
        name="fonwisp_support",
        voice=Voice("phone", (0.48, 0.34, 0.1, 0.08), (0.2, 0.3, 0.35, 0.15)),
        posts=1_200,
        periods=((0, 15), *((day, day + 1) for day in range(16, 30, 2))),
        file_name="messages-{first}-to-{last}.parquet",
        late=20,
        late_files=(1, 2),
        redelivered=20,
        edits=15,
        deletions=25,
        author_repeats=5,
    ),
)
