"""Which requests get a response from the cache, and the form of that response."""

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from tests.cache.asking import CHAT, MODEL, ask, asked, body, cached, counts, send
from tests.keys.files import add
from tests.stack import Stack
from tests.support.serving import Client
from tests.support.table import table
from ztoapi.errors import Ending

RESULT = "x-ztoapi-cache"


@pytest.mark.parametrize("platform", ["zai", "openai"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_question_has_the_same_answer_again(platform: str, stream: bool) -> None:
    with cached(platform) as stack:
        first = ask(stack, stream=stream)
        second = ask(stack, stream=stream)
        assert [answer.headers[RESULT] for answer in (first, second)] == ["miss", "hit"]
        assert second.status_code == 200
        assert second.content == first.content
        assert second.headers["content-type"] == first.headers["content-type"]
        assert second.headers["x-request-id"] != first.headers["x-request-id"]
        assert asked(stack) == 1
        miss, hit = stack.record(1), stack.record(2)
        assert (miss.cache, miss.attempts, miss.platform) == ("miss", 1, platform)
        assert (hit.cache, hit.attempts, hit.platform, hit.ending) == ("hit", 0, None, Ending.DONE)
        assert hit.usage is not None and hit.usage.total_tokens == 0
        assert miss.usage is not None and miss.usage.total_tokens > 0
        assert hit.stream is stream
        assert hit.bytes_out == miss.bytes_out
        shown = counts(stack)
        assert (shown["miss"], shown["hit"], shown["entries"]) == (1, 1, 1)
        assert shown["bytes"] > len(first.content)


def test_a_cached_stream_is_one_for_sdks() -> None:
    with (
        cached() as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="one", max_retries=0) as client,
    ):
        texts = []
        for _ in range(2):
            with client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": "x"}],
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
            ) as stream:
                chunks = list(stream)
            texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
            assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens > 0
        assert texts[0] == texts[1] != ""
        assert asked(stack) == 1


def test_another_way_to_write_it_is_the_same_question() -> None:
    with cached() as stack:
        ask(stack)
        data = json.dumps(dict(reversed(body().items())), indent=3).replace("Hello", "H\\u0065llo").encode()
        answer = httpx.post(stack.url + CHAT, content=data, headers={"authorization": "Bearer one"})
        assert answer.headers[RESULT] == "hit"


@pytest.mark.parametrize(
    "change", [{"top_p": 0.5}, {"max_tokens": 5}, {"stream": True}, {"model": "glm-4.5"}, {"user": "u"}, {"seed": 1}]
)
def test_another_request_goes_upstream(change: dict[str, Any]) -> None:
    with cached() as stack:
        ask(stack)
        assert ask(stack, **change).headers[RESULT] == "miss"
        assert ask(stack, "Hello?").headers[RESULT] == "miss"
        assert asked(stack) == 3


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.0},
        {"temperature": 0.7, "seed": 5},
        {"temperature": 0.7, "do_sample": False},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    ],
)
def test_deterministic_requests_are_cached(more: dict[str, Any]) -> None:
    with cached() as stack:
        assert [ask(stack, **more).headers[RESULT] for _ in range(2)] == ["miss", "hit"]


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.7},
        {"temperature": None},
        {"temperature": None, "seed": None},
        {"temperature": 0.01, "do_sample": True},
        {"web_search_options": {}},
        {"tools": [{"type": "web_search", "web_search": {"enable": True}}]},
        {"tools": "none"},
    ],
)
def test_random_requests_are_not_cached_unless_the_client_requests_it(more: dict[str, Any]) -> None:
    with cached("openai") as stack:
        assert [ask(stack, **more).headers[RESULT] for _ in range(2)] == ["bypass", "bypass"]
        refused = ask(stack, **more).status_code != 200
        wanted = [ask(stack, headers={RESULT: "On"}, **more).headers[RESULT] for _ in range(2)]
        assert wanted == (["miss", "miss"] if refused else ["miss", "hit"])
        assert counts(stack)["bypass"] == 3


def test_the_web_services_are_not_cached_unless_the_client_requests_it() -> None:
    with cached("zread", ZREAD_REPOSITORY="a/b") as stack:
        assert [ask(stack).headers[RESULT] for _ in range(2)] == ["bypass", "bypass"]
        answers = [ask(stack, headers={RESULT: "on"}, stream=stream) for stream in (True, True, False, False)]
        assert [answer.headers[RESULT] for answer in answers] == ["miss", "hit", "miss", "hit"]
        assert answers[3].content == answers[2].content


