"""Memory blocks taken per relayed chunk, counted exactly.

``python bench/allocations.py`` compiles a counting allocator, runs itself under it and prints JSON: blocks per chunk
for a paced stream (one event a read) and a burst (eight events a read), for each dialect, and what stays allocated.
Needs a C compiler and glibc.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.inmemory import Gateway, chunked, request, stream_head, zai_event
from ztoapi.config.model import DialectName

CHUNKS = 2000
HERE = Path(__file__).resolve().parent
DIALECTS: tuple[DialectName, ...] = ("zai", "openai")
SCENARIOS = [
    (dialect, events, dialect + ("_paced" if events == 1 else "_burst")) for dialect in DIALECTS for events in (1, 8)
]


def measure() -> dict[str, dict[str, float]]:
    """Allocate under the preloaded counter."""
    counter = ctypes.CDLL(None).ztoapi_malloc_count
    counter.restype = ctypes.c_ulonglong
    results = {}
    for dialect, events, name in SCENARIOS:
        gateway = Gateway(dialect)
        gateway.ask(request(stream=True))
        gateway.answer(stream_head() + chunked(zai_event("The")))
        feed = gateway.feeder(b"".join(chunked(zai_event(" word")) for _ in range(events)))
        for _ in range(200):
            feed()
        idle_start = counter()
        for _ in range(CHUNKS):
            pass
        idle = counter() - idle_start
        writes, live, start = gateway.client.writes, sys.getallocatedblocks(), counter()
        for _ in range(CHUNKS):
            feed()
        taken = counter() - start - idle
        results[name] = {
            "blocks_per_read": taken / CHUNKS,
            "blocks_per_chunk": taken / CHUNKS / events,
            "writes_per_read": (gateway.client.writes - writes) / CHUNKS,
            "blocks_kept": sys.getallocatedblocks() - live,
        }
    return results


def run() -> dict[str, dict[str, float]]:
    """Compile the counter and measure in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "malloc_count.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "malloc_count.c"], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}
        environment["PYTHONPATH"] = str(HERE.parent)
        output = subprocess.run(
            [sys.executable, __file__, "--measure"], env=environment, check=True, capture_output=True, text=True
        ).stdout
    results: dict[str, dict[str, float]] = json.loads(output)
    return results


if __name__ == "__main__":
    print(json.dumps(measure() if "--measure" in sys.argv else run(), indent=2))
