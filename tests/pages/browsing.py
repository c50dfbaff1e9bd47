"""Looking at a page: nothing may go wrong in it, and what it looked like is kept."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize

from tests.support.waiting import WAIT_SECONDS

__all__ = ["DESKTOP", "PHONE", "assert_texts_are_complete", "keep", "open_page"]

DESKTOP: ViewportSize = {"width": 1360, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 780}
SCREENSHOTS = Path(__file__).resolve().parents[2] / "artifacts" / "screenshots"


@contextmanager
def open_page(
    browser: Browser,
    url: str,
    *,
    size: ViewportSize = DESKTOP,
    dark: bool = False,
    language: str = "en-US",
    expected: str | None = None,
) -> Iterator[Page]:
    """The page at ``url``. Errors, refusals by the Content-Security-Policy among them, and requests to other hosts fail
    the test; but not messages that match ``expected``, which a browser writes about responses that the test causes."""
    context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light", locale=language)
    wrong: list[str] = []
    context.set_default_timeout(WAIT_SECONDS * 1000)
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    origin = url[: url.index("/", 8)]
    page.on("request", lambda request: None if request.url.startswith((origin, "data:")) else wrong.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert [one for one in wrong if expected is None or not re.search(expected, one)] == []


def assert_texts_are_complete(page: Page, name: str) -> None:
    """Both languages of the page at ``/name`` have the same keys, with the same values put in; and every key that the
    page uses exists."""
    tables: list[dict[str, str]] = page.evaluate(
        f"Promise.all([import('/{name}/english.js'), import('/{name}/chinese.js')])"
        ".then(([one, other]) => [one.english, other.chinese])"
    )
    used: list[str] = page.evaluate(
        "[...document.querySelectorAll('[data-text], [data-label], [data-hint]')].flatMap("
        "node => [node.dataset.text, node.dataset.label, node.dataset.hint]).filter(Boolean)"
    )
    english, chinese = tables
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", chinese[key])), key
    assert set(used) <= english.keys()


def keep(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep a screenshot, for people; CI keeps the directory."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole, animations="disabled")
