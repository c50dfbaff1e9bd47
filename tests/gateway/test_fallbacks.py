"""Other models in the place of one that cannot be had: what the client gets, and what is recorded."""

import json
from pathlib import Path

import httpx
import pytest

from tests.gateway.test_endings import CHAT, body
from tests.gateway.test_upstream_credentials import ask
from tests.keys.files import add
from tests.stack import Stack
from ztoapi.errors import Ending

BROKEN = "glm-4.6:fault=529"


def fallbacks(model: str, *others: str) -> str:
    return json.dumps({model: list(others)})


def models_in(response: httpx.Response) -> set[str]:
    if "event-stream" not in response.headers["content-type"]:
        return {response.json()["model"]}
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: {")]
    return {json.loads(line)["model"] for line in lines}


@pytest.mark.parametrize("fault", ["1312", "1305", "529", "500", "1302:retry_after=60", "1311"])
def test_another_model_answers_by_its_own_name(fault: str) -> None:
    model = f"glm-4.6:fault={fault}"
    with Stack(MODEL_FALLBACKS=fallbacks(model, "glm-4.5"), ZTOAPI_MAX_TRIES="2") as stack:
        for number in (1, 2):
            response = ask(stack, model, stream=number == 1)
            assert response.status_code == 200
            assert models_in(response) == {"glm-4.5"}
            record = stack.record(number)
            assert (record.model, record.served_model, record.ending) == (model, "glm-4.5", Ending.DONE)


def test_a_credential_that_has_nothing_left_has_nothing_for_another_model() -> None:
    with Stack(MODEL_FALLBACKS=fallbacks("glm-4.6:fault=1113", "glm-4.5")) as stack:
        response = ask(stack, "glm-4.6:fault=1113")
        assert (response.status_code, response.json()["error"]["code"]) == (429, "insufficient_quota")


@pytest.mark.parametrize("stream", [True, False])
def test_another_platform_answers(stream: bool) -> None:
    with Stack(
        MODEL_FALLBACKS=fallbacks(BROKEN, "spare"),
        MODEL_PLATFORM_MAP='{"spare": {"platform": "openai", "upstream": "glm-4.6"}}',
        OPENAI_UPSTREAM_URL="http://127.0.0.1:PORT/v1",
        ZTOAPI_MAX_TRIES="1",
    ) as stack:
        response = ask(stack, BROKEN, stream=stream)
        assert response.status_code == 200
        assert models_in(response) == {"spare"}
        record = stack.record()
        assert (record.platform, record.credential, record.attempts) == ("openai", "openai-1", 2)


def test_the_next_in_the_list_serves_unless_it_is_out_of_use() -> None:
    with Stack(MODEL_FALLBACKS=fallbacks(BROKEN, "glm-4.5:fault=1210", "glm-4.5-air"), ZTOAPI_MAX_TRIES="1") as stack:
        for _ in range(8):
            assert models_in(ask(stack, BROKEN)) == {"glm-4.5-air"}
        counts = stack.stats()["by_model"]
        # Five failures in a row open the model's breaker.
        assert counts == {BROKEN: 5, "glm-4.5:fault=1210": 8, "glm-4.5-air": 8}


def test_when_all_fail_the_error_is_that_of_the_requested_model() -> None:
    with Stack(MODEL_FALLBACKS=fallbacks(BROKEN, "glm-4.5:fault=1210", "x:fault=500"), ZTOAPI_MAX_TRIES="1") as stack:
        response = ask(stack, BROKEN)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "upstream_overloaded")
        record = stack.record()
        assert (record.ending, record.attempts, record.served_model) == (Ending.UPSTREAM_ERROR, 3, "x:fault=500")
        assert stack.application.upstreams["zai"].statistics().credentials[0].in_flight == 0


@pytest.mark.parametrize("fault", ["1210", "1301", "1211"])
def test_a_fault_of_the_client_s_is_answered_at_once(fault: str) -> None:
    model = f"glm-4.6:fault={fault}"
    with Stack(MODEL_FALLBACKS=fallbacks(model, "glm-4.5")) as stack:
        assert ask(stack, model).status_code in (400, 404)
        assert stack.stats()["requests"] == 1


@pytest.mark.parametrize("fault", ["truncate", "error_mid", "network_error"])
def test_once_an_answer_has_begun_there_is_no_other(fault: str) -> None:
    model = f"glm-4.6:itl=1:fault={fault}"
    with Stack(MODEL_FALLBACKS=fallbacks(model, "glm-4.5")) as stack:
        with pytest.raises(httpx.RemoteProtocolError):
            ask(stack, model, stream=True)
        assert stack.stats()["requests"] == 1
        assert stack.record().ending is not Ending.DONE


def test_a_key_for_certain_models_gets_no_other_by_a_fallback(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    key = add(path, "alice", models=["glm-4.6*", "glm-4.5-air"])
    with Stack(
        ZTOAPI_KEY_FILE=str(path), MODEL_FALLBACKS=fallbacks(BROKEN, "glm-4.5", "glm-4.5-air"), ZTOAPI_MAX_TRIES="1"
    ) as stack:
        response = httpx.post(stack.url + CHAT, json=body(BROKEN), headers={"authorization": f"Bearer {key}"})
        assert response.status_code == 200
        assert models_in(response) == {"glm-4.5-air"}
        assert stack.stats()["by_model"] == {BROKEN: 1, "glm-4.5-air": 1}


def test_a_model_that_does_not_fit_the_request_is_passed_over() -> None:
    with Stack(
        MODEL_FALLBACKS=fallbacks(BROKEN, "repo", "glm-4.5"),
        MODEL_PLATFORM_MAP='{"repo": "zread"}',
        ZREAD_UPSTREAM_URL="http://127.0.0.1:PORT/api/v1",
        ZREAD_TOKEN="any",
        ZTOAPI_MAX_TRIES="1",
    ) as stack:
        assert models_in(ask(stack, BROKEN)) == {"glm-4.5"}
