import base64
from datetime import date

import pytest

from data_platform.errors import ConfigurationError
from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.server import PlatformServer, Reply
from data_platform_tests.ingestion.platforms.stored import stored

FIELDS = {"source_id": "id", "posted_at": "at", "body": "text"}
SECRET = "canary-91b7d2"
ROWS = [
    {"id": 2**62 + n, "at": f"2026-02-01T10:00:{n:02}Z", "text": f"fine {n}"} for n in range(25)
]
ALL = {str(row["id"]): row["text"] for row in ROWS}


@pytest.fixture
def serve():
    made = []

    def start(handle):
        made.append(PlatformServer(handle))
        return made[-1]

    yield start
    for server in made:
        server.close()


@pytest.fixture
def feeds_of(configured):
    def make(server, path="/rows", **changes):
        block = {"name": "shop", "kind": "rest", "url": f"{server.url}{path}", "fields": FIELDS}
        return Feeds(configured({"start_date": "2026-01-01", "feeds": [{**block, **changes}]}))

    return make


def page(start):
    return ROWS[start : start + 10]


def by_link(request):
    start = int(request.query.get("start", 0))
    link = f'</rows?start={start + 10}>; rel="next"' if start + 10 < len(ROWS) else ""
    return Reply(page(start), headers={"Link": link} if link else {})


def by_next_url(request):
    start = int(request.query.get("start", 0))
    following = f"{request.url}?start={start + 10}" if start + 10 < len(ROWS) else None
    return Reply({"rows": page(start), "meta": {"next": following}})


def by_page(request):
    number = int(request.query["page"])
    return Reply(page((number - 1) * 10))


def by_offset(request):
    return Reply({"count": 25, "rows": page(int(request.query["skip"]))})


@pytest.mark.parametrize(
    ("handle", "options"),
    [
        (lambda _: Reply(ROWS), {}),
        (by_link, {"paging": {"by": "link"}}),
        (by_next_url, {"paging": {"by": "link", "next_path": "meta.next"}, "records": "rows"}),
        (by_page, {"paging": {"by": "page"}}),
        (by_page, {"paging": {"by": "page", "size": 10}}),
        (by_offset, {"paging": {"by": "offset", "parameter": "skip", "size": 10}}),
    ],
)
def test_every_way_of_paging_reads_all(serve, feeds_of, home, handle, options):
    feeds = feeds_of(serve(handle), **options)
    assert feeds.collect("shop").errors == []
    assert stored(feeds, home) == ALL


def test_credentials_are_not_sent_to_another_host(serve, feeds_of, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    other = serve(lambda _: Reply([]))
    link = {"Link": f'<{other.url}/rows?start=10>; rel="next"'}
    server = serve(lambda _: Reply(ROWS[:10], headers=link))
    auth = {"bearer": True, "secret": {"env": "SHOP_TOKEN"}}
    feeds = feeds_of(server, auth=auth, paging={"by": "link"})
    assert "on another host" in feeds.collect("shop").errors[0]
    assert other.requests == []


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"bearer": True, "secret": {"env": "SHOP_TOKEN"}}, "authorization", f"Bearer {SECRET}"),
        ({"header": "X-Key", "secret": {"env": "SHOP_TOKEN"}}, "x-key", SECRET),
        (
            {"user": {"env": "SHOP_USER"}, "password": {"env": "SHOP_TOKEN"}},
            "authorization",
            "Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode(),
        ),
    ],
)
def test_each_way_to_prove_who_asks(serve, feeds_of, home, monkeypatch, auth, header, value):
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    monkeypatch.setenv("SHOP_USER", "ann")

    def handle(request):
        is_known = request.headers.get(header) == value
        return Reply(ROWS) if is_known else Reply({"error": "who?"}, 401)

    feeds = feeds_of(serve(handle), auth=auth)
    assert feeds.probe("shop") == "25 record(s) on a page"
    feeds.collect("shop")
    assert stored(feeds, home) == ALL
    monkeypatch.setenv("SHOP_TOKEN", "wrong")
    errors = feeds.collect("shop").errors
    assert "answered 401" in errors[0]


