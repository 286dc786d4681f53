"""Access tokens by OAuth 2 client credentials (RFC 6749 4.4): asked for when needed, renewed before they end."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from data_platform.errors import PermanentSourceError
from data_platform.ingestion.connectors.http import Answer, Http

# A token that ends within this is renewed: a request may wait for its turn.
MARGIN = timedelta(minutes=1)
DEFAULT_LIFE = timedelta(minutes=10)
LONGEST_LIFE = timedelta(days=366)  # more is nonsense, and may be more than a date can hold


class ClientCredentials:
    """What `Http.authorize` calls: returns the header of a token that is still good.

    Args:
        http: makes the request for the token; it counts as one of the feed's.
        url: where tokens come from.
        form: further fields of the request, such as the scope.
        headers: further headers of the request and of those that the token is for.
    """

    def __init__(
        self,
        http: Http,
        url: str,
        client_id: str,
        client_secret: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._http, self._url = http, url
        pair = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._further = dict(headers or {})
        self._basic = {"Authorization": f"Basic {pair}", **self._further}
        self._form = {"grant_type": "client_credentials", **(form or {})}
        self._token = ""
        self._good_until = datetime.min.replace(tzinfo=UTC)

    def __call__(self, renew: bool) -> Mapping[str, str]:
        """Return the Authorization header.

        Raises:
            SourceError: there is no token to be had.
        """
        now = datetime.now(UTC)
        if renew or now >= self._good_until:
            answer = self._http.request(
                "POST",
                self._url,
                data=self._form,
                headers=self._basic,
                authorized=False,
                check=Answer.json,
            ).json()
            token = answer.get("access_token") if isinstance(answer, dict) else None
            if not isinstance(token, str) or not token:
                message = f"{self._url} gave no access token; look at the client id and its secret"
                raise PermanentSourceError(message)
            life = answer.get("expires_in")
            is_told = isinstance(life, int) and 0 <= life <= LONGEST_LIFE.total_seconds()
            seconds = timedelta(seconds=life) if is_told else DEFAULT_LIFE
            self._token, self._good_until = token, now + seconds - MARGIN
        return {"Authorization": f"Bearer {self._token}", **self._further}
