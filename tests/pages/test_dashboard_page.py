"""/dashboard in a real browser, in front of a gateway that serves real requests."""

import csv
import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.pages.browsing import PHONE, assert_texts_are_complete, keep, open_page
from tests.stack import Stack
from ztoapi.server.listener import Server
from ztoapi.server.sockets import bind
from ztoapi.simulator.app import Options
from ztoapi.telemetry.layout import SecondCell

HOSTILE = "<img src=x onerror=alert(1)>"
CUT_OFF = "ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY"
"""The messages of Chromium's console about a gateway that is away."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Stack]:
    """A gateway with successful, failed and hostile requests."""
    with Stack(options=Options(itl_ms=1.0)) as stack:
        for _ in range(3):
            ask(stack)
        ask(stack, model="glm-4.5:fault=500")
        ask(stack, model=HOSTILE, agent=HOSTILE)
        httpx.get(f"{stack.url}/nothing/{HOSTILE}")
        yield stack


def ask(stack: Stack, *, model: str = "glm-4.6", agent: str = "tester/1", key: str = "wrong") -> None:
    """A key is only needed where one is configured."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"user-agent": agent, "authorization": f"Bearer {key}"}
    httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers)


def wait_until_live(page: Page) -> None:
    expect(page.locator("html")).to_have_attribute("data-link", "live")
    expect(page.locator("#version")).not_to_be_empty()


def rows(page: Page) -> Locator:
    return page.locator("#requests-table tbody tr")


def plot(page: Page, title: str) -> Locator:
    return page.get_by_role("slider", name=title, exact=True)


CACHEABLE = {"temperature": 0, "messages": [{"role": "user", "content": "hello"}]}


def test_charts_and_figures_move_under_load(browser: Browser) -> None:
    with Stack(options=Options(itl_ms=1.0)) as stack, open_page(browser, f"{stack.url}/dashboard") as page:
        wait_until_live(page)
        expect(page.get_by_text("No requests yet")).to_be_visible()
        expect(
            page.locator("#charts .chart", has=page.get_by_text("Time to first token")).get_by_text("No data")
        ).to_be_visible()
        for _ in range(4):
            ask(stack)
        expect(page.locator("#now-rate small")).to_have_text("4 in all")
        for title in ("Requests per second", "Output tokens per second", "Time to first token", "Time between tokens"):
            line = plot(page, title).locator(".line").first
            # The drawing is 100 high, and 0 is at its top: some point is above the foot.
            expect(line).to_have_attribute("d", re.compile(r"[ML]\d+ \d\d?\.\d"))
        expect(rows(page)).to_have_count(4)
        expect(page.locator("#statuses")).to_contain_text("200")
        expect(page.locator("#ends")).to_contain_text("done")
        expect(page.locator("#latency tbody tr").first).not_to_contain_text("\N{EN DASH}")
        before = plot(page, "Requests per second").locator(".line").first.get_attribute("d")
        expect(plot(page, "Requests per second").locator(".line").first).not_to_have_attribute("d", before or "")


def test_wrong_keys_are_no_errors(browser: Browser) -> None:
    with Stack(API_KEYS="right") as stack, open_page(browser, f"{stack.url}/dashboard") as page:
        wait_until_live(page)
        for _ in range(5):
            ask(stack)
        errors, refused = page.locator("#now-errors"), page.locator("#now-refused")
        expect(refused.locator("b")).to_have_text("5")
        expect(refused).to_have_attribute("data-mood", "warn")
        expect(errors.locator("b")).to_have_text("0")
        expect(errors.locator("small")).to_have_text("0 failed \N{MIDDLE DOT} 0 cancelled")
        expect(errors).to_have_attribute("data-mood", "")
        expect(page.locator("#latency tbody tr").nth(2).locator(".c-p50")).to_have_text("\N{EN DASH}")
        expect(rows(page).first.locator(".c-status .badge")).to_have_class(re.compile(r"\bwarn\b"))
        ask(stack, key="right", model="glm-4.6:fault=500")
        expect(errors).to_have_attribute("data-mood", "bad")
        expect(errors.locator("b")).to_have_text("100")


