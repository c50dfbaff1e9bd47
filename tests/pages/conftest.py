"""A gateway with a client key, and a browser."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS

KEY = "YOUR_KEY"
"""As in the lines to copy of the reference: they run as they stand."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Stack]:
    with Stack(DEFAULT_KEY=KEY, ZTOAPI_RESPONSES_STORE="memory") as stack:
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. It ends with the module: Playwright runs an event loop in this thread, so no test of another module
    could run one."""
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium-headless-shell")
    # Chromium's sandbox does not start for root, which CI is.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    # The start script of Debian's chromium enables the GPU, which software emulates on a machine without one.
    arguments.append("--disable-gpu")
    # A machine with other things to do takes longer than the 5 seconds that Playwright waits by itself.
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()
