"""A soak: all kinds of users for a long time. The history files show growth.

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/soak.py --headless -u 20 -t 1h --csv soak --csv-full-history -H http://127.0.0.1:9090``
"""

from locust import constant

from loadtests.shapes import Soak as Soak
from loadtests.users import Agent, Caller, SlowReader, StreamLeaver


class SoakCaller(Caller):
    weight = 7


class SoakAgent(Agent):
    weight = 1


class SoakSlowReader(SlowReader):
    weight = 1


class SoakLeaver(StreamLeaver):
    weight = 1
    wait_time = constant(1)