def milliseconds(text: str) -> float:
    number, unit = text.split("\N{NARROW NO-BREAK SPACE}")
    return float(number) * {"ms": 1.0, "s": 1000.0}[unit]


def test_figures_are_those_of_the_requests(browser: Browser) -> None:
    """With 20 ms to the first token: median, 95th percentile and maximum, beside those of the list of requests."""
    with (
        Stack(options=Options(ttft_ms=20.0, itl_ms=1.0)) as stack,
        open_page(browser, f"{stack.url}/dashboard") as page,
    ):
        wait_until_live(page)
        for _ in range(40):
            ask(stack)
        expect(page.locator("#now-rate small")).to_have_text("40 in all")
        slot = stack.application.telemetry.slot(0)
        now = stack.application.context.wall_clock
        stack.wait_for(lambda: sum(row[SecondCell.REQUESTS - 1] for _, row, _, _ in slot.seconds(int(now()), 60)) == 40)
        # The first figures after that may be older.
        for _ in range(2):
            expect(page.locator("#uptime")).not_to_have_text(page.locator("#uptime").inner_text())
        for row, field in ((0, "time_to_first_token"), (2, "duration")):
            listed = httpx.get(f"{stack.url}/dashboard/requests?page_size=100").json()["requests"]
            times = sorted(one[field] * 1000 for one in listed)
            assert len(times) == 40
            cells = page.locator("#latency tbody tr").nth(row)
            for cell, true in ((".c-p50", times[19]), (".c-p95", times[37]), (".c-maximum", times[39])):
                assert milliseconds(cells.locator(cell).inner_text()) == pytest.approx(true, rel=0.05)


def test_cache_limits_and_credentials_are_shown(browser: Browser) -> None:
    with (
        Stack(
            ZTOAPI_CACHE_ENABLED="1", UPSTREAM_TOKEN="sim-token:fault=1000", ZTOAPI_GLOBAL_REQUESTS_PER_MINUTE="1"
        ) as stack,
        open_page(browser, f"{stack.url}/dashboard") as page,
    ):
        wait_until_live(page)
        limits = page.locator("#limit-groups")
        expect(limits.locator("div:has(> h3:text('Response cache')) dt:visible")).to_have_text(
            ["Hits", "Misses", "Shared", "Bypassed", "Size"]
        )
        expect(page.locator("#credentials tbody tr .c-state")).to_contain_text("ok")
        ask(stack)
        expect(page.locator("#credentials tbody tr")).to_contain_text("disabled")
        expect(page.locator("#credentials tbody tr")).to_contain_text("left")
        expect(limits.locator("div:has(> dt:text('Bypassed')) dd")).to_have_text("1")
        ask(stack)
        expect(limits.locator("div:has(> dt:text('Granted')) dd")).to_have_text("1")
        expect(limits.locator("div:has(> dt:text('Denied')) dd")).to_have_text("1")
        expect(page.locator("#errors")).to_contain_text("1000")
        expect(page.locator("#now-errors")).to_have_attribute("data-mood", "bad")


def shown(first: int, last: int, total: int) -> str:
    return f"{first}\N{EN DASH}{last} of {total}"


