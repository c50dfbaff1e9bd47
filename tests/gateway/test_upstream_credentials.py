"""Credentials that fail, with a simulator whose faults depend on the token: the one that serves, and the response."""

import asyncio
import logging
import math
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import msgspec
import pytest

from tests.cache.upstream import Upstream
from tests.gateway.test_endings import CHAT, body, raw_request
from tests.stack import Stack
from tests.support.raw_upstream import RawUpstream, whole
from tests.support.table import table
from ztoapi.errors import Ending, Fault
from ztoapi.relay.credentials import CredentialStatistics
from ztoapi.simulator.app import Options
from ztoapi.structures.breaker import BreakerState

GOOD = "good:tokens=7"


def ask(stack: Stack, model: str = "glm-4.6", *, stream: bool = False, session: str = "") -> httpx.Response:
    return httpx.post(stack.url + CHAT, json=body(model, stream=stream), headers={"x-session-id": session})


def ask_all(stack: Stack, count: int, model: str = "glm-4.6", *, stream: bool = False) -> list[httpx.Response]:
    """All at once."""

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient() as client:
            question = body(model, stream=stream)
            return await asyncio.gather(*(client.post(stack.url + CHAT, json=question) for _ in range(count)))

    return asyncio.run(run())


def credentials(stack: Stack, platform: str = "zai") -> list[CredentialStatistics]:
    return list(stack.application.upstreams[platform].statistics().credentials)


def asked(stack: Stack, model: str) -> int:
    """How many requests the simulator had under ``model``."""
    counts = stack.stats()["by_model"]
    assert isinstance(counts, dict)
    return int(counts.get(model, 0))


@table(
    ("fault", "kind"),
    [
        ("1302:retry_after=60", Fault.THROTTLED),
        ("1303:retry_after=60", Fault.THROTTLED),
        ("429:retry_after=60", Fault.THROTTLED),
        ("1113", Fault.QUOTA),
        ("1304", Fault.QUOTA),
        ("1308:reset=3600", Fault.QUOTA),
        ("1309", Fault.QUOTA),
        ("1310:reset=3600", Fault.QUOTA),
        ("1313", Fault.QUOTA),
        ("1000", Fault.REFUSED),
        ("1003", Fault.REFUSED),
        ("401", Fault.REFUSED),
        ("1311", Fault.EXCLUDED),
    ],
)
def test_when_one_cannot_serve_another_does_without_an_error(fault: str, kind: Fault) -> None:
    with Stack(UPSTREAM_TOKEN=f"bad:fault={fault}|{GOOD}") as stack:
        for number in range(6):
            response = ask(stack, stream=number % 2 == 0)
            assert response.status_code == 200
            assert '"error"' not in response.text
        assert asked(stack, f"glm-4.6:fault={fault}") == 1
        assert asked(stack, "glm-4.6:tokens=7") == 6
        bad, good = credentials(stack)
        assert dict(bad.failures) == {kind: 1}
        assert kind in (bad.fault, bad.models.get("glm-4.6"))
        assert (good.state, good.in_flight, good.requests) == (BreakerState.CLOSED, 0, 6)
        assert {record.credential for record in stack.records()} == {"zai-2"}


def test_many_at_once_see_no_error_when_one_is_throttled() -> None:
    with Stack(UPSTREAM_TOKEN=f"bad:fault=1302:retry_after=60|{GOOD}|other") as stack:
        assert {response.status_code for response in ask_all(stack, 60)} == {200}
        assert all(one.in_flight == 0 for one in credentials(stack))


@pytest.mark.parametrize("platform", ["zai_web", "zread"])
def test_the_other_dialects_use_the_same_pool(platform: str) -> None:
    with Stack(
        platform, UPSTREAM_TOKEN=f"bad:fault=429:retry_after=60|{GOOD}", ZREAD_REPOSITORY="vllm-project/vllm"
    ) as stack:
        assert [ask(stack).status_code for _ in range(4)] == [200] * 4
        bad, good = credentials(stack, platform)
        assert (dict(bad.failures), good.requests, good.in_flight) == ({Fault.THROTTLED: 1}, 4, 0)
        last = stack.stats()["last_request"]
        assert isinstance(last, dict)
        assert last["headers"]["authorization"].endswith("ns=7")


