"""A ramp from one request a second to ``-u``, then held for a fifth of the time: where does it bend?

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/ramp.py --headless -u 60 -t 60s -H http://127.0.0.1:9090``
"""

from loadtests.shapes import Ramp as Ramp
from loadtests.users import Caller


class RampCaller(Caller):
    pass