def test_cache_control_has_the_last_word() -> None:
    with cached() as stack:
        assert ask(stack, headers={"cache-control": "max-age=3, No-Store"}).headers[RESULT] == "bypass"
        assert counts(stack)["entries"] == 0
        first = ask(stack).json()["id"]
        assert ask(stack, headers={"cache-control": "no-store", RESULT: "on"}).headers[RESULT] == "bypass"
        assert ask(stack).json()["id"] == first
        # A new answer takes the old one's place.
        fresh = ask(stack, headers={"cache-control": "no-cache"})
        assert fresh.headers[RESULT] == "miss"
        assert ask(stack).json()["id"] == fresh.json()["id"] != first
        assert ask(stack, headers={"cache-control": "max-age=0"}).headers[RESULT] == "miss"


def test_a_body_that_can_be_read_in_two_ways_is_passed_on() -> None:
    with cached("openai") as stack:
        data = msgspec.json.encode(body())[:-1] + b',"temperature":0}'
        for _ in range(2):
            answer = httpx.post(stack.url + CHAT, content=data, headers={"authorization": "Bearer one"})
            assert (answer.status_code, answer.headers[RESULT]) == (200, "bypass")


def test_a_key_is_never_given_what_another_one_got() -> None:
    with cached() as stack:
        answers = [ask(stack, key=key) for key in ("one", "two", "one", "two")]
        assert [answer.headers[RESULT] for answer in answers] == ["miss", "miss", "hit", "hit"]
        assert len({answer.json()["id"] for answer in answers[:2]}) == 2
        assert answers[2].json()["id"] == answers[0].json()["id"]
        assert answers[3].json()["id"] == answers[1].json()["id"]
        # The same key by its other name.
        other = httpx.post(stack.url + CHAT, json=body(), headers={"x-api-key": "one"})
        assert other.headers[RESULT] == "hit"


def test_keys_share_answers_where_that_is_wanted() -> None:
    with cached(ZTOAPI_CACHE_SHARED="1") as stack:
        assert [ask(stack, key=key).headers[RESULT] for key in ("one", "two")] == ["miss", "hit"]


def test_without_the_option_nothing_is_cached_or_reported() -> None:
    with Stack() as stack:
        answers = [httpx.post(stack.url + CHAT, json=body()) for _ in range(2)]
        assert all(RESULT not in answer.headers for answer in answers)
        assert asked(stack) == 2
        assert stack.record().cache is None


@table("fault", ["1210", "1302", "500", "truncate", "error_mid", "network_error", "empty"])
@table("stream", [False, True])
def test_only_a_whole_answer_is_kept(fault: str, stream: bool) -> None:
    with cached() as stack:
        model = f"glm-4.6:tokens=9:fault={fault}:fault_times=3"
        while True:
            with Client(stack.port) as client:
                send(client, model=model, stream=stream)
                answer = client.answer()
            assert answer.headers[RESULT] == "miss"
            if answer.status == 200 and answer.complete and b'"error"' not in answer.body:
                break
            assert counts(stack)["entries"] == 0
        assert ask(stack, model=model, stream=stream).headers[RESULT] == "hit"
        assert counts(stack)["entries"] == 1


def test_a_stream_without_its_end_mark_is_whole() -> None:
    with cached("openai") as stack:
        answers = [ask(stack, model="glm-4.6:tokens=9:fault=no_done", stream=True) for _ in range(2)]
        assert answers[1].headers[RESULT] == "hit"
        assert answers[1].text == answers[0].text
        assert answers[1].text.endswith("data: [DONE]\n\n")


def test_large_answers_are_not_kept() -> None:
    with cached(ZTOAPI_CACHE_MAX_ENTRY_BYTES="4000") as stack:
        for stream in (False, True):
            model = "glm-4.6:tokens=3000:itl=0"
            answers = [ask(stack, model=model, stream=stream) for _ in range(2)]
            assert [answer.headers[RESULT] for answer in answers] == ["miss", "miss"]
            assert len(answers[0].content) > 4000
        assert counts(stack)["entries"] == 0
        assert ask(stack, model="glm-4.6:tokens=1:reasoning=0").headers[RESULT] == "miss"
        assert counts(stack)["entries"] == 1


def test_memory_is_bounded_and_the_oldest_answer_goes() -> None:
    with cached(ZTOAPI_CACHE_MAX_BYTES="20000") as stack:
        for number in range(40):
            assert ask(stack, f"question {number}").headers[RESULT] == "miss"
            assert 0 < counts(stack)["bytes"] <= 20000
        assert ask(stack, "question 39").headers[RESULT] == "hit"
        assert ask(stack, "question 0").headers[RESULT] == "miss"


def test_an_answer_is_given_for_so_long() -> None:
    with cached(ZTOAPI_CACHE_TTL_SECONDS="0.2") as stack:
        assert ask(stack).headers[RESULT] == "miss"
        kept = stack.loop.time()
        stack.wait_for(lambda: stack.loop.time() > kept + 0.3)
        assert ask(stack).headers[RESULT] == "miss"


