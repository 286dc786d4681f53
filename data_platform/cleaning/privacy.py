"""What finds personal data in texts, and puts `<email>`, `<phone>` and the like in its place."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

import pyarrow as pa
import pyarrow.compute as pc
from phonenumbers import Leniency, PhoneNumberMatcher

Span = tuple[int, int]

KINDS = ("email", "iban", "card", "national_id", "ip", "phone")
"""In this order: what an earlier kind takes, a later one does not see."""

PLACEHOLDER = f"<(?:{'|'.join(KINDS)})>"


@dataclass(frozen=True)
class Redaction:
    """What is redacted.

    Attributes:
        kinds: of `KINDS`; none: nothing is redacted.
        phone_regions: ISO 3166 codes of the countries whose numbers are known without `+` and
            country code; numbers with them are always known.
        national_ids: keys of `NATIONAL_IDS`.
    """

    kinds: frozenset[str] = frozenset()
    phone_regions: tuple[str, ...] = ()
    national_ids: tuple[str, ...] = ()


NOTHING = Redaction()

# Other characters that people, keyboards and phones put in the place of ASCII's: one for one, so
# that what is found in the copy stands at the same place in the text.
_LOOKALIKES = {
    **{ord(c): "-" for c in "‐‑‒–—―−﹣－"},
    **{ord(c): " " for c in "\t\n\r\xa0\u2000\u2001\u2002\u2003\u2007\u2008\u2009\u202f\u3000"},
    **{ord(c): "." for c in "．。․"},
    **dict(zip(map(ord, "＠﹫（）［］＋／：％"), "@@()[]+/:%", strict=True)),
    **{ord("Ａ") + n: chr(ord("A") + n) for n in range(26)},
    **{ord("ａ") + n: chr(ord("a") + n) for n in range(26)},
}
_DIGITS_OF = "０٠۰०"
_DIGITS = {ord(zero) + n: str(n) for zero in _DIGITS_OF for n in range(10)}
# Scripts without spaces between words: a number begins right after the word before it.
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_TAKEN = "\x00"
_PLACED = re.compile(PLACEHOLDER)


def _ascii_copy(text: str) -> str:
    """Return a text of the same length with ASCII's digits and separators, placeholders taken."""
    text = _PLACED.sub(lambda placed: _TAKEN * len(placed[0]), text)
    if text.isascii():
        return text.replace("\n", " ").replace("\t", " ")
    return _UNSPACED.sub(",", text).translate(_LOOKALIKES | _DIGITS)


# --- email ---

# A token is read once, from its first character on, and nothing of it is given back. The 2 of %2B
# begins none: 200,000 characters of %2B would be read from each of them (three minutes).
_LOCAL = r"(?<![\w.+'@-])(?<!%(?=2[Bb]))((?:[\w.+'-]|%2[Bb])++)"
_EMAIL = re.compile(rf"{_LOCAL}(?:@|%40)([\w-]++(?:\.[\w-]++)++)")
_TLD = re.compile(r"xn--[a-z0-9-]{2,}|[^\W\d_]{2,}", re.IGNORECASE)
_IMAGE_SCALE = re.compile(r"\d(?:\.\d)?x\.\w+", re.IGNORECASE)
_DOT = r"(?: ?[(\[{] ?(?:dot|punkt|punto|point|ponto|\.) ?[)\]}] ?| (?:dot|punkt|punto|ponto) |\.)"
_SPELT_EMAIL = re.compile(
    rf"{_LOCAL} ?[(\[{{<] ?(?:at|ät|@|arroba|arobase|chiocciola) ?[)\]}}>] ?"
    rf"([\w-]++(?:{_DOT}[\w-]++)++)",
    re.IGNORECASE,
)
_COMMON_TLD = re.compile(
    "com|net|org|edu|gov|io|co|info|biz|app|dev|me|eu|uk|de|at|ch|fr|be|nl|es|pt|it|ie|pl|se|no|dk"
    "|fi|cz|gr|ru|ua|tr|in|au|nz|ca|us|mx|br|ar|cl|jp|kr|cn|za|example",
    re.IGNORECASE,
)
_SPELT_MAILBOX = re.compile(
    rf"{_LOCAL} at (?:gmail|googlemail|g ?mail|yahoo|hotmail|outlook|icloud|gmx|web|aol"
    r"|live|msn|proton(?:mail)?|mail|yandex)( dot |\.)(?:com|net|org|de|at|ch|me|ru|fr|es|it|co)\b",
    re.IGNORECASE,
)


