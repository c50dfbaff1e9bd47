"""Rate-limited tenants: users take the keys of ``--key`` in turn, and honour Retry-After.

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/tenants.py --headless -u 9 -r 9 -t 30s -H http://127.0.0.1:9090 --key green,amber,red``

Each tenant has its own entries. A 429 with Retry-After counts as ``rate limited``, one without is a failure. The
simulated upstream refuses the first requests of the last tenant, with code 1302; the gateway's own limits may refuse
any tenant.
"""

from typing import Final

from locust import task
from locust.env import Environment

from loadtests.questions import Object
from loadtests.users import Tenant

_REFUSAL: Final = "fault=1302:retry_after=6:fault_times=20"
"""More than the 5 s that the gateway itself waits before it refuses a request."""


class KeyedTenant(Tenant):
    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        place = self.keys.index(self.key) + 1
        self.label = f"tenant {place}"
        refused = place == len(self.keys) > 1
        messages: list[Object] = [{"role": "user", "content": "May I?"}]
        settings = "ttft=20:itl=5"
        self.question = self.upstream.question(
            messages, tokens=20, settings=f"{settings}:{_REFUSAL}" if refused else settings
        )

    @task
    def chat(self) -> None:
        self.ask(self.question)