def test_an_answer_of_a_stand_in_is_not_kept() -> None:
    fallbacks = json.dumps({"glm-4.6:fault=1305": [MODEL]})
    with cached(MODEL_FALLBACKS=fallbacks) as stack:
        answers = [ask(stack, model="glm-4.6:fault=1305") for _ in range(2)]
        assert [(answer.status_code, answer.headers[RESULT]) for answer in answers] == [(200, "miss")] * 2


def test_a_hit_counts_as_a_request_and_costs_no_tokens() -> None:
    with cached(ZTOAPI_KEY_REQUESTS_PER_MINUTE="3", ZTOAPI_KEY_TOKENS_PER_MINUTE="10000") as stack:
        first = ask(stack, max_tokens=2000)
        used = first.json()["usage"]["total_tokens"]
        hits = [ask(stack, max_tokens=2000) for _ in range(3)]
        assert [answer.status_code for answer in hits] == [200, 200, 429]
        assert [answer.headers.get(RESULT) for answer in hits] == ["hit", "hit", None]
        # Of the first hit nothing is left: the second one finds what the first one found.
        left = [int(answer.headers["x-ratelimit-remaining-tokens"]) for answer in hits[:2]]
        assert left[0] <= left[1] <= left[0] + 200
        assert left[0] > 10000 - 2000 - used - 200


def test_a_hit_passes_admission_and_pacing() -> None:
    model = "glm-4.6:tokens=300:size=400:reasoning=0:itl=0"
    with cached(ZTOAPI_KEY_BANDWIDTH_BYTES_PER_SECOND="150000") as stack:
        first = ask(stack, model=model, stream=True)
        second = ask(stack, model=model, stream=True)
        assert second.headers[RESULT] == "hit"
        assert second.content == first.content
        record = stack.record(2)
        assert record.finished is not None and record.first_byte is not None
        # More than one second's worth has had to wait. A slow machine only takes longer.
        assert record.finished - record.first_byte > 0.1


@pytest.mark.parametrize("pace", [{}, {"ZTOAPI_KEY_BANDWIDTH_BYTES_PER_SECOND": "100000000"}])
def test_a_slow_reader_of_a_hit_has_it_wait(pace: dict[str, str]) -> None:
    model = "glm-4.6:tokens=400:size=4000:reasoning=0:itl=0"
    with cached(ZTOAPI_CACHE_MAX_ENTRY_BYTES="4000000", **pace) as stack:
        whole = ask(stack, model=model, stream=True)
        assert len(whole.content) > 1_500_000
        with Client(stack.port, receive_buffer=4096) as client:
            send(client, model=model, stream=True)
            stack.wait_for(lambda: any(connection.write_paused for connection in stack.application.context.connections))
            held = [
                connection.transport.get_write_buffer_size() for connection in stack.application.context.connections
            ]
            assert max(held) < 100_000
            answer = client.answer()
            assert answer.complete
            assert answer.headers[RESULT] == "hit"
            assert answer.body == whole.content


def test_an_old_client_is_given_a_hit_without_chunks() -> None:
    with cached() as stack:
        whole = ask(stack, stream=True)
        with Client(stack.port) as client:
            data = msgspec.json.encode(body(stream=True))
            client.send(
                b"POST %b HTTP/1.0\r\nauthorization: Bearer one\r\ncontent-length: %d\r\n\r\n%b"
                % (CHAT.encode(), len(data), data)
            )
            answer = client.answer()
            assert answer.headers[RESULT] == "hit"
            assert answer.body == whole.content


def test_pages_may_read_the_header() -> None:
    with cached() as stack:
        answer = ask(stack, headers={"origin": "https://example.org"})
        assert RESULT in answer.headers["access-control-expose-headers"]


def test_metrics_show_it() -> None:
    with cached(ADMIN_KEY="operator") as stack:
        for _ in range(3):
            ask(stack)
        page = httpx.get(stack.url + "/metrics", headers={"authorization": "Bearer operator"}).text
        assert 'ztoapi_cache_requests_total{result="hit"} 2.0' in page
        assert 'ztoapi_cache_requests_total{result="miss"} 1.0' in page
        assert "ztoapi_cache_entries 1.0" in page


def test_a_key_that_may_not_use_a_model_is_not_given_its_answers(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    allowed, other = add(path, "allowed"), add(path, "other", models=["glm-4.5*"])
    with Stack(ZTOAPI_CACHE_ENABLED="1", ZTOAPI_CACHE_SHARED="1", ZTOAPI_KEY_FILE=str(path)) as stack:
        assert ask(stack, key=allowed).headers[RESULT] == "miss"
        assert ask(stack, key=other).status_code == 403