def _emails(text: str, _: Redaction) -> Iterator[Span]:
    for found in _EMAIL.finditer(text):
        end = found.start(2) + _domain_length(found[2])
        start = found.end(1) - len(found[1].lstrip(".'+-"))
        if start < found.end(1) and end > found.start(2):
            yield start, end
    for found in _SPELT_EMAIL.finditer(text):
        plain = re.fullmatch(r"[\w-]++(?:\.[\w-]++)++", found[2])
        last = re.split(r"\W+", found[2])[-1]
        if (_COMMON_TLD if plain else _TLD).fullmatch(last):
            yield found.span()
    for found in _SPELT_MAILBOX.finditer(text):
        if found[2] != "." or re.search(r"[\d._]", found[1]):
            yield found.span()


def _domain_length(domain: str) -> int:
    """Return how much of `domain` is one, 0 for none: "gmx.de.Danke" goes on with a sentence."""
    labels = domain.split(".")
    while len(labels) > 1:
        last = labels[-1]
        opens_a_sentence = last.istitle() and not labels[-2].istitle()
        if _TLD.fullmatch(last) and not opens_a_sentence:
            found = ".".join(labels)
            return 0 if _IMAGE_SCALE.fullmatch(found) else len(found)
        labels.pop()
    return 0


# --- iban ---

# Countries and lengths: SWIFT, IBAN Registry, release 99 (2024).
_IBAN_LENGTHS = {
    code: int(length)
    for code, length in re.findall(
        r"([A-Z]{2})(\d{2})",
        """
        AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27
        DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28
        IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22
        MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24
        SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
        """,
    )
}
_IBAN = re.compile(r"(?<![^\W_])(?=([A-Za-z]{2})\d{2})(?:[A-Za-z0-9][ .-]?){14,34}")


def _ibans(text: str, _: Redaction) -> Iterator[Span]:
    for found in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(found[1].upper())
        places = [m.end() for m in re.finditer(r"[A-Za-z0-9]", found[0])]
        if length is None or len(places) < length:
            continue
        end = found.start() + places[length - 1]
        account = re.sub("[ .-]", "", text[found.start() : end]).upper()
        if not _goes_on(text, end) and _has_iban_checksum(account):
            yield found.start(), end


def _has_iban_checksum(account: str) -> bool:
    """ISO 7064 MOD 97-10, letters as 10 to 35 (ISO 13616-1)."""
    digits = "".join(str(int(c, 36)) for c in account[4:] + account[:4])
    return int(digits) % 97 == 1


# --- card ---

# Issuers' ranges by length: ISO/IEC 7812 numbers as the networks publish them. Maestro only where
# its issuers are known: 5 and 6 begin many other numbers, the ids of tweets among them.
_MAESTRO = "5018|5019|5020|5038|5893|6304|6759|676[1-3]"
_DISCOVER = "6011|64[4-9]|65"
_CARD_PREFIXES = {
    13: re.compile(f"4|{_MAESTRO}"),
    14: re.compile("30[0-5]|3[689]"),
    15: re.compile(f"3[47]|{_MAESTRO}"),
    16: re.compile(
        "4|5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|35(?:2[89]|[3-8])|62|60[0-9]|81|82"
        f"|220[0-4]|{_DISCOVER}|{_MAESTRO}"
    ),
    17: re.compile("62"),
    18: re.compile(f"62|{_MAESTRO}"),
    19: re.compile(f"4|62|{_DISCOVER}|{_MAESTRO}"),
}
_CARD_RUN = re.compile(r"(?<![^\W_])\d++(?:[ .-]\d++)*+")
_CARD_DIGITS = 19


