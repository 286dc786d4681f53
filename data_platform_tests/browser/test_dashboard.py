"""The dashboard as a person sees it: one process that serves the page, a browser, and posts that are attacks."""

import csv
import io
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from datetime import date, timedelta

import psutil
import pytest
from playwright.sync_api import expect, sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from data_platform.reporting.snapshot import publish
from data_platform.reporting.terms import refresh_rising_terms
from data_platform.schemas import INCIDENTS, SOURCE_HEALTH
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.browser.conftest import BIN, SCREENSHOTS
from data_platform_tests.reporting.conftest import filler, insert

LAST = date(2026, 3, 31)
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<img src="https://evil.example/x.png" onerror="alert(2)">',
    "![x](http://evil.example/x) [click](javascript:alert(3))",
    '=HYPERLINK("http://evil.example","x")',
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link",
    "https://evil.example/page",
    ":material/home: :red[x] $\\href{javascript:alert(4)}{x}$",
    "\u202egnp.exe\u202c turned round",
)


class Dashboard:
    """A running dashboard over a snapshot that the test publishes."""

    def __init__(self, home):
        self.home = home
        self.path = home / "published" / "feedback.duckdb"
        self.warehouse = Warehouse(home / "warehouse.duckdb")
        self.fill = filler(self.warehouse)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        (home / "user").mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home / "user"),
            "DATA_PLATFORM_HOME": str(home),
        }

    def start(self):
        with (self.home / "dashboard.log").open("wb") as log:
            self.process = subprocess.Popen(
                [BIN / "data-platform", "dashboard", "--port", str(self.port)],
                env=self.environment,
                cwd=self.home,
                stdout=log,
                stderr=log,
            )
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5).close()  # noqa: S310
            except OSError:
                time.sleep(0.25)
            else:
                return
        pytest.fail((self.home / "dashboard.log").read_text(errors="replace"))

    def publish(self):
        publish(self.warehouse, self.path)


@pytest.fixture(scope="module")
def dashboard(request, tmp_path_factory):
    """Posts of a shop, and at its last day posts, topics and errors that are attacks."""
    request.getfixturevalue("chromium")  # without it there is nothing to look at
    running = Dashboard(tmp_path_factory.mktemp("dashboard"))
    for back in (13, *range(7)):
        label = "negative" if back % 2 else "positive"
        running.fill(LAST - timedelta(days=back), 2, label=label, text="an ordinary parcel {}")
    for number, text in enumerate(HOSTILE):
        running.fill(
            LAST,
            1,
            feed="forum",
            label="negative",
            text=text.replace("{", "{{").replace("}", "}}"),
            topic=text,
            like_count=100 + number,
        )
    with running.warehouse.transaction() as transaction:
        insert(transaction, SOURCE_HEALTH, {"feed": "shop", "last_error": HOSTILE[1]})
        incident = {"incident_id": "1", "feed": "shop", "topic": HOSTILE[2], "direction": "up"}
        days = {"first_date": LAST, "last_date": LAST, "peak_date": LAST, "measure": "post_count"}
        insert(transaction, INCIDENTS, incident | days)
        refresh_rising_terms(transaction, LAST)
    running.publish()
    running.start()
    yield running
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 0, "Ctrl-C ends it"
    log = (running.home / "dashboard.log").read_text(errors="replace")
    assert "Traceback" not in log
    assert "parcel" not in log
    assert "evil" not in log, "no text of customers is logged"
    assert list((running.home / "user").iterdir()) == [], "nothing is written to anybody's home"


@pytest.fixture(scope="module")
def browser(chromium):
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, dashboard, request):
    """Return what opens the page; in the end nothing may have happened that should not."""
    pages, told = [], []

    def open_page(**options):
        page = browser.new_page(**{"viewport": {"width": 1400, "height": 2400}} | options)
        page.set_default_timeout(20_000)
        page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("popup", lambda popup: told.append(f"popup {popup.url}"))
        page.on("request", lambda request: told.extend(_left(request.url, dashboard.port)))
        page.on("websocket", lambda ws: told.extend(_left(ws.url, dashboard.port)))
        page.goto(dashboard.url)
        expect(page.get_by_text(re.compile("^1 to "))).to_be_visible()
        pages.append(page)
        return page

    yield open_page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = request.node.name.removeprefix("test_")
    pages[-1].screenshot(path=SCREENSHOTS / f"dashboard_{name}.png")
    for page in pages:
        page.close()
    assert told == []


