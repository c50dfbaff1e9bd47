"""``docs/deployment.md``: its steps run, as far as they can here, and the names in it exist."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.deploy.expressions import rule_expressions
from tests.deploy.tools import DEPLOY, ROOT
from tests.processes.gateway_process import GatewayProcess

TEXT = (ROOT / "docs/deployment.md").read_text("utf-8")


def test_files_that_it_names_exist() -> None:
    named = re.findall(r"\b(?:deploy|loadtests)/[\w./-]*\w", TEXT)
    names = {name for name in named if not name.startswith("deploy/secrets")}
    assert len(names) > 8
    assert {name for name in names if not (ROOT / name).exists()} == set()


def test_every_alert_is_listed() -> None:
    assert set(re.findall(r"\bZtoapi\w+", TEXT)) == {name for name, _ in rule_expressions() if ":" not in name}


def test_figures_are_those_of_the_files() -> None:
    deployment = (DEPLOY / "kubernetes/base/deployment.yaml").read_text("utf-8")
    (grace,) = re.findall(r"`terminationGracePeriodSeconds` \((\d+)\)", TEXT)
    assert f"terminationGracePeriodSeconds: {grace}\n" in deployment
    (streams,) = re.findall(r"`ztoapi_streams_in_flight`, (\d+) a pod", TEXT)
    assert f'threshold: "{streams}"' in (DEPLOY / "kubernetes/keda/scaledobject.yaml").read_text("utf-8")
    assert f'averageValue: "{streams}"' in (DEPLOY / "kubernetes/hpa/autoscaler.yaml").read_text("utf-8")


def test_the_secrets_for_the_compose_file_are_made_as_documented(tmp_path: Path) -> None:
    (block,) = re.findall(r"^(install -d -m 0700 deploy/secrets\n.*?)^docker compose", TEXT, re.MULTILINE | re.DOTALL)
    # The reader's own token; the placeholder is refused.
    block = block.replace("your-z.ai-api-key", "0123abcd.wxyz")
    (tmp_path / "deploy").mkdir()
    script = block.replace("your-z.ai-api-key", "0123456789abcdef.0123456789abcdef")
    subprocess.run([shutil.which("sh") or "sh", "-e", "-c", script], cwd=tmp_path, check=True)
    secrets = tmp_path / "deploy/secrets"
    wanted = set(re.findall(r"file: secrets/(\S+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    assert wanted <= {file.name for file in secrets.iterdir()}
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o644}
    assert secrets.stat().st_mode & 0o777 == 0o700
    process = GatewayProcess("check", "--config", str(secrets / "ztoapi.toml"), HOST="0.0.0.0")
    assert process.wait() == 0
    assert process.wait_for_output("(?s)the configuration is valid(.+admin_key = )")
    process.__exit__(None, None, None)