def _cards(text: str, _: Redaction) -> Iterator[Span]:
    for run in _CARD_RUN.finditer(text):
        if run.end() - run.start() < min(_CARD_PREFIXES):
            continue
        blocks = [(run.start() + m.start(), run.start() + m.end()) for m in _BLOCK.finditer(run[0])]
        first = 0
        while first < len(blocks):
            last = _card_end(text, blocks, first)
            if last is None:
                first += 1
            else:
                yield blocks[first][0], blocks[last][1]
                first = last + 1


_BLOCK = re.compile(r"\d+")


def _card_end(text: str, blocks: list[Span], first: int) -> int | None:
    """Return the last of the blocks of digits that make a card's number from `first` on."""
    start = blocks[first][0]
    digits = ""
    if start and text[start - 1] in "-./" and _goes_on(text, start - 2):
        return None
    for last in range(first, min(first + 6, len(blocks))):
        digits += text[slice(*blocks[last])]
        size = blocks[last][1] - blocks[last][0]
        if len(digits) > _CARD_DIGITS or (last == first and size < 4) or size < 3:
            return None
        if (
            (prefix := _CARD_PREFIXES.get(len(digits)))
            and prefix.match(digits)
            and not _goes_on(text, blocks[last][1])
            and _has_luhn_checksum(digits)
        ):
            return last
    return None


