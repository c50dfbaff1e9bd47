"""Fuzzes a target with Atheris, or each one: ``python -m tests.fuzz head -max_total_time=60``.

The other arguments are libFuzzer's. New inputs go to a temporary directory; an input that fails is written to the
current directory. Add the smallest form of it to the corpus, for ``test_corpus.py``.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ztoapi"]):
    from tests.fuzz.targets import TARGETS


def main(name: str, *arguments: str) -> None:
    if name == "all":
        # libFuzzer ends its process.
        failed = [
            one for one in TARGETS if subprocess.run([sys.executable, "-m", "tests.fuzz", one, *arguments]).returncode
        ]
        sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
    corpus = Path(__file__).with_name("corpus") / name
    with tempfile.TemporaryDirectory() as found:
        atheris.Setup([sys.argv[0], found, str(corpus), "-print_final_stats=1", *arguments], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
