"""What takes personal data out of the text of the raw zone, so that everything made from it stays as it is."""

from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc

from data_platform.cleaning.markup import decode_references
from data_platform.cleaning.posts import join_title_and_body, without_personal_data
from data_platform.cleaning.privacy import Redaction, redact
from data_platform.cleaning.refresh import CLEANING_VERSION
from data_platform.cleaning.text import clean_text

_REFERENCE = "&[#A-Za-z]"


@dataclass(frozen=True)
class TextRedactor:
    """Redacts the raw zone as cleaning redacts everything behind it.

    Attributes:
        redaction: what is redacted.
    """

    redaction: Redaction

    @property
    def fingerprint(self) -> str:
        """What another redactor, which may find more, does not have."""
        kinds = sorted(self.redaction.kinds)
        options = f"{kinds}|{self.redaction.phone_regions}|{self.redaction.national_ids}"
        return sha256(f"{CLEANING_VERSION}|{options}".encode()).hexdigest()[:16]

    def redact_texts(self, titles: pa.Array, bodies: pa.Array) -> tuple[pa.Array, pa.Array]:
        return redact_originals(titles, bodies, self.redaction)


def redact_originals(
    titles: pa.Array, bodies: pa.Array, redaction: Redaction
) -> tuple[pa.Array, pa.Array]:
    """Return titles and bodies of posts as collected, with placeholders for the personal data in them.

    What cleaning makes of a post is the same before and after, and a second call changes nothing.
    Where that cannot be had by placeholders alone (the address stands in a link or a tag, or is
    hidden by markup), the cleaned text takes the place of title and body.

    Args:
        titles: string; null where there is none.
        bodies: string, of the same length; null where there is none.
    """
    cleaned = clean_text(join_title_and_body(titles, bodies))
    ready = without_personal_data(cleaned.body_clean, redaction)
    placed = redact(titles, redaction), redact(bodies, redaction)
    is_personal = pc.not_equal(ready, cleaned.body_clean)
    for before, after in ((titles, placed[0]), (bodies, placed[1])):
        is_personal = pc.or_(is_personal, pc.fill_null(pc.not_equal(before, after), False))
        is_personal = pc.or_(is_personal, _hides_personal_data(before, redaction))
    if not pc.any(is_personal).as_py():
        return titles, bodies
    title, body, was_repaired, wanted = (
        column.filter(is_personal) for column in (*placed, cleaned.was_repaired, ready)
    )
    again = clean_text(join_title_and_body(title, body))
    is_right = pc.and_(
        pc.equal(again.body_clean, wanted), pc.equal(again.was_repaired, was_repaired)
    )
    for part in (title, body):
        is_right = pc.and_not(is_right, _hides_personal_data(part, redaction))
    title = pc.if_else(is_right, title, pa.scalar(None, pa.string()))
    body = pc.if_else(is_right, body, wanted)
    return (
        pc.replace_with_mask(titles, is_personal, title),
        pc.replace_with_mask(bodies, is_personal, body),
    )


def _hides_personal_data(texts: pa.Array, redaction: Redaction) -> pa.Array:
    """Tell in which texts character references (`jane&#64;shop.example`) spell personal data."""
    has_references = pc.fill_null(pc.match_substring_regex(texts, _REFERENCE), False)
    # Row by row, as in cleaning: few texts hold a reference.
    rows = texts.filter(has_references).to_pylist()
    decoded = pa.array([decode_references(text) for text in rows], pa.string())
    hides = pc.not_equal(redact(decoded, redaction), decoded)
    return pc.replace_with_mask(has_references, has_references, hides)