def test_requests_are_filtered_and_paged(browser: Browser) -> None:
    with Stack() as stack:
        for number in range(23):
            ask(stack, agent=f"agent-{number}")
        ask(stack, model="glm-4.5:fault=500")
        with open_page(browser, f"{stack.url}/dashboard") as page:
            wait_until_live(page)
            expect(page.locator("#range")).to_have_text(shown(1, 20, 24))
            page.get_by_role("button", name="Older").click()
            expect(page.locator("#range")).to_have_text(shown(21, 24, 24))
            expect(rows(page)).to_have_count(4)
            page.get_by_role("button", name="Newer").click()
            expect(rows(page)).to_have_count(20)
            page.get_by_role("combobox", name="Status").select_option("5xx")
            expect(rows(page)).to_have_count(1)
            expect(rows(page)).to_contain_text("glm-4.5:fault=500")
            expect(page.locator("#said")).to_have_text("Matching requests: 1.")
            page.get_by_role("button", name="Clear").click()
            expect(page.locator("#range")).to_have_text(shown(1, 20, 24))
            page.get_by_role("searchbox", name="Search").fill("AGENT-7")
            expect(rows(page)).to_have_count(1)
            page.get_by_role("searchbox", name="Search").fill("nobody has this")
            expect(page.get_by_text("No matching requests.")).to_be_visible()
            page.get_by_role("button", name="Clear").click()
            page.get_by_role("combobox", name="Outcome").select_option("upstream error")
            expect(rows(page)).to_have_count(1)
            page.get_by_role("button", name="Clear").click()
            page.get_by_role("combobox", name="Model").select_option("glm-4.6")
            expect(page.locator("#range")).to_have_text(shown(1, 20, 23))
            # A filtered page stays up to date, too.
            ask(stack)
            expect(page.locator("#range")).to_have_text(shown(1, 20, 24))


def test_counters_lead_to_the_requests_behind_them(browser: Browser) -> None:
    with Stack(API_KEYS="wrong|other", UPSTREAM_MAX_TRIES="1") as stack:
        for _ in range(3):
            ask(stack)
        ask(stack, model="glm-4.5:fault=500", key="other")
        ask(stack, model="glm-4.5:fault=1210")
        ask(stack, key="unknown")
        with open_page(browser, f"{stack.url}/dashboard") as page:
            wait_until_live(page)
            page.locator("#now-errors b a").click()
            expect(rows(page)).to_have_count(1)
            expect(page).to_have_url(re.compile(r"\?outcome=failed$"))
            page.locator("#now-refused b a").click()
            expect(rows(page)).to_have_count(2)
            page.locator("#statuses").get_by_role("link", name="401").click()
            expect(rows(page)).to_have_count(1)
            page.locator("#errors").get_by_role("link", name="1210").click()
            expect(rows(page)).to_contain_text("glm-4.5:fault=1210")
            page.locator("#ends").get_by_role("link", name="done").click()
            expect(rows(page)).to_have_count(3)
            page.locator("#models").get_by_role("link", name="glm-4.6").click()
            expect(page.get_by_role("combobox", name="Model")).to_have_value("glm-4.6")
            expect(rows(page)).to_have_count(3)
            page.locator("#credentials").get_by_role("link", name="zai / zai-1").click()
            expect(rows(page)).to_have_count(5)
            page.get_by_role("combobox", name="Key").select_option("api-key-2")
            expect(rows(page)).to_have_count(1)
            # The browser reports a new address later than the page shows the rows.
            expect(page).to_have_url(re.compile("api-key-2"))
            address = page.url
        with open_page(browser, address) as page:
            expect(rows(page)).to_have_count(1)
            expect(page.get_by_role("combobox", name="Key")).to_have_value("api-key-2")
            expect(page.get_by_role("combobox", name="Credential")).to_have_value("zai-1")
            page.get_by_role("button", name="Clear").click()
            expect(page).to_have_url(re.compile(r"/dashboard$"))
            expect(rows(page)).to_have_count(6)