def test_an_access_token_is_asked_for_and_renewed_when_it_ends(serve, feeds_of, home, monkeypatch):
    monkeypatch.setenv("SHOP_ID", "shop")
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    given = []

    def handle(request):
        if request.path == "/token":
            expected = "Basic " + base64.b64encode(f"shop:{SECRET}".encode()).decode()
            assert request.headers["authorization"] == expected
            assert b"grant_type=client_credentials" in request.body
            given.append(f"t{len(given)}")
            return Reply({"access_token": given[-1], "expires_in": 3600})
        if request.headers.get("authorization") != "Bearer t1":
            return Reply({"error": "token ended"}, 401)
        return Reply(ROWS)

    server = serve(handle)
    auth = {
        "token_url": f"{server.url}/token",
        "client_id": {"env": "SHOP_ID"},
        "client_secret": {"env": "SHOP_TOKEN"},
        "scope": "read",
    }
    feeds = feeds_of(server, auth=auth)
    assert feeds.collect("shop").errors == []
    assert given == ["t0", "t1"]
    assert stored(feeds, home) == ALL


def test_a_secret_that_is_not_set_is_told_by_its_name(serve, feeds_of, monkeypatch):
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    auth = {"bearer": True, "secret": {"env": "SHOP_TOKEN"}}
    with pytest.raises(ConfigurationError, match="SHOP_TOKEN is not set"):
        feeds_of(serve(lambda _: Reply(ROWS)), auth=auth).collect("shop")


def test_where_the_records_are_has_to_be_clear(serve, feeds_of):
    server = serve(lambda _: Reply({"a": [], "b": []}))
    assert "set records of the feed" in feeds_of(server).collect("shop").errors[0]
    assert "no list at 'rows.all'" in feeds_of(server, records="rows.all").collect("shop").errors[0]


def test_a_mapping_that_breaks_nearly_all_records_lands_none(serve, feeds_of):
    feeds = feeds_of(serve(lambda _: Reply(ROWS)), fields={**FIELDS, "body": "txt"})
    assert "25 of 25 records break the post contract" in feeds.collect("shop").errors[0]
    assert feeds.landed_days() == {}
    assert len(feeds.ledger.open_windows("shop")) == 1


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("epoch_seconds", ["1769904000", "1769990400"]),
        ("epoch_milliseconds", ["1769904000000", "1769990400000"]),
        ("%Y-%m-%d", ["2026-02-01", "2026-02-02"]),
    ],
)
def test_a_day_is_asked_for_in_the_form_of_the_api(serve, feeds_of, form, expected):
    server = serve(lambda _: Reply(ROWS))
    window = {"since_parameter": "from", "until_parameter": "to", "format": form}
    feeds_of(server, window=window).collect("shop", [date(2026, 2, 1)])
    assert [server.requests[0].query[name] for name in ("from", "to")] == expected


def test_ids_that_a_float_has_rounded_are_refused_if_asked(serve, feeds_of):
    rows = [{**row, "id": float(row["id"])} for row in ROWS]
    feeds = feeds_of(serve(lambda _: Reply(rows)), trust_ids=False)
    assert "scientific notation" in feeds.collect("shop").errors[0]


def test_wrong_client_credentials_end_after_a_few_requests(serve, feeds_of, monkeypatch):
    monkeypatch.setenv("SHOP_ID", "shop")
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    server = serve(lambda request: Reply({"error": request.headers["authorization"]}, 401))
    auth = {
        "token_url": f"{server.url}/token",
        "client_id": {"env": "SHOP_ID"},
        "client_secret": {"env": "SHOP_TOKEN"},
    }
    error = feeds_of(server, auth=auth).collect("shop").errors[0]
    assert "answered 401" in error
    assert len(server.requests) == 1
    encoded = base64.b64encode(f"shop:{SECRET}".encode()).decode()
    assert encoded not in error


def test_parameters_that_change_are_another_listing_and_credentials_are_not(feeds_of, serve):
    server = serve(lambda _: Reply([]))

    def stream(query="", **parameters):
        (name,) = (
            feeds_of(server, f"/rows{query}", parameters=parameters).connector("shop").streams()
        )
        return name

    assert stream() == f"records@{server.url}/rows"
    shop = stream("?shop=bags&api_key=s3cret")
    assert "bags" not in shop
    assert shop == stream("?shop=bags", token="another") == stream(shop="bags")
    assert len({shop, stream(), stream(shop="shoes")}) == 3
