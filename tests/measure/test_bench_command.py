"""``ztoapi bench`` against a real gateway in front of the simulator."""

import io
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.gateway_process import GatewayProcess
from tests.stack import Stack
from tests.support.raw_upstream import RawUpstream, stream_of, whole
from ztoapi.cli.main import main
from ztoapi.simulator.app import Options

REQUESTS = 4


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BENCH_KEY", "BENCH_UPSTREAM_KEY", "ZAI_TOKEN", "UPSTREAM_TOKEN", "UPSTREAM_URL"):
        monkeypatch.delenv(name, raising=False)


def bench(stack: Stack, *more: str) -> int:
    where = ("--url", f"http://127.0.0.1:{stack.port}/v1", "--upstream", upstream_of(stack))
    return main(["bench", *where, "--requests", str(REQUESTS), "--concurrency", "3", *more])


def upstream_of(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.simulator_port}/api/paas/v4"


def test_both_get_the_same_requests_and_all_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    # A stream that a busy machine reads at one go has no gaps.
    with Stack(options=Options(ttft_ms=1, itl_ms=20, tokens=8)) as stack:
        assert bench(stack, "--json") == 0
        # Three parts to two arms, of which one is in front of the other, and a first request to each.
        assert stack.stats()["requests"] == 6 * REQUESTS + 2
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    counts = {"unary": REQUESTS, "first_token": REQUESTS, "streams": REQUESTS}
    assert report["answered"] == {"direct": counts, "gateway": counts}
    assert report["failures"] == {"direct": {}, "gateway": {}}
    for name in ("latency", "first_token"):
        found = report[name]
        for share in ("p50", "p90", "p99"):
            assert found["added_ms"][share] == pytest.approx(found["gateway_ms"][share] - found["direct_ms"][share])
    for name in ("direct", "gateway"):
        streams = report["streams"][name]
        assert streams["deltas_per_second"] > streams["streams_per_second"] > 0
        assert streams["gap_p99_ms"] >= streams["gap_mean_ms"] > 0
    assert "#" not in printed.err
    assert [line.partition(" ")[2] for line in printed.err.splitlines()[1:]] == [
        "whole responses, one at a time",
        "streams, one at a time",
        "3 streams at once",
    ]


def test_the_table_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with Stack(options=Options(ttft_ms=1, itl_ms=1, tokens=8)) as stack:
        assert bench(stack) == 0
    table = capsys.readouterr().out
    for row in (
        "latency, added",
        "first token, added",
        "streams/s",
        "deltas/s",
        "between deltas, p99, ms",
        "jitter, ms",
    ):
        assert row in table
    assert "FAILED" not in table
    assert "p99 of 4 requests is their maximum: use --requests 100 or more" in table


def test_truncated_streams_are_failures_with_their_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with Stack(options=Options(ttft_ms=1, itl_ms=1, tokens=8)) as stack:
        assert bench(stack, "--json", "--model", "glm-4.6:fault=no_done") == 1
    failures = json.loads(capsys.readouterr().out)["failures"]
    assert failures["direct"] == {"truncated: no [DONE]": 2 * REQUESTS}


