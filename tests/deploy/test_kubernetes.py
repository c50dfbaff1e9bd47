"""The Kubernetes manifests, by Kubernetes' own schemas, and how their figures fit together."""

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.tools import DEPLOY, run
from tests.processes.gateway_process import GatewayProcess
from tests.stack import Stack
from ztoapi import __version__

FOLDER = DEPLOY / "kubernetes"
MANIFESTS = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
CUSTOM = {"scaledobject.yaml", "servicemonitor.yaml"}
"""Kinds of KEDA and of the Prometheus operator, of which Kubernetes has no schema."""


def manifest(path: str) -> dict[str, Any]:
    shown: dict[str, Any] = yaml.safe_load((FOLDER / path).read_text("utf-8"))
    return shown


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifest("base/deployment.yaml")["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("path", [path for path in MANIFESTS if path.name not in CUSTOM], ids=lambda path: path.stem)
def test_kubernetes_would_take_it(path: Path) -> None:
    said = run("kubernetes-validate", "pip install kubernetes-validate", "--strict", path)
    assert "passed for resource" in said


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_every_manifest_is_listed(path: Path) -> None:
    resources = set(yaml.safe_load(path.read_text("utf-8"))["resources"])
    assert all((path.parent / resource).exists() for resource in resources)
    assert resources - {"../base"} == {one.name for one in path.parent.glob("*.yaml")} - {path.name}


def test_streams_have_the_time_to_finish_that_the_gateway_gives_them() -> None:
    spec = pod()
    (container,) = spec["containers"]
    (generator,) = manifest("base/kustomization.yaml")["configMapGenerator"]
    settings = dict(line.split("=") for line in generator["literals"])
    before = int(settings["ZTOAPI_SHUTDOWN_DELAY_SECONDS"])
    assert spec["terminationGracePeriodSeconds"] > before + int(settings["DRAIN_SECONDS"])
    # A pod is off the list of every proxy before it stops listening.
    assert before >= container["readinessProbe"]["periodSeconds"] * container["readinessProbe"]["failureThreshold"]
    assert settings["PORT"] == str(container["ports"][0]["containerPort"])


def test_only_readiness_looks_at_more_than_the_process() -> None:
    (container,) = pod()["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_the_image_is_this_version_and_not_root() -> None:
    spec = pod()
    (container,) = spec["containers"]
    assert container["image"] == f"ztoapi:{__version__}"
    user = (DEPLOY / "docker/Dockerfile").read_text("utf-8").partition("\nUSER ")[2].split(":")[0]
    assert spec["securityContext"]["runAsUser"] == int(user)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_names_that_manifests_call_each_other_by() -> None:
    deployment = manifest("base/deployment.yaml")
    labels = deployment["spec"]["selector"]
    for path in ("base/disruption.yaml", "monitoring/servicemonitor.yaml"):
        assert manifest(path)["spec"]["selector"] == labels
    assert manifest("base/network.yaml")["spec"]["podSelector"] == labels
    service = manifest("base/service.yaml")["spec"]
    assert {"matchLabels": service["selector"]} == labels
    for path in ("hpa/autoscaler.yaml", "keda/scaledobject.yaml"):
        assert manifest(path)["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (endpoint,) = manifest("monitoring/servicemonitor.yaml")["spec"]["endpoints"]
    assert endpoint["port"] == service["ports"][0]["name"]


def test_a_gateway_that_stops_is_unready_and_alive_as_long_as_it_listens() -> None:
    """The responses to the probes between SIGTERM and the drain."""
    with Stack() as stack:
        upstream = f"http://127.0.0.1:{stack.simulator_port}/api/paas/v4"
        variables = {"PLATFORM_ID": "zai", "UPSTREAM_URL": upstream, "ZAI_TOKEN": "t", "PORT": "0"}
        with GatewayProcess(**variables, ZTOAPI_SHUTDOWN_DELAY_SECONDS="3600") as process:
            assert httpx.get(f"{process.url}/readyz").status_code == 200
            process.kill(signal.SIGTERM)
            process.wait_for(lambda: httpx.get(f"{process.url}/readyz").status_code == 503)
            assert httpx.get(f"{process.url}/livez").status_code == 200
            process.kill(signal.SIGTERM)
            assert process.wait() == 0
