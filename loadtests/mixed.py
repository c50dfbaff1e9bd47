"""Mixed sizes: short, medium and long prompts and responses, each with its own entries in the report.

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/mixed.py --headless -u 20 -r 20 -t 30s -H http://127.0.0.1:9090``
"""

from loadtests.questions import text_of
from loadtests.users import OpenLoopUser


class SizedUser(OpenLoopUser):
    """A user with prompts of ``prompt_bytes`` bytes and responses of ``tokens`` tokens."""

    abstract = True
    prompt_bytes: int
    tokens: int

    def on_start(self) -> None:
        messages: list[dict[str, object]] = [{"role": "user", "content": text_of(self.prompt_bytes)}]
        self.question = self.upstream.question(messages, tokens=self.tokens, settings="ttft=50:itl=5")


class ShortUser(SizedUser):
    label = "short"
    weight = 6
    prompt_bytes = 200
    tokens = 20


class MediumUser(SizedUser):
    label = "medium"
    weight = 3
    prompt_bytes = 8_000
    tokens = 200


class LongUser(SizedUser):
    label = "long"
    weight = 1
    prompt_bytes = 200_000
    tokens = 400
