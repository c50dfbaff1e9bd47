"""An upstream quotes the gateway's secrets and its own address wherever it can. None of them leaves the gateway."""

import base64
import json
import logging
import signal
import socket
import urllib.parse
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.cache.upstream import event
from tests.gateway.test_endings import CHAT, body
from tests.processes.gateway_process import GatewayProcess
from tests.stack import BASES, Stack
from tests.support.raw_upstream import RawUpstream, stream_of, whole

TOKEN = "sk-Zq7RkV3mNc5TbW9xLpHd2Jf8"
OTHER = "Yd4GhU6sXn1PaQ0eKvMj3RtB.Wc8LzE5iFo7SbD2y"
ADMIN = "adm-9KfTqLw3Vx7ZcN5r"
CLIENT = "cl-7VbNm2QwErTy5UiOp8As"
SECRETS = (TOKEN, OTHER, ADMIN, CLIENT)
PART = 5
"""Characters of a secret of which none may be seen in a row, beside its first three (``sk-``)."""
KEY = {"authorization": f"Bearer {CLIENT}"}
HELLO = event("Hel")
WEB_HELLO = b'data: {"type":"chat:completion","data":{"phase":"answer","delta_content":"Hel"}}\n\n'


def spellings(secret: str) -> list[str]:
    """How messages quote a key."""
    return [
        secret,
        f"{secret[:6]}{'*' * 12}{secret[-4:]}",
        f"{secret[:8]}...{secret[-4:]}",
        f"{secret[:10]}…",
        f"ending in {secret[-4:]}.",
        f"api_key={secret[:9]}",
        f"'{secret[3:17]}'",
        "".join(f"%{ord(character):02X}" for character in secret),
        "".join(f"\\u{ord(character):04x}" for character in secret),
        f"Basic {base64.b64encode(f'user:{secret}'.encode()).decode()}",
        base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
        secret.upper(),
    ]


def quoting(port: int) -> str:
    words = [spelling for secret in SECRETS for spelling in spellings(secret)]
    places = [f"http://127.0.0.1:{port}/v1", f"127.0.0.1:{port}", "dial tcp 127.0.0.1: refused", "[::1]:80", "10.1.2.3"]
    return "This is wrong: " + ", ".join(words + places)


def shown(text: str) -> list[str]:
    """Parts of secrets and addresses in ``text``."""
    lower = text.lower()
    decoded = [lower, urllib.parse.unquote(lower)]
    parts = {secret.lower()[at : at + PART] for secret in SECRETS for at in range(3, len(secret) - PART + 1)}
    ends = {f"in {secret[-4:]}".lower() for secret in SECRETS}
    coded = {base64.b64encode(f"user:{secret}".encode()).decode().lower()[8:24] for secret in SECRETS}
    return [part for part in parts | ends | coded if any(part in one for one in decoded)]


def error_body(words: str) -> bytes:
    detail = {"message": words, "nested": [words]}
    error = {"message": words, "type": words, "code": words[:700], "param": words, "detail": detail}
    return json.dumps({"error": error, "message": words, "detail": words, "msg": words}).encode()