def test_all_steps_of_a_zread_question_are_taken_with_one_credential() -> None:
    with Stack(
        "zread", options=Options(api_key="right"), UPSTREAM_TOKEN="wrong|right", ZREAD_REPOSITORY="vllm-project/vllm"
    ) as stack:
        assert [ask(stack).status_code for _ in range(3)] == [200] * 3
        wrong, right = credentials(stack, "zread")
        assert (dict(wrong.failures), wrong.in_flight) == ({Fault.REFUSED: 1}, 0)
        assert (right.requests, right.in_flight) == (3, 0)


@pytest.mark.parametrize(("stream", "state"), [(True, BreakerState.OPEN), (False, BreakerState.CLOSED)])
def test_silence_counts_for_requests_of_a_stream(stream: bool, state: BreakerState) -> None:
    with Stack(ZTOAPI_FIRST_BYTE_TIMEOUT_SECONDS="0.2") as stack:
        answers = ask_all(stack, 5, "glm-4.6:fault=hang", stream=stream)
        assert [answer.status_code for answer in answers] == [504] * 5
        assert credentials(stack)[0].state is state


def test_when_all_are_throttled_a_client_gets_the_time_of_the_next_one() -> None:
    with Stack(UPSTREAM_TOKEN="bad:fault=1302:retry_after=60") as stack:
        for _ in range(2):
            response = ask(stack)
            assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limit_exceeded")
            assert 50 <= int(response.headers["retry-after"]) <= 60
            assert "x-should-retry" not in response.headers
            assert "zai-1" not in response.text
        assert stack.stats()["requests"] == 1
        assert stack.record(2).attempts == 0


@table(("tries", "stream"), [("1", True), ("2", False)])
@table("fault", ["1302", "429"])
@table("path", [CHAT, "/v1/messages", "/v1/responses"])
def test_a_throttled_request_has_a_retry_after_if_the_upstream_names_none(
    path: str, fault: str, tries: str, stream: bool
) -> None:
    with Stack(UPSTREAM_TOKEN=f"bad:fault={fault}", ZTOAPI_MAX_TRIES=tries) as stack:
        response = httpx.post(stack.url + path, json=body("glm-4.6", stream=stream) | {"input": "x", "max_tokens": 9})
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"


USED_UP = ["1308:reset=60", "1310:reset=60", "1113"]


@pytest.mark.parametrize("fault", USED_UP[1:])
@pytest.mark.parametrize("others", ["", f"|other:fault={USED_UP[0]}", "|other:fault=1000", "|other:fault=1311"])
def test_a_used_up_quota_stays_the_error_while_the_credentials_rest(fault: str, others: str) -> None:
    with Stack(UPSTREAM_TOKEN=f"bad:fault={fault}{others}", ZTOAPI_MAX_TRIES="3") as stack:
        ask(stack)
        requests = stack.stats()["requests"]
        for path in (CHAT, "/v1/responses", "/v1/messages"):
            response = httpx.post(stack.url + path, json=body("glm-4.6") | {"input": "x", "max_tokens": 9})
            error = response.json()["error"]
            assert (response.status_code, response.headers["x-should-retry"]) == (429, "false")
            assert 1 <= int(response.headers["retry-after"]) <= 600
            resets = "reset" in fault or "reset" in others
            assert ("the quota resets at 20" in error["message"]) is resets
            if path == "/v1/messages":
                assert error["type"] == "rate_limit_error"
            else:
                assert error["code"] == "insufficient_quota"
            if path == "/v1/responses":
                assert ("resets_at" in error) is resets
            assert "zai-" not in response.text
        assert stack.stats()["requests"] == requests
        assert stack.record(2).attempts == 0


