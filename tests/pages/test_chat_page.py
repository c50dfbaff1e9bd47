"""/chat in a real browser, in front of a gateway that serves real requests."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.pages.browsing import PHONE, assert_texts_are_complete, keep, open_page
from tests.pages.conftest import KEY
from tests.pages.programs import output_of
from tests.stack import Stack
from tests.support.table import table
from ztoapi.errors import Ending
from ztoapi.simulator.app import Options

HOSTILE = "<img src=x onerror=alert(1)>"
TOOLS = [
    {
        "name": "weather",
        "description": "Returns the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
APIS = ["chat", "messages", "responses"]
WAYS = [("chat", True), ("chat", False), ("messages", True), ("responses", False)]
"""APIs, and whether the response is a stream: each reader once; conversations have all."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(options=Options(itl_ms=1.0)) as stack:
        yield stack


@pytest.fixture(scope="module")
def slow() -> Iterator[Stack]:
    """Streams that do not end before a test has stopped them."""
    with Stack(options=Options(itl_ms=50.0)) as stack:
        yield stack


def models(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Model")


def wait_until_ready(page: Page) -> None:
    # On a phone it is in a part that is closed.
    expect(page.locator("#model")).to_be_enabled()


def send(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def turns(page: Page) -> Locator:
    return page.locator("#turns > li")


def last(stack: Stack, path: str) -> None:
    record = next(record for record in reversed(stack.records()) if record.path.startswith("/v1/"))
    assert record.path == path


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_conversation(browser: Browser, stack: Stack, api: str, stream: bool) -> None:
    with open_page(browser, f"{stack.url}/chat") as page:
        wait_until_ready(page)
        page.get_by_role("combobox", name="API").select_option(api)
        page.get_by_role("checkbox", name="Stream the response").set_checked(stream)
        page.get_by_role("textbox", name="System prompt").fill("Be brief.")
        send(page, "hello")
        answer = turns(page).nth(1)
        expect(answer.locator("footer")).to_contain_text("tokens in")
        expect(answer.locator(".body > p").first).not_to_be_empty()
        expect(answer.get_by_text("Reasoning")).to_be_visible()
        assert ("tokens/s" in answer.inner_text()) is stream
        path = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}[api]
        last(stack, path)
        page.get_by_role("textbox", name="Message").fill("and now")
        page.keyboard.press("Enter")
        expect(turns(page).nth(3).locator("footer")).to_contain_text("tokens in")
        expect(page.locator("#said")).to_have_text("The response is complete.")
        keep(page, f"chat-{api}", whole=True)
        page.get_by_role("button", name="New chat").click()
        expect(turns(page)).to_have_count(0)


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_tool_calls_and_their_results(browser: Browser, stack: Stack, api: str, stream: bool) -> None:
    with open_page(browser, f"{stack.url}/chat") as page:
        wait_until_ready(page)
        page.get_by_role("combobox", name="API").select_option(api)
        page.get_by_role("checkbox", name="Stream the response").set_checked(stream)
        page.get_by_text("Tools", exact=True).click()
        page.get_by_role("textbox", name="JSON list of functions").fill(json.dumps(TOOLS))
        send(page, "How is the weather?")
        call = turns(page).nth(1).locator(".call")
        expect(call.get_by_text("Call of weather")).to_be_visible()
        json.loads(call.locator("code").inner_text())
        call.get_by_role("textbox", name="Result of weather").fill("sunny")
        page.get_by_role("button", name="Send the results").click()
        expect(turns(page).nth(2).locator("footer")).to_contain_text("tokens in")
        expect(turns(page).nth(2).locator(".body > p").first).not_to_be_empty()
        expect(turns(page).nth(2).locator(".call")).to_have_count(0)


def test_a_list_of_tools_that_is_wrong_is_reported_and_nothing_is_sent(browser: Browser, stack: Stack) -> None:
    with open_page(browser, f"{stack.url}/chat") as page:
        wait_until_ready(page)
        page.get_by_text("Tools", exact=True).click()
        for wrong in ("[", '{"name": "x"}', '[{"title": "x"}]'):
            page.get_by_role("textbox", name="JSON list of functions").fill(wrong)
            send(page, "hello")
            expect(page.locator("#tools-wrong")).to_contain_text("This is not a JSON list")
        expect(turns(page)).to_have_count(0)
        expect(page.get_by_role("textbox", name="Message")).to_have_value("hello")


def test_stop_and_retry(browser: Browser, slow: Stack) -> None:
    with open_page(browser, f"{slow.url}/chat") as page:
        wait_until_ready(page)
        send(page, "hello")
        answer = turns(page).nth(1)
        expect(answer.locator(".body p").last).to_contain_text(re.compile(r"\w"))
        expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
        page.get_by_role("button", name="Stop").click()
        expect(answer.locator("footer")).to_contain_text("Stopped")
        slow.wait_for(
            lambda: any(record.ending is Ending.CLIENT_DISCONNECT for record in slow.application.recorder.recent)
        )
        answer.get_by_role("button", name="Retry").click()
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        expect(turns(page)).to_have_count(2)
        page.get_by_role("button", name="New chat").click()
        expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()


def test_errors_are_shown_with_their_code(browser: Browser, stack: Stack) -> None:
    with open_page(browser, f"{stack.url}/chat", expected="status of") as page:
        wait_until_ready(page)
        send(page, "[[fault=1302]] hello")
        models(page).evaluate(
            "node => { node.append(new Option('glm-4.6:fault=400')); node.value = 'glm-4.6:fault=400'; }"
        )
        expect(turns(page).nth(1).locator("footer")).to_contain_text("in all")
        send(page, "hello")
        expect(turns(page).nth(3).locator("footer .bad")).not_to_be_empty()
        expect(page.locator("#said")).to_contain_text("The response has failed")


def test_a_gateway_with_keys_asks_for_one(browser: Browser, gateway: Stack) -> None:
    with open_page(browser, f"{gateway.url}/chat", expected="status of 401") as page:
        expect(page.get_by_text("This gateway needs a key")).to_be_visible()
        expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
        page.get_by_role("textbox", name="Key", exact=True).fill("wrong \N{SNOWMAN}")
        page.get_by_role("textbox", name="Key", exact=True).press("Tab")
        expect(page.get_by_text("The gateway refuses the key")).to_be_visible()
        page.get_by_role("textbox", name="Key", exact=True).fill(KEY)
        page.get_by_role("textbox", name="Key", exact=True).press("Tab")
        wait_until_ready(page)
        send(page, "hello")
        expect(turns(page).nth(1).locator("footer")).to_contain_text("tokens in")
        page.reload()
        wait_until_ready(page)
        assert page.evaluate("Object.values(localStorage).join()").find(KEY) < 0


def test_text_stays_text(browser: Browser, stack: Stack) -> None:
    with open_page(browser, f"{stack.url}/chat") as page:
        wait_until_ready(page)
        send(page, HOSTILE)
        expect(turns(page).first.locator(".body")).to_have_text(HOSTILE)
        assert page.locator("#turns img").count() == 0


@pytest.mark.parametrize("api", APIS)
def test_the_copied_command_runs(browser: Browser, stack: Stack, api: str) -> None:
    with open_page(browser, f"{stack.url}/chat") as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        wait_until_ready(page)
        page.get_by_role("combobox", name="API").select_option(api)
        page.get_by_role("textbox", name="Message").fill('it\'s \\ "quoted"\nhello')
        page.get_by_role("button", name="curl").click()
        expect(page.locator("#said")).to_contain_text("Copied as curl")
        command = page.evaluate("navigator.clipboard.readText()")
        sent = shlex.split(command)
        body = json.loads(sent[sent.index("-d") + 1])
        assert 'it\'s \\ "quoted"\nhello' in json.dumps(body, ensure_ascii=False).encode().decode("unicode_escape")
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(("data:", "event:"))


@table(("api", "stream"), WAYS)
def test_the_copied_programs_run(browser: Browser, stack: Stack, api: str, stream: bool) -> None:
    assert "weather" in output_of(copied_program(browser, stack, api, stream))


def copied_program(browser: Browser, stack: Stack, api: str, stream: bool) -> str:
    """Returns the program in Python, and copies the one for Node too."""
    with open_page(browser, f"{stack.url}/chat") as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        wait_until_ready(page)
        page.get_by_role("combobox", name="API").select_option(api)
        page.get_by_role("checkbox", name="Stream the response").set_checked(stream)
        page.get_by_role("checkbox", name="Reasoning").set_checked(False)
        page.get_by_text("Tools", exact=True).click()
        page.get_by_role("textbox", name="JSON list of functions").fill(json.dumps(TOOLS))
        page.get_by_role("button", name="Python").click()
        expect(page.locator("#said")).to_contain_text("Copied as Python")
        program: str = page.evaluate("navigator.clipboard.readText()")
        page.get_by_role("button", name="Node").click()
        expect(page.locator("#said")).to_contain_text("Copied as Node")
        assert "await client." in page.evaluate("navigator.clipboard.readText()")
    return program


def test_it_has_chinese_texts(browser: Browser, stack: Stack) -> None:
    with open_page(browser, f"{stack.url}/chat", language="zh-CN") as page:
        expect(page.get_by_role("button", name="发送", exact=True)).to_be_enabled()
        page.get_by_role("textbox", name="消息").fill("你好")
        page.get_by_role("button", name="发送", exact=True).click()
        expect(turns(page).nth(1).locator("footer")).to_contain_text("token")
        keep(page, "chat-chinese", whole=True)
        assert_texts_are_complete(page, "chat")
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, stack: Stack) -> None:
    with open_page(browser, f"{stack.url}/chat", size=PHONE, dark=True) as page:
        wait_until_ready(page)
        send(page, "hello " * 200)
        expect(turns(page).nth(1).locator("footer")).to_contain_text("tokens in")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        keep(page, "chat-phone-dark", whole=True)


def test_it_is_off_with_the_dashboard() -> None:
    with Stack(DASHBOARD_ENABLED="false") as stack:
        assert httpx.get(f"{stack.url}/chat").status_code == 404


def test_events_are_read_whatever_their_line_ends_and_cuts(browser: Browser, stack: Stack) -> None:
    script = """
    () => import('/chat/events.js').then(({ EventParser }) => {
      const text = ': x\\nEVENT: no\\nevent: a\\ndata: 1\\ndata: é2\\n\\n\\ndata:3\\n\\n';
      const results = [];
      for (const end of ['\\n', '\\r\\n', '\\r']) {
        const bytes = new TextEncoder().encode(text.replaceAll('\\n', end) + ': end' + '\\n');
        for (let cut = 1; cut < bytes.length; cut++) {
          const parser = new EventParser();
          results.push(JSON.stringify([...parser.feed(bytes.slice(0, cut)), ...parser.feed(bytes.slice(cut))]));
        }
      }
      return [...new Set(results)];
    })"""
    with open_page(browser, f"{stack.url}/chat") as page:
        wait_until_ready(page)
        assert page.evaluate(script) == ['[{"event":"a","data":"1\\né2"},{"event":"message","data":"3"}]']
