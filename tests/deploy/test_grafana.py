"""The rules of Grafana's dashboard-linter, which exists for Go alone, and the provisioning files.

https://github.com/grafana/dashboard-linter/blob/main/docs/index.md
"""

import re

import pytest
import yaml

from tests.deploy.expressions import Panel, dashboard, panels
from tests.deploy.tools import DEPLOY
from tests.support.table import table

PANELS = panels()
SELECTOR = re.compile(r"\b([a-z][a-z0-9_]+)(\{[^}]*\})")
RANGE = re.compile(r"\b(rate|irate|increase)\(([a-z0-9_]+)\{[^}]*\}\[([^\]]+)\]\)")


def variables() -> dict[str, dict[str, object]]:
    templating = dashboard()["templating"]
    assert isinstance(templating, dict)
    return {variable["name"]: variable for variable in templating["list"]}


def test_the_data_source_is_a_choice_of_the_viewer() -> None:
    variable = variables()["datasource"]
    assert (variable["type"], variable["query"], variable["label"]) == ("datasource", "prometheus", "Data source")


@pytest.mark.parametrize("name", ["job", "instance"])
def test_jobs_and_instances_are_a_choice_of_the_viewer(name: str) -> None:
    variable = variables()[name]
    assert variable["type"] == "query"
    assert variable["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert variable["label"] == name.capitalize()
    assert variable["multi"] is True
    assert variable["allValue"] == ".+"
    # Looked up again when the time range changes.
    assert variable["refresh"] == 2


def test_it_is_changed_in_its_file_alone() -> None:
    shown = dashboard()
    assert shown["editable"] is False
    assert shown["uid"] == "ztoapi-overview"
    assert shown["title"] and shown["description"]
    assert shown["timezone"] in ("", "utc", "browser")


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    found = dashboard()["panels"]
    assert isinstance(found, list)
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@table("panel", PANELS)
def test_a_panel_has_a_description_and_a_unit(panel: Panel) -> None:
    shown = panel.definition
    assert shown["title"] and str(shown["description"]).endswith(".")
    assert shown["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    config = shown["fieldConfig"]
    assert isinstance(config, dict) and config["defaults"]["unit"]
    assert panel.expressions
    targets = shown["targets"]
    assert isinstance(targets, list)
    assert len({target["refId"] for target in targets}) == len(targets)
    assert all(target["legendFormat"] for target in targets)
    assert all(target["datasource"] == shown["datasource"] for target in targets)


@table("panel", PANELS)
def test_queries_select_the_chosen_jobs_and_instances(panel: Panel) -> None:
    for expression in panel.expressions:
        selectors = SELECTOR.findall(expression)
        assert selectors
        for metric, labels in selectors:
            assert 'job=~"$job"' in labels and 'instance=~"$instance"' in labels, metric


@table("panel", PANELS)
def test_counters_are_shown_as_rates_over_the_fitting_interval(panel: Panel) -> None:
    for expression in panel.expressions:
        ranges = RANGE.findall(expression)
        counters = {name for name, _ in SELECTOR.findall(expression) if re.search("_(total|bucket|sum|count)$", name)}
        assert counters == {metric for _, metric, _ in ranges}
        assert all(interval == "$__rate_interval" for function, _, interval in ranges if function != "increase")
        assert "irate(" not in expression


def test_what_is_provisioned_fits_the_compose_file() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    mounted = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    dashboards = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/ztoapi.yaml").read_text("utf-8"))
    (provider,) = dashboards["providers"]
    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    assert provider["allowUiUpdates"] is False
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text("utf-8"))
    (source,) = sources["datasources"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose["services"]
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
