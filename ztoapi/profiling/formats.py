"""Writes a profile as folded stacks, as a speedscope file, or as a flame graph in one HTML file.

The HTML file is assembled from ``static/flamegraph`` and contains its script and style, so that it can be saved. Its
Content-Security-Policy lists both by hash, so that no other script can run.
"""

import base64
import hashlib
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from ztoapi import __version__
from ztoapi.profiling.cpu import HERTZ, Profile

__all__ = ["FlameGraph", "collapsed", "speedscope"]

_SPEEDSCOPE: Final = "https://www.speedscope.app/file-format-schema.json"
_encode = msgspec.json.Encoder().encode


def collapsed(profile: Profile) -> bytes:
    """Returns Brendan Gregg's folded stacks: one line per stack, outermost function first, with its sample count."""
    names = [frame.name.replace(";", ":") for frame in profile.frames]
    lines = sorted(f"{';'.join(names[number] for number in stack)} {count}" for stack, count in _totals(profile))
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def speedscope(profile: Profile, title: str) -> bytes:
    """Returns a file for https://www.speedscope.app. Its time axis shows CPU time."""
    weights = [count / HERTZ for _, count in profile.stacks]
    return _encode(
        {
            "$schema": _SPEEDSCOPE,
            "name": title,
            "exporter": f"ztoapi {__version__}",
            "activeProfileIndex": 0,
            "shared": {
                "frames": [
                    {"name": name, "file": file, "line": line} if file else {"name": name}
                    for name, file, line in profile.frames
                ]
            },
            "profiles": [
                {
                    "type": "sampled",
                    "name": title,
                    "unit": "seconds",
                    "startValue": 0,
                    "endValue": sum(weights),
                    "samples": [stack for stack, _ in profile.stacks],
                    "weights": weights,
                }
            ],
        }
    )


def _totals(profile: Profile) -> list[tuple[tuple[int, ...], int]]:
    totals: Counter[tuple[int, ...]] = Counter()
    for stack, count in profile.stacks:
        totals[stack] += count
    return list(totals.items())


class FlameGraph:
    """The flame graph page. ``static`` is the directory of static files; send ``policy`` with the page."""

    def __init__(self, static: Path) -> None:
        script = _text(static / "shared/dom.js", static / "flamegraph/flamegraph.js")
        style = _text(static / "shared/base.css", static / "flamegraph/flamegraph.css")
        self.policy = (
            f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
            "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        )
        page = (static / "flamegraph/page.html").read_text("utf-8")
        page = page.replace("@POLICY@", self.policy).replace("@STYLE@", style).replace("@SCRIPT@", script)
        before, after = page.split("@PROFILE@")
        self._before, self._after = before.encode(), after.encode()

    def render(self, profile: Profile, title: str) -> bytes:
        """Returns the page for ``profile``."""
        data = {
            "title": title,
            "hertz": HERTZ,
            "wall": profile.wall_seconds,
            "cpu": profile.cpu_seconds,
            "frames": profile.frames,
            "stacks": _totals(profile),
        }
        # Without "<" the data cannot end the script element or begin other markup.
        return self._before + _encode(data).replace(b"<", b"\\u003c") + self._after


def _text(*paths: Path) -> str:
    return "\n".join(path.read_text("utf-8") for path in paths)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
