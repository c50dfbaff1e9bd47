"""Frames of ``ztoapi top``: whatever the figures are, each line fits."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.cli.terminal import next_key
from ztoapi.cli.top_frame import View, render
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.figures import (
    CredentialFigures,
    Figures,
    LatencyFigures,
    LiveRequest,
    RequestsPage,
    WorkerFigures,
)
from ztoapi.telemetry.stats import make_figures
from ztoapi.telemetry.terminal_text import clean, cut


def figures(*, workers: int = 1, credentials: int = 1) -> Figures:
    """Those of an idle gateway, with a few numbers to show."""
    shown = make_figures(MetricsBoard(), 1_800_000_000.0)
    shown.uptime = 90_000.0
    shown.requests.total = 12_345
    shown.requests.error_rate = 0.125
    shown.duration = LatencyFigures(average=None, p50=0.001, p95=1.5, p99=99.0, maximum=120.0)
    shown.tokens.input = 1_234_567
    shown.rate_limits.denied = 7
    shown.workers = [
        WorkerFigures(number, 100 + number, True, 0.5, 42_000_000, 30, 2, 0.0012) for number in range(workers)
    ]
    shown.credentials = [
        CredentialFigures("zai", f"c{number}", "cooling", 1, 5, 2, 0.2, 1_800_000_061.0, "quota")
        for number in range(credentials)
    ]
    shown.series.requests = [0, 1, 8, 4]
    return shown


def request(**fields: str | None) -> LiveRequest:
    texts: dict[str, Any] = {
        "path": "/v1/x",
        "model": "m",
        "key": "k",
        "client": "c",
        "user_agent": "a",
        "ending": "done",
        "cache": None,
        **fields,
    }
    return LiveRequest(
        id="1",
        started=1_800_000_000.0,
        method="POST",
        platform="zai",
        credential="c0",
        status=200,
        phase="done",
        stream=False,
        attempts=1,
        bytes_in=1,
        bytes_out=1,
        input_tokens=2,
        output_tokens=3,
        time_to_first_token=0.1,
        duration=2.0,
        error_code=None,
        peer=None,
        **texts,
    )


def page_of(*requests: LiveRequest) -> RequestsPage:
    return RequestsPage(list(requests), len(requests), 1, 20)


def texts(
    width: int, height: int | None, page: RequestsPage, view: View | None = None, shown: Figures | None = None
) -> list[str]:
    return [line.text for line in render(shown or figures(), page, view or View("http://g"), width, height)]


def columns(text: str) -> int:
    """As a terminal counts them."""
    return sum(
        0 if unicodedata.category(one) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


@given(st.text(), st.integers(0, 50))
def test_a_cut_text_has_its_width_and_nothing_that_is_not_seen(text: str, width: int) -> None:
    shown = cut(text, width)
    assert columns(shown) == width
    assert shown.isprintable()
    assert len(shown) <= 3 * width + 1


@given(st.text(), st.text(), st.text(), st.integers(1, 200), st.integers(1, 60))
def test_every_line_fits(model: str, agent: str, key: str, width: int, height: int) -> None:
    page = page_of(request(model=model, user_agent=agent, key=key))
    lines = texts(width, height, page)
    assert len(lines) == height
    assert {columns(line) for line in lines} == {width}
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b31m", "\x00", "\x7f", "\u202e", "\u2066", "\u2028", "\ud800", "\n"])
def test_control_characters_are_replaced(text: str) -> None:
    assert clean(f"a{text}b").startswith("a\ufffd")


def test_figures() -> None:
    shown = "\n".join(texts(160, None, page_of(request())))
    for part in ("12.3k so far", "12.5% of the last minute", "7 over a limit", "1.23M in", "42 MB", "up 25h00m"):
        assert part in shown
    assert "cooling for 1m01s (quota)" in shown
    assert "\u2581\u2582\u2588\u2585 max 8" in shown
    assert "1.00 ms   1.50 s  99.00 s    2m00s" in shown


@pytest.mark.parametrize(
    ("cache", "shown"), [("hit", "done (hit) "), ("shared", "done (shared) "), ("miss", "done   ")]
)
def test_responses_from_the_cache_are_marked(cache: str, shown: str) -> None:
    assert shown in texts(160, None, page_of(request(cache=cache)))[-1]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, ["STARTED", "STATUS", "MODEL", "KEY", "FIRST", "TOOK", "TOKENS"]),
        (100, ["STARTED", "STATUS", "ENDING", "MODEL", "KEY", "FIRST", "TOOK", "TOKENS"]),
        (120, ["STARTED", "STATUS", "ENDING", "MODEL", "KEY", "FIRST", "TOOK", "TOKENS", "CLIENT"]),
        (160, ["STARTED", "STATUS", "ENDING", "MODEL", "KEY", "FIRST", "TOOK", "TOKENS", "CLIENT", "USER", "AGENT"]),
    ],
)
def test_a_narrow_terminal_has_fewer_columns_and_none_that_is_cut(width: int, shown: list[str]) -> None:
    lines = texts(width, 40, page_of(request(user_agent="a" * 30)))
    assert next(line.split() for line in lines if line.startswith("STARTED")) == shown
    assert [line for line in lines if line.rstrip().endswith("\u2026")] == []


def test_long_lists_leave_room_for_requests() -> None:
    page = page_of(request())
    lines = texts(100, 40, page, shown=figures(workers=64, credentials=64))
    assert sum(line.startswith("and 57 more") for line in lines) == 2
    assert any("/v1" in line or " m " in line for line in lines)
    whole = texts(100, None, page, shown=figures(workers=64))
    assert sum(line.startswith("63 ") for line in whole) == 1


def test_a_problem_stands_above_the_last_figures() -> None:
    lines = texts(100, 40, page_of(), View("http://g", problem="no response\x1b[2J"))
    assert lines[1].startswith("no response\ufffd[2J")
    assert any("so far" in line for line in lines)
    assert len(render(None, None, View("http://g", problem="x"), 40, 10)) == 10


def test_keys() -> None:
    text, names = "q\x1b[A\x1bOBp\x1b[6~x\x1b[99~j", []
    while text:
        name, text = next_key(text)
        names += [name] if name else []
    assert names == ["quit", "up", "down", "pause", "page down", "down"]


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        (None, "base URLs       http://[::1]:2/v1 (OpenAI)   http://[::1]:2 (Anthropic)"),
        (["https://a:1"], "base URLs       https://a:1/v1 (OpenAI)   https://a:1 (Anthropic)"),
        (["https://0.0.0.0:1"], "base URLs       https://[::1]:1/v1 (OpenAI)   https://[::1]:1 (Anthropic)"),
        ([], None),
    ],
)
def test_base_urls_are_those_of_the_api(urls: list[str] | None, shown: str | None) -> None:
    idle = figures()
    idle.api_urls = urls
    lines = texts(160, None, page_of(), View("http://[::1]:2"), idle)
    assert next((line for line in lines if line.startswith("base URLs")), None) == shown
