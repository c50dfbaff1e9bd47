"""What all tests share."""

import inspect
import os
from collections.abc import Iterator

import httpx
import hypothesis
import pytest
import trustme

PROCESSES_PER_CORE = 2
"""Half of the time a test waits: for a process to start, for a second to pass, for Chromium."""
MOST_PROCESSES = 8
"""Each imports all tests, which takes some seconds: the more there are, the less another one helps."""
WAIT_SECONDS = 20.0
"""How long clients wait for an answer before a test fails; nothing takes this long."""

# How long an example takes says more about the machine than about what is tested.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """In how many processes ``-n auto`` runs the tests; 0 is for this one alone. Whatever is chosen from the whole is
    done sooner than others would have started, and load tests want the machine for themselves."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.markexpr or config.option.keyword:
        return 0
    return min(PROCESSES_PER_CORE * len(os.sched_getaffinity(0)), MOST_PROCESSES)


@pytest.fixture(scope="session", autouse=True)
def _one_authority_to_trust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """httpx reads certifi's hundred authorities for every client it makes, which takes 40 ms, longer than most tests.
    Nothing here talks to anybody whom they vouch for: it gets one that vouches for nobody."""
    path = tmp_path_factory.mktemp("authority") / "nobody.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def _clients_with_patience() -> Iterator[None]:
    """httpx gives up after five seconds, which a busy machine may take."""
    # One object is the default of all clients and functions.
    usual = inspect.signature(httpx.Client).parameters["timeout"].default
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("connect", "read", "write", "pool"):
            patch.setattr(usual, limit, WAIT_SECONDS)
        yield
