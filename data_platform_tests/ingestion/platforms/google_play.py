"""Google Play: reviews of the last week by page tokens, access tokens for signed claims."""

import json
import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ClassVar
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

ACCESS = "ya29.canary-of-play"


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class GooglePlayPlatform(Platform):
    """One package."""

    kind: ClassVar[str] = "google_play"
    can: ClassVar[frozenset[str]] = frozenset({"window", "late", "edit"})
    environment: ClassVar[dict[str, str]] = {"PLAY_ACCOUNT": "made with the server's address"}
    breakages: ClassVar = (
        *({"text": ""}, {"starRating": 9}, {"lastModified": {"seconds": "soon"}}),
        {"comments": []},
    )

    def __init__(self) -> None:
        super().__init__()
        pem = private_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        os.environ["PLAY_ACCOUNT"] = json.dumps(
            {
                "client_email": "feedback@shop.iam.example",
                "private_key": pem.decode(),
                "token_uri": f"{self.server.url}/token",
            }
        )

    def block(self) -> dict[str, Any]:
        return {
            "server": self.server.url,
            "packages": ["com.shop.app"],
            "service_account": {"env": "PLAY_ACCOUNT"},
        }

    def source_id(self, post: Post) -> str:
        return f"gp:AOqp{post.number}"

    def handle(self, request: Request) -> Reply:
        if request.path == "/token":
            said = parse_qs(request.body.decode())["assertion"][0]
            url = f"{self.server.url}/token"
            jwt.decode(said, private_key().public_key(), ["RS256"], audience=url)
            return Reply({"access_token": ACCESS, "expires_in": 3600})
        if request.headers.get("authorization") != f"Bearer {ACCESS}":
            return Reply({"error": {"message": "Invalid Credentials"}}, 401)
        assert request.path == "/applications/com.shop.app/reviews"
        week = datetime.now(UTC) - timedelta(days=7)
        found = [p for p in self.alive if (p.edited_at or p.posted_at) > week]
        start, size = int(request.query.get("token", 0)), int(request.query["maxResults"])
        assert size <= 100
        more = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
        page = [self.review(post) for post in found[start : start + size]]
        return Reply({"reviews": page, "tokenPagination": more} if page else {})

    def review(self, post: Post) -> dict[str, Any]:
        moment = (post.edited_at or post.posted_at).timestamp()
        said = {
            "text": f"Title\t{post.text}",
            "lastModified": {"seconds": str(int(moment)), "nanos": int(moment % 1 * 1e9)},
            "starRating": 5,
            "reviewerLanguage": "en",
            **post.broken,
        }
        return {
            "reviewId": self.source_id(post),
            "authorName": "ann",
            "comments": post.broken.get("comments", [{"userComment": said}]),
        }
