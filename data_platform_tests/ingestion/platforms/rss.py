"""A blog: its newest entries as RSS, with an ETag."""

from email.utils import format_datetime
from hashlib import sha256
from html import escape
from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request


class RssPlatform(Platform):
    """One document with the newest `size` entries."""

    kind: ClassVar[str] = "rss"
    can: ClassVar[frozenset[str]] = frozenset({"window", "late", "edit"})
    breakages: ClassVar = ({"pubDate": "soon"}, {"pubDate": ""}, {"description": "", "title": ""})
    size = 5_000

    def block(self) -> dict[str, Any]:
        return {"urls": [f"{self.server.url}/feed.xml"]}

    def source_id(self, post: Post) -> str:
        return f"https://blog.example/{post.number}"

    def handle(self, request: Request) -> Reply:
        content = self.document()
        etag = f'"{sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Content-Type": "application/rss+xml"}
        if request.headers.get("if-none-match") == etag:
            return Reply(b"", 304, headers)
        return Reply(content, headers=headers)

    def document(self) -> bytes:
        entries = "".join(self.entry(post) for post in self.alive[::-1][: self.size])
        head = "<title>Blog</title><link>https://blog.example</link>"
        return f'<?xml version="1.0"?><rss version="2.0"><channel>{head}{entries}</channel></rss>'.encode()

    def entry(self, post: Post) -> str:
        said = {
            "guid": self.source_id(post),
            "title": "Entry",
            "pubDate": format_datetime(post.posted_at),
            "description": post.text,
            **post.broken,
        }
        fields = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in said.items())
        return f"<item>{fields}</item>"
