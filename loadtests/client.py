"""A user that asks for streams, and reports what it saw as events of type ``SSE``.

============== ==================== ============================= ==================================================
name           time                 size                          fails
============== ==================== ============================= ==================================================
TTFT           to the first delta   -                             -
ITL            between two deltas   -                             -
E2E            to the end, if whole deltas of the answer          whatever the reason: one event for each request
tokens/s       none                 deltas a second, rounded      -
truncation     none                 -                             neither [DONE] nor an error event; one for each
                                                                  answer that began and was not left
rate limited   to the refusal: 429  seconds of Retry-After        no Retry-After
overloaded     to the refusal: 503  seconds of Retry-After        no Retry-After; only where overload is expected
disconnect     until it left        deltas until then             the answer had ended before
============== ==================== ============================= ==================================================

A speed is no time: ``tokens/s`` has its value where locust shows sizes, so that nothing calls it milliseconds.

FastHttpSession.iter_lines reads blocks of 1 KB, which would time the block instead of the event, and takes a connection
that broke for the end of the answer. So lines are read from the response beneath it.
"""

import itertools
import time
from collections.abc import Iterator
from typing import ClassVar, Final, cast

from geventhttpclient.response import HTTPParseError, HTTPSocketPoolResponse
from locust import FastHttpUser
from locust.contrib.fasthttp import ResponseContextManager, RestResponseContextManager
from locust.env import Environment

from loadtests import distributed as distributed  # both listen to every run
from loadtests import verdict as verdict
from loadtests.events import report
from loadtests.options import options_of
from loadtests.questions import Question, Upstream
from loadtests.sse import Stream

__all__ = ["StreamingUser"]

_PATH: Final = "/v1/chat/completions"
_SHOWN_CHARACTERS: Final = 120
"""How much of a refusal's body goes into the failure's message."""


class StreamingUser(FastHttpUser):
    """Base of all users here."""

    abstract = True
    label = ""
    """Set apart from others by this in the event's names: ``E2E [label]``."""
    expects_rate_limits = False
    """Whether a 429 is part of the game, not a failure of the request."""
    expects_overload = False
    """The same of a 503."""

    _numbers: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options = options_of(environment)
        self.upstream = Upstream(options.model, options.real)
        self.keys = options.keys
        self.key = options.keys[next(self._numbers) % len(options.keys)]
        self.retry_after = 0.0
        """Seconds that the last refusal asked to wait; 0 after an answer."""

    def ask(self, question: Question, *, due: float | None = None, label: str | None = None) -> Stream | None:
        """Ask, read the answer, report. Returns it if it is whole, or was left on purpose.

        ``due`` is when the request should have been sent, on the clock of time.perf_counter: times count from there.
        """
        label = self.label if label is None else label
        start = time.perf_counter() if due is None else due
        headers = {
            "authorization": f"Bearer {self.key}",
            "content-type": "application/json",
            "accept": "text/event-stream",
            "accept-encoding": "identity",
        }
        # Not used as a context manager, so that locust reports nothing of its own: that would be the time to the head.
        response = self.client.post(
            _PATH,
            data=question.body,  # type: ignore[arg-type]  # octets are sent as they are
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
        stream = Stream()
        try:
            self.read(wire, stream)
        except (OSError, HTTPParseError) as error:
            stream.broken = f"{type(error).__name__}: {error}"
        finally:
            # Back to the pool if it was read to its end, closed if not.
            wire.release()
        return stream

    def read(self, wire: HTTPSocketPoolResponse, stream: Stream) -> None:
        """Read the answer's lines. Raises OSError and HTTPParseError if the connection breaks."""
        while line := wire.readline(b"\n"):
            stream.take(line, time.perf_counter())

    def _report_stream(self, stream: Stream, question: Question, label: str, start: float) -> None:
        end = time.perf_counter()
        if stream.deltas:
            self._report("TTFT", label, stream.first - start)
        for gap in stream.gaps:
            self._report("ITL", label, gap)
        if stream.left:
            self._report("disconnect", label, end - start, size=stream.deltas)
            return
        fault = stream.fault(question)
        self._report("truncation", label, None, error=fault if stream.truncated else "")
        if not fault and (speed := stream.deltas_per_second) is not None:
            self._report("tokens/s", label, None, size=round(speed))
        # A failed answer has no time to its end: it would flatter, or spoil, the times of the whole ones.
        self._report("E2E", label, None if fault else end - start, size=0 if fault else stream.deltas, error=fault)

    def _report_refusal(self, response: ResponseContextManager, label: str, start: float) -> None:
        status = response.status_code
        if status == 0:
            self._report("E2E", label, None, error=f"no answer: {cast('RestResponseContextManager', response).error!r}")
            return
        text = (response.text or "")[:_SHOWN_CHARACTERS]
        if status == 429:
            name, expected = "rate limited", self.expects_rate_limits
        elif status == 503 and self.expects_overload:
            name, expected = "overloaded", True
        else:
            self._report("E2E", label, None, error=f"status {status}: {text}")
            return
        asked = response.headers.get("retry-after") if response.headers is not None else None
        valid = isinstance(asked, str) and asked.isascii() and asked.isdigit()
        self.retry_after = float(str(asked)) if valid else 1.0
        error = "" if valid else f"{status} whose Retry-After is {asked!r}, not a number of seconds"
        self._report(name, label, time.perf_counter() - start, size=round(self.retry_after), error=error)
        if not expected:
            self._report("E2E", label, None, error=f"status {status}: {text}")

    def _report(self, name: str, label: str, seconds: float | None, *, size: int = 0, error: str = "") -> None:
        labelled = f"{name} [{label}]" if label else name
        report(self.environment, labelled, seconds=seconds, size=size, error=error)