def test_requests_are_saved_as_a_file(browser: Browser) -> None:
    with Stack() as stack:
        ask(stack, agent='=cmd|"x"')
        for _ in range(3):
            ask(stack)
        with open_page(browser, f"{stack.url}/dashboard?q=cmd") as page:
            expect(rows(page)).to_have_count(1)
            with page.expect_download() as saved:
                page.get_by_role("button", name="Save as CSV", exact=True).click()
            table = list(csv.DictReader(saved.value.path().read_text().splitlines()))
            assert [(one["model"], one["outcome"], one["user_agent"]) for one in table] == [
                ("glm-4.6", "answered", '\'=cmd|"x"')
            ]
            page.get_by_role("button", name="Clear").click()
            expect(rows(page)).to_have_count(4)
            with page.expect_download() as saved:
                page.get_by_role("button", name="Save as JSON").click()
            assert saved.value.suggested_filename == "requests.json"
            assert [one["status"] for one in json.loads(saved.value.path().read_text())] == [200] * 4


def test_the_details_have_the_message_and_the_times(browser: Browser) -> None:
    with Stack(options=Options(ttft_ms=40.0, itl_ms=1.0)) as stack:
        ask(stack)
        ask(stack, model="glm-4.6:fault=1210")
        with open_page(browser, f"{stack.url}/dashboard") as page:
            wait_until_live(page)
            rows(page).nth(1).click()
            parts = page.locator("#waterfall li")
            expect(parts.locator("span")).to_have_text(
                ["request received", "sent upstream", "first token", "stream", "end"]
            )
            assert milliseconds(parts.nth(2).locator("b").inner_text()) >= 38
            expect(page.locator("#detail-message")).to_be_hidden()
            page.keyboard.press("Escape")
            rows(page).first.click()
            shown = httpx.get(f"{stack.url}/dashboard/requests").json()["requests"][0]
            expect(page.locator("#detail-message")).to_have_text(shown["error_message"])
            assert shown["error_message"]


def test_a_credential_is_reset(browser: Browser) -> None:
    with (
        Stack(UPSTREAM_TOKEN="sim-token:fault=1000") as stack,
        open_page(browser, f"{stack.url}/dashboard") as page,
    ):
        wait_until_live(page)
        row = page.locator("#credentials tbody tr")
        expect(row.locator(".c-state")).to_contain_text("ok")
        expect(row.get_by_role("button")).to_be_hidden()
        ask(stack)
        expect(row).to_contain_text("disabled")
        button = row.get_by_role("button", name="Reset zai/zai-1")
        page.once("dialog", lambda dialog: dialog.dismiss())
        button.click()
        expect(row).to_contain_text("disabled")
        page.once("dialog", lambda dialog: dialog.accept())
        button.click()
        expect(page.locator("#said")).to_have_text("zai/zai-1 is back in service")
        expect(row.locator(".c-state")).to_contain_text("ok")
        expect(button).to_be_hidden()


