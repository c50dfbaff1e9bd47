"""A user that requests streams, and reports the results as rows of type ``SSE``.

A stream is one request of locust: ``E2E``, ``rate limited``, ``overloaded`` or ``disconnect``. The totals of locust
do not contain the other rows.

============== ==================== ============================= ==================================================
name           time                 size                          failure
============== ==================== ============================= ==================================================
TTFT           to the first delta   -                             -
ITL            between two deltas   -                             -
E2E            to the end, if whole deltas of the response        any error; one event per request
tokens/s       none                 deltas per second, rounded    -
truncation     none                 -                             neither [DONE] nor an error event; one event per
                                                                  response that began and was not abandoned
rate limited   to the 429           seconds of Retry-After        no Retry-After
overloaded     to the 503           seconds of Retry-After        no Retry-After; only if overload is expected
disconnect     to the disconnect    deltas until then             the response had ended before
============== ==================== ============================= ==================================================

``tokens/s`` is reported as a size, because a report would label a time as milliseconds.

FastHttpSession.iter_lines is not used: it reads blocks of 1 KB, so that it would time blocks instead of events, and
treats a broken connection as the end of the response. Lines are read from the underlying response instead.
"""

import itertools
import time
from collections.abc import Iterator
from typing import ClassVar, cast

from geventhttpclient.response import HTTPParseError, HTTPSocketPoolResponse
from locust import FastHttpUser
from locust.contrib.fasthttp import ResponseContextManager, RestResponseContextManager
from locust.env import Environment

from loadtests import distributed as distributed  # both listen to every run
from loadtests import verdict as verdict
from loadtests.apis import APIS, error_message, path_of
from loadtests.course import course
from loadtests.events import note, report
from loadtests.options import options_of
from loadtests.questions import Question, Upstream
from loadtests.sse import Stream
from loadtests.target import end_if_hopeless

__all__ = ["StreamingUser"]


class StreamingUser(FastHttpUser):
    """The base class of all users."""

    abstract = True
    label = ""
    """A suffix of the event names: ``E2E [label]``."""
    expects_rate_limits = False
    """Whether a 429 is expected, and not a failure."""
    expects_overload = False
    """Whether a 503 is expected, and not a failure."""
    api: str | None = None
    """The client API: ``chat``, ``messages`` or ``responses``; None for that of ``--api``."""

    _numbers: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options = options_of(environment)
        api = self.api or options.api
        self.upstream = Upstream(options.model, options.real, api)
        self._api = APIS[api]
        self._path = path_of(self._api, self.host or "")
        self.client.base_url = (self.host or "").rstrip("/")
        self.keys = options.keys
        self.key = options.keys[next(self._numbers) % len(options.keys)]
        self.retry_after = 0.0
        """Retry-After of the last refusal in seconds; 0 after a response."""

    def ask(self, question: Question, *, due: float | None = None, label: str | None = None) -> Stream | None:
        """Sends a request, reads the response and reports it. Returns the response if it is complete or was abandoned
        on purpose.

        Times count from ``due``, the scheduled time of the request on the clock of time.perf_counter.
        """
        label = self.label if label is None else label
        start = time.perf_counter() if due is None else due
        headers = {
            **self._api.headers,
            "authorization": f"Bearer {self.key}",
            "x-api-key": self.key,
            "content-type": "application/json",
            "accept": "text/event-stream",
            "accept-encoding": "identity",
        }
        # Without the context manager locust reports no event of its own, which would be the time to the head.
        response = self.client.post(
            self._path,
            data=question.body,  # type: ignore[arg-type]  # bytes are sent unchanged
            headers=headers,
            stream=True,
            catch_response=True,
        )
        self.retry_after = 0.0
        if response.status_code != 200 or response._response is None:
            self._report_refusal(response, label, start)
            return None
        stream = self._read(response._response)
        self._report_stream(stream, question, label, start)
        return None if stream.fault(question) and not stream.left else stream

    def _read(self, wire: HTTPSocketPoolResponse) -> Stream:
        stream = self._api.stream()
        try:
            self.read(wire, stream)
        except (OSError, HTTPParseError) as error:
            stream.broken = f"{type(error).__name__}: {error}"
        finally:
            # Returns the connection to the pool, or closes it if the response was not read completely.
            wire.release()
        return stream

    def read(self, wire: HTTPSocketPoolResponse, stream: Stream) -> None:
        """Reads the lines of the response. Raises OSError and HTTPParseError if the connection breaks."""
        while line := wire.readline(b"\n"):
            stream.take(line, time.perf_counter())

    def _report_stream(self, stream: Stream, question: Question, label: str, start: float) -> None:
        end = time.perf_counter()
        if stream.deltas:
            self._note("TTFT", label, stream.first - start)
            course.add("TTFT", stream.first - start)
        for gap in stream.gaps:
            self._note("ITL", label, gap)
            course.add("ITL", gap)
        if stream.left:
            self._report("disconnect", label, end - start, size=stream.deltas)
            return
        fault = stream.fault(question)
        self._note("truncation", label, None, error=fault if stream.truncated else "")
        if not fault and (speed := stream.deltas_per_second) is not None:
            self._note("tokens/s", label, None, size=round(speed))
        # A failed response has no time, which would distort the times of complete ones.
        self._report("E2E", label, None if fault else end - start, size=0 if fault else stream.deltas, error=fault)

    def _report_refusal(self, response: ResponseContextManager, label: str, start: float) -> None:
        status = response.status_code
        if status == 0:
            self._report(
                "E2E", label, None, error=f"no response: {cast('RestResponseContextManager', response).error!r}"
            )
            return
        text = error_message(response.text or "")
        if status == 429:
            name, expected = "rate limited", self.expects_rate_limits
        elif status == 503 and self.expects_overload:
            name, expected = "overloaded", True
        else:
            self._report("E2E", label, None, error=f"status {status}: {text}")
            end_if_hopeless(self.environment, status, text)
            return
        requested = response.headers.get("retry-after") if response.headers is not None else None
        valid = isinstance(requested, str) and requested.isascii() and requested.isdigit()
        self.retry_after = float(str(requested)) if valid else 1.0
        error = "" if valid else f"{status} whose Retry-After is {requested!r}, not a number of seconds"
        row = self._report if expected else self._note
        row(name, label, time.perf_counter() - start, size=round(self.retry_after), error=error)
        if not expected:
            self._report("E2E", label, None, error=f"status {status}: {text}")

    def _report(self, name: str, label: str, seconds: float | None, *, size: int = 0, error: str = "") -> None:
        report(self.environment, _labelled(name, label), seconds=seconds, size=size, error=error)

    def _note(self, name: str, label: str, seconds: float | None, *, size: int = 0, error: str = "") -> None:
        note(self.environment, _labelled(name, label), seconds=seconds, size=size, error=error)


def _labelled(name: str, label: str) -> str:
    return f"{name} [{label}]" if label else name