def test_a_used_up_quota_beside_a_credential_that_is_throttled_is_worth_another_attempt() -> None:
    with Stack(UPSTREAM_TOKEN="bad:fault=1308:reset=600|other:fault=1302:retry_after=60") as stack:
        ask(stack)
        response = ask(stack)
        assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 50 <= int(response.headers["retry-after"]) <= 60
        assert "x-should-retry" not in response.headers


def test_a_quota_comes_back_at_its_reset() -> None:
    with Stack(UPSTREAM_TOKEN="bad:fault=1308:reset=2:fault_times=1") as stack:
        assert ask(stack).json()["error"]["code"] == "insufficient_quota"
        (one,) = credentials(stack)
        assert (one.fault, 0 < one.until <= 2) == (Fault.QUOTA, True)
        stack.wait_for(lambda: credentials(stack)[0].until == 0)
        assert ask(stack).status_code == 200
        assert credentials(stack)[0].state is BreakerState.CLOSED


def test_one_that_is_throttled_alone_is_waited_for() -> None:
    with Stack(UPSTREAM_TOKEN="bad:fault=1302:retry_after=1:fault_times=1") as stack:
        assert ask(stack).status_code == 200
        record = stack.record()
        assert record.attempts == 2
        assert record.finished is not None
        assert record.finished - record.started >= 1.0


def test_an_upstream_that_fails_is_left_alone_and_comes_back_by_one_probe() -> None:
    with Stack(UPSTREAM_TOKEN="bad:fault=502:fault_times=5:ttft=1000", ZTOAPI_MAX_TRIES="1") as stack:
        assert [ask(stack).json()["error"]["code"] for _ in range(5)] == ["upstream_error"] * 5
        refused = ask(stack)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_unavailable")
        assert refused.headers["retry-after"] == "1"
        assert stack.stats()["requests"] == 5
        stack.wait_for(lambda: credentials(stack)[0].until == 0)
        with socket.create_connection(("127.0.0.1", stack.port)) as probe:
            probe.sendall(raw_request("glm-4.6", stream=True))
            stack.wait_for(lambda: stack.simulator.stats.open_streams == 1)
            assert [response.status_code for response in ask_all(stack, 5)] == [503] * 5
            assert b"200 OK" in probe.recv(65536)
        assert stack.stats()["requests"] == 6
        assert ask(stack).status_code == 200


def test_a_platform_without_a_usable_credential_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with Stack(UPSTREAM_TOKEN="a:fault=502|b:fault=502", ZTOAPI_MAX_TRIES="1") as stack:
        for _ in range(20):
            ask(stack)
        (check,) = httpx.get(stack.url + "/health").json()["checks"]["upstream:zai"]
        assert (check["status"], check["observedValue"]) == ("fail", 0)
        assert check["output"] == "every credential is out of use"
        metrics = httpx.get(stack.url + "/metrics").text
        assert 'ztoapi_upstream_exhausted{platform="zai"} 1.0' in metrics
        # The next test is a second after the first failure of all.
        stack.wait_for(lambda: stack.application.upstreams["zai"].pool.wait(stack.loop.time(), "glm-4.6") == 0.0)
        assert ask(stack).status_code == 502
        assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
            "the platform zai has no usable credential left"
        ]


@pytest.mark.parametrize("fault", ["1210", "1211", "1214", "1301", "1261", "404", "403", "500"])
def test_what_a_client_brings_about_never_counts(fault: str) -> None:
    with Stack(ZTOAPI_MAX_TRIES="1") as stack:
        for _ in range(12):
            assert ask(stack, f"glm-4.6:fault={fault}").status_code >= 400
        (one,) = credentials(stack)
        assert (one.state, dict(one.failures), dict(one.models)) == (BreakerState.CLOSED, {}, {})
        assert ask(stack).status_code == 200


