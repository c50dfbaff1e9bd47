"""Overload: more requests than the gateway accepts. Accepted requests are served normally, the others get 503.

The scenario needs a gateway that serves 20 requests at a time; docs/load-tests.md has the commands. A 503 with
Retry-After counts as ``overloaded``, one without is a failure. Users do not retry, so the load is independent of the
responses. The tokens per second of all streams together are the goodput.
"""

from loadtests.questions import Object
from loadtests.users import OpenLoopUser


class Crowd(OpenLoopUser):
    expects_overload = True

    def on_start(self) -> None:
        messages: list[Object] = [{"role": "user", "content": "Is there room?"}]
        self.question = self.upstream.question(messages, tokens=6, settings="ttft=50:itl=50")
