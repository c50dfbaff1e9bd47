"""Load from hey, with checked bodies.

With ``ztoapi demo`` in another terminal: ``python -m loadtests.hey http://127.0.0.1:9090``

hey discards bodies, does not notice a truncated stream, and counts bytes only of responses with a Content-Length.
Therefore:

- whole responses (``stream: false``) must all have status 200, and in total the bytes of as many checked responses.
This is exact, because the simulator gives equal requests equal responses. - streams must all have status 200. While hey
runs, another client reads streams of the same request completely and checks them like the locust scenarios.

The last line of the output is JSON; the exit code is 3 after any failure. hey is a closed loop: it sends nothing while
the gateway stalls.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import time
from typing import Final
from urllib.parse import urlsplit

import msgspec

from loadtests.questions import Question, Upstream
from loadtests.sse import Stream

__all__ = ["main"]

_PATH: Final = "/v1/chat/completions"
_TOKENS: Final = 32
_TIMEOUT_SECONDS: Final = 30.0
_BROKEN: Final = 3


class Target(msgspec.Struct, frozen=True):
    host: str
    port: int
    key: str


def read_stream(target: Target, question: Question) -> str:
    """Requests a stream and reads it completely. Returns its failure, or ""."""
    stream = Stream()
    connection = http.client.HTTPConnection(target.host, target.port, timeout=_TIMEOUT_SECONDS)
    try:
        response = _post(connection, target, question.body)
        if response.status != 200:
            return f"status {response.status}"
        # readline of http.client treats a truncated chunked body as complete; [DONE] is missing then.
        while line := response.readline():
            stream.take(line, time.perf_counter())
    except (OSError, http.client.HTTPException) as error:
        stream.broken = repr(error)
    finally:
        connection.close()
    return stream.fault(question)


def read_whole(target: Target, body: bytes) -> int:
    """Returns the size of a whole response. Raises ValueError if it is wrong."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=_TIMEOUT_SECONDS)
    try:
        response = _post(connection, target, body)
        data = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"status {response.status}: {data[:200]!r}")
    choice = json.loads(data)["choices"][0]
    if not choice["message"]["content"] or choice["finish_reason"] != "stop":
        raise ValueError(f"not a complete response: {data[:200]!r}")
    return len(data)


def _post(connection: http.client.HTTPConnection, target: Target, body: bytes) -> http.client.HTTPResponse:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {target.key}"}
    connection.request("POST", _PATH, body, headers)
    return connection.getresponse()


def start_hey(target: Target, body: bytes, requests: int, concurrency: int) -> "subprocess.Popen[str]":
    """Runs hey with ``body``. Raises FileNotFoundError if it is not installed."""
    command = ["hey", "-n", str(requests), "-c", str(concurrency), "-m", "POST", "-T", "application/json"]
    command += ["-H", f"Authorization: Bearer {target.key}", "-d", body.decode("utf-8")]
    command += [f"http://{target.host}:{target.port}{_PATH}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def faults_of(report: str, requests: int, size: int | None = None) -> list[str]:
    """Returns the faults in hey's ``report`` of ``requests`` requests. Each response must have ``size`` bytes, unless
    None."""
    statuses = {status: int(count) for status, count in re.findall(r"\[(\d{3})\]\s+(\d+) responses", report)}
    faults = [] if statuses == {"200": requests} else [f"{requests} requests, but by status: {statuses}"]
    faults += re.findall(r"\[\d+\]\s+(.+)", report.partition("Error distribution:")[2])
    if size is not None:
        total = re.search(r"Total data:\s+(\d+) bytes", report)
        if total is None or int(total[1]) != size * requests:
            faults.append(f"expected {size * requests} bytes, received {total[1] if total else 'none'}")
    return faults


def _run_whole(target: Target, question: Question, arguments: argparse.Namespace) -> dict[str, object]:
    body = question.body.replace(b'"stream":true', b'"stream":false')
    size = read_whole(target, body)
    report, _ = start_hey(target, body, arguments.requests, arguments.concurrency).communicate()
    sys.stdout.write(report)
    return {"bytes": size, "faults": faults_of(report, arguments.requests, size)}


def _run_streams(target: Target, question: Question, arguments: argparse.Namespace) -> dict[str, object]:
    checked = 0
    wrong: list[str] = []
    hey = start_hey(target, question.body, arguments.requests, arguments.concurrency)
    while not checked or hey.poll() is None:
        checked += 1
        wrong += filter(None, [read_stream(target, question)])
    report, _ = hey.communicate()
    sys.stdout.write(report)
    return {"checked": checked, "faults": faults_of(report, arguments.requests) + sorted(set(wrong))}


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.hey", description="hey, with checked bodies")
    parser.add_argument("url", help="the gateway's origin, such as http://127.0.0.1:9090")
    parser.add_argument("-n", dest="requests", type=int, default=2000, help="requests of each kind (2000)")
    parser.add_argument("-c", dest="concurrency", type=int, default=16, help="connections (16); -n is a multiple of it")
    parser.add_argument("--model", default="glm-5.3", help="model of the simulator (glm-5.3)")
    parser.add_argument("--key", default="any", help="client key")
    arguments = parser.parse_args()
    if arguments.requests < 1 or arguments.concurrency < 1 or arguments.requests % arguments.concurrency:
        parser.error("-n must be a multiple of -c: hey sends no more than that")
    url = urlsplit(arguments.url)
    if url.scheme != "http" or url.hostname is None:
        parser.error("url must be an origin such as http://127.0.0.1:9090")
    target = Target(url.hostname, url.port or 80, arguments.key)
    messages: list[dict[str, object]] = [{"role": "user", "content": "Hello"}]
    question = Upstream(arguments.model, real=False).question(messages, tokens=_TOKENS, settings="ttft=0:itl=0")
    try:
        results = {
            "whole": _run_whole(target, question, arguments),
            "streams": _run_streams(target, question, arguments),
        }
    except (OSError, ValueError, LookupError) as error:
        sys.stderr.write(f"loadtests.hey: {error}\n")
        return _BROKEN
    sys.stdout.write(json.dumps(results) + "\n")
    return _BROKEN if any(result["faults"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
