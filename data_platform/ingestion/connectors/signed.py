"""Signed tokens (JWT, RFC 7519) of the stores' interfaces, which a private key proves."""

from typing import Any

from data_platform.errors import ConfigurationError


def signed_token(
    claims: dict[str, Any], key: str, algorithm: str, headers: dict[str, str] | None = None
) -> str:
    """Return a signed token.

    Raises:
        ConfigurationError: PyJWT is not installed, or the key is none.
    """
    try:
        import jwt
    except ImportError as error:
        message = "signed tokens need PyJWT: pip install 'customer-feedback-platform[stores]'"
        raise ConfigurationError(message) from error
    try:
        token: str = jwt.encode(claims, key.replace("\\n", "\n"), algorithm, headers)
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        message = f"the private key cannot be read as one for {algorithm}: {type(error).__name__}"
        raise ConfigurationError(message) from None
    return token
