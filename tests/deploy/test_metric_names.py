"""Every metric that a dashboard, a rule, an autoscaler or the documentation names is one that a gateway has."""

import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.expressions import Panel, documented_names, metric_names, panels, rule_expressions, scaler_expressions
from tests.stack import Stack
from tests.support.table import table
from ztoapi.telemetry.samples import SAMPLED, SampleKind

BODY = {"model": "glm-4.6", "stream": True, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def scraped() -> set[str]:
    """Names of the samples of a gateway that has served, failed and refused, and whose clients have keys."""
    with Stack(DEFAULT_KEY="YOUR_KEY", ZTOAPI_GLOBAL_REQUESTS_PER_MINUTE="2", UPSTREAM_MAX_TRIES="1") as stack:
        headers = {"authorization": "Bearer YOUR_KEY"}
        for model in ("glm-4.6", "glm-4.6:fault=500", "glm-4.6"):
            httpx.post(f"{stack.base_url}/chat/completions", json={**BODY, "model": model}, headers=headers)
        stack.record(3)
        text = httpx.get(f"{stack.url}/metrics").raise_for_status().text
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


@table("panel", panels(), ids=lambda panel: panel.title)
def test_panels(scraped: set[str], panel: Panel) -> None:
    names = {name for expression in panel.expressions for name in metric_names(expression)}
    assert names
    assert names <= scraped


@table(("name", "expression"), rule_expressions())
def test_rules(scraped: set[str], name: str, expression: str) -> None:
    names = metric_names(expression)
    recorded = set(re.findall(r"\b[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", expression))
    assert names or recorded or "up{" in expression
    assert names <= scraped
    assert recorded <= {name for name, _ in rule_expressions()}


def test_autoscalers(scraped: set[str]) -> None:
    assert {name for expression in scaler_expressions() for name in metric_names(expression)} <= scraped


@table(("file", "name"), documented_names())
def test_documentation(scraped: set[str], file: str, name: str) -> None:
    """It may leave out the suffix of a counter or histogram, and have metrics that only some gateways have."""
    declared = {metric + ("_total" if one.kind is SampleKind.COUNTER else "") for metric, one in SAMPLED.items()}
    forms = {name, *(f"{name}{suffix}" for suffix in ("_total", "_bucket"))}
    assert forms & (scraped | declared)
