"""The flame graph in a real browser, opened from a saved file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages.browsing import DESKTOP, PHONE, keep, open_page
from ztoapi.handlers.static import STATIC
from ztoapi.profiling.cpu import Frame, Profile
from ztoapi.profiling.formats import FlameGraph

HOSTILE = "x.</script><img src=x onerror=document.title='broken'><!--<script>@PROFILE@"
PROFILE = Profile(
    frames=[
        Frame("event loop", "", 0),
        Frame("ztoapi.server.protocol.HTTPProtocol.data_received", "/srv/protocol.py", 7),
        Frame("ztoapi.relay.relay.Relay.on_data", "/srv/relay.py", 8),
        Frame("json.loads", "/usr/json.py", 9),
        Frame(HOSTILE, "/x.py", 1),
    ],
    stacks=[((0, 1, 2), 50), ((0, 1, 3), 30), ((0, 4), 15), ((0,), 4), ((0, 1, 2, 3), 1)],
    wall_seconds=2.0,
    cpu_seconds=1.0,
)


@contextmanager
def shown(browser: Browser, directory: Path, profile: Profile = PROFILE, *, phone: bool = False) -> Iterator[Page]:
    file = directory / "profile.html"
    file.write_bytes(FlameGraph(STATIC).render(profile, "worker <0>"))
    with open_page(browser, file.as_uri(), size=PHONE if phone else DESKTOP, dark=phone) as page:
        yield page


def test_it_shows_where_the_time_went(browser: Browser, tmp_path: Path) -> None:
    with shown(browser, tmp_path) as page:
        expect(page.locator("#title")).to_have_text("worker <0>")
        expect(page.locator("#facts")).to_have_text("100 samples, 1.00 s of CPU time in 2.0 s: 50% of a core")
        expect(page.locator(".block")).to_have_count(7)
        wide = page.get_by_role("button", name="ztoapi.relay.relay.Relay.on_data").bounding_box()
        whole = page.get_by_role("button", name="all ·").bounding_box()
        assert wide is not None and whole is not None
        assert wide["width"] / whole["width"] == pytest.approx(0.51, abs=0.01)
        rows = page.locator("#functions tr")
        expect(rows.nth(0)).to_contain_text("ztoapi.relay.relay.Relay.on_data")
        expect(rows.nth(0).locator(".number")).to_have_text(["50.0%", "51.0%"])
        keep(page, "flamegraph-light")


def test_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    with shown(browser, tmp_path) as page:
        assert page.title() == "Profile · ztoapi"
        expect(page.locator("#functions")).to_contain_text(HOSTILE)
        expect(page.locator("img")).to_have_count(0)


def test_a_part_is_shown_alone_and_all_again(browser: Browser, tmp_path: Path) -> None:
    with shown(browser, tmp_path) as page:
        page.get_by_role("button", name="ztoapi.relay.relay.Relay.on_data").click()
        expect(page.locator(".block")).to_have_count(5)
        expect(page.locator(".block.above")).to_have_count(3)
        page.get_by_role("button", name="Show all").click()
        expect(page.locator(".block")).to_have_count(7)


def test_search_marks_and_adds_up(browser: Browser, tmp_path: Path) -> None:
    with shown(browser, tmp_path) as page:
        page.keyboard.press("/")
        page.keyboard.type("JSON")
        expect(page.locator(".block.hit")).to_have_count(2)
        expect(page.locator("#matched")).to_have_text("31.0% of the time")
        page.keyboard.press("Escape")
        expect(page.locator(".block.hit")).to_have_count(0)


def test_the_keyboard_is_enough(browser: Browser, tmp_path: Path) -> None:
    with shown(browser, tmp_path) as page:
        page.get_by_role("button", name="all ·").focus()
        for key, name in (
            ("ArrowDown", "event loop"),
            ("ArrowDown", "ztoapi.server.protocol"),
            ("ArrowDown", "ztoapi.relay.relay"),
            ("ArrowRight", "json.loads"),
            ("ArrowLeft", "ztoapi.relay.relay"),
        ):
            page.keyboard.press(key)
            expect(page.locator(":focus")).to_have_attribute("aria-label", page_label(name))
        expect(page.locator("#detail")).to_contain_text(
            "51.0% of the time, 50.0% in itself, 51 samples · /srv/relay.py:8"
        )
        page.keyboard.press("Enter")
        expect(page.locator(".block.above")).to_have_count(3)
        expect(page.locator(":focus")).to_have_attribute("aria-label", page_label("ztoapi.relay.relay"))
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Escape")
        expect(page.locator(".block.above")).to_have_count(0)


def page_label(name: str) -> re.Pattern[str]:
    return re.compile(f"^{re.escape(name)}")


def test_an_empty_profile_has_a_note_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    with shown(browser, tmp_path, Profile([], [], 1.0, 0.0), phone=True) as page:
        expect(page.locator("#empty")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_it_fits_a_phone(browser: Browser, tmp_path: Path) -> None:
    with shown(browser, tmp_path, phone=True) as page:
        expect(page.locator("#functions tr")).to_have_count(5)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        keep(page, "flamegraph-phone-dark")
