"""Memory stays bounded whatever clients do. Measured in a gateway process, by its resident memory."""

import json
import socket

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack

MIB = 1024 * 1024
STREAMS, AT_ONCE = 1000, 100
PER_STALLED_STREAM_BYTES = 192 * 1024
"""Write buffer (32 KiB and one read of 32), a ring (32 KiB) with the rest of a cut event, the objects of both
connections; the allocator keeps about a third more."""


@pytest.fixture
def simulator() -> "Stack":  # type: ignore[misc]  # a generator fixture
    with Stack() as stack:
        yield stack


def ask(process: GatewayProcess, model: str) -> socket.socket:
    """A client with a small receive buffer that has requested a stream and read nothing of it."""
    payload = json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", process.port))
    client.sendall(b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(payload), payload))
    return client


def test_slow_reader_gets_every_byte_of_50_mb_and_memory_stays_flat(simulator: Stack) -> None:
    size, count = 5000, 10000
    with gateway(simulator) as process:
        httpx.get(process.url + "/livez")
        with ask(process, f"glm-4.6:size={size}:tokens={count}:reasoning=0") as client:
            # The simulator pauses once gateway, sockets and all between are full.
            simulator.wait_for(lambda: any(one.write_paused for one in simulator.simulator.context.connections))
            before = process.resident_bytes()
            for _ in range(64):
                assert client.recv(1024)
            parts, peak = [], before
            while part := client.recv(1 << 20):
                parts.append(part)
                if len(parts) % 1000 == 0:
                    peak = max(peak, process.resident_bytes())
        tail = b"".join(parts)
        assert tail.endswith(b"data: [DONE]\n\n")
        events = [event for event in tail.split(b"\n\n") if event.startswith(b"data: {")]
        assert all(len(json.loads(event[6:])["choices"][0]["delta"]["content"]) in (0, size) for event in events)
        assert len(tail) > size * count * 0.99
        assert peak - before < 4 * MIB


def test_a_thousand_slow_streams_stay_bounded(simulator: Stack) -> None:
    with gateway(simulator) as process:
        httpx.get(process.url + "/livez")
        before = process.resident_bytes()
        paused = simulator.simulator.context.connections
        clients: list[socket.socket] = []
        while len(clients) < STREAMS:
            clients += [ask(process, "glm-4.6:size=5000:tokens=10000:reasoning=0") for _ in range(AT_ONCE)]
            simulator.wait_for(lambda: sum(one.write_paused for one in paused) == len(clients))  # noqa: B023 - now
        assert process.resident_bytes() - before < STREAMS * PER_STALLED_STREAM_BYTES
        assert httpx.get(process.url + "/livez").status_code == 200
        for client in clients:
            client.close()
        simulator.wait_for(lambda: simulator.simulator.stats.open_streams == 0)
        assert simulator.simulator.stats.cancels == STREAMS


def test_large_bodies_pass_intact(simulator: Stack) -> None:
    with gateway(simulator) as process:
        for size in (300_000, 4_000_000):
            body = {"model": "glm-4.6", "messages": [{"role": "user", "content": "é" * (size // 2)}]}
            assert httpx.post(f"{process.url}/v1/chat/completions", json=body).status_code == 200
            last = simulator.stats()["last_request"]
            assert isinstance(last, dict)
            assert last["body_bytes"] == len(httpx.Request("POST", "http://x", json=body).content)
