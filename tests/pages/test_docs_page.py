"""/docs in a real browser."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.pages.browsing import DESKTOP, PHONE, keep, open_page
from tests.stack import Stack

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "ztoapi/static/openapi.json").read_text("utf-8"))


def test_every_operation_is_shown_with_lines_for_this_gateway(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/docs") as page:
        for name in ("Chat", "Dashboard"):
            expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute("href", name.lower())
        for path, methods in DOCUMENT["paths"].items():
            for operation in methods.values():
                section = page.locator(f"#{operation['operationId']}")
                expect(section.locator(".route code")).to_have_text(path)
                expect(section.locator(".samples pre")).to_contain_text("curl")
                expect(section.locator(".samples pre")).to_contain_text(gateway.url)
        keep(page, "docs-light")


def test_lines_are_copied_in_the_chosen_language(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/docs") as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        chat = page.locator("#createChatCompletion")
        chat.get_by_role("button", name="Python").click()
        expect(page.locator("#listModels .samples pre")).to_contain_text("import httpx")
        chat.locator(".samples").get_by_role("button", name="Copy").click()
        expect(page.locator("#said")).to_have_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert f'base_url="{gateway.base_url}"' in copied


def test_fields_open_and_have_a_description(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/docs") as page:
        field = page.locator("#createChatCompletion li", has=page.locator("b", has_text="messages")).first
        field.locator("summary").first.click()
        expect(field.locator("b", has_text="tool_call_id")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(browser: Browser, gateway: Stack, dark: bool) -> None:
    with open_page(browser, f"{gateway.url}/docs", size=PHONE, dark=dark) as page:
        expect(page.locator("#readyz, #ready")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        keep(page, f"docs-phone-{'dark' if dark else 'light'}")


def test_the_theme_is_chosen_and_kept(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/docs", size=DESKTOP) as page:
        page.locator("#theme").click()
        page.locator("#theme").click()
        expect(page.locator("#theme")).to_have_text("Theme: dark")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.reload()
        expect(page.locator("#theme")).to_have_text("Theme: dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
        keep(page, "docs-dark")
