"""Steady load: ``-u`` requests a second, come what may.

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/steady.py --headless -u 20 -r 20 -t 30s -H http://127.0.0.1:9090``
"""

from loadtests.users import Caller


class SteadyCaller(Caller):
    pass