def test_a_request_is_opened_and_closed_by_keyboard(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/dashboard") as page:
        wait_until_live(page)
        button = rows(page).first.get_by_role("button")
        name = button.get_attribute("aria-label") or ""
        button.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Request")
        expect(dialog).to_be_visible()
        expect(dialog).to_contain_text("Request id")
        expect(dialog.locator("dd").first).not_to_be_empty()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(button).to_be_focused()
        # The row with the keyboard focus does not move away.
        ask(gateway)
        expect(page.locator("#held")).to_be_visible()
        expect(button).to_have_attribute("aria-label", name)
        page.keyboard.press("Shift+Tab")
        ask(gateway)
        expect(page.locator("#held")).to_be_hidden()
        expect(button).not_to_have_attribute("aria-label", name)


def test_an_opened_request_is_followed_to_its_end(browser: Browser) -> None:
    body = b'{"model": "glm-4.6:ttft=60000", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
    with Stack() as stack, open_page(browser, f"{stack.url}/dashboard") as page:
        wait_until_live(page)
        with socket.create_connection(("127.0.0.1", stack.port)) as client:
            client.sendall(head + body)
            rows(page).get_by_text("waiting").click()
            outcome = page.get_by_role("dialog").locator("dt", has_text="Outcome").locator("+ dd")
            expect(outcome).to_have_text("waiting")
            # When it ends, these are newer, and fill the page that the event stream brings.
            for _ in range(20):
                ask(stack)
        expect(outcome).to_have_text("client left")


def test_what_the_cache_did_is_shown(browser: Browser) -> None:
    with Stack(ZTOAPI_CACHE_ENABLED="1") as stack, open_page(browser, f"{stack.url}/dashboard") as page:
        wait_until_live(page)
        for _ in range(2):
            httpx.post(f"{stack.base_url}/chat/completions", json={**CACHEABLE, "model": "glm-4.6"})
        expect(rows(page)).to_have_count(2)
        expect(rows(page).locator(".c-outcome")).to_have_text(["done \N{MIDDLE DOT} cache hit", "done"])
        for number, words in enumerate(("cache hit", "cache miss")):
            rows(page).nth(number).get_by_role("button").click()
            dialog = page.get_by_role("dialog")
            expect(dialog.locator("dt", has_text="Response cache").locator("+ dd")).to_have_text(words)
            dialog.get_by_role("button", name="Close").click()


def test_text_of_clients_stays_text(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/dashboard") as page:
        wait_until_live(page)
        page.get_by_role("searchbox", name="Search").fill("onerror")
        expect(rows(page)).to_have_count(2)
        row = rows(page).filter(has=page.get_by_role("cell", name=HOSTILE, exact=True))
        row.get_by_role("cell", name=HOSTILE, exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text(HOSTILE)).to_have_count(2)  # as the model, and as the user agent
        keep(page, "dashboard-detail")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("combobox", name="Model").select_option(HOSTILE)
        expect(rows(page)).to_have_count(1)
        expect(page.locator("#models")).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0


def test_a_chart_is_read_by_keyboard(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/dashboard") as page:
        wait_until_live(page)
        chart = plot(page, "Time to first token")
        expect(chart).to_have_attribute("aria-valuetext", re.compile("p50 .* highest"))
        chart.focus()
        page.keyboard.press("ArrowLeft")
        expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^\d\d:\d\d:\d\d: p99 .*, p50"))
        # The others point at the same second.
        expect(plot(page, "Duration")).to_have_attribute("aria-valuetext", re.compile(r"^\d\d:\d\d:\d\d:"))
        page.keyboard.press("Home")
        expect(chart).to_have_attribute("aria-valuenow", "0")
        page.keyboard.press("Escape")
        expect(plot(page, "Duration")).to_have_attribute("aria-valuetext", re.compile("highest"))


def test_it_prompts_for_the_admin_key(browser: Browser) -> None:
    with (
        Stack(ADMIN_KEY="sk-admin") as stack,
        open_page(browser, f"{stack.url}/dashboard", expected="status of 401") as page,
    ):
        key = page.get_by_role("textbox", name="Admin key")
        expect(key).to_be_focused()
        expect(page.locator("#figures")).to_be_hidden()
        keep(page, "dashboard-key")
        key.fill("falscher Schlüssel 密钥")
        key.press("Enter")
        expect(page.get_by_text("This is not the admin key.")).to_be_visible()
        key.fill("sk-admin")
        page.get_by_role("button", name="Open").click()
        wait_until_live(page)
        expect(page.locator("#figures")).to_be_visible()
        page.get_by_role("searchbox", name="Search").fill("x")
        expect(page.get_by_text("No matching requests.")).to_be_visible()
        page.reload()
        wait_until_live(page)
        assert page.evaluate("localStorage.length") == 0, "the key is kept for the tab alone"


def test_it_explains_why_no_key_would_help(browser: Browser, gateway: Stack) -> None:
    context = browser.new_context(extra_http_headers={"x-forwarded-for": "192.0.2.1"})
    page = context.new_page()
    page.goto(f"{gateway.url}/dashboard")
    expect(page.get_by_text("with any key")).to_be_visible()
    expect(page.get_by_text("closed to proxies without an admin key")).to_be_visible()
    expect(page.get_by_role("textbox", name="Admin key")).to_be_hidden()
    context.set_extra_http_headers({})
    page.get_by_role("button", name="Try again").click()
    wait_until_live(page)
    context.close()


def test_it_connects_again_when_the_connection_is_cut(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/dashboard", expected=CUT_OFF) as page:
        wait_until_live(page)
        gateway.call(cut(gateway))
        expect(page.locator("#said")).to_have_text("Connection lost. The page reconnects by itself.")
        expect(page.locator("#said")).to_have_text("Connected.")
        wait_until_live(page)


async def cut(stack: Stack) -> None:
    for connection in list(stack.application.context.connections):
        connection.transport.abort()


def test_it_connects_again_when_the_gateway_comes_back(browser: Browser) -> None:
    with Stack() as stack, open_page(browser, f"{stack.url}/dashboard", expected=CUT_OFF) as page:
        wait_until_live(page)
        stack.call(stack.server.close())
        expect(page.locator("#link")).to_have_text(re.compile(r"Connection lost, next attempt in \d+ s"))
        keep(page, "dashboard-lost")
        stack.application.context.draining = False
        stack.server = Server(stack.application.context, bind("127.0.0.1", stack.port, backlog=16))
        stack.call(stack.server.start())
        expect(page.locator("#link")).to_have_text("Live")
        ask(stack)
        expect(page.locator("#now-rate small")).to_have_text("1 in all")


def test_it_pauses(browser: Browser) -> None:
    with Stack() as stack, open_page(browser, f"{stack.url}/dashboard") as page:
        wait_until_live(page)
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#link")).to_have_text("Paused")
        # Its connection is gone: nothing more can come.
        stack.wait_for(lambda: not any(one.exchange for one in stack.application.context.connections))
        ask(stack)
        expect(page.locator("#now-rate small")).to_have_text("0 in all")
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#now-rate small")).to_have_text("1 in all")


def test_it_has_chinese_texts(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/dashboard", language="zh-CN") as page:
        wait_until_live(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("仪表盘")
        expect(page).to_have_title("仪表盘 · ztoapi")
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        expect(page.get_by_role("slider", name="每秒请求数")).to_be_visible()
        keep(page, "dashboard-chinese", whole=True)
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")
        expect(plot(page, "Requests per second")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")


def test_both_languages_have_all_texts(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/dashboard") as page:
        assert_texts_are_complete(page, "dashboard")


@pytest.mark.parametrize("dark", [False, True])
def test_it_has_two_themes(browser: Browser, gateway: Stack, dark: bool) -> None:
    with open_page(browser, f"{gateway.url}/dashboard", dark=dark) as page:
        wait_until_live(page)
        expect(rows(page).first).to_be_visible()
        shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
        keep(page, f"dashboard-{'dark' if dark else 'light'}", whole=True)
        page.get_by_role("button", name="Theme: auto").click()
        page.get_by_role("button", name="Theme: light").click()
        expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == shade) is dark


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_it_fits_a_phone(browser: Browser, gateway: Stack, language: str) -> None:
    with open_page(browser, f"{gateway.url}/dashboard", size=PHONE, language=language) as page:
        wait_until_live(page)
        expect(rows(page).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        keep(page, f"dashboard-phone-{language[:2]}", whole=True)
        rows(page).first.get_by_role("button").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= PHONE["width"]
        keep(page, f"dashboard-phone-detail-{language[:2]}")


def test_there_is_none_where_it_is_turned_off() -> None:
    with Stack(DASHBOARD_ENABLED="false") as stack:
        for path in ("/dashboard", "/dashboard/", "/dashboard/page.js"):
            assert httpx.get(stack.url + path).status_code == 404
        assert httpx.get(f"{stack.url}/docs").status_code == 200