@pytest.mark.parametrize("model", ["glm-4.6:fault=hang", "glm-4.6:itl=5:tokens=100000"])
def test_clients_that_go_away_trip_nothing(model: str) -> None:
    with Stack() as stack:
        for number in range(1, 16):
            with socket.create_connection(("127.0.0.1", stack.port)) as client:
                client.sendall(raw_request(model, stream=True))
                stack.wait_for(lambda: stack.simulator.stats.open_streams == 1)
            assert stack.record(number).ending is Ending.CLIENT_DISCONNECT
            stack.wait_for(lambda: stack.simulator.stats.open_streams == 0)
        (one,) = credentials(stack)
        assert (one.state, dict(one.failures), one.in_flight) == (BreakerState.CLOSED, {}, 0)
        assert ask(stack).status_code == 200


def test_under_total_failure_retries_are_held_to_their_budget() -> None:
    with Stack(ZTOAPI_MAX_TRIES="5") as stack:
        assert {response.status_code for response in ask_all(stack, 100, "glm-4.6:fault=500")} == {502}
        requests = stack.stats()["requests"]
        assert isinstance(requests, int)
        # A fifth of the requests, and ten.
        assert 100 < requests <= 130
        assert stack.application.upstreams["zai"].statistics().retries_refused > 0


@pytest.mark.parametrize(("seconds", "attempts", "status"), [("0.9", 1, 429), ("60", 2, 200)])
def test_a_retry_that_would_not_fit_is_not_made(seconds: str, attempts: int, status: int) -> None:
    with Stack(ZTOAPI_TOTAL_TIMEOUT_SECONDS=seconds, ZTOAPI_MAX_TRIES="2") as stack:
        assert ask(stack, "glm-4.6:fault=1302:fault_times=1:retry_after=1").status_code == status
        assert stack.record().attempts == attempts


def test_all_tries_together_have_the_request_s_time() -> None:
    with Stack(ZTOAPI_TOTAL_TIMEOUT_SECONDS="3") as stack:
        model = "glm-4.6:fault=1302:fault_times=1:retry_after=1:itl=50:tokens=100"
        text = ""
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("POST", stack.url + CHAT, json=body(model)) as response,
        ):
            for part in response.iter_text():
                text += part
        assert stack.record().attempts == 2
        # A second has gone by before the second try.
        assert 0 < float(text.rpartition("took longer than ")[2].partition(" s")[0]) <= 2


def test_a_session_stays_with_its_credential() -> None:
    tokens = "|".join(f"t{number}" for number in range(5))
    with Stack(UPSTREAM_TOKEN=tokens, ZTOAPI_SESSION_HEADER="X-Session-Id") as stack:
        homes: dict[int, set[str | None]] = {}
        for number in range(32):
            ask(stack, session=f"session-{number % 8}")
            homes.setdefault(number % 8, set()).add(stack.record(number + 1).credential)
        assert all(len(home) == 1 for home in homes.values())
        assert len(set.union(*homes.values())) > 1


def test_caps_hold_and_are_given_back() -> None:
    caps = "[platforms.zai]\nmax_in_flight_per_model = { '*' = 2 }\n"
    with (
        Stack(toml=caps, UPSTREAM_TOKEN="a|b") as stack,
        httpx.Client() as first,
        httpx.Client() as others,
    ):
        held = first.send(
            first.build_request("POST", stack.url + CHAT, json=body("glm-4.6:fault=hang_mid")), stream=True
        )
        for _ in range(3):
            others.send(
                others.build_request("POST", stack.url + CHAT, json=body("glm-4.6:fault=hang_mid")), stream=True
            )
        stack.wait_for(lambda: stack.simulator.stats.open_streams == 4)
        assert [one.in_flight for one in credentials(stack)] == [2, 2]
        refused = ask(stack, "glm-4.6:fault=hang_mid")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert ask(stack, "glm-4.5").status_code == 200
        held.close()
        stack.wait_for(lambda: stack.simulator.stats.open_streams == 3)
        assert sorted(one.in_flight for one in credentials(stack)) == [1, 2]
        with httpx.stream("POST", stack.url + CHAT, json=body("glm-4.6:fault=hang_mid")) as response:
            assert response.status_code == 200
            assert asked(stack, "glm-4.6:fault=hang_mid") == 5


