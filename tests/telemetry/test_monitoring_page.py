"""docs/monitoring.md names every metric that a gateway has, as it has them, and no other."""

import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.stack import Stack
from ztoapi.telemetry.samples import SAMPLED, SampleKind

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*)\|", re.MULTILINE)
MESSAGES = [{"role": "user", "content": "hello"}]
Metrics = dict[str, tuple[str, frozenset[str]]]
"""Type and labels by name."""


def documented() -> Metrics:
    return {name: (kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in ROW.findall(PAGE.read_text())}


def scraped(url: str) -> Metrics:
    found: Metrics = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if family.samples:
            found[name] = (family.type, frozenset(labels))
    return found


def test_every_metric_is_on_the_page_and_no_other() -> None:
    with Stack(ZTOAPI_GLOBAL_REQUESTS_PER_SECOND="1000", UPSTREAM_MAX_TRIES="1", API_KEYS="one") as stack:
        for stream, model in ((True, "glm-4.6"), (False, "glm-4.6"), (False, "glm-4.6:fault=500")):
            body = {"model": model, "stream": stream, "messages": MESSAGES}
            httpx.post(f"{stack.base_url}/chat/completions", json=body, headers={"authorization": "Bearer one"})
        stack.record(3)
        live = scraped(stack.url)
    for name, metric in SAMPLED.items():
        counts = metric.kind is SampleKind.COUNTER
        labels = (*metric.labels, "state") if name == "ztoapi_credential_state" else metric.labels
        # Some have nothing to show, such as those of a cache where there is none.
        live.setdefault(f"{name}_total" if counts else name, ("counter" if counts else "gauge", frozenset(labels)))
    assert documented() == live