def responses(port: int) -> dict[str, bytes]:
    words = quoting(port)
    fields = (f"x-request-id: {TOKEN}", f"www-authenticate: Bearer {TOKEN}", f"x-upstream: 127.0.0.1:{port}")
    error = error_body(words)
    error_event = b"data: " + error + b"\n\n"
    web_event = b'data: {"type":"chat:completion","data":{"error":' + json.dumps({"detail": words}).encode() + b"}}\n\n"
    named = b"event: error\ndata: " + json.dumps({"code": TOKEN, "message": words}).encode() + b"\n\n"
    statuses = [
        "400 Bad",
        "401 No",
        "402 Pay",
        "403 No",
        "404 No",
        "422 Odd",
        "429 Wait",
        "500 Oh",
        "503 Busy",
        "200 OK",
    ]
    return {
        **{f"{status} object": whole(status, error, *fields) for status in statuses},
        **{f"{status} text": whole(status, json.dumps({"error": words}).encode(), *fields) for status in statuses},
        "html": whole(
            "403 Forbidden", f"<html><title>{words}</title></html>".encode(), *fields, content_type="text/html"
        ),
        "plain": whole("401 No", words.encode(), *fields, content_type="text/plain"),
        "fastapi": whole("422 Odd", json.dumps({"detail": [{"loc": ["body"], "msg": words, "type": words}]}).encode()),
        "string code": whole("200 OK", json.dumps({"error": {"code": "invalid_api_key", "message": words}}).encode()),
        "z.ai code": whole("200 OK", json.dumps({"error": {"code": "1002", "message": words}}).encode()),
        "first event": stream_of(error_event),
        "mid stream": stream_of(HELLO, error_event),
        "web first event": stream_of(web_event),
        "web mid stream": stream_of(WEB_HELLO, web_event),
        "named event": stream_of(named),
        "reason": f"HTTP/1.1 401 {TOKEN}\r\ncontent-length: 0\r\n\r\n".encode(),
        "no http": f"{TOKEN}\r\n\r\n".encode(),
        "bad field": f"HTTP/1.1 200 OK\r\n{TOKEN}\r\n\r\n".encode(),
    }


@pytest.mark.parametrize(
    ("platform", "transport"), [*((platform, "native") for platform in BASES), ("openai", "httpx")]
)
def test_what_an_upstream_quotes(platform: str, transport: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # Each failure puts a credential away.
    tokens = [TOKEN, OTHER, *(f"spare-credential-{number:03}" for number in range(100))]
    with RawUpstream(b"") as upstream:
        with Stack(
            platform,
            UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}{BASES[platform]}",
            UPSTREAM_TOKEN="|".join(tokens),
            ADMIN_KEY=ADMIN,
            DEFAULT_KEY=CLIENT,
            ZREAD_REPOSITORY="a/b",
            ZTOAPI_MAX_TRIES="1",
            ZTOAPI_TRANSPORT=transport,
        ) as stack:
            for name, response in responses(upstream.port).items():
                upstream.play = partial(answer_and_close, response)
                for stream in (True, False):
                    text = read(stack, stream)
                    assert '"error"' in text, name
                    assert not shown(text), f"{name}: {text}"
                    assert not [one for one in ("127.0.0.1", "::1", "10.1.2.3") if one in text], f"{name}: {text}"
            records = [f"{one.error_code} {one.upstream_code}" for one in stack.records()]
            assert not shown("\n".join(records))
            for path in ("/metrics", "/dashboard/stats", "/dashboard/requests", "/health", "/readyz"):
                page = httpx.get(stack.url + path, headers={"authorization": f"Bearer {ADMIN}"})
                assert not shown(page.text), path
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("ztoapi"))
    assert "This is wrong" in logged
    assert not shown(logged)


def answer_and_close(response: bytes, sock: socket.socket, _: int) -> bool:
    sock.sendall(response)
    return True


QUESTION = {"model": "glm-4.6", "max_tokens": 9}
HI = [{"role": "user", "content": "Hello"}]
APIS: dict[str, dict[str, object]] = {
    "/v1/messages": {**QUESTION, "messages": HI},
    "/v1/responses": {"model": "glm-4.6", "input": "Hello"},
    "/v1/completions": {**QUESTION, "prompt": "Hello"},
    "/v1/embeddings": {"model": "glm-4.6", "input": "Hello"},
}


