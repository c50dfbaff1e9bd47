"""GET /metrics of a gateway that has served requests of every kind."""

import gzip
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.keys.files import add
from tests.stack import Stack

MESSAGES = [{"role": "user", "content": "hello"}]


def scrape(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples by name and labels."""
    text = httpx.get(f"{url}/metrics").raise_for_status().text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def ask(stack: Stack, *, stream: bool = False, model: str = "glm-4.6", **fields: object) -> httpx.Response:
    body = {"model": model, "stream": stream, "messages": MESSAGES, **fields}
    return httpx.post(f"{stack.base_url}/chat/completions", json=body)


def test_every_request_is_counted_once() -> None:
    with Stack() as stack:
        for _ in range(3):
            assert ask(stack).status_code == 200
        for _ in range(2):
            assert ask(stack, stream=True).text.endswith("data: [DONE]\n\n")
        httpx.get(f"{stack.base_url}/models/glm-4.6")
        httpx.get(f"{stack.url}/nowhere/{'x' * 50}")
        httpx.request("BREW", f"{stack.url}/v1/models")
        httpx.get(f"{stack.url}/health")
        stack.record(9)
        samples = scrape(stack.url)
    chat = "/v1/chat/completions"
    requests = "ztoapi_http_requests_total"
    assert value(samples, requests, route=chat, method="POST", code="200") == 5
    assert value(samples, requests, route="/v1/models/{id}", method="GET", code="200") == 1
    assert value(samples, requests, route="other", method="GET", code="404") == 1
    assert value(samples, requests, route="/v1/models", method="other", code="405") == 1
    assert value(samples, requests, route="/health", method="GET", code="200") == 1
    assert value(samples, "ztoapi_http_request_duration_seconds_count", route=chat) == 5
    of_model = {"model": "glm-4.6", "platform": "zai"}
    assert value(samples, "ztoapi_time_to_first_token_seconds_count", **of_model) == 2
    assert value(samples, "ztoapi_inter_token_latency_seconds_count", **of_model) >= 2
    assert 0 < value(samples, "ztoapi_inter_token_latency_seconds_sum", **of_model) < 10
    assert value(samples, "ztoapi_stream_ends_total", platform="zai", reason="done") == 5
    assert value(samples, "ztoapi_upstream_attempts_total", platform="zai") == 5
    assert value(samples, "ztoapi_upstream_request_duration_seconds_count", platform="zai") == 5
    assert value(samples, "ztoapi_overhead_seconds_count") == 5
    assert 0 < value(samples, "ztoapi_overhead_seconds_sum") < 5
    assert value(samples, "ztoapi_tokens_total", model="glm-4.6", type="output") > 0
    assert value(samples, "ztoapi_requests_in_flight") == 0
    assert value(samples, "ztoapi_streams_in_flight") == 0
    assert value(samples, "ztoapi_workers") == 1
    assert value(samples, "ztoapi_credential_state", platform="zai", credential="zai-1", state="ok") == 1
    assert value(samples, "ztoapi_credential_requests_total", platform="zai", credential="zai-1") == 5
    assert value(samples, "process_resident_memory_bytes") > 1e6


def test_hundreds_of_credentials_are_all_shown() -> None:
    with Stack(UPSTREAM_TOKEN="|".join(f"token-{number}" for number in range(200))) as stack:
        samples = scrape(stack.url)
    for number in range(200):
        assert (
            value(samples, "ztoapi_credential_state", platform="zai", credential=f"zai-{number + 1}", state="ok") == 1
        )


def test_failures_are_counted_by_how_they_ended() -> None:
    with Stack(UPSTREAM_MAX_TRIES="1") as stack:
        assert ask(stack, model="glm-4.6:fault=500").status_code >= 500
        stack.record(1)
        samples = scrape(stack.url)
    assert value(samples, "ztoapi_stream_ends_total", platform="zai", reason="upstream_error") == 1


def test_keys_are_counted_by_name(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    alice, bob = add(path, "alice", requests_per_minute=2), add(path, "bob")
    with Stack(ZTOAPI_KEY_FILE=str(path)) as stack:
        for key in (alice, alice, alice, bob, "nobody's"):
            body = {"model": "glm-4.6", "messages": MESSAGES}
            headers = {"authorization": f"Bearer {key}"}
            httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers)
        stack.record(5)
        usages = [record.usage for record in stack.records() if record.key == "alice"]
        samples = scrape(stack.url)
        text = httpx.get(f"{stack.url}/metrics").text
    counted = [
        [value(samples, f"ztoapi_key_requests{what}_total", key=key) for what in ("", "_denied")]
        for key in ("alice", "bob")
    ]
    assert counted == [[3, 1], [1, 0]]
    answered = [usage for usage in usages if usage is not None]
    assert len(answered) == 2
    for kind, tokens in (
        ("input", sum(usage.prompt_tokens for usage in answered)),
        ("output", sum(usage.completion_tokens for usage in answered)),
    ):
        assert value(samples, "ztoapi_key_tokens_total", key="alice", type=kind) == tokens > 0
    assert alice not in text and bob not in text and "nobody" not in text


def test_models_that_no_upstream_has_served_are_others() -> None:
    with Stack(API_KEYS="secret") as stack:
        for number in range(5):
            httpx.post(f"{stack.base_url}/chat/completions", json={"model": f"made-up-{number}", "messages": []})
        stack.record(5)
        text = httpx.get(f"{stack.url}/metrics").text
    assert "made-up" not in text


def test_promtool_finds_nothing_to_complain_of() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    with Stack(ZTOAPI_GLOBAL_REQUESTS_PER_SECOND="1000", UPSTREAM_TOKEN="a:fault=1000|b") as stack:
        for number in range(12):
            ask(stack, stream=number % 2 == 0, model=("glm-4.6", 'glm-"\\\n', "glm-4.6:fault=500")[number % 3])
        httpx.get(f"{stack.url}/nowhere")
        stack.record(13)
        text = httpx.get(f"{stack.url}/metrics").text
    assert "ztoapi_upstream_errors_total{" in text
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_forms_by_accept() -> None:
    with Stack() as stack:
        plain = httpx.get(f"{stack.url}/metrics", headers={"accept-encoding": "identity"})
        openmetrics = httpx.get(f"{stack.url}/metrics", headers={"accept": "application/openmetrics-text"})
        with httpx.stream("GET", f"{stack.url}/metrics", headers={"accept-encoding": "gzip"}) as packed:
            data = b"".join(packed.iter_raw())
        seed = httpx.get(f"{stack.url}/metrics", headers={"accept": "application/json"})
        head = httpx.head(f"{stack.url}/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert "content-encoding" not in plain.headers
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    assert b"ztoapi_build_info" in gzip.decompress(data)
    assert packed.headers["content-encoding"] == "gzip"
    assert set(seed.json()) == {
        "memory_alloc_mb", "workers", "uptime_seconds", "total_requests", "avg_response_time_ms",
    }  # fmt: skip
    assert head.status_code == 200 and not head.content


def test_streams_in_flight_are_shown() -> None:
    with Stack() as stack:
        body = {"model": "glm-4.6:fault=hang_mid", "stream": True, "messages": MESSAGES}
        with httpx.stream("POST", f"{stack.base_url}/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            assert value(scrape(stack.url), "ztoapi_streams_in_flight") == 1
        stack.record(2)
        assert value(scrape(stack.url), "ztoapi_streams_in_flight") == 0
