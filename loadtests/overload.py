"""Overload: more requests than the gateway takes. Those it takes are answered as ever, the others told to come again.

It needs a gateway that takes 20 requests at a time; docs/load-tests.md has the commands. A 503 with Retry-After is
counted as ``overloaded``, one without is a failure. Nobody comes again: the load does not follow the answers. The
tokens a second of all streams together are the goodput.
"""

from loadtests.questions import Object
from loadtests.users import OpenLoopUser


class Crowd(OpenLoopUser):
    expects_overload = True

    def on_start(self) -> None:
        messages: list[Object] = [{"role": "user", "content": "Is there room?"}]
        self.question = self.upstream.question(messages, tokens=6, settings="ttft=50:itl=50")
