"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
import trustme

PROCESSES_PER_CORE = 2
"""Half of the time a test waits: for a process to start, for a second to pass, for Chromium."""
MOST_PROCESSES = 8
"""Each imports all tests, which takes some seconds: the more there are, the less another one helps."""


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
