"""A response that is whole in its first read takes a shorter way, with the same result for the client."""

import re

from bench.inmemory import Gateway, chunked, request, whole_response
from tests.relay.test_plain_chunks import facts
from tests.support.table import table
from ztoapi.dialects.registry import DialectName

BODY = whole_response("Hi").partition(b"\r\n\r\n")[2]
LENGTH = b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b"
RESPONSES = {
    "whole": LENGTH % (b"200 OK", b"", len(BODY), BODY),
    "created": LENGTH % (b"201 Created", b"", len(BODY), BODY),
    "another media type": LENGTH % (b"200 OK", b"content-type: text/plain\r\n", len(BODY), BODY),
    "closing": LENGTH % (b"200 OK", b"connection: close\r\n", len(BODY), BODY),
    "blanks before": LENGTH % (b"200 OK", b"", len(BODY) + 2, b"\r\n" + BODY),
    "after an interim response": b"HTTP/1.1 103 Hints\r\n\r\n" + LENGTH % (b"200 OK", b"", len(BODY), BODY),
    "chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(BODY) + b"0\r\n\r\n",
    "coded": LENGTH % (b"200 OK", b"content-encoding: gzip\r\n", 3, b"abc"),
    "not JSON": LENGTH % (b"200 OK", b"", 5, b"{oops"),
    "a page": LENGTH % (b"200 OK", b"content-type: text/html\r\n", 6, b"<html>"),
    "an error in it": LENGTH % (b"200 OK", b"", 35, b'{"error":{"message":"no","code":1}}\n'[:35]),
    "events": LENGTH % (b"200 OK", b"", 16, b"data: nonsense\n\n"),
    "empty": LENGTH % (b"200 OK", b"", 0, b""),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "refused": LENGTH % (b"400 Bad Request", b"", 24, b'{"error":{"message":"x"}'),
    "more than the length": LENGTH % (b"200 OK", b"", len(BODY), BODY + b"more"),
}


def result(dialect: DialectName, reads: list[bytes]) -> tuple[bytes, bool, bool, tuple[object, ...]]:
    gateway = Gateway(dialect)
    gateway.client.last = b""
    recorder = gateway.application.recorder
    gateway.receive_request(request(stream=False))
    for read in reads:
        if gateway._connection.sink is not None:
            gateway.receive_response(read)
    answer = re.sub(rb"(x-request-id: |chatcmpl-|request_id\W+)\w+", b"", gateway.client.last)
    pool = gateway.application.upstreams[dialect].pool.statistics(0.0)[0]
    seen = facts(recorder.recent[-1]) if recorder.total else ()
    found = answer, bool(gateway._connection.owner._idle), gateway._connection.sink is None, (*seen, pool.in_flight)  # type: ignore[attr-defined] # the pool
    gateway.close()
    return found


@table("dialect", ["openai", "zai"])
@table("response", RESPONSES)
def test_the_result_is_that_of_a_response_in_parts(dialect: DialectName, response: str) -> None:
    data = RESPONSES[response]
    whole = result(dialect, [data])
    head = data.index(b"\r\n\r\n") + 4
    for stop in {1, head - 2, head, head + 1, len(data) - 1} - {len(data)}:
        answer, _, over, seen = result(dialect, [data[:stop], data[stop:]])
        assert (answer, over, seen) == (whole[0], whole[2], whole[3])


def test_interim_responses_are_counted_for_each_request() -> None:
    gateway = Gateway("openai")
    for _ in range(20):
        gateway.receive_request(request(stream=False))
        gateway.receive_response(RESPONSES["after an interim response"])
        assert b" 200 OK" in gateway.client.last
    gateway.close()
