"""``ztoapi check --live`` and ``ztoapi models --live`` against servers with a list of models."""

import datetime
import email.utils
import json
import os
import re
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from tests.cli.model_server import Listing, model_server
from tests.stack import Stack
from ztoapi.cli.main import main
from ztoapi.server.context import ServerContext


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {})


def live(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: int, **environ: str
) -> dict[str, tuple[str, str]]:
    """Returns state and text of each step."""
    monkeypatch.setattr(os, "environ", environ)
    assert main(["check", "--live", "--json"]) == code
    steps = json.loads(capsys.readouterr().out)["live"]
    return {step["subject"]: (step["state"], step["text"]) for step in steps}


def test_every_step_of_an_upstream_that_works(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server(Listing()) as port:
        monkeypatch.setattr(os, "environ", {"UPSTREAM_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_TOKEN": "t"})
        assert main(["check", "--live"]) == 0
        lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the configuration is valid"
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        "ok       open files",
        "ok       openai DNS",
        "ok       openai TCP",
        "ok       openai/openai-1",
    ]
    assert "accepted, 2 models in " in lines[-1]


def test_each_credential_is_tested_and_no_message_has_a_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server(Listing(token="canary-right")) as port:
        steps = live(
            capsys,
            monkeypatch,
            1,
            UPSTREAM_URL=f"http://127.0.0.1:{port}/v1",
            OPENAI_TOKENS="canary-wrong|canary-right",
        )
    assert steps["openai/openai-2"][0] == "ok"
    state, text = steps["openai/openai-1"]
    assert state == "FAILED"
    assert text.startswith("status 401: ") and "invalid token ***" in text and text.endswith("set a valid token")


def test_a_success_without_a_list_is_a_refused_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server(Listing(body='{"code": 1000, "msg": "Authentication Failed", "success": false}')) as port:
        steps = live(capsys, monkeypatch, 1, UPSTREAM_URL=f"http://127.0.0.1:{port}/v1", OPENAI_TOKEN="canary")
    assert steps["openai/openai-1"][0] == "FAILED"
    assert "Authentication Failed" in steps["openai/openai-1"][1]


def test_a_base_url_without_its_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(Listing(path="/api/v1/models")) as port:
        base = f"http://127.0.0.1:{port}/api"
        assert live(capsys, monkeypatch, 1, UPSTREAM_URL=base)["openai/openai-1"] == (
            "FAILED",
            f'status 404: {{"error": "not found"}}: the base URL must be {base}/v1',
        )
        steps = live(capsys, monkeypatch, 0, UPSTREAM_URL=f"http://127.0.0.1:{port}/other/v1")
        assert steps["openai/openai-1"][0] == "warning"


