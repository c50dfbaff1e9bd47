"""The charts of /dashboard over a history: ranges, spans, the address, the heat map and the table. All tests share one
gateway and one page."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.pages.browsing import keep, open_page
from tests.processes.gateway_process import GatewayProcess
from tests.stack import Stack
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.history import History
from ztoapi.telemetry.layout import KEYS, MODELS, PLATFORMS, KeyCell, ModelCell, PlatformCell

MINUTE, HOUR, DAY = 60, 3600, 86400
COLUMNS = {"1 h": 60, "24 h": 144, "7 d": 168, "30 d": 30}
BUCKET = 200
"""Of the histograms: 23 ms."""


@pytest.fixture(scope="module")
def url(gateway: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the dashboard of a gateway with a history."""
    path = tmp_path_factory.mktemp("history") / "history.db"
    keep_requests(path, int(gateway.call(unix_time(gateway))))
    upstream = f"http://127.0.0.1:{gateway.simulator_port}/api/paas/v4"
    variables = {"PLATFORM_ID": "zai", "UPSTREAM_URL": upstream, "ZAI_TOKEN": "t", "PORT": "0"}
    with GatewayProcess(**variables, ZTOAPI_HISTORY_FILE=str(path)) as process:
        yield f"{process.url}/dashboard"


async def unix_time(stack: Stack) -> float:
    return stack.application.context.wall_clock()


def keep_requests(path: Path, now: int) -> None:
    """A history with requests in each of the last ten days, of the last hours and of the last minutes."""
    board, at = MetricsBoard(), now - 10 * DAY
    history = History(path, board, lambda: at)
    history.create()
    row, sums = board.slot(0).row(MODELS, ("glm-4.6", "zai"))
    usage = [board.slot(0).row(KEYS, (key, "glm-4.6", "zai"))[0] for key in ("alice", "bob", "")]
    durations, _ = board.slot(0).row(PLATFORMS, ("zai",))
    ages = [*range(10 * DAY, DAY, -DAY), *range(20 * HOUR, HOUR, -HOUR), *range(50 * MINUTE, MINUTE, -MINUTE)]
    for number, age in enumerate(ages):
        at = now - age
        row[ModelCell.REQUESTS] += 110
        row[ModelCell.FAILED] += 11
        row[ModelCell.INPUT] += 9000
        row[ModelCell.OUTPUT] += 6000
        row[ModelCell.TTFT + BUCKET + number % 20] += 90
        durations[PlatformCell.DURATION + BUCKET + 40] += 90
        sums[ModelCell.SECONDS] += 150.0
        for place, counts in enumerate(usage):
            counts[KeyCell.REQUESTS] += 10
            counts[KeyCell.OUTPUT] += 100 - place
            counts[KeyCell.COST] += 20_000_000 * place
        history.save()


@pytest.fixture(scope="module")
def shared(browser: Browser, url: str) -> Iterator[Page]:
    with open_page(browser, url) as page:
        yield page


@pytest.fixture
def page(shared: Page, url: str) -> Page:
    """The page in its first state."""
    shared.goto(url)
    expect(shared.locator("html")).to_have_attribute("data-link", "live")
    return shared


def choose(page: Page, name: str) -> None:
    page.get_by_role("group", name="Range", exact=True).get_by_role("button", name=name, exact=True).click()


def plot(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name="Traffic").get_by_role("slider", name=name, exact=True)


def span(page: Page) -> tuple[int, int] | None:
    query = parse_qs(urlsplit(page.url).query)
    return (int(query["from"][0]), int(query["to"][0])) if "from" in query else None


