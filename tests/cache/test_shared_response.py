"""Single flight: equal requests in flight go upstream once, and each client gets a response or an error, whatever the
upstream and the other clients do."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import msgspec
import pytest

from tests.cache.asking import CHAT, ask, body, cached, counts, send
from tests.cache.upstream import Upstream, UpstreamCall, event
from tests.stack import Stack
from tests.support.serving import Answer, Client
from tests.support.waiting import WAIT_SECONDS
from ztoapi.apis.messages.request import decode
from ztoapi.dialects.capabilities import UNKNOWN
from ztoapi.errors import Ending
from ztoapi.server.exchange import Exchange
from ztoapi.server.stream import ResponseStream
from ztoapi.store.response_store import ResponseStore
from ztoapi.telemetry.record import RequestRecord
from ztoapi.upstream.client import NativeCall, NativeClient, UpstreamRequest
from ztoapi.upstream.connection import Timeouts
from ztoapi.upstream.sink import Sink

RESULT = "x-ztoapi-cache"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@contextmanager
def shared_cache(upstream: Upstream, **variables: str) -> Iterator[Stack]:
    with cached("openai", UPSTREAM_URL=upstream.url, **variables) as stack:
        yield stack


def wait_for_requests(stack: Stack, count: int) -> None:
    """Waits until ``count`` requests are in flight."""
    connections = stack.application.context.connections
    stack.wait_for(
        lambda: sum(one.exchange is not None and one.exchange.record.whole is not None for one in connections) == count
    )


@contextmanager
def clients(stack: Stack, count: int, *, stream: bool, model: str = "m") -> Iterator[list[Client]]:
    """This number of clients with equal requests, one after the other."""
    with ExitStack() as all_of_them:
        asking = []
        for number in range(count):
            client = all_of_them.enter_context(Client(stack.port))
            send(client, stream=stream, model=model)
            wait_for_requests(stack, number + 1)
            asking.append(client)
        yield asking


def records(stack: Stack, count: int) -> list[RequestRecord]:
    stack.record(count)
    return sorted(stack.records(), key=lambda record: record.started)[:count]


def results(answers: list[Answer]) -> list[str]:
    return [answer.headers[RESULT] for answer in answers]


def is_forgotten(stack: Stack) -> bool:
    """Whether no shared response, and no memory of one, is left."""
    cache = stack.application.response_cache
    assert cache is not None
    return not cache.in_flight and cache.recorded_bytes == 0


def test_a_whole_answer_serves_all_waiting_clients(upstream: Upstream) -> None:
    with shared_cache(upstream) as stack, clients(stack, 5, stream=False) as asking:
        upstream.call().answer("Hi")
        answers = [client.answer() for client in asking]
        assert results(answers) == ["miss", "shared", "shared", "shared", "shared"]
        assert len({answer.body for answer in answers}) == 1
        assert b'"Hi"' in answers[0].body
        assert upstream.is_asked_no_more()
        first, *others = records(stack, 5)
        assert (first.attempts, first.platform, first.cache) == (1, "openai", "miss")
        assert first.usage is not None and first.usage.total_tokens == 12
        for record in others:
            assert (record.attempts, record.platform, record.cache) == (0, None, "shared")
            assert record.usage is not None and record.usage.total_tokens == 0
        assert (counts(stack)["miss"], counts(stack)["shared"]) == (1, 4)
        assert ask(stack, model="m").headers[RESULT] == "hit"
        assert is_forgotten(stack)


def test_a_late_subscriber_gets_the_recording_and_follows_the_live_stream(upstream: Upstream) -> None:
    with shared_cache(upstream) as stack, Client(stack.port) as first, Client(stack.port) as second:
        send(first, model="m", stream=True)
        call = upstream.call()
        call.start()
        call.say("one")
        assert first.until(event("one"))
        send(second, model="m", stream=True)
        # Before anything else comes.
        assert second.until(event("one")).startswith(b"HTTP/1.1 200 OK")
        call.say("two")
        assert first.until(event("two")) and second.until(event("two"))
        call.finish()
        assert b"data: [DONE]\n\n" in first.until(b"0\r\n\r\n")
        assert b"data: [DONE]\n\n" in second.until(b"0\r\n\r\n")
        hit = ask(stack, model="m", stream=True)
        assert hit.headers[RESULT] == "hit"
        assert hit.content.startswith(event("one") + event("two"))
        assert upstream.is_asked_no_more()
        assert is_forgotten(stack)


def test_the_first_subscriber_leaves_between_two_attempts_and_the_second_is_not_a_first_attempt(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[Timeouts | None] = []
    send_it = NativeClient.send

    def note(
        client: NativeClient, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None, most: int = 0
    ) -> NativeCall:
        times.append(timeouts)
        return send_it(client, request, sink, timeouts, most)

    monkeypatch.setattr(NativeClient, "send", note)
    with shared_cache(upstream) as stack, clients(stack, 2, stream=False) as (first, second):
        upstream.call().refuse(b"503 Service Unavailable")
        first.reset()
        wait_for_requests(stack, 1)
        upstream.call().answer("Hi")
        assert results([second.answer()]) == ["shared"]
        gone, paying = records(stack, 2)
        assert (gone.attempts, paying.attempts) == (0, 2)
        assert gone.overhead is not None and paying.overhead is None
        # The first attempt has the usual time, the second the rest of it.
        usual, left = times
        assert usual is not None and usual.total == stack.application.config.upstream.total_timeout_seconds
        assert left is not None and left.total < usual.total
        assert is_forgotten(stack)


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_subscriber_leaves_and_the_others_do_not_notice(upstream: Upstream, stream: bool) -> None:
    with shared_cache(upstream) as stack, clients(stack, 3, stream=stream) as (first, second, third):
        call = upstream.call()
        if stream:
            call.start()
            call.say("one")
            for client in (first, second, third):
                client.until(event("one"))
        first.reset()
        wait_for_requests(stack, 2)
        if stream:
            call.finish()
            assert b"data: [DONE]\n\n" in second.until(b"0\r\n\r\n")
            assert b"data: [DONE]\n\n" in third.until(b"0\r\n\r\n")
        else:
            call.answer("Hi")
            assert results([second.answer(), third.answer()]) == ["shared", "shared"]
        gone, paying, free = records(stack, 3)
        assert gone.ending is Ending.CLIENT_DISCONNECT
        assert (gone.attempts, paying.attempts) == (0, 1)
        assert gone.usage is not None and gone.usage.total_tokens == 0
        assert (paying.ending, paying.platform, paying.credential) == (Ending.DONE, "openai", gone.credential)
        assert paying.usage is not None and paying.usage.total_tokens == 12
        assert free.usage is not None and free.usage.total_tokens == 0
        assert ask(stack, model="m", stream=stream).headers[RESULT] == "hit"
        assert upstream.is_asked_no_more()
        assert is_forgotten(stack)


@pytest.mark.parametrize("stream", [False, True])
def test_the_upstream_is_left_when_the_last_one_has_gone(upstream: Upstream, stream: bool) -> None:
    with shared_cache(upstream) as stack, clients(stack, 2, stream=stream) as (first, second):
        call = upstream.call()
        if stream:
            call.start()
            call.say("one")
            second.until(event("one"))
        first.reset()
        wait_for_requests(stack, 1)
        second.reset()
        assert call.has_been_left()
        assert [record.ending for record in records(stack, 2)] == [Ending.CLIENT_DISCONNECT] * 2
        assert counts(stack)["entries"] == 0
        assert is_forgotten(stack)


def test_a_client_that_leaves_while_its_response_is_stored_is_no_failure(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = threading.Event()

    async def put(*_: object) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(ResponseStore, "put", put)
    question = msgspec.json.encode({"model": "m", "input": "Hello", "temperature": 0, "stream": True})
    with shared_cache(upstream, ZTOAPI_RESPONSES_STORE="memory") as stack, Client(stack.port) as client:
        client.post("/v1/responses", question, "authorization: Bearer one\r\n")
        call = upstream.call()
        call.start()
        call.say("one")
        call.finish()
        assert begun.wait(WAIT_SECONDS)
        client.reset()
        assert stack.record().ending is Ending.CLIENT_DISCONNECT
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_that_is_wrong_is_wrong_for_all(upstream: Upstream, stream: bool) -> None:
    with shared_cache(upstream) as stack, clients(stack, 3, stream=stream) as asking:
        upstream.call().refuse(b"400 Bad Request")
        answers = [client.answer() for client in asking]
        assert [answer.status for answer in answers] == [400] * 3
        assert results(answers) == ["miss", "shared", "shared"]
        assert upstream.is_asked_no_more()
        assert counts(stack)["entries"] == 0
        assert is_forgotten(stack)


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_upstream_fails_the_waiting_clients_get_one_further_request(upstream: Upstream, stream: bool) -> None:
    with shared_cache(upstream, ZTOAPI_MAX_TRIES="1") as stack, clients(stack, 4, stream=stream) as asking:
        upstream.call().refuse(b"503 Service Unavailable")
        answers = [asking[0].answer()]
        call = upstream.call()
        if stream:
            call.start()
            call.finish()
        else:
            call.answer("Hi")
        answers += [client.answer() for client in asking[1:]]
        assert [answer.status for answer in answers] == [503, 200, 200, 200]
        assert results(answers) == ["miss", "miss", "shared", "shared"]
        assert [record.attempts for record in records(stack, 4)] == [1, 1, 0, 0]
        assert is_forgotten(stack)


def test_an_upstream_that_keeps_failing_gets_one_further_request_for_all(upstream: Upstream) -> None:
    with shared_cache(upstream, ZTOAPI_MAX_TRIES="1") as stack, clients(stack, 6, stream=False) as asking:
        upstream.call().refuse(b"503 Service Unavailable")
        upstream.call().refuse(b"503 Service Unavailable")
        assert [client.answer().status for client in asking] == [503] * 6
        assert upstream.is_asked_no_more()
        assert counts(stack)["miss"] == 2
        assert is_forgotten(stack)


def test_when_the_upstream_breaks_off_every_client_gets_the_error(upstream: Upstream) -> None:
    with shared_cache(upstream) as stack, clients(stack, 2, stream=True) as asking:
        call = upstream.call()
        call.start()
        call.say("one")
        for client in asking:
            client.until(event("one"))
        call.break_off()
        for client in asking:
            rest = client.rest()
            assert b'"error"' in rest
            assert b"[DONE]" not in rest
        assert [record.ending for record in records(stack, 2)] == [Ending.TRUNCATED] * 2
        assert upstream.is_asked_no_more()
        assert counts(stack)["entries"] == 0
        assert is_forgotten(stack)


def test_a_response_that_ends_within_a_piece_does_not_keep_the_piece_from_the_others(upstream: Upstream) -> None:
    question = msgspec.json.encode({**body(model="m", stream=True), "max_tokens": 9})
    equal, _ = decode(question, lambda _: UNKNOWN)
    with (
        shared_cache(upstream, ZTOAPI_MAX_RESPONSE_BYTES="1024") as stack,
        Client(stack.port) as first,
        Client(stack.port) as second,
    ):
        first.post("/v1/messages", question, "authorization: Bearer one\r\n")
        call = upstream.call()
        second.post(CHAT, bytes(equal.body), "authorization: Bearer one\r\n")
        wait_for_requests(stack, 2)
        call.start()
        long = "x" * 1025
        call.say(long)
        assert b"event: error" in first.rest()
        call.say("one")
        read = second.until(event("one"))
        call.finish()
        read += second.until(b"0\r\n\r\n")
        assert [read.count(event(text)) for text in (long, "one")] == [1, 1]
        assert is_forgotten(stack)


def test_other_keys_and_requests_for_a_fresh_response_share_nothing(upstream: Upstream) -> None:
    with shared_cache(upstream) as stack, ExitStack() as all_of_them:
        calls: list[tuple[Client, UpstreamCall]] = []
        for key, fields in (("one", ""), ("two", ""), ("one", "cache-control: no-cache\r\n")):
            client = all_of_them.enter_context(Client(stack.port))
            send(client, model="m", stream=False, key=key, fields=fields)
            calls.append((client, upstream.call()))
        for number, (client, call) in enumerate(calls):
            call.answer(f"answer {number}")
            answer = client.answer()
            assert answer.headers[RESULT] == "miss"
            assert f"answer {number}".encode() in answer.body
        assert is_forgotten(stack)


@contextmanager
def slow_and_quick(upstream: Upstream, max_entry_bytes: str) -> Iterator[tuple[Stack, UpstreamCall, Client, Client]]:
    """A stream for two: one has read nothing and has a small buffer, the other has read the first word."""
    with (
        shared_cache(upstream, ZTOAPI_CACHE_MAX_ENTRY_BYTES=max_entry_bytes) as stack,
        Client(stack.port, receive_buffer=4096) as slow,
        Client(stack.port) as quick,
    ):
        send(slow, model="m", stream=True)
        call = upstream.call()
        call.start()
        send(quick, model="m", stream=True)
        call.say("one")
        quick.until(event("one"))
        yield stack, call, slow, quick


def test_a_slow_reader_does_not_hold_up_the_others(upstream: Upstream) -> None:
    with slow_and_quick(upstream, "50000000") as (stack, call, slow, quick):
        fill(stack, call, slow, quick)
        call.say("end")
        quick.until(event("end"))
        call.finish()
        assert quick.until(b"0\r\n\r\n").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        # It has it all, at its own pace.
        answer = slow.answer()
        assert answer.complete
        assert answer.body == ask(stack, model="m", stream=True).content
        assert is_forgotten(stack)


def fill(stack: Stack, call: UpstreamCall, slow: Client, quick: Client) -> None:
    """Sends more from the upstream than all buffers on the way to ``slow`` hold, while ``quick`` reads."""
    slow_port = slow.sock.getsockname()[1]
    connections = stack.application.context.connections
    for number in range(2000):
        call.say(f"{number} " + "x" * 8000)
        quick.until(b'"%d x' % number)
        if any(one.write_paused and one.peer.endswith(f":{slow_port}") for one in connections):
            break
    else:
        raise AssertionError("the slow client's socket never was full")
    # Much more than lies in any buffer.
    for number in range(2000, 2200):
        call.say(f"{number} " + "x" * 8000)
        quick.until(b'"%d x' % number)


def test_what_is_too_large_is_not_kept_and_the_slowest_has_the_upstream_wait(upstream: Upstream) -> None:
    with slow_and_quick(upstream, "10000") as (stack, call, slow, quick):
        cache = stack.application.response_cache
        assert cache is not None
        with ThreadPoolExecutor(1) as beside:
            reading = beside.submit(quick.until, b"0\r\n\r\n")
            call.takes_no_more()
            assert cache.recorded_bytes == 0
            assert not cache.in_flight
            slow.close()
            # The quick one has the rest now.
            call.finish_later()
            answer = reading.result()
        assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert counts(stack)["entries"] == 0


def test_a_lone_slow_reader_has_the_upstream_wait(upstream: Upstream) -> None:
    with shared_cache(upstream) as stack, Client(stack.port, receive_buffer=4096) as slow:
        send(slow, model="m", stream=True)
        call = upstream.call()
        call.start()
        call.takes_no_more()
        cache = stack.application.response_cache
        assert cache is not None
        assert cache.recorded_bytes < 1_500_000
        slow.close()
        assert call.has_been_left()
        stack.wait_for(lambda: is_forgotten(stack))


def test_answers_on_their_way_are_bounded_together(upstream: Upstream) -> None:
    with (
        shared_cache(upstream, ZTOAPI_CACHE_MAX_BYTES="30000") as stack,
        Client(stack.port) as one,
        Client(stack.port) as other,
    ):
        calls = []
        for number, client in enumerate((one, other)):
            send(client, f"question {number}", model="m", stream=True)
            call = upstream.call()
            call.start()
            call.say("x" * 20000)
            client.until(b'"finish_reason":null}]}\n\n')
            calls.append(call)
        cache = stack.application.response_cache
        assert cache is not None
        assert 20000 < cache.recorded_bytes < 30000
        for client, call in zip((one, other), calls, strict=True):
            call.finish()
            assert client.until(b"0\r\n\r\n").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert counts(stack)["entries"] == 1
        assert is_forgotten(stack)


def test_the_drain_ends_a_shared_response_for_each_subscriber(upstream: Upstream) -> None:
    with shared_cache(upstream) as stack, clients(stack, 2, stream=True) as asking:
        call = upstream.call()
        call.start()
        call.say("one")
        for client in asking:
            client.until(event("one"))
        stack.call(cut_off(stack))
        for client in asking:
            assert b'"shutdown"' in client.rest()
        assert call.has_been_left()
        assert is_forgotten(stack)


async def cut_off(stack: Stack) -> None:
    hurry = asyncio.Event()
    hurry.set()
    await stack.server.drain(0.0, hurry)


def test_a_prepared_request_goes_on_without_the_first_subscriber() -> None:
    with (
        cached("zread", ZREAD_REPOSITORY="a/b", UPSTREAM_TOKEN="any:ttft=2000") as stack,
        Client(stack.port) as first,
        Client(stack.port) as second,
    ):
        for number, client in enumerate((first, second), 1):
            send(client, stream=True, fields=f"{RESULT}: on\r\n")
            wait_for_requests(stack, number)
        first.reset()
        wait_for_requests(stack, 1)
        answer = second.answer()
        assert (answer.status, answer.headers[RESULT]) == (200, "shared")
        assert b"data: [DONE]\n\n" in answer.body


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("refused", [True, False])
def test_a_response_that_cannot_be_sent_does_not_keep_the_others_from_theirs(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, stream: bool, failing: int, refused: bool
) -> None:
    name = "fail" if refused else "end" if stream else "respond"
    owner = ResponseStream if name == "end" else Exchange
    send, calls = getattr(owner, name), 0

    def fail_once(*arguments: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        if calls == failing + 1:
            raise ZeroDivisionError
        return send(*arguments, **keywords)

    with shared_cache(upstream) as stack, clients(stack, 3, stream=stream) as asking:
        monkeypatch.setattr(owner, name, fail_once)
        call = upstream.call()
        if refused:
            call.refuse(b"400 Bad Request")
        elif stream:
            call.start()
            call.say("one")
            call.finish()
        else:
            call.answer("Hi")
        answers = [client.answer() for client in asking]
        served = [answer for number, answer in enumerate(answers) if number != failing]
        assert b'"internal"' in answers[failing].body
        assert {answer.status for answer in served} == {400 if refused else 200}
        assert all(answer.complete for answer in served)
        endings = [record.ending for record in records(stack, 3)]
        assert endings.count(Ending.INTERNAL_ERROR) == 1
        assert is_forgotten(stack)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_part_that_cannot_be_sent_to_one_client_ends_its_response_only(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    write, calls = ResponseStream.write, 0

    def fail_once(stream: ResponseStream, payload: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == failing + 4:
            raise ZeroDivisionError
        write(stream, payload)

    with shared_cache(upstream) as stack, clients(stack, 3, stream=True) as asking:
        monkeypatch.setattr(ResponseStream, "write", fail_once)
        call = upstream.call()
        call.start()
        call.say("one")
        for client in asking:
            client.until(event("one"))
        call.say("two")
        served = [client for number, client in enumerate(asking) if number != failing]
        read = [client.until(event("two")) for client in served]
        assert b'"internal"' in asking[failing].rest()
        call.finish()
        read = [before + client.until(b"0\r\n\r\n") for before, client in zip(read, served, strict=True)]
        assert [each.count(event("two")) for each in read] == [1, 1]
        ended = records(stack, 3)
        (failed,) = [record for record in ended if record.ending is Ending.INTERNAL_ERROR]
        # A client that still takes part has the tokens and the attempt.
        assert failed.usage is not None
        assert (failed.usage.total_tokens, failed.attempts) == (0, 0)
        tokens = [record.usage.total_tokens for record in ended if record.usage is not None]
        assert (sum(tokens), sum(record.attempts for record in ended)) == (12, 1)
        assert is_forgotten(stack)


def test_the_upstream_is_left_when_the_last_client_cannot_be_sent_a_part(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stream: ResponseStream, payload: bytes) -> None:
        raise ZeroDivisionError

    with shared_cache(upstream) as stack, clients(stack, 1, stream=True) as (client,):
        call = upstream.call()
        call.start()
        call.say("one")
        client.until(event("one"))
        with monkeypatch.context() as patched:
            patched.setattr(ResponseStream, "write", fail)
            call.say("two")
            assert call.has_been_left()
        assert stack.record().ending is Ending.INTERNAL_ERROR
        assert is_forgotten(stack)


def test_a_successor_that_leaves_too_is_charged_for_the_attempt(upstream: Upstream) -> None:
    with shared_cache(upstream) as stack, clients(stack, 3, stream=False) as (first, second, third):
        call = upstream.call()
        first.reset()
        wait_for_requests(stack, 2)
        second.reset()
        wait_for_requests(stack, 1)
        third.reset()
        assert call.has_been_left()
        gone, next_one, last = records(stack, 3)
        assert [record.attempts for record in (gone, next_one, last)] == [0, 0, 1]
        assert {record.platform for record in (gone, next_one, last)} == {"openai"}
        assert {record.credential for record in (gone, next_one, last)} == {gone.credential}
        # The estimates of the first two are refunded, that of the last one is charged.
        assert [record.usage is None for record in (gone, next_one, last)] == [False, False, True]


def test_the_upstream_code_of_an_attempt_is_handed_on(upstream: Upstream) -> None:
    with shared_cache(upstream) as stack, clients(stack, 2, stream=True) as (first, second):
        upstream.call().refuse(b"503 Service Unavailable", b'{"error":{"message":"busy","code":"overloaded"}}')
        first.reset()
        wait_for_requests(stack, 1)
        upstream.call().refuse(b"400 Bad Request")
        assert second.answer().status == 400
        gone, last = records(stack, 2)
        assert (gone.attempts, last.attempts) == (0, 2)
        assert gone.upstream_code == "overloaded"
        assert last.upstream_code == "x" and last.stream


def test_comments_keep_subscribers_alive(upstream: Upstream) -> None:
    with (
        shared_cache(upstream, ZTOAPI_SSE_KEEPALIVE_SECONDS="0.1", ZTOAPI_SSE_KEEPALIVE_BEFORE_FIRST_BYTE="1") as stack,
        clients(stack, 2, stream=True) as asking,
    ):
        call = upstream.call()
        for client in asking:
            client.until(b": keepalive\n\n")
        call.start()
        call.finish()
        for client in asking:
            client.until(b"data: [DONE]\n\n")
        assert b"keepalive" not in ask(stack, model="m", stream=True).content
