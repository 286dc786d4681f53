"""What the shared suite asks of a platform of the tests: posts that can be added, edited and deleted, and a server."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.server import PlatformServer, Reply, Request


@dataclass
class Post:
    """A post as the platform holds it.

    Attributes:
        number: its number; ids are made of it.
        seen_at: when the platform got to know it, which may be later than it was posted.
        broken: fields of the platform's own record that take another value than they should.
    """

    number: int
    posted_at: datetime
    text: str
    seen_at: datetime
    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    broken: dict[str, Any] = field(default_factory=dict)


class Platform(ABC):
    """A platform that answers from this machine as the real one does: paging, ids, order, limits.

    Attributes:
        can: what the platform shows, of 'window', 'late', 'edit', 'delete'; the suite asks for the
            rest to be told, not done.
        breakages: fields of an item with values of the wrong kind, each enough to break it.
        environment: variables that hold what the feed's block names as secrets.
    """

    kind: ClassVar[str]
    can: ClassVar[frozenset[str]] = frozenset({"window", "late", "edit", "delete"})
    breakages: ClassVar[tuple[dict[str, Any], ...]] = ()
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.posts: dict[int, Post] = {}
        self.server = PlatformServer(self.handle)

    @abstractmethod
    def block(self) -> dict[str, Any]:
        """Return the feed's block of feedback.yaml, without name and kind."""

    @abstractmethod
    def handle(self, request: Request) -> Reply:
        """Answer a request."""

    @abstractmethod
    def source_id(self, post: Post) -> str:
        """Return the id under which the post is to be stored."""

    def text_of(self, post: Post) -> str:
        """Return the text that is to be stored."""
        return post.text

    def add(
        self, number: int, posted_at: datetime, text: str = "", seen_at: datetime | None = None
    ) -> Post:
        """Let somebody write a post."""
        text = text or f"Post {number} is fine"
        post = Post(number, posted_at, text, seen_at or datetime.now(UTC))
        self.posts[number] = post
        return post

    def edit(self, number: int, text: str) -> None:
        """Let somebody edit a post."""
        self.posts[number].text = text
        self.posts[number].edited_at = datetime.now(UTC)

    def delete(self, number: int) -> None:
        """Let somebody delete a post."""
        self.posts[number].deleted_at = datetime.now(UTC)

    @property
    def alive(self) -> list[Post]:
        """The posts that are there, in the order of their posting."""
        posts = [post for post in self.posts.values() if post.deleted_at is None]
        return sorted(posts, key=lambda post: (post.posted_at, post.number))

    def truth(self) -> dict[str, str]:
        """Return what should be stored: text by id."""
        return {self.source_id(post): self.text_of(post) for post in self.alive}

    def close(self) -> None:
        self.server.close()
