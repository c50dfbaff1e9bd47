"""A ramp from one request per second to ``-u``, then constant for a fifth of the time.

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/ramp.py --headless -u 60 -t 60s -H http://127.0.0.1:9090``
"""

from loadtests.shapes import Ramp as Ramp
from loadtests.users import Caller


class RampCaller(Caller):
    pass
