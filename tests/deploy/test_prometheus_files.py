"""Prometheus' configuration, rules and queries, as promtool sees them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.expressions import panels, rule_expressions, scaler_expressions, written_out
from tests.deploy.tools import DEPLOY, run

PACKAGE = "Debian package prometheus"
FILES = DEPLOY / "prometheus"


@pytest.mark.parametrize(("file", "rules"), [("prometheus/prometheus.yml", "."), ("docker/prometheus.yml", "rules")])
def test_the_configuration_is_right(tmp_path: Path, file: str, rules: str) -> None:
    """On the gateway's host, and of Compose. promtool looks for the files that are named."""
    shutil.copytree(FILES, tmp_path / rules, dirs_exist_ok=True)
    key = tmp_path / "ztoapi-admin-key"
    key.write_text("secret")
    config = tmp_path / "prometheus.yml"
    text = (DEPLOY / file).read_text("utf-8").replace("/run/secrets/ztoapi-admin-key", str(key))
    config.write_text(text, "utf-8")
    assert "SUCCESS" in run("promtool", PACKAGE, "check", "config", "--lint-fatal", config)


def test_two_configurations_differ_in_places_only() -> None:
    host, compose = (
        yaml.safe_load((DEPLOY / name / "prometheus.yml").read_text()) for name in ("prometheus", "docker")
    )
    assert [Path(rules).name for rules in compose.pop("rule_files")] == host.pop("rule_files")
    for config in (host, compose):
        (job,) = config["scrape_configs"]
        ((place,),) = [group.pop("targets") for group in job["static_configs"]]
        assert Path(job["authorization"].pop("credentials_file")).name == "ztoapi-admin-key"
        assert place == ("127.0.0.1:9090" if config is host else "ztoapi:9090")
    assert host == compose


def test_rules_pass_their_own_tests() -> None:
    run("promtool", PACKAGE, "check", "rules", "--lint-fatal", FILES / "recording.yml", FILES / "alerts.yml")
    assert "SUCCESS" in run("promtool", PACKAGE, "test", "rules", FILES / "tests.yml")


def test_every_alert_is_tested_both_ways() -> None:
    alerts = {name for name, _ in rule_expressions() if ":" not in name}
    fires: set[str] = set()
    silent: list[set[str]] = []
    for case in yaml.safe_load((FILES / "tests.yml").read_text("utf-8"))["tests"]:
        tested = {one["alertname"]: one.get("exp_alerts", []) for one in case.get("alert_rule_test", [])}
        fires |= {name for name, expected in tested.items() if expected}
        silent.append({name for name, expected in tested.items() if not expected})
    assert fires == alerts
    assert alerts in silent


def test_every_query_can_be_parsed(tmp_path: Path) -> None:
    queries = [expression for panel in panels() for expression in panel.expressions]
    queries += [*scaler_expressions()]
    assert len(queries) > 40
    rules = [{"record": f"query:{number}", "expr": written_out(query)} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(queries)} rules found" in run("promtool", PACKAGE, "check", "rules", file)
    assert all("$" not in rule["expr"] for rule in rules)