def _has_luhn_checksum(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B; false for a number of nothing but one digit."""
    doubled = sum(sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (doubled + sum(int(d) for d in digits[-1::-2])) % 10 == 0 and len(set(digits)) > 1


def _goes_on(text: str, place: int) -> bool:
    """True if a letter or digit stands at `place`."""
    return 0 <= place < len(text) and text[place].isalnum()


# --- national_id ---


def _is_steuer_id(text: str) -> bool:
    """Germany, § 139b AO: of ten digits one stands two or three times; check digit of ISO 7064 MOD 11,10."""
    digits = re.sub(r"\D", "", text)
    counts = sorted(digits[:10].count(d) for d in set(digits[:10]))
    if counts[-1] not in (2, 3) or counts[-2:-1] == [2] or len(counts) not in (8, 9):
        return False
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == int(digits[10])


def _is_nir(text: str) -> bool:
    """France, numéro d'inscription au répertoire: key = 97 - number mod 97, Corsica's 2A as 19, 2B as 18."""
    number = re.sub(r"\s", "", text).upper().replace("2A", "19").replace("2B", "18")
    month = int(number[3:5])
    is_month = 1 <= month <= 12 or 20 <= month <= 42 or month >= 50
    return is_month and 97 - int(number[:13]) % 97 == int(number[13:])


def _is_dni(text: str) -> bool:
    """Spain, DNI and NIE: the letter at number mod 23; X, Y, Z count as 0, 1, 2."""
    number = re.sub(r"\W", "", text).upper()
    value = int(number[:-1].translate(str.maketrans("XYZ", "012")))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[value % 23] == number[-1]


# Places 1, 3, 5 … of the codice fiscale, by digit and letter (D.M. 23/12/1976); the others count as they are.
_ODD_PLACES = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25)
_ODD_VALUES = (*_ODD_PLACES, 24, 23)


def _is_codice_fiscale(text: str) -> bool:
    code = re.sub(r"\s", "", text).upper()
    values = [int(c) if c.isdigit() else ord(c) - ord("A") for c in code[:15]]
    total = sum(_ODD_VALUES[v] for v in values[::2]) + sum(values[1::2])
    return chr(ord("A") + total % 26) == code[15]


def _is_bsn(text: str) -> bool:
    """The Netherlands, elfproef: weights 9 to 2 and -1."""
    digits = [int(d) for d in text if d.isdigit()]
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    return sum(w * d for w, d in zip(weights, digits, strict=True)) % 11 == 0


def _is_cpf(text: str) -> bool:
    """Brazil, cadastro de pessoas físicas: two check digits mod 11."""
    digits = [int(d) for d in text if d.isdigit()]
    for place in (9, 10):
        total = sum((place + 1 - n) * digits[n] for n in range(place))
        if total * 10 % 11 % 10 != digits[place]:
            return False
    return len(set(digits)) > 1


@dataclass(frozen=True)
class NationalId:
    """One way in which an id is written.

    Attributes:
        pattern: of the id, between characters that are no letters or digits.
        is_valid: whether its check digits are right.
        cue: what must stand within `CUE_REACH` characters before it, where the shape alone is that
            of many other numbers.
    """

    pattern: re.Pattern[str]
    is_valid: Callable[[str], bool] = lambda _: True
    cue: re.Pattern[str] | None = None


def _between(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w+#/=-])(?:{pattern})(?![\w/]|[-.]\w)", flags)


_SSN_CUE = re.compile(r"\bssn\b|social security", re.IGNORECASE)
_BSN_CUE = re.compile(r"\bbsn\b|burgerservice|sofi-?nummer", re.IGNORECASE)
_SSN = r"(?!000|666|9){}(?!00){}(?!0000)\d{{4}}"
NATIONAL_IDS: Mapping[str, tuple[NationalId, ...]] = {
    "BR": (NationalId(_between(r"\d{3}\.\d{3}\.\d{3}[-. ]\d\d|\d{9}-?\d\d"), _is_cpf),),
    "DE": (NationalId(_between(r"[1-9]\d (?:\d{3} ){2}\d{3}|[1-9]\d{10}"), _is_steuer_id),),
    "ES": (
        NationalId(
            _between(
                r"(?:[XYZ][ -]?)?\d{7,8}[ -]?[A-Z]|\d\d\.\d{3}\.\d{3}[ -]?[A-Z]", re.IGNORECASE
            ),
            _is_dni,
        ),
    ),
    "FR": (
        NationalId(_between(r"[12] ?\d\d ?\d\d ?(?:\d\d|2[ABab]) ?\d{3} ?\d{3} ?\d\d"), _is_nir),
    ),
    "GB": (
        NationalId(
            _between(
                r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
                r"(?: ?\d\d){3} ?[A-D]"
            )
        ),
    ),
    "IT": (
        NationalId(
            _between(r"[A-Z]{3} ?[A-Z]{3} ?\d\d[A-EHLMPRST]\d\d ?[A-Z]\d{3}[A-Z]", re.IGNORECASE),
            _is_codice_fiscale,
        ),
    ),
    "NL": (NationalId(_between(r"\d{9}|\d{3}[. ]\d{3}[. ]\d{3}"), _is_bsn, _BSN_CUE),),
    "US": (
        NationalId(_between(_SSN.format(r"\d{3}-", r"\d\d-"))),
        NationalId(_between(_SSN.format(r"\d{3} ?", r"\d\d ?")), cue=_SSN_CUE),
    ),
}
CUE_REACH = 40


def _national_ids(text: str, redaction: Redaction) -> Iterator[Span]:
    for country in redaction.national_ids:
        for known in NATIONAL_IDS[country]:
            for found in known.pattern.finditer(text):
                before = text[max(0, found.start() - CUE_REACH) : found.start()]
                if (known.cue is None or known.cue.search(before)) and known.is_valid(found[0]):
                    yield found.span()


# --- ip ---

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"(?<![\w.+-])({_OCTET})(?:\.{_OCTET}){{3}}(?![\w-]|\.\w)")
_VERSION_CUE = re.compile(
    r"\b(?:v|version|ver\.?|build|firmware|release|update[ds]?(?: to)?|upgraded? to|patch|android"
    r"|ios|windows|macos|chrome|driver|section|chapter) ?[:#]? ?$",
    re.IGNORECASE,
)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}:[0-9A-Fa-f:]{2,34}(?![\w:])")
# Global unicast, unique local, link-local: RFC 4291, section 2.4; RFC 4193. `dead::beef` is a word.
_IPV6_OF_A_MACHINE = re.compile(
    "[23][0-9a-f]{3}:|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:", re.IGNORECASE
)


def _ips(text: str, _: Redaction) -> Iterator[Span]:
    for found in _IPV4.finditer(text):
        is_version = _VERSION_CUE.search(text[max(0, found.start() - CUE_REACH) : found.start()])
        # 1.2.3.4 is a version or a heading; no home or office has such an address.
        if not is_version and len(found[0]) > len("1.2.3.4"):
            yield found.span()
    for found in _IPV6.finditer(text):
        if _IPV6_OF_A_MACHINE.match(found[0]):
            try:
                IPv6Address(found[0])
            except AddressValueError:
                continue
            yield found.span()


# --- phone ---

FEWEST_PHONE_DIGITS = 7
_PHONE_RUN = re.compile(r"[+(]{0,2}(?<!\d)\d{1,17}+(?!\d)(?:[ ().+/-]{1,4}+\d{1,17}+(?!\d)){0,30}+")
# A post with more characters of such runs is a list of numbers, or made to keep a matcher busy
# (0.5 ms for each number): the rest of its runs go as they are, without being judged.
LONGEST_JUDGED = 10_000
_EXTENSION = 16
# Bare digits are a phone number only after such a word; a number after one of the others is none.
_PHONE_CUE = re.compile(
    r"☎|📞|📱|\b(?:phone|tel|telephone|mobile|cell|call(?:ed|ing)?|dial|ring|text(?:ed)?|sms"
    r"|whats ?app|fax|reach|contact|tele[fp]h?on\w*|handy|mobil\w*|anruf\w*|ruf\w*|erreichbar"
    r"|tél\w*|appel\w*|portable|joindre|rappel\w*|tel[ée]fono|móvil|movil|celular|ll[áa]m\w*"
    r"|n[úu]mero|cellulare|chiam\w*|bel(?:len)?|telefoon\w*|mobiel\w*|ligu?\w*|telem[óo]vel)\b|\b(?:at|number is):? $",
    re.IGNORECASE,
)
_OTHER_CUE = re.compile(
    r"\b(?:order|booking|reservation|confirmation|reference|ref|ticket|case|claim|invoice|account"
    r"|acct|tracking|track|shipment|parcel|serial|member(?:ship)?|customer|policy|flight|model"
    r"|isbn|imei|ean|upc|sku|part|pnr|id|code|pin|amount|total|price|bestell\w*|buchung\w*"
    r"|rechnung\w*|auftrag\w*|kunden\w*|sendung\w*|vorgang\w*|commande|dossier|facture|colis"
    r"|client|r[ée]servation|pedido|reserva|factura|referencia|ordine|prenotazione|fattura"
    r"|bestelling|factuur)s?\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[!?] |(?<!\bno)(?<!\bnr)\w\w\. ")
_NORTH_AMERICAN = re.compile(r"\(?(?:1[ .-]?)?\(?\d{3}\)?[ .-]*\d{3}[ .-]?\d{4}(?!\d)")
_NOT_A_PHONE = re.compile(
    r"(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?(?!\d)"  # a date
    r"|\d\d?[-/.]\d\d?[-/.](?:19|20)?\d\d(?!\d|[ .]\d\d(?!\d))"
    r"|\d{1,3}(?:\.\d{3})+(?![\d.-])"  # thousands
    r"|(?:19|20)\d\d ?- ?(?:19|20)\d\d\b"  # years
)
_LOOKS_LIKE_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?: \d{3})+")


def _phones(text: str, redaction: Redaction) -> Iterator[Span]:
    judged = 0
    for run in _PHONE_RUN.finditer(text):
        if sum(map(str.isdigit, run[0])) < FEWEST_PHONE_DIGITS:
            continue
        judged += len(run[0])
        if judged > LONGEST_JUDGED:
            yield run.span()
            continue
        end_of_last = 0
        found = _numbers_in(text, run.span(), redaction.phone_regions)
        for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
            if text[start] == "(" and ")" not in text[start:end]:
                start += 1
            if start >= end_of_last and _is_phone(text, start, end):
                yield start, end
                end_of_last = end


def _numbers_in(text: str, run: Span, regions: tuple[str, ...]) -> set[Span]:
    """Return what is a number in one of `regions`, or with its country's code, and begins in `run`."""
    start, end = run
    window = text[start : end + _EXTENSION]
    found = set()
    for region in (None, *regions) if "+" in text[start:end] else regions:
        leniency = Leniency.VALID if region else Leniency.POSSIBLE
        for match in PhoneNumberMatcher(window, region, leniency=leniency):
            if match.start < end - start and (
                region != "US" or _fits_north_america(match.raw_string)
            ):
                found.add((start + match.start, start + match.end))
                if match.start == 0 and match.end >= end - start:
                    return found
    return found


def _fits_north_america(number: str) -> bool:
    return "+" in number or _NORTH_AMERICAN.match(number) is not None


def _is_phone(text: str, start: int, end: int) -> bool:
    """Judge a valid number by how it is written and by the words before it."""
    number = text[start:end]
    if _goes_on(text, start - 1) or _goes_on(text, end):
        return False
    if text[max(0, start - 1) : start] in ("#", "$", "€", "£", "=", "_", "%", "&"):
        return False
    if text[max(0, start - 1) : start] in ("-", ".", "/", ",") and _goes_on(text, start - 2):
        return False
    if text[end : end + 1] in ("-", ".", "/", ",", ":", "_") and _goes_on(text, end + 1):
        return False
    if number.startswith("+"):
        return True
    if _NOT_A_PHONE.match(number):
        return False
    before = text[max(0, start - CUE_REACH) : start]
    phone = max((m.end() for m in _PHONE_CUE.finditer(before)), default=-1)
    other = max((m.end() for m in _OTHER_CUE.finditer(before)), default=-1)
    if other > phone and not _SENTENCE_END.search(before, other):
        return False
    is_ambiguous = number.isdigit() or _LOOKS_LIKE_THOUSANDS.fullmatch(number)
    return not is_ambiguous or phone >= 0 or number.startswith("0")


# --- all kinds ---

_FINDERS: Mapping[str, Callable[[str, Redaction], Iterator[Span]]] = {
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "national_id": _national_ids,
    "ip": _ips,
    "phone": _phones,
}
_DIGIT = f"[0-9{''.join(f'{zero}-{chr(ord(zero) + 9)}' for zero in _DIGITS_OF)}]"
_GAP = r"[^A-Za-z0-9]{0,4}"
MAYBE_PERSONAL = {
    "email": r"[@＠﹫]|%40|(?i:[(\[{<] ?(?:at|ät|arroba|arobase|chiocciola) ?[)\]}>])|(?i: at [a-z ]{2,10} dot )",
    # Behind country and check digits: at most six letters of the bank, then digits.
    "iban": rf"[A-Za-zＡ-Ｚａ-ｚ]{{2}}{_DIGIT}{{2}}(?:[ .‐-―−-]?[A-Za-zＡ-Ｚａ-ｚ]){{0,6}}(?:[ .‐-―−-]?{_DIGIT}){{3}}",
    "card": rf"(?:{_DIGIT}[ .‐-―−-]?){{13}}",
    "national_id": rf"(?:{_DIGIT}[ .‐-―−-]?){{6}}|[A-Za-z]{{6}}[0-9]{{2}}",
    "ip": rf"{_DIGIT}\.{_DIGIT}+\.{_DIGIT}+\.{_DIGIT}|[0-9A-Fa-f]:[0-9A-Fa-f:]*:",
    "phone": rf"(?:{_DIGIT}{_GAP}){{{FEWEST_PHONE_DIGITS}}}",
}
"""RE2 for each kind: holds in every text that has such data, and in few others."""


def redact(texts: pa.Array, redaction: Redaction) -> pa.Array:
    """Return `texts` (string) with the personal data in them as `<email>`, `<phone>` and so on.

    Everything else stays as it is, character for character; null stays null.
    """
    if not redaction.kinds:
        return texts
    maybe = "|".join(f"(?:{MAYBE_PERSONAL[kind]})" for kind in KINDS if kind in redaction.kinds)
    found = pc.fill_null(pc.match_substring_regex(texts, maybe), False)
    if not pc.any(found).as_py():
        return texts
    # Row by row: checksums and phone numbers are no patterns, and few rows get here.
    rows = [redact_text(text, redaction) for text in texts.filter(found).to_pylist()]
    return pc.replace_with_mask(texts, found, pa.array(rows, pa.string()))


def without_placeholders(texts: pa.Array) -> pa.Array:
    """Return `texts` with a space for each placeholder, which is a word of no language."""
    found = pc.fill_null(pc.match_substring_regex(texts, PLACEHOLDER), False)
    if not pc.any(found).as_py():
        return texts
    rows = pc.replace_substring_regex(texts.filter(found), PLACEHOLDER, " ")
    return pc.replace_with_mask(texts, found, rows)


def redact_text(text: str, redaction: Redaction) -> str:
    """Return one text as `redact` does."""
    return _placed(text, find_personal_data(text, redaction))


def find_personal_data(text: str, redaction: Redaction) -> list[tuple[int, int, str]]:
    """Return start, end and kind of the personal data in `text`, in order; no two overlap.

    What stands near a number decides whether it is one, and a placeholder brings other words near.
    So the redacted text is looked through again, until nothing is found: in a redacted text there
    is nothing left to redact.
    """
    found: list[tuple[int, int, str]] = []
    redacted = text
    while more := _find_once(redacted, redaction):
        found = sorted(found + _before_redaction(more, found))
        redacted = _placed(text, found)
    return found


def _find_once(text: str, redaction: Redaction) -> list[tuple[int, int, str]]:
    copy = _ascii_copy(text)
    found: list[tuple[int, int, str]] = []
    for kind in KINDS:
        if kind not in redaction.kinds:
            continue
        spans: list[Span] = []
        for start, end in sorted(_FINDERS[kind](copy, redaction)):
            if not spans or start >= spans[-1][1]:
                spans.append((start, end))
        found += ((start, end, kind) for start, end in spans)
        copy = _without(copy, spans)
    return sorted(found)


def _before_redaction(
    more: list[tuple[int, int, str]], found: list[tuple[int, int, str]]
) -> list[tuple[int, int, str]]:
    """Return where `more`, in order, stands in the text before `found` was redacted in it."""
    moved = []
    earlier = iter(found)
    span = next(earlier, None)
    shift = 0
    for start, end, kind in more:
        while span is not None and span[0] <= start + shift:
            shift += span[1] - span[0] - len(f"<{span[2]}>")
            span = next(earlier, None)
        moved.append((start + shift, end + shift, kind))
    return moved


def _placed(text: str, found: list[tuple[int, int, str]]) -> str:
    """Return `text` with a placeholder for each of `found`."""
    pieces: list[str] = []
    position = 0
    for start, end, kind in found:
        pieces += (text[position:start], f"<{kind}>")
        position = end
    return "".join((*pieces, text[position:]))


def _without(text: str, spans: list[Span]) -> str:
    """Return `text` with a character that is part of nothing at each place of `spans`."""
    pieces: list[str] = []
    position = 0
    for start, end in spans:
        pieces += (text[position:start], _TAKEN * (end - start))
        position = end
    return "".join((*pieces, text[position:]))
