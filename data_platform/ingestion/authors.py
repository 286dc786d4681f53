"""Pseudonyms: the keyed hash that stands for an author's handle, and the key it is made with."""

import hashlib
import os
import secrets
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_platform.errors import ConfigurationError
from data_platform.storage.refusals import explained

KEY_BYTES = 32
HASH_BYTES = 16
PERSON = b"author-v1"  # names the scheme inside the hash, so that a later one cannot collide


def load_author_key(path: Path, configured: str | None) -> bytes:
    """Return the key of the author hash: the configured one, else the one in `path`, made once.

    The file is created with mode 0600; a process that comes second reads the first one's key.

    Raises:
        ConfigurationError: the file is empty, or the configured key is too short to be secret.
        StorageError: the file cannot be read or made.
    """
    if configured is not None:
        if len(configured) < 16:
            message = "FEEDBACK_AUTHOR_KEY is shorter than 16 characters; use a random one."
            raise ConfigurationError(message)
        return hashlib.sha256(configured.encode()).digest()
    with explained(path):
        if not path.exists():
            _make_key(path)
        key = path.read_bytes().strip()
    if len(key) < KEY_BYTES:
        message = (
            f"{path} does not hold a key. Restore it from a backup: with another key the same"
            " author gets another author_id."
        )
        raise ConfigurationError(message)
    return hashlib.sha256(key).digest()


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_hex(KEY_BYTES).encode())
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first, and its key holds
    finally:
        draft.unlink(missing_ok=True)


def hash_authors(
    handles: pa.Array | pa.ChunkedArray, platform: str, key: bytes
) -> pa.Array | pa.ChunkedArray:
    """Return the author_id of each handle: BLAKE2b (RFC 7693), keyed, over platform and handle.

    Returns:
        32 hex digits for each handle; null where the handle is null.
    """
    encoded = pc.dictionary_encode(handles)
    chunks = encoded.chunks if isinstance(encoded, pa.ChunkedArray) else [encoded]
    hashed = []
    for chunk in chunks:
        # One Python call for each distinct author: neither Arrow nor DuckDB has a keyed hash.
        digests = [
            hashlib.blake2b(
                f"{platform}\0{handle}".encode(), key=key, digest_size=HASH_BYTES, person=PERSON
            ).hexdigest()
            for handle in chunk.dictionary.to_pylist()
        ]
        hashed.append(pc.take(pa.array(digests, pa.string()), chunk.indices))
    return pa.chunked_array(hashed, pa.string())


def hash_handles(handle: str, platform: str, key: bytes) -> list[str]:
    """Return the author_ids that a handle may have: as it is written, with and without @."""
    bare = handle.lstrip("@")
    hashed = hash_authors(pa.array([handle, bare, f"@{bare}"]), platform, key)
    return [str(found) for found in hashed.to_pylist()]
