"""The queries in dashboards, rules and manifests, and the names of metrics in them."""

import json
import re
from typing import NamedTuple

import yaml

from tests.deploy.tools import DEPLOY, ROOT

__all__ = [
    "RULE_FILES",
    "Panel",
    "dashboard",
    "documented_names",
    "metric_names",
    "panels",
    "rule_expressions",
    "scaler_expressions",
    "written_out",
]

RULE_FILES = ("recording.yml", "alerts.yml")
_METRIC = re.compile(r"(?<!:)\b(?:ztoapi|process)_[a-z0-9_]*[a-z0-9]\b(?!:)")
_LABELS = re.compile(r"\{[^}]*\}|\b(?:by|without|on|ignoring) ?\([^)]*\)")
_PLAIN = {
    "$__rate_interval": "1m",
    "$job": "ztoapi",
    "$instance": ".+",
}


class Panel(NamedTuple):
    title: str
    definition: dict[str, object]
    expressions: list[str]


def dashboard() -> dict[str, object]:
    shown: dict[str, object] = json.loads((DEPLOY / "grafana/dashboards/ztoapi.json").read_text("utf-8"))
    return shown


def panels() -> list[Panel]:
    """Every one that shows something; rows do not."""
    found = dashboard()["panels"]
    assert isinstance(found, list)
    return [
        Panel(panel["title"], panel, [target["expr"] for target in panel["targets"]])
        for panel in found
        if panel["type"] != "row"
    ]


def written_out(expression: str) -> str:
    """``expression`` as Grafana would send it."""
    for variable, value in _PLAIN.items():
        expression = expression.replace(variable, value)
    return expression


def rule_expressions() -> list[tuple[str, str]]:
    """Name and query of every rule."""
    files = [yaml.safe_load((DEPLOY / "prometheus" / file).read_text("utf-8")) for file in RULE_FILES]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules]


def scaler_expressions() -> list[str]:
    """The metrics that the autoscalers query."""
    keda = yaml.safe_load((DEPLOY / "kubernetes/keda/scaledobject.yaml").read_text("utf-8"))
    hpa = yaml.safe_load((DEPLOY / "kubernetes/hpa/autoscaler.yaml").read_text("utf-8"))
    return [trigger["metadata"]["query"] for trigger in keda["spec"]["triggers"]] + [
        metric["pods"]["metric"]["name"] for metric in hpa["spec"]["metrics"]
    ]


def metric_names(expression: str) -> set[str]:
    """The metrics of a query."""
    return set(_METRIC.findall(_LABELS.sub("", expression)))


def documented_names() -> list[tuple[str, str]]:
    """File and name of every metric in the documentation."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [(path.name, name) for path in files for name in sorted(metric_names(path.read_text("utf-8")))]