@pytest.mark.parametrize("native", [False, True])
def test_what_other_apis_files_and_traces_show(native: bool, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="OpenTelemetry is not installed")
    from tests.support.collector import Collector

    access_log, history, config = tmp_path / "access.log", tmp_path / "history.db", tmp_path / "ztoapi.toml"
    tokens = [TOKEN, OTHER, *(f"spare-credential-{number:03}" for number in range(400))]
    with RawUpstream(b"") as upstream, Collector() as collector:
        endpoints = 'messages = "native"\nresponses = "native"\n' if native else ""
        config.write_text(f"[platforms.openai]\n{endpoints}")
        with GatewayProcess(
            "serve",
            "--config",
            str(config),
            PORT="0",
            PLATFORM_ID="openai",
            UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}/v1",
            UPSTREAM_TOKEN="|".join(tokens),
            ADMIN_KEY=ADMIN,
            DEFAULT_KEY=CLIENT,
            ZTOAPI_MAX_TRIES="1",
            ZTOAPI_ACCESS_LOG=str(access_log),
            ZTOAPI_HISTORY_FILE=str(history),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        ) as process:
            sent = 0
            for path, fields in APIS.items():
                for name, response in responses(upstream.port).items():
                    upstream.play = partial(answer_and_close, response)
                    for stream in (True, False) if path != "/v1/embeddings" else (False,):
                        text = read_url(process.url + path, {**fields, "stream": stream})
                        sent += 1
                        assert not shown(text), f"{path} {name}: {text}"
                        assert not [one for one in ("127.0.0.1", "::1", "10.1.2.3") if one in text], f"{path} {name}"
            for path in ("/metrics", "/dashboard/stats", "/dashboard/requests", "/dashboard/history", "/health"):
                page = httpx.get(process.url + path, headers={"authorization": f"Bearer {ADMIN}"})
                assert page.status_code in (200, 503)
                assert not shown(page.text), path
            process.kill(signal.SIGTERM)
            assert process.wait() == 0
            messages = process.rest()
        spans = collector.wait_for(sent)
    lines = access_log.read_text()
    assert lines.count("\n") >= sent
    assert not shown(lines)
    assert not shown("\n".join(map(str, spans)))
    assert not shown(history.read_bytes().decode("latin-1"))
    assert not shown(messages)


@pytest.mark.parametrize(
    ("platform", "status"),
    [
        *((platform, "401 No") for platform in BASES),
        *((platform, "200 OK") for platform in BASES if platform != "zread"),
    ],
)
def test_a_refused_credential_is_the_gateways_own(platform: str, status: str) -> None:
    refusal = whole(status, b'{"error":{"message":"Incorrect API key provided: abc","code":"1002"},"code":1002}')
    with RawUpstream(refusal) as upstream:
        url = f"http://127.0.0.1:{upstream.port}{BASES[platform]}"
        with Stack(platform, UPSTREAM_URL=url, UPSTREAM_TOKEN=TOKEN, ZREAD_REPOSITORY="a/b") as stack:
            answer = httpx.post(stack.url + CHAT, json=body("glm-4.6", stream=False))
    assert answer.status_code == 502
    assert answer.json()["error"]["message"] == f"the gateway's credential was refused by the platform {platform}"


@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize("platform", list(BASES))
def test_an_upstream_that_cannot_be_reached(platform: str, transport: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}"
        url = f"http://{place}{BASES[platform]}"
        with (
            caplog.at_level(logging.WARNING),
            Stack(platform, UPSTREAM_URL=url, ZREAD_REPOSITORY="a/b", ZTOAPI_TRANSPORT=transport) as stack,
        ):
            answer = httpx.post(stack.url + CHAT, json=body("glm-4.6", stream=False))
    message = answer.json()["error"]["message"]
    assert platform in message
    assert "127.0.0.1" not in message
    assert place not in answer.text
    assert place in caplog.text


def read(stack: Stack, stream: bool) -> str:
    return read_url(stack.url + CHAT, body("glm-4.6", stream=stream))


def read_url(url: str, fields: dict[str, object]) -> str:
    text = ""
    try:
        with httpx.stream("POST", url, json=fields, headers=KEY) as response:
            text = repr(response.headers.raw)
            for part in response.iter_text():
                text += part
    except httpx.RemoteProtocolError:
        pass
    return text