def _left(url, port):
    """Return the address if it leaves the dashboard."""
    ours = (f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/", "data:", "blob:")
    return [] if url.startswith(ours) else [url]


def card(page, label):
    return page.get_by_test_id("stMetric").filter(has_text=label).get_by_test_id("stMetricValue")


def choose(page, label, option):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    page.keyboard.press("Escape")


def test_filters_and_search_narrow_everything(visit):
    page = visit()
    expect(card(page, "Posts")).to_have_text("23")  # of the latest 7 days
    choose(page, "Feeds", "forum")
    expect(card(page, "Posts")).to_have_text("9")
    expect(page.get_by_text("1 to 9 of 9 posts")).to_be_visible()
    page.get_by_role("button", name="Reset").click()
    expect(card(page, "Posts")).to_have_text("23")
    search = page.get_by_label("Search in texts")
    search.fill("PARCEL ordinary")
    search.press("Enter")
    expect(card(page, "Posts")).to_have_text("14")
    expect(page.get_by_text("1 to 14 of 14 posts")).to_be_visible()


def test_a_bar_and_a_point_lead_to_their_posts_wherever_the_reader_is(visit):
    """In New York a day of UTC begins in the evening before."""
    page = visit(timezone_id="America/New_York")
    bar = page.locator("path[aria-roledescription=bar][aria-label*='Feed: shop']").first
    bar.hover()
    tooltip = page.locator("#vg-tooltip-element")
    expect(tooltip).to_contain_text("Wed 25 Mar 2026")
    bar.click()
    expect(page.get_by_text("Selected in the charts: 25 Mar 2026 · shop")).to_be_visible()
    expect(page.get_by_text("1 to 2 of 2 posts")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_text("1 to 23 of 23 posts")).to_be_visible()
    feelings = page.locator("path[aria-roledescription=bar][aria-label*='Feeling: negative']")
    feelings.and_(page.locator("[aria-label*='Feed: forum']")).click()
    expect(page.get_by_text("Selected in the charts: forum · negative")).to_be_visible()
    expect(page.get_by_text("1 to 9 of 9 posts")).to_be_visible()


def test_hostile_texts_are_shown_and_do_nothing(visit):
    page = visit()
    choose(page, "Order", "most reactions")
    page.wait_for_timeout(1000)
    grid = page.get_by_test_id("stDataFrame").first
    cells = grid.locator("[role=gridcell]").all_text_contents()
    for attack in HOSTILE[:4]:
        assert attack in cells, "it is shown as it is written"
    assert not re.search("[\x1b\u202e]", "".join(cells)), "nothing hides or turns text around"
    box = grid.bounding_box()
    page.mouse.dblclick(box["x"] + 300, box["y"] + 80)  # opens the whole text of a cell
    page.wait_for_timeout(500)
    page.keyboard.press("Escape")
    bar = "path[aria-roledescription=bar][aria-label*='Topic: {}']"
    page.locator(bar.format("<img src=x")).first.hover()
    expect(page.locator("#vg-tooltip-element")).to_contain_text(HOSTILE[1])
    page.locator(bar.format("![x]")).first.click()
    expect(page.get_by_text(f"Selected in the charts: {HOSTILE[3][:30]}")).to_be_visible()
    page.get_by_label("Topics", exact=True).click()
    expect(page.get_by_role("option", name=HOSTILE[3])).to_be_visible()
    page.get_by_role("option", name=HOSTILE[3]).click()
    page.keyboard.press("Escape")
    expect(card(page, "Posts")).to_have_text("1")
    page.get_by_role("tab", name="Feeds and quality").click()
    expect(page.get_by_text("How far to trust the scores")).to_be_visible()
    page.wait_for_timeout(500)
    for tag in (
        "script:not([src])",
        "img[src*=evil]",
        "img[onerror]",
        "a[href*=evil]",
        "a[href^=javascript]",
    ):
        assert page.locator(f"[data-testid=stMain] {tag}").count() == 0, tag


def test_the_keyboard_reaches_the_filters(visit):
    page = visit()
    missing = {"Search in texts", "Period", "Feeds", "Languages", "Topics", "Labels"}
    for name in missing:
        expect(page.get_by_label(name, exact=True)).to_be_visible()
    for _ in range(60):  # twice round the page: a part may be drawn again under the cursor
        page.keyboard.press("Tab")
        missing.discard(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        if not missing:
            break
    assert not missing
    page.get_by_label("Search in texts").focus()
    page.keyboard.type("parcel")
    page.keyboard.press("Enter")
    expect(card(page, "Posts")).to_have_text("14")


def test_the_downloaded_csv_is_safe(visit):
    page = visit()
    with page.expect_download() as told:
        page.get_by_role("button", name="Download as CSV").click()
    text = told.value.path().read_bytes().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 23
    cells = [cell for row in rows for cell in row.values()]
    assert [cell for cell in cells if cell.startswith("'=HYPERLINK")]
    numbers = ("compound", "like_count", "share_count", "reply_count")
    texts = [cell for row in rows for name, cell in row.items() if name not in numbers]
    assert not [cell for cell in texts if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text.replace("\r\n", "\n"))
    assert min(float(row["compound"]) for row in rows) == -0.6
    own = page.get_by_role("button", name=re.compile("Download as CSV.+"))
    assert own.count() == 0, "Streamlit's own CSV is not offered"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(visit, scheme):
    page = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") == 390


def test_a_new_snapshot_appears_by_itself_and_the_old_file_is_let_go(visit, dashboard):
    page = visit()
    expect(page.get_by_text("· 25 posts from")).to_be_visible()
    choose(page, "Feeds", "shop")
    expect(card(page, "Posts")).to_have_text("14")
    dashboard.fill(LAST - timedelta(days=13), 5, label="positive", text="a new parcel {}")
    dashboard.publish()
    expect(page.get_by_text("· 30 posts from")).to_be_visible(timeout=15_000)
    expect(card(page, "Posts")).to_have_text("14")  # what was chosen stays chosen
    page.wait_for_timeout(1000)
    held = [file.path for file in psutil.Process(dashboard.process.pid).open_files()]
    assert not [path for path in held if "feedback.duckdb" in path]


def test_only_its_own_name_is_served(dashboard):
    """A page elsewhere whose name was turned to 127.0.0.1 gets no session (DNS rebinding)."""

    def open_session(host):
        plain = socket.create_connection(("127.0.0.1", dashboard.port), timeout=10)
        address = f"{host}:{dashboard.port}"
        return connect(f"ws://{address}/_stcore/stream", sock=plain, origin=f"http://{address}")

    with pytest.raises(InvalidStatus, match="403"), open_session("rebound.example"):
        pass
    with open_session("127.0.0.1"):
        pass


def test_a_port_that_is_taken_is_told_at_once(dashboard):
    told = subprocess.run(
        [BIN / "data-platform", "dashboard", "--port", str(dashboard.port)],
        env=dashboard.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    assert "choose another --port" in told.stderr
