"""What keeps the words of strangers from acting on a terminal or forging a line of a log."""


def printable(text: str, keep: str = "") -> str:
    """Return `text` with every character that is not shown (controls, direction marks, halves of
    surrogate pairs) as the escape that names it, such as \\x1b; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )
