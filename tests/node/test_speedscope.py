"""Profiles as speedscope's own package wants them. ``npm install --prefix tests/node`` comes first."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # its stubs would be one more package
import pytest

from ztoapi.profiling.cpu import CpuSampler
from ztoapi.profiling.formats import speedscope

SCHEMA = Path(__file__).parent / "node_modules/speedscope/dist/release/file-format-schema.json"

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not SCHEMA.is_file(), reason="run npm install --prefix tests/node first"),
]


def test_a_profile_keeps_speedscopes_schema() -> None:
    sampler = CpuSampler()
    sampler.start()
    sorted(range(3_000_000), key=lambda number: -number)
    profile = sampler.stop()
    shown = json.loads(speedscope(profile, "a profile"))
    assert shown["profiles"][0]["samples"]
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text("utf-8")))
    assert list(validator.iter_errors(shown)) == []
    del shown["profiles"][0]["unit"]
    assert list(validator.iter_errors(shown)) != []
