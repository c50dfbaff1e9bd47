"""Starts a Python process without the command line of httpx.

httpx imports it where rich and click are installed, as in the environment of the tests. This takes a fifth of the time
in which a gateway starts.
"""

import sys

sys.modules["httpx._main"] = None  # type: ignore[assignment]  # the import fails, which httpx expects