@pytest.mark.parametrize("name", COLUMNS)
def test_a_range_has_its_columns_and_is_in_the_address(page: Page, name: str) -> None:
    columns = COLUMNS[name]
    choose(page, name)
    requests = plot(page, "Requests")
    expect(requests).to_have_attribute("aria-valuemax", str(columns - 1))
    expect(page).to_have_url(re.compile(rf"\?range={name.replace(' ', '')}$"))
    expect(plot(page, "Active streams")).to_be_hidden()
    requests.focus()
    page.keyboard.press("End")
    page.keyboard.press("PageUp")
    for _ in range(columns):
        # The newest column with requests.
        if re.search("all [1-9]", requests.get_attribute("aria-valuetext") or ""):
            break
        page.keyboard.press("ArrowLeft")
    expect(requests).to_have_attribute("aria-valuetext", re.compile("all .*, cancelled 0, refused 0, failed"))
    expect(plot(page, "Latency heat map")).to_have_attribute("aria-valuetext", re.compile("in all, most from"))
    expect(plot(page, "Failures")).to_have_attribute("aria-valuetext", re.compile("10\N{NARROW NO-BREAK SPACE}%"))
    keep(page, f"dashboard-{name.replace(' ', '')}")
    page.reload()
    expect(page.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-pressed", "true")
    expect(plot(page, "Requests")).to_have_attribute("aria-valuemax", str(columns - 1))


def test_a_span_is_dragged_and_reset(page: Page) -> None:
    choose(page, "7 d")
    requests = plot(page, "Requests")
    expect(requests).to_have_attribute("aria-valuemax", "167")
    requests.scroll_into_view_if_needed()
    box = requests.bounding_box()
    assert box is not None
    column = box["width"] / 168
    for reset in ("double click", "Escape", "button"):
        page.mouse.move(box["x"] + 40.5 * column, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + 63.5 * column, box["y"] + 50, steps=3)
        expect(requests.locator(".mark")).to_have_attribute("d", re.compile("^M40 0H64V"))
        page.mouse.up()
        expect(requests).to_have_attribute("aria-valuemax", "23")
        chosen = span(page)
        assert chosen is not None and chosen[1] - chosen[0] == 24 * HOUR
        expect(page.locator("#span")).to_be_visible()
        if reset == "double click":
            requests.dblclick()
        elif reset == "Escape":
            page.keyboard.press("Escape")
        else:
            page.get_by_role("button", name="Whole range").click()
        expect(requests).to_have_attribute("aria-valuemax", "167")
        assert span(page) is None
        expect(page.locator("#span")).to_be_hidden()


def test_a_span_is_chosen_by_keyboard_and_the_back_button_returns(page: Page) -> None:
    choose(page, "24 h")
    requests = plot(page, "Requests")
    expect(requests).to_have_attribute("aria-valuemax", "143")
    requests.focus()
    for key in ("End", "Shift+ArrowLeft", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    # Three columns of ten minutes are thirty of one.
    expect(requests).to_have_attribute("aria-valuemax", "29")
    chosen = span(page)
    assert chosen is not None and chosen[1] - chosen[0] == 30 * MINUTE
    page.reload()
    expect(plot(page, "Requests")).to_have_attribute("aria-valuemax", "29")
    page.go_back()
    expect(plot(page, "Requests")).to_have_attribute("aria-valuemax", "143")
    page.go_forward()
    expect(plot(page, "Requests")).to_have_attribute("aria-valuemax", "29")


def test_a_span_of_seconds_stays_while_time_passes(page: Page) -> None:
    requests = plot(page, "Requests per second")
    requests.focus()
    for key in ("End", "ArrowLeft", "Shift+PageDown", "Enter"):
        page.keyboard.press(key)
    expect(requests).to_have_attribute("aria-valuemax", "30")
    drawn = requests.locator(".grid").get_attribute("d")
    uptime = page.locator("#uptime").inner_text()
    expect(page.locator("#uptime")).not_to_have_text(uptime)
    expect(requests.locator(".grid")).to_have_attribute("d", drawn or "")
    expect(requests).to_have_attribute("aria-valuemax", "30")


@pytest.mark.parametrize(
    "query", ["range=constructor&by=toString&heat=x&page=-3", "from=0&to=99999999999", "from=9&to=5", "from=x&to=1"]
)
def test_an_address_may_hold_anything(page: Page, url: str, query: str) -> None:
    page.goto(f"{url}?{query}")
    expect(plot(page, "Requests per second")).to_have_attribute("aria-valuemax", "299")
    expect(page.locator("#span")).to_be_hidden()
    expect(page.get_by_role("button", name="By key")).to_have_attribute("aria-pressed", "true")


def test_the_heat_map_shows_each_latency(page: Page) -> None:
    choose(page, "1 h")
    heat = plot(page, "Latency heat map")
    cells = heat.locator(".cells")
    expect(cells.last).to_have_attribute("d", re.compile(r"^M\d+ [\d.]+h1v"))
    first = cells.last.get_attribute("d") or ""
    page.get_by_role("button", name="Whole request").click()
    expect(cells.last).not_to_have_attribute("d", first)
    expect(page).to_have_url(re.compile("heat=duration"))
    page.reload()
    expect(page.get_by_role("button", name="Whole request")).to_have_attribute("aria-pressed", "true")


def test_charts_follow_the_filters_for_key_and_model(page: Page) -> None:
    usage = page.get_by_role("region", name="Cost and tokens")
    usage.get_by_role("button", name="By model").click()
    usage.get_by_role("link", name="glm-4.6").click()
    # Hours are kept, so the five minutes become a day.
    expect(plot(page, "Requests")).to_have_attribute("aria-valuemax", "23")
    expect(page.get_by_role("button", name="24 h")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="5 min")).to_be_disabled()
    expect(plot(page, "Requests per second")).to_be_hidden()
    expect(plot(page, "Duration")).to_be_hidden()
    expect(plot(page, "Time to first token")).to_have_attribute("aria-valuetext", re.compile("highest [1-9]"))
    expect(plot(page, "Cost")).to_have_attribute("aria-valuetext", re.compile(r"highest \$[1-9]"))
    filters = page.get_by_role("search", name="Requests")
    filters.get_by_role("combobox", name="Key").select_option("alice")
    filters.get_by_role("combobox", name="Status").select_option("2xx")
    expect(plot(page, "Requests")).to_have_attribute("aria-valuetext", re.compile("all .*, over a limit 0"))
    expect(plot(page, "Latency heat map")).to_be_hidden()
    expect(plot(page, "Failures")).to_be_hidden()
    expect(page.get_by_text("Key alice · Model glm-4.6")).to_be_visible()
    expect(page.locator("#range-note")).to_have_text(re.compile("hours and days are kept.*key and model only"))
    choose(page, "30 d")
    expect(plot(page, "Requests")).to_have_attribute("aria-valuemax", "29")
    keep(page, "dashboard-of-a-key")
    page.get_by_role("button", name="All requests").click()
    expect(plot(page, "Duration")).to_have_attribute("aria-valuemax", "29")
    expect(page).to_have_url(re.compile(r"\?by=model&status=2xx&range=30d$"))
    # Also without a key or a model, and beside the live charts.
    choose(page, "5 min")
    filters.get_by_role("combobox", name="Status").select_option("")
    expect(page.locator("#range-note")).not_to_contain_text("key and model only")
    filters.get_by_role("combobox", name="Platform").select_option("zai")
    expect(plot(page, "Requests per second")).to_be_visible()
    expect(page.locator("#range-note")).to_contain_text("the charts follow the filters for key and model only")


def test_a_heat_map_without_requests_has_no_scale(page: Page, url: str) -> None:
    choose(page, "1 h")
    heat = page.locator(".heat")
    expect(heat.locator(".marks span").first).to_be_visible()
    page.goto(f"{url}?from=60&to=3660")
    expect(heat.get_by_text("No data yet")).to_be_visible()
    expect(heat.locator(".marks span").first).to_be_hidden()


def test_the_charts_are_a_table_too(page: Page) -> None:
    choose(page, "30 d")
    expect(plot(page, "Requests")).to_have_attribute("aria-valuemax", "29")
    page.get_by_text("The charts as a table").click()
    table = page.get_by_role("group", name="The charts as a table").get_by_role("table")
    expect(table.locator("tbody tr").last).to_contain_text("110")
    expect(table.get_by_role("columnheader", name="Duration p99")).to_be_visible()


def test_cost_and_tokens_are_shown_by_key_model_and_day(page: Page) -> None:
    choose(page, "30 d")
    usage = page.get_by_role("region", name="Cost and tokens")
    names = usage.locator("tbody th")
    expect(names).to_have_text(["without a key", "bob", "alice"])
    total = usage.locator("tbody tr", has_text="bob").locator("td").nth(5)
    expect(total).to_have_text(re.compile(r"^\$\d\.\d\d$"))
    usage.get_by_role("button", name="Output").click()
    expect(names).to_have_text(["alice", "bob", "without a key"])
    expect(usage.get_by_role("columnheader", name="Output")).to_have_attribute("aria-sort", "descending")
    usage.get_by_role("button", name="Output").click()
    expect(page).to_have_url(re.compile("order=output_tokens"))
    page.reload()
    expect(names).to_have_text(["without a key", "bob", "alice"])
    with page.expect_download() as saved:
        usage.get_by_role("button", name="Save as CSV: cost and tokens").click()
    assert saved.value.path().read_text().startswith("key,requests,denied,")
    usage.get_by_role("button", name="By model").click()
    expect(names).to_have_text(["glm-4.6"])
    usage.get_by_role("button", name="By day").click()
    expect(names.nth(5)).to_be_visible()
    days = names.count()
    usage.get_by_role("link").nth(2).click()
    chosen = span(page)
    assert chosen is not None and (chosen[0] % DAY, chosen[1] - chosen[0]) == (0, DAY)
    expect(names).to_have_count(1)
    expect(page.get_by_text("No kept request started in this span.")).to_be_visible()
    page.go_back()
    expect(names).to_have_count(days)
    usage.get_by_role("button", name="By key").click()
    usage.get_by_role("link", name="alice").click()
    expect(page.get_by_role("combobox", name="Key")).to_have_value("alice")


def test_a_profile_is_recorded_and_saved(page: Page) -> None:
    page.get_by_role("button", name="Profile").click()
    dialog = page.get_by_role("dialog", name="CPU profile")
    expect(dialog.get_by_role("combobox", name="Worker")).to_have_value("0")
    dialog.get_by_role("spinbutton", name="Seconds").fill("1")
    dialog.get_by_role("combobox", name="Format").select_option("collapsed")
    with page.expect_download() as saved:
        dialog.get_by_role("button", name="Record and save").click()
    assert saved.value.suggested_filename == "worker-0.txt"
    expect(dialog.get_by_role("status")).to_have_text("The profile is saved.")


def test_a_span_that_makes_no_sense_is_refused(url: str) -> None:
    for query in ("from=5", "from=9&to=9", "from=x&to=5", "from=-1&to=5"):
        assert httpx.get(f"{url}/history?{query}").status_code == 400
    assert httpx.get(f"{url}/history?from=0&to=10").json() == {"kept": True, "step": HOUR, "columns": []}
