"""What an operator does on /dashboard with the admin key: client keys, configuration, metrics and profiles. All tests
share one gateway and one page."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from tests.keys.files import empty, read
from tests.pages.browsing import PHONE, keep, open_page
from tests.stack import Stack

KEPT = "sessionStorage.setItem('ztoapi-admin-key', 'sk-admin')"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def stack(path: Path) -> Iterator[Stack]:
    with Stack(ADMIN_KEY="sk-admin", ZTOAPI_KEY_FILE=str(path), ZTOAPI_CACHE_ENABLED="1", DEFAULT_KEY="sk-d") as stack:
        yield stack


@pytest.fixture(scope="module")
def shared(browser: Browser, stack: Stack) -> Iterator[Page]:
    with open_page(browser, f"{stack.url}/docs", expected="status of (400|401)") as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.context.add_init_script(KEPT)
        yield page


@pytest.fixture
def page(shared: Page, stack: Stack) -> Page:
    """The page in its first state."""
    shared.goto(f"{stack.url}/dashboard")
    expect(shared.locator("html")).to_have_attribute("data-link", "live")
    return shared


def accept(dialog: Dialog) -> None:
    dialog.accept()


def test_a_key_is_created_rotated_and_revoked(page: Page, path: Path, stack: Stack) -> None:
    keys = page.get_by_role("region", name="Client keys")
    expect(keys.get_by_text("The key file has no key yet.")).to_be_visible()
    keys.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog", name="Client key")
    expect(dialog.get_by_role("textbox", name="Name")).to_be_focused()
    dialog.get_by_role("textbox", name="Name").fill("sk-wrong")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("must be 1 to 64 letters")
    dialog.get_by_role("textbox", name="Name").fill("alice")
    dialog.get_by_role("textbox", name="Models").fill("glm-4.6, glm-4.5*")
    dialog.get_by_role("textbox", name="Expires").fill("90d")
    dialog.get_by_role("textbox", name="Tokens per day").fill("2M")
    dialog.get_by_role("textbox", name="US dollars per month").fill("0.5")
    page.keyboard.press("Enter")
    secret = page.locator("#key-secret")
    expect(dialog.get_by_role("textbox", name="Key, shown only now")).to_be_focused()
    expect(secret).to_have_value(re.compile("^sk-zto-[0-9a-f]{12}-[0-9a-f]{48}$"))
    keep(page, "dashboard-key-made")
    first = secret.input_value()
    dialog.get_by_role("button", name="Copy").click()
    expect(page.locator("#said")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == first
    dialog.get_by_role("button", name="Close").click()
    expect(secret).to_have_value("")
    row = keys.locator("tbody tr")
    expect(row).to_contain_text("glm-4.6, glm-4.5*")
    expect(row.locator(".badge")).to_have_text("active")
    entry = read(path)["alice"]
    assert (entry.models, entry.budgets.tokens_per_day) == (("glm-4.6", "glm-4.5*"), 2_000_000)
    expect(row).to_contain_text("tokens per day: 2M, usd per month: 0.50")

    async def reload() -> bool:
        return stack.application.keys.reload()

    assert stack.call(reload())
    page.once("dialog", accept)
    row.get_by_role("button", name="Rotate the key of alice").click()
    expect(secret).to_have_value(re.compile("^sk-zto-"))
    expect(row).to_contain_text(re.compile(r"tokens per day: 0\s% of 2M, usd per month: 0\s% of 0.50"))
    assert secret.input_value() != first and read(path)["alice"].id != entry.id
    page.keyboard.press("Escape")
    page.once("dialog", accept)
    row.get_by_role("button", name="Revoke the key of alice").click()
    expect(page.locator("#said")).to_have_text("The key of alice is revoked.")
    expect(row.locator(".badge")).to_have_text("revoked")
    expect(row.get_by_role("button")).to_have_count(0)
    assert read(path)["alice"].revoked


def test_a_gateway_without_key_file_or_admin_key_says_so(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/dashboard") as page:
        keys = page.get_by_role("region", name="Client keys")
        expect(keys.get_by_text("No key file is configured: set ZTOAPI_KEY_FILE.")).to_be_visible()
        expect(keys.get_by_role("button", name="New key")).to_be_disabled()


def test_the_configuration_is_that_of_check(page: Page) -> None:
    page.get_by_text("Configuration, as ztoapi check prints it").click()
    text = page.get_by_role("region", name="Configuration")
    expect(text).to_contain_text("listen: 127.0.0.1:0")
    expect(text).to_contain_text("zai/zai-1  sha256:")
    expect(text).not_to_contain_text("sim-token")


def test_metrics_are_opened_with_the_admin_key(page: Page) -> None:
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Metrics").click()
    expect(opened.value.locator("body")).to_contain_text("ztoapi_build_info")
    opened.value.close()


def test_a_sorted_list_and_an_open_request_are_in_the_address(page: Page, stack: Stack) -> None:
    body = {"temperature": 0, "messages": [{"role": "user", "content": "x"}]}
    # The last one comes from the cache, without tokens.
    for tokens in (3, 9, 9):
        sent = {**body, "model": f"glm-4.6:tokens={tokens}"}
        httpx.post(f"{stack.base_url}/chat/completions", json=sent, headers={"authorization": "Bearer sk-d"})
    rows = page.locator("#requests-table tbody tr")
    expect(rows).to_have_count(3)
    # Its requests are in the list behind the counter.
    hits = page.locator("#limit-groups dd").get_by_role("link")
    expect(hits.first).to_be_visible()
    page.locator("#limit-groups div:has(> dt:text('Hits'))").get_by_role("link", name="1").click()
    expect(page).to_have_url(re.compile(r"\?cache=hit$"))
    expect(rows).to_have_count(1)
    page.locator("#now-tokens").get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"\?sort=-output_tokens$"))
    expect(rows).to_have_count(3)
    tokens_shown = rows.locator(".c-tokens")
    expect(tokens_shown).to_have_text([re.compile("13$"), re.compile("7$"), re.compile("0$")])
    page.locator("#requests-table").get_by_role("button", name="Tokens").click()
    expect(page).to_have_url(re.compile(r"\?sort=output_tokens$"))
    expect(tokens_shown).to_have_text([re.compile("0$"), re.compile("7$"), re.compile("13$")])
    rows.first.get_by_role("button").click()
    expect(page).to_have_url(re.compile(r"&request=[^&]+$"))
    dialog = page.get_by_role("dialog", name="Request")
    shown = dialog.locator("dd").first.inner_text()
    page.reload()
    expect(dialog.locator("dd").first).to_have_text(shown)
    page.go_back()
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(re.compile(r"\?sort=output_tokens$"))
    page.go_back()
    expect(tokens_shown.first).to_have_text(re.compile("13$"))
    page.goto(f"{stack.url}/dashboard?request=gone")
    expect(page.locator("#said")).to_have_text("Request gone is no longer kept.")


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_nothing_is_cut(browser: Browser, stack: Stack, language: str) -> None:
    with open_page(browser, f"{stack.url}/docs", language=language) as page:
        page.context.add_init_script(KEPT)
        page.goto(f"{stack.url}/dashboard")
        expect(page.locator("html")).to_have_attribute("data-link", "live")
        expect(page.locator("#version")).not_to_be_empty()
        for width in (1280, 1440, PHONE["width"]):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            cut = page.evaluate(
                "[...document.querySelectorAll('.figures li, .figures li *, button, summary')]"
                ".filter(node => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1"
                " && getComputedStyle(node).display !== 'inline').map(node => node.textContent)"
            )
            assert cut == [], width
