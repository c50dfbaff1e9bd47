"""A spike: a tenth of ``-u`` requests per second, then ``-u`` for a fifth of the time, then a tenth again.

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/spike.py --headless -u 80 -t 60s -H http://127.0.0.1:9090``
"""

from loadtests.shapes import Spike as Spike
from loadtests.users import Caller


class SpikeCaller(Caller):
    pass
