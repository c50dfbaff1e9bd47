"""The pages by axe's rules: names, roles, contrast, headings, what a keyboard reaches. ``npm install --prefix
tests/node`` comes first."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.pages.browsing import DESKTOP, PHONE, open_page
from tests.stack import Stack

AXE = Path(__file__).resolve().parents[1] / "node/node_modules/axe-core/axe.min.js"

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not AXE.is_file(), reason="run npm install --prefix tests/node first"),
]


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """Rules that are broken, and by which elements."""
    page.evaluate(AXE.read_text("utf-8"))
    return [
        (one["id"], [node["html"][:160] for node in one["nodes"]])
        for one in page.evaluate("axe.run().then(result => result.violations)")
    ]


@pytest.fixture
def used(gateway: Stack) -> Stack:
    """A gateway whose dashboard has something in each place."""
    for model in ("glm-4.6", "glm-4.6:fault=500"):
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]}
        httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers={"authorization": "Bearer YOUR_KEY"})
    return gateway


@pytest.mark.parametrize(("language", "dark"), [("en-US", False), ("en-US", True), ("zh-CN", False)])
def test_the_dashboard(browser: Browser, used: Stack, dark: bool, language: str) -> None:
    with open_page(browser, f"{used.url}/dashboard", dark=dark, language=language) as page:
        expect(page.locator("#requests-table tbody tr").first).to_be_visible()
        expect(page.locator("#errors li").first).to_be_visible()
        page.locator("#traffic-table summary").click()
        page.locator("#settings summary").click()
        expect(page.locator("#settings-text")).to_contain_text("listen")
        assert violations(page) == []
        page.locator("#requests-table tbody button").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert violations(page) == []


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_the_dashboard_on_a_phone(browser: Browser, used: Stack, language: str) -> None:
    with open_page(browser, f"{used.url}/dashboard", size=PHONE, language=language) as page:
        expect(page.locator("#requests-table tbody tr").first).to_be_visible()
        assert violations(page) == []


def test_the_form_for_the_admin_key(browser: Browser) -> None:
    with (
        Stack(ADMIN_KEY="sk-admin") as stack,
        open_page(browser, f"{stack.url}/dashboard", expected="status of 401") as page,
    ):
        expect(page.get_by_role("textbox", name="Admin key")).to_be_visible()
        assert violations(page) == []


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_the_reference(browser: Browser, gateway: Stack, size: ViewportSize, dark: bool) -> None:
    with open_page(browser, f"{gateway.url}/docs", size=size, dark=dark) as page:
        expect(page.locator("#createChatCompletion")).to_be_visible()
        assert violations(page) == []


@pytest.mark.parametrize(("size", "language", "dark"), [(DESKTOP, "en-US", False), (PHONE, "zh-CN", True)])
def test_the_chat_page(browser: Browser, size: ViewportSize, language: str, dark: bool) -> None:
    with Stack() as stack, open_page(browser, f"{stack.url}/chat", size=size, language=language, dark=dark) as page:
        expect(page.locator("#send")).to_be_enabled()
        page.locator("#tools").evaluate('node => { node.value = \'[{"name": "weather"}]\'; }')
        page.locator("#prompt").fill("```\ncode\n```")
        page.locator("#send").click()
        expect(page.locator("#turns .call textarea")).to_be_visible()
        assert violations(page) == []


def test_what_is_wrong_is_found(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/docs") as page:
        page.evaluate("document.body.append(document.createElement('button'))")
        assert [rule for rule, _ in violations(page)] == ["button-name"]
