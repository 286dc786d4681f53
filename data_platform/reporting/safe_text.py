"""What makes the text of strangers fit to be shown: nothing in it that acts, hides or turns other text around."""

import unicodedata

# Format characters (Cf) turn the direction of text or hide in it; these two join emoji and letters.
JOINERS = "‌‍"
# Control, format, surrogate, private and unassigned: Unicode 16, section 4.5.
UNSHOWN = ("Cc", "Cf", "Cs", "Co", "Cn")


def plain(text: str, limit: int) -> str:
    """Return `text` on one line, without control and direction characters, of at most `limit`."""
    kept = "".join(
        c if c in JOINERS or unicodedata.category(c) not in UNSHOWN else " "
        for c in text[: 4 * limit]
    )
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