def test_a_model_that_the_list_does_not_have(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server(Listing()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        steps = live(
            capsys, monkeypatch, 0, UPSTREAM_URL=url, UPSTREAM_MODEL_ID_MAP='{"a": "GLM-4.5-AIR", "b": "glm-9"}'
        )
    assert steps["openai models"] == ("warning", "b: the list of the platform does not have glm-9")


@pytest.mark.parametrize(("seconds", "words"), [(-3600, "3600 s ahead of"), (600, "600 s behind"), (5, None)])
def test_the_clock(
    seconds: int, words: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerContext, "wall_clock", lambda: 1_800_000_000.0)
    date = email.utils.formatdate(1_800_000_000 + seconds, usegmt=True)
    with model_server(Listing(headers={"date": date})) as port:
        steps = live(capsys, monkeypatch, 0, UPSTREAM_URL=f"http://127.0.0.1:{port}/v1")
    assert ("openai clock" in steps) is (words is not None)
    assert words is None or words in steps["openai clock"][1]


def test_a_name_that_does_not_resolve(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    steps = live(capsys, monkeypatch, 1, UPSTREAM_URL="https://nothing.invalid/v1")
    assert steps["openai DNS"][0] == "FAILED"
    assert "nothing.invalid does not resolve" in steps["openai DNS"][1]
    assert "openai/openai-1" not in steps


def test_a_port_on_which_nothing_listens(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        steps = live(capsys, monkeypatch, 1, UPSTREAM_URL=f"http://127.0.0.1:{port}/v1")
    assert steps["openai TCP"][0] == "FAILED"
    assert f"127.0.0.1:{port}: Connection refused: start the server" in steps["openai TCP"][1]


def certificate(ca: trustme.CA, **how: datetime.datetime) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1", **how).configure_cert(context)  # type: ignore[arg-type]  # only its times
    return context


def test_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    soon = datetime.datetime.fromtimestamp(ServerContext.wall_clock(), datetime.UTC) + datetime.timedelta(days=5.5)
    with (
        model_server(Listing(), certificate(ca)) as long,
        model_server(Listing(), certificate(ca, not_after=soon)) as short,
    ):
        state, text = live(capsys, monkeypatch, 1, UPSTREAM_URL=f"https://127.0.0.1:{long}/v1")["openai TLS"]
        assert state == "FAILED" and "set upstream.ca_file" in text
        trusted = {"ZTOAPI_CA_FILE": str(tmp_path / "ca.pem")}
        steps = live(capsys, monkeypatch, 0, UPSTREAM_URL=f"https://127.0.0.1:{long}/v1", **trusted)
        assert steps["openai TLS"][0] == "ok" and "TLSv1.3, issued by trustme" in steps["openai TLS"][1]
        assert steps["openai/openai-1"][0] == "ok"
        chain = r"; chain: trustme v\S+ \(until \d{4}-\d\d-\d\d\) < trustme v\S+ \(until \d{4}-\d\d-\d\d\)$"
        assert re.search(chain, steps["openai TLS"][1]), steps["openai TLS"]
        steps = live(capsys, monkeypatch, 0, UPSTREAM_URL=f"https://127.0.0.1:{short}/v1", **trusted)
        assert steps["openai TLS"][0] == "warning" and "valid for 5 days" in steps["openai TLS"][1]
        unverified = {"ZTOAPI_TLS_VERIFY": "false"}
        steps = live(capsys, monkeypatch, 0, UPSTREAM_URL=f"https://127.0.0.1:{long}/v1", **unverified)
        assert steps["openai TLS"][0] == "warning" and "not verified" in steps["openai TLS"][1]


def test_https_to_a_port_without_tls(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(Listing()) as port:
        steps = live(capsys, monkeypatch, 1, UPSTREAM_URL=f"https://127.0.0.1:{port}/v1")
    assert steps["openai TLS"][0] == "FAILED"
    assert "is it an http:// URL?" in steps["openai TLS"][1]


def test_a_platform_without_a_token(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(Listing(path="/models")) as port:
        steps = live(capsys, monkeypatch, 1, UPSTREAM_URL=f"http://127.0.0.1:{port}/", PLATFORM_ID="zai")
    assert steps["zai"] == ("FAILED", "no token: set ZAI_TOKEN")


@pytest.mark.parametrize("platform", ["zai", "zai_web", "zread", "openai"])
def test_the_simulator_passes(
    platform: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stack() as stack:
        host = f"http://127.0.0.1:{stack.simulator_port}"
        base = {"zai": "/api/paas/v4", "openai": "/v1", "zai_web": "", "zread": "/api/v1"}[platform]
        steps = live(capsys, monkeypatch, 0, UPSTREAM_URL=host + base, PLATFORM_ID=platform, UPSTREAM_TOKEN="t")
    assert steps[f"{platform}/{platform}-1"][0] == ("warning" if platform == "zread" else "ok")


def test_the_models_of_the_upstreams(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # A byte order mark may precede the list.
    with model_server(Listing(token="t", body="\ufeff" + Listing().body)) as port:
        environ = {"UPSTREAM_URL": f"http://127.0.0.1:{port}/v1", "UPSTREAM_TOKEN": "t", "MODEL_NAME": "glm-4.5-air"}
        monkeypatch.setattr(os, "environ", environ)
        assert main(["models", "--live"]) == 0
        assert capsys.readouterr().out.splitlines() == ["openai:glm-5.3", "openai:glm-4.5-air  as glm-4.5-air"]
        assert main(["models", "--live", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"openai": ["glm-5.3", "glm-4.5-air"]}
        monkeypatch.setattr(os, "environ", environ | {"UPSTREAM_TOKEN": "wrong"})
        assert main(["models", "--live"]) == 1
        assert "/v1/models: status 401: " in capsys.readouterr().err
    monkeypatch.setattr(os, "environ", {})
    assert main(["models", "--live"]) == 1
    assert capsys.readouterr() == ("", "no token for the platform zai: set ZAI_TOKEN\n")
