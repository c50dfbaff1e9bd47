"""Fixtures and settings of all tests."""

import functools
import gc
import inspect
import math
import os
import ssl
import sys
from collections.abc import Iterator

import httpx
import httpx._transports.default
import hypothesis
import pytest
import trustme
from _pytest.runner import runtestprotocol

from tests.support.waiting import WAIT_SECONDS
from ztoapi import app
from ztoapi.handlers import static
from ztoapi.profiling import formats, handler

PROCESSES_PER_CORE = 1.5
"""Tests wait a quarter of the time, for example for the start of a process or for Chromium."""
MOST_PROCESSES = 8
"""Each process imports all tests, which takes ten seconds of processor time, so more processes would gain little."""

FIRST = ("gate", "pages", "peers", "processes", "project", "release")
"""Folders whose modules take longest. Each of the other modules takes a few seconds at most, so all processes end at
almost the same time."""

SEPARATE = {
    "load": "pytest -m load",
    "clients": "pytest -m clients tests/clients",
    "chaos": "pytest -m chaos",
}
"""Markers of tests that take minutes. Load tests need locust, wrk and hey, clients gigabytes, and chaos both cores."""

# Compiled modules are kept, also if the environment says otherwise. This process and each one that a test starts would
# compile all that they import.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Behind a proxy, too, the tests reach the servers that they start.
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1,localhost,::1")))

# The duration of an example depends on the machine more than on the tested code. The same code always gets the same
# examples; a thorough run looks for others.
hypothesis.settings.register_profile(
    "ordinary",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("ordinary"), derandomize=False, max_examples=1000
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ordinary"))


def pytest_configure(config: pytest.Config) -> None:
    """Keeps pytest-randomly from seeding the global generators in each phase of a test: nothing draws from them."""
    config.option.randomly_reset_seed = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Returns the number of processes for ``-n auto``; 0 is the current process alone.

    A selection of tests takes less time than the start of processes, and load tests need the whole machine.
    """
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.markexpr or config.option.keyword:
        return 0
    return min(math.ceil(PROCESSES_PER_CORE * len(os.sched_getaffinity(0))), MOST_PROCESSES)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exempts modules and collected tests from garbage collection: half a million objects that live to the end."""
    gc.disable()
    yield
    gc.enable()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Reports one phase of a test that passes to the process that counts: six messages per test are a third of its
    overhead. Without xdist all phases are reported, for example for ``--durations``."""
    if not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the long modules first, and skips the tests that run only if the command names their marker."""
    items.sort(key=lambda item: item.path.parent.name not in FIRST)
    for name, command in SEPARATE.items():
        if name in (config.option.markexpr or ""):
            continue
        skip = pytest.mark.skip(reason=f"run {command}")
        for item in items:
            if item.get_closest_marker(name) is not None:
                item.add_marker(skip)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """A certificate authority, for ``server_tls`` and ``trusting``."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@pytest.fixture(scope="session", autouse=True)
def _single_certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replaces the certificate authorities of httpx by one that has signed nothing, in one context for all clients.

    httpx reads certifi's hundred for every client, which takes 40 ms, longer than most tests. No test connects to a
    server with a certificate of theirs.
    """
    path = tmp_path_factory.mktemp("authority") / "unused.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        defaults = httpx._transports.default
        patch.setattr(defaults, "create_ssl_context", functools.cache(httpx.create_ssl_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def _static_files_are_read_once() -> Iterator[None]:
    """To read and hash the files of the pages takes more than a third of the time in which a gateway starts."""
    with pytest.MonkeyPatch.context() as patch:
        shared = functools.cache(static.FileHandler)
        patch.setattr(static, "FileHandler", shared)
        patch.setattr(app, "FileHandler", shared)
        patch.setattr(app, "Page", functools.cache(static.Page))
        patch.setattr(handler, "FlameGraph", functools.cache(formats.FlameGraph))
        yield


@pytest.fixture(scope="session", autouse=True)
def _long_client_timeouts() -> Iterator[None]:
    """Raises the timeouts of httpx, five seconds by default, which a busy machine may exceed."""
    # One object is the default of all clients and functions.
    usual = inspect.signature(httpx.Client).parameters["timeout"].default
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("connect", "read", "write", "pool"):
            patch.setattr(usual, limit, WAIT_SECONDS)
        yield