def refuse_while(refusing: threading.Event, sock: socket.socket, _: int) -> None:
    good = b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":'
    good += b'"assistant","content":"Hi"},"finish_reason":"stop"}]}'
    bad = b'{"error":{"message":"no such key","code":"1002"}}'
    sock.sendall(whole("401 Unauthorized", bad) if refusing.is_set() else whole("200 OK", good))


@pytest.mark.parametrize("tokens", ["one", "one|two|three"])
def test_a_gateway_whose_every_credential_is_refused_goes_on(tokens: str) -> None:
    refusing = threading.Event()
    refusing.set()
    with RawUpstream(partial(refuse_while, refusing)) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        with Stack("openai", UPSTREAM_URL=url, UPSTREAM_TOKEN=tokens) as stack:
            for _ in range(4):
                refused = ask(stack, "m")
                assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_auth_error")
            count = len(tokens.split("|"))
            assert upstream.requests == 4 * count
            assert httpx.get(stack.url + "/readyz").status_code == 200
            assert all(
                one.fault is Fault.REFUSED for one in stack.application.upstreams["openai"].statistics().credentials
            )
            refusing.clear()
            assert [ask(stack, "m").status_code for _ in range(3)] == [200] * 3
            assert upstream.requests == 4 * count + 3
            states = [one.state for one in stack.application.upstreams["openai"].statistics().credentials]
            assert BreakerState.CLOSED in states


def test_readiness_does_not_depend_on_credentials() -> None:
    with Stack(UPSTREAM_TOKEN="a:fault=1000|b:fault=1002") as stack:
        assert ask(stack).status_code == 502
        assert httpx.get(stack.url + "/readyz").status_code == 200
        assert httpx.get(stack.url + "/livez").status_code == 200


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("1302:retry_after=7", "7 s: throttled (upstream code '1302')"),
        ("1113", "300 s: quota (upstream code '1113')"),
        ("refuse", "1 s: upstream (upstream_closed)"),
    ],
)
def test_the_log_has_the_duration_and_the_reason(caplog: pytest.LogCaptureFixture, fault: str, said: str) -> None:
    with caplog.at_level(logging.WARNING), Stack(UPSTREAM_TOKEN=f"secret-one:fault={fault}") as stack:
        while not (lines := [one.getMessage() for one in caplog.records if "out of use" in one.getMessage()]):
            ask(stack)
    assert lines == [f"zai-1 is out of use for {said}"]


def test_a_refusal_is_logged_once_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Stack(UPSTREAM_TOKEN=f"secret-one:fault=1000|{GOOD}") as stack:
        for _ in range(5):
            ask(stack)
        (one, _) = credentials(stack)
        assert math.isclose(one.until, 60, abs_tol=20)
    lines = [record.getMessage() for record in caplog.records if "out of use" in record.getMessage()]
    assert lines == ["zai-1 is out of use for 60 s: refused (upstream code '1000'); check its token"]
    assert "secret-one" not in caplog.text


def test_an_upstreams_code_stays_within_its_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    code = "x\nERROR all is lost" + "!" * 100
    refusal = msgspec.json.encode({"error": {"message": "no", "code": code}})
    with caplog.at_level(logging.WARNING), Upstream() as upstream, Stack("openai", UPSTREAM_URL=upstream.url) as stack:
        with ThreadPoolExecutor(1) as beside:
            asking = beside.submit(ask, stack, "m")
            upstream.call().refuse(b"401 Unauthorized", refusal)
            assert asking.result().status_code == 502
    (line,) = [record.getMessage() for record in caplog.records if "out of use" in record.getMessage()]
    assert "upstream code 'x\\nERROR all is lost!" in line
    assert len(line) < 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_platform_to_which_no_connection_opens_fails(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def time_out(*_: object) -> None:
        raise TimeoutError

    with Stack(UPSTREAM_TOKEN=GOOD, ZTOAPI_MAX_TRIES="1") as stack:
        monkeypatch.setattr("ztoapi.upstream.client.connect", time_out)
        assert ask(stack, stream=stream).status_code == 504
        assert credentials(stack)[0].failures == {Fault.UPSTREAM: 1}
