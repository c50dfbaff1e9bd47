"""The end of a gateway whose parts do not all let themselves be closed."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from tests.limits.redis_server import RedisServer
from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack, config_for
from tests.telemetry.lines import UNIX_SECONDS, make_record, read_whole
from ztoapi.app import Application
from ztoapi.telemetry.access_log import AccessLog
from ztoapi.telemetry.log_file import LogFile


def stores(process: GatewayProcess) -> list[dict[str, str]]:
    """The gateway's checks of its stores."""
    checks = httpx.get(f"{process.url}/health").json()["checks"]
    return [one for part in ("redis:limits", "redis:cache") for one in checks[part]]


def ask(process: GatewayProcess) -> None:
    body = {"model": "glm-4.6", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
    answer = httpx.post(f"{process.url}/v1/chat/completions", json=body, headers={"authorization": "Bearer one"})
    assert answer.status_code == 200


@pytest.mark.parametrize("noticed", [False, True])
def test_a_store_with_tls_that_has_stalled_does_not_keep_a_gateway_from_its_end(tmp_path: Path, noticed: bool) -> None:
    with Stack() as simulator, RedisServer(tmp_path, tls=True) as redis:
        environment = {"REDIS_URL": redis.tls_url, "ZTOAPI_CACHE_REDIS": "1", "ZTOAPI_CACHE_ENABLED": "1"}
        environment |= {"ZTOAPI_GLOBAL_REQUESTS_PER_SECOND": "1000", "API_KEYS": "one"}
        with gateway(simulator, **environment) as process:
            redis.stop()
            if noticed:
                # A busy machine may take the first timeouts for its own doing.
                while any(one["status"] == "pass" for one in stores(process)):
                    ask(process)
            process.kill(signal.SIGTERM)
            assert process.wait() == 0
            assert "Traceback" not in process.output + process.rest()


def test_what_cannot_be_closed_is_logged_and_the_rest_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = tmp_path / "access.log"

    async def fail() -> None:
        raise RuntimeError("stuck")

    async def main() -> None:
        log = AccessLog(LogFile(str(lines)), lambda: UNIX_SECONDS, text=False)
        application = Application(config_for(1), asyncio.get_running_loop(), access_log=log)
        await application.start()
        log.add([make_record()])
        monkeypatch.setattr(application.client, "close", fail)
        await application.close()

    asyncio.run(main())
    assert read_whole(lines).count("id-1") == 1
    (logged,) = caplog.records
    assert logged.exc_info is not None
    assert (logged.message, str(logged.exc_info[1])) == ("a part of the gateway could not be closed", "stuck")
