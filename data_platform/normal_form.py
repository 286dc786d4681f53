"""Unicode's Normalization Form C, which decides whether two texts are the same: where it may change a text."""

# NFC leaves a text alone that holds only characters which it keeps, which combine with none before
# them and have no order among accents (UAX #15, section 9: NFC_Quick_Check=Yes, and class 0).
_UNTOUCHED = (
    r"\x00-\x{2ff}"  # ASCII to modifier letters
    r"\x{370}-\x{373}\x{3b1}-\x{3c9}\x{400}-\x{482}\x{48a}-\x{52f}"  # Greek, Cyrillic
    r"\x{5d0}-\x{5ea}\x{620}-\x{64a}"  # Hebrew, Arabic
    r"\x{2002}-\x{2064}\x{20a0}-\x{20c0}\x{2190}-\x{2328}\x{232b}-\x{2adb}"  # punctuation to symbols
    r"\x{3000}-\x{3029}\x{3041}-\x{3096}\x{30a0}-\x{30ff}\x{4e00}-\x{9fff}\x{ac00}-\x{d7a3}"  # CJK
    r"\x{fe0f}\x{1f000}-\x{1faff}"  # emoji
)
MAY_CHANGE = f"[^{_UNTOUCHED}]"
"""RE2: holds in every text that NFC changes, and in few others. Normalising costs ten times as much."""
