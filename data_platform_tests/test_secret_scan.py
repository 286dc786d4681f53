"""No file that git keeps holds a credential of a known form."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
# As the services document them; a test that needs one puts it together.
FORMS = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}",
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60})",
    "GitLab token": r"\bglpat-[\w-]{20}",
    "Google API key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "Slack token": r"\bxox[abeoprs]-[0-9]{8,}-[0-9A-Za-z-]{3,}",
    "Slack webhook": r"hooks\.slack\.com/services/T\w{8,}/B\w{8,}/\w{20,}",
    "Discord webhook": r"discord(?:app)?\.com/api/webhooks/\d{17,}/[\w-]{60,}",
    "Stripe key": r"\b[rs]k_live_[0-9A-Za-z]{24,}",
    "OpenAI or Anthropic key": r"\bsk-[A-Za-z0-9_-]{32,}",
    "PyPI token": r"\bpypi-AgEI[\w-]{50,}",
    "X bearer token": r"\bA{20,}[A-Za-z0-9%]{60,}",
    "JSON Web Token": r"\beyJ[\w-]{15,}\.eyJ[\w-]{15,}\.[\w-]{20,}",
    "password in an address": r"\b[a-z]+://[^\s/:@\"'{}<>$*%|]+:(?!pass|password|PASSWORD|secret)[^\s/:@\"'{}<>$*|]{12,}@[a-z0-9]",
}
PATTERN = re.compile("|".join(f"(?P<_{n}>{form})" for n, form in enumerate(FORMS.values())))


def found_in(text: str) -> list[str]:
    """Return the kinds of credentials in `text`."""
    names = list(FORMS)
    return [names[int(str(match.lastgroup)[1:])] for match in PATTERN.finditer(text)]


def test_no_tracked_file_holds_a_credential():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone of the repository")
    names = [name for name in done.stdout.decode().split("\0") if name]
    files = [path for name in names if (path := PROJECT / name).is_file()]
    assert len(files) > 100
    held = {str(p): found_in(p.read_bytes().decode("utf-8", "replace")) for p in files}
    assert {path: kinds for path, kinds in held.items() if kinds} == {}


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN EC PRIVATE " + "KEY-----\n" + "MHcCAQEE" * 6,
        "key = 'AKIA" + "ABCDEFGHIJKLMNOP'",
        "token: ghp_" + "a1B2" * 9,
        "AIza" + "abcde" * 7,
        "xoxb-" + "1234567890-abc",
        "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "abcdefghijklmnopqrstuvwx",
        "postgres://" + "me:a-long-password-1@db.example/x",
    ],
)
def test_each_form_is_known(text):
    assert len(found_in(f"a\n{text}\nb")) == 1
