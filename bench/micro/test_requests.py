"""Request bodies: one pass over the JSON, and building the request of each upstream."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.pieces import note
from ztoapi.dialects import openai, zai_request
from ztoapi.dialects.request import decode_request

SIZES = {"1 KB": 1_000, "300 KB": 300_000, "4 MB": 4_000_000}


def body(size: str) -> bytes:
    """Returns a conversation of about this many bytes, with lines and quotes as in source code."""
    line = r"    if name == \"world\":\n        return [value for value in values]\n"
    text = line * (SIZES[size] // len(line) + 1)
    return b'{"model":"glm-4.6","messages":[{"role":"user","content":"%b"}],"stream":true}' % text.encode()


@pytest.mark.parametrize("size", SIZES)
def test_decode(benchmark: BenchmarkFixture, size: str) -> None:
    data = body(size)
    note(benchmark, f"request of {size}", bytes=len(data))
    assert benchmark(decode_request, data).model == "glm-4.6"


@pytest.mark.parametrize("size", SIZES)
def test_build_with_an_alias(benchmark: BenchmarkFixture, size: str) -> None:
    request = decode_request(body(size))
    note(benchmark, f"request of {size}", bytes=len(request.body))
    assert b'"other"' in benchmark(openai.build, request, model="other", stream=True)


@pytest.mark.parametrize("size", SIZES)
def test_build_for_zai(benchmark: BenchmarkFixture, size: str) -> None:
    request = decode_request(body(size))
    note(benchmark, f"request of {size}", bytes=len(request.body))
    assert benchmark(zai_request.build, request, model="glm-4.6", stream=True, thinking=None)
