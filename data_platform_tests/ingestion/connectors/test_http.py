import gzip
import logging
from datetime import UTC, datetime, timedelta

import pytest

from data_platform.errors import (
    BudgetSpentError,
    GoneError,
    PermanentSourceError,
    RefusedError,
    ThrottledError,
    TransientSourceError,
)
from data_platform.ingestion.connectors.http import ATTEMPTS, MAX_BODY_BYTES, Budget, Http
from data_platform_tests.ingestion.platforms.server import (
    PlatformServer,
    Reply,
    cut,
    html,
    status,
    truncated,
)

SECRET = "canary-5f1e8c0b"


@pytest.fixture
def server():
    made = PlatformServer(lambda request: Reply({"path": request.path, "query": request.query}))
    yield made
    made.close()


class Clock:
    """A clock that sleeping moves."""

    def __init__(self):
        self.now = datetime(2026, 8, 1, tzinfo=UTC)
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(clock):
    made = []

    def one(**told):
        made.append(
            Http(told.pop("budget", Budget()), now=lambda: clock.now, sleep=clock.sleep, **told)
        )
        return made[-1]

    yield one
    for http in made:
        http.close()


@pytest.fixture
def http(make):
    return make()


def test_a_query_in_the_address_and_parameters_are_both_sent(http, server):
    found = http.get_json(f"{server.url}/a?x=1", {"y": "2 &", "z": None})
    assert found == {"path": "/a", "query": {"x": "1", "y": "2 &"}}


@pytest.mark.parametrize("fault", [status(503), status(500), cut(), truncated, html])
def test_a_hiccup_is_tried_again_and_waited_for_with_jitter(http, server, clock, fault):
    server.faults = [fault, fault]
    assert http.get_json(f"{server.url}/a")["path"] == "/a"
    assert len(server.requests) == 3
    assert len(set(clock.slept)) == 2
    assert all(0 <= seconds <= 2 for seconds in clock.slept)


def test_hiccups_without_an_end_are_told_with_the_place_and_without_the_query(http, server):
    server.fault = html
    with pytest.raises(TransientSourceError, match="no JSON") as error:
        http.get_json(f"{server.url}/a", {"key": SECRET})
    assert len(server.requests) == ATTEMPTS
    assert SECRET not in str(error.value)
    assert "Down for maintenance" in str(error.value)


def test_a_server_that_is_not_there_is_a_hiccup(http):
    with pytest.raises(TransientSourceError, match="did not answer"):
        http.get_json("http://127.0.0.1:9/a")


def test_the_named_moment_is_waited_for_even_if_the_clocks_differ(http, server, clock):
    there = datetime.now(UTC)
    server.clock_error = timedelta(hours=-2)
    until = there - timedelta(hours=2) + timedelta(seconds=100)
    server.faults = [status(429, X_RateLimit_Reset=until.isoformat())]
    http.get_json(f"{server.url}/a")
    assert 99 <= sum(clock.slept) <= 103
    assert http.budget.throttled_seconds == sum(clock.slept)


def test_an_allowance_that_is_used_up_is_waited_for_before_the_next_request(http, server, clock):
    server.faults = [
        lambda _, reply: Reply(
            reply.body, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}
        )
    ]
    http.get_json(f"{server.url}/a")
    assert clock.slept == []
    http.get_json(f"{server.url}/b")
    assert 60 <= sum(clock.slept) <= 62


def test_no_run_sleeps_for_more_than_five_minutes_in_all(http, server, clock):
    server.fault = status(429, Retry_After="100")
    with pytest.raises(ThrottledError, match="not before 2026") as error:
        http.get_json(f"{server.url}/a")
    assert sum(clock.slept) <= 300
    assert len(server.requests) == 3 + 1
    assert error.value.until - clock.now >= timedelta(seconds=99)


def test_a_moment_that_an_earlier_run_was_told_is_kept(make, server, clock):
    later = make(not_before=clock.now + timedelta(seconds=30))
    later.get_json(f"{server.url}/a")
    assert clock.slept == [30]


def test_429_without_a_moment_backs_off(http, server, clock):
    server.faults = [status(429), status(429)]
    http.get_json(f"{server.url}/a")
    assert len(clock.slept) == 2


def test_a_budget_of_requests_ends(make, server):
    http = make(budget=Budget(requests_left=2))
    http.get_json(server.url)
    http.get_json(server.url)
    with pytest.raises(BudgetSpentError, match="requests_per_run"):
        http.get_json(server.url)
    assert len(server.requests) == 2


def test_a_budget_of_units_ends_before_the_request():
    budget = Budget(units_left=1.0, unit="USD")
    budget.require_units(0.5)
    budget.charge(0.75)
    with pytest.raises(BudgetSpentError, match=r"0\.25 USD are left"):
        budget.require_units(0.5)


@pytest.mark.parametrize(
    ("code", "kind"), [(404, GoneError), (410, GoneError), (400, RefusedError)]
)
def test_a_refusal_is_not_tried_again(http, server, code, kind):
    server.fault = status(code)
    with pytest.raises(kind):
        http.get_json(server.url)
    assert len(server.requests) == 1


def test_a_token_that_was_revoked_is_renewed_once(http, server):
    tokens = iter(["old", "new"])
    held = {"token": next(tokens)}

    def authorize(renew):
        if renew:
            held["token"] = next(tokens, "new")
        return {"Authorization": f"Bearer {held['token']}"}

    http.authorize = authorize
    server.faults = [status(401)]
    http.get_json(server.url)
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer old", "Bearer new"]


def test_no_secret_is_told_even_if_the_server_repeats_it(http, server, caplog):
    http.authorize = lambda _: {"Authorization": f"Bearer {SECRET}"}
    server.fault = lambda request, _: Reply({"seen": request.headers["authorization"]}, 401)
    with caplog.at_level(logging.DEBUG), pytest.raises(RefusedError) as error:
        http.get_json(server.url, {"q": "x"})
    assert SECRET not in f"{error.value}{error.value.body}{caplog.text}"
    assert "Look at the token" in str(error.value)


def test_an_answer_without_end_and_a_bomb_are_refused(http, server):
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1), 1)
    server.fault = lambda _, __: Reply(bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(PermanentSourceError, match="more than"):
        http.get_json(server.url)


def test_what_is_no_utf8_is_kept_apart_and_does_not_end_the_page(http, server):
    server.fault = lambda _, __: Reply(b'[{"a": "caf\xe9"}, {"a": "fine"}]')
    first, second = http.get_json(server.url)
    assert (first["a"], second["a"]) == ("caf\udce9", "fine")
