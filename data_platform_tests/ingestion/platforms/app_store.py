"""App Store Connect: reviews newest first with links to the next page, tokens signed with a key of its own."""

from functools import cache
from typing import Any, ClassVar

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request


@cache
def private_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem() -> str:
    return (
        private_key()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


class AppStorePlatform(Platform):
    """One app of one's own."""

    kind: ClassVar[str] = "app_store"
    can: ClassVar[frozenset[str]] = frozenset({"window", "late", "edit"})
    environment: ClassVar[dict[str, str]] = {"APP_STORE_KEY": pem()}
    breakages: ClassVar = (
        {"createdDate": "soon"},
        {"createdDate": None},
        {"body": ""},
        {"rating": 6},
    )

    def block(self) -> dict[str, Any]:
        return {
            "connect_server": self.server.url,
            "apps": ["284882215"],
            "key": {"env": "APP_STORE_KEY"},
            "key_id": "ABC1234567",
            "issuer_id": "57246542-96fe",
        }

    def source_id(self, post: Post) -> str:
        return f"00000014-{post.number:04}"

    def handle(self, request: Request) -> Reply:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            jwt.decode(token, private_key().public_key(), ["ES256"], audience="appstoreconnect-v1")
        except jwt.PyJWTError:
            return Reply({"errors": [{"code": "NOT_AUTHORIZED"}]}, 401)
        assert jwt.get_unverified_header(token)["kid"] == "ABC1234567"
        assert request.path == "/v1/apps/284882215/customerReviews"
        assert request.query["sort"] == "-createdDate"
        size, start = int(request.query["limit"]), int(request.query.get("cursor", 0))
        assert size <= 200
        found = self.alive[::-1]
        following = f"{request.url}?sort=-createdDate&limit={size}&cursor={start + size}"
        links = {"next": following} if start + size < len(found) else {}
        return Reply(
            {"data": [self.review(p) for p in found[start : start + size]], "links": links}
        )

    def review(self, post: Post) -> dict[str, Any]:
        said = {
            "rating": 4,
            "title": "Nice",
            "body": post.text,
            "reviewerNickname": "ann",
            "createdDate": post.posted_at.isoformat(),
            "territory": "USA",
            **post.broken,
        }
        return {"type": "customerReviews", "id": self.source_id(post), "attributes": said}
