"""Slow readers: responses of 1.2 MB read at 400 KB/s, and one ordinary user for every three, which must not be
affected.

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/slow_readers.py --headless -u 20 -r 20 -t 30s -H http://127.0.0.1:9090``
"""

from loadtests.users import Caller, SlowReader


class Slow(SlowReader):
    weight = 3


class SlowBystander(Caller):
    weight = 1