@pytest.mark.parametrize(("text", "first_tokens"), [("Hi", REQUESTS), (None, 0)])
def test_events_without_a_blank_and_deltas_of_null(
    text: str | None, first_tokens: int, capsys: pytest.CaptureFixture[str]
) -> None:
    deltas: list[dict[str, object]] = [
        {"role": "assistant", "content": None},
        {"reasoning_content": None, "content": text},
        {"content": None},
        {"content": ""},
    ]
    events = [b"data:%b\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() for delta in deltas]
    message = {"role": "assistant", "content": "Hi", "reasoning_content": None}
    completion = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()

    def play(sock: socket.socket, number: int) -> None:
        streams = json.loads(upstream.bodies[number - 1])["stream"]
        sock.sendall(stream_of(*events, b"data:[DONE]\n\n") if streams else whole("200 OK", completion))

    with RawUpstream(play) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        assert main(["bench", "--url", url, "--upstream", url, "--requests", str(REQUESTS), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    counts = {"unary": REQUESTS, "first_token": first_tokens, "streams": REQUESTS}
    assert report["answered"] == {"direct": counts, "gateway": counts}


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack(options=Options(ttft_ms=1, itl_ms=1, tokens=8)) as stack:
        yield stack


@pytest.fixture
def nowhere() -> str:
    """A base URL at which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_a_gateway_that_is_not_there_is_named(stack: Stack, nowhere: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--url", nowhere, "--upstream", upstream_of(stack), "--requests", "1"]) == 1
    assert stack.stats()["requests"] == 0, "the upstream is spared"
    error = capsys.readouterr().err
    assert "ztoapi bench: cannot connect to the gateway 127.0.0.1:" in error
    assert f"({nowhere}/chat/completions); start it with `ztoapi serve` or `ztoapi demo`, or name another" in error


def test_an_upstream_that_is_not_there_is_named(stack: Stack, nowhere: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--url", stack.base_url, "--upstream", nowhere, "--requests", "1"]) == 1
    error = capsys.readouterr().err
    assert "ztoapi bench: cannot connect to the upstream 127.0.0.1:" in error
    assert f"({nowhere}/chat/completions); check the configured upstream, or name another one with --up" in error


def test_without_an_upstream_a_gateway_that_is_not_there_is_named(
    nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--url", nowhere]) == 1
    error = capsys.readouterr().err
    assert f"no response from the gateway {nowhere}: " in error
    assert "start it with" in error


def test_nothing_is_sent_to_an_upstream_that_is_not_configured(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--url", stack.base_url]) == 2
    assert "ZAI_TOKEN (not set): required to measure https://api.z.ai/" in capsys.readouterr().err


def test_the_demonstration_is_compared_with_its_simulator() -> None:
    with GatewayProcess("demo", "--port", "0", "--sim-port", "0", "--ttft-ms", "1", "--itl-ms", "1") as demo:
        simulator = demo.wait_for_output(r"simulator +(http://127\.0\.0\.1:\d+)/sim")
        # A token of the environment belongs to the real upstream.
        environment = {"ZAI_TOKEN": "real", "PORT": str(demo.port)}
        process = GatewayProcess("bench", "--requests", "1", "--json", **environment)
        try:
            assert process.wait() == 0
            output = process.rest()
        finally:
            process.__exit__(None, None, None)
        assert f"half of them directly to {simulator}/api/paas/v4/chat/completions" in output


def test_a_wrong_key_is_reported_with_its_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_KEY", "wrong")
    with Stack(options=Options(ttft_ms=1, itl_ms=1, tokens=8), DEFAULT_KEY="right") as stack:
        assert bench(stack) == 1
    printed = capsys.readouterr()
    assert "FAILED gateway" in printed.out
    assert "status 401" in printed.out
    assert "wrong" not in printed.out + printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "nonsense", "--upstream", "http://127.0.0.1:1/v1"), "--url: 'nonsense/chat/completions' is not"),
        (("--upstream", "ftp://127.0.0.1/v1"), "--upstream: 'ftp://127.0.0.1/v1/chat/completions' is not"),
    ],
)
def test_a_wrong_address_is_named(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_refused_first_request_ends_the_measurement(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_KEY", "wrong")
    with Stack(options=Options(ttft_ms=1, itl_ms=1, tokens=8), DEFAULT_KEY="right") as other:
        assert bench(other) == 1
        assert other.stats()["requests"] == 0
    assert "at the first request: status 401" in capsys.readouterr().out


def test_the_distributions_are_drawn(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(stack) == 0
    shown = capsys.readouterr().out
    for title in ("latency, ms: o direct, x gateway", "first token, ms: o direct, x gateway"):
        plot = shown.partition(title)[2].splitlines()[1:13]
        assert [line[:5] for line in plot][:2] == [" 100%", "  99%"]
        assert all("*" in line or ("o" in line and "x" in line) for line in plot)


def test_a_report_is_saved_and_compared(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(stack, "--save", "before.json") == 0
    saved = json.loads((tmp_path / "before.json").read_text())
    saved["latency"]["added_ms"]["p50"] += 1000
    saved["first_token"] = None
    (tmp_path / "before.json").write_text(json.dumps(saved))
    capsys.readouterr()
    assert bench(stack, "--compare", "before.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == "compared with before.json"
    assert re.fullmatch(r"latency, added, p50: [0-9.]+ ms before, [0-9.-]+ ms now: faster \(noise .*\)", lines[-2])
    assert lines[-1] == "first token: not measured in both"


@pytest.mark.parametrize(
    ("content", "words"), [(None, "file not found: write it with --save"), ("[]", "is not a report of --save")]
)
def test_a_report_that_cannot_be_compared(
    content: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "before.json").write_text(content)
    assert main(["bench", "--compare", "before.json"]) == 2
    assert words in capsys.readouterr().err


def test_tokens_of_another_host_need_consent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ["bench", "--url", "http://127.0.0.1:1", "--upstream", "http://203.0.113.1/v1", "--requests", "2"]
    assert main(where) == 2
    assert "--yes: required, because the requests may cost up to 448 tokens" in capsys.readouterr().err
    for answer, code in (("n\n", 2), ("", 2), ("Y\n", 1)):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", terminal)
        assert main(where) == code
        error = capsys.readouterr().err
        assert "Continue? [y/N]" in error
        assert ("nothing was sent" in error) is (code == 2)


@pytest.mark.parametrize("option", ["--requests", "--concurrency", "--max-tokens"])
def test_counts_are_whole_and_positive(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", option, "0"])
    assert end.value.code == 2
    assert "must be a whole number from 1" in capsys.readouterr().err
