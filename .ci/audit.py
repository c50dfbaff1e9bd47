"""Looks for known vulnerabilities of the installed packages with pip-audit. Exits with 1 if there are any.

Without access to the database it prints so and exits with 0: the state of a network is no property of a change.
"""

import json
import subprocess
import sys
from typing import Final

TIMEOUT_SECONDS: Final = 120
"""Of the whole audit. A database that drops packets would otherwise be waited for once per package."""


def verdict(report: str) -> tuple[int, str]:
    """Returns the exit code and a message for pip-audit's report in JSON, which is empty after a network error."""
    try:
        packages = json.loads(report)["dependencies"]
    except ValueError:
        return 0, "audit: NOT DONE, the database of vulnerabilities cannot be reached"
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    checked = sum("vulns" in package for package in packages)
    if found:
        return 1, "audit: vulnerable packages\n" + "\n".join(found)
    if not checked:
        return 0, "audit: NOT DONE, the database of vulnerabilities has no entry for any installed package"
    return 0, f"audit: no known vulnerabilities in {checked} of {len(packages)} packages"


if __name__ == "__main__":
    arguments = [sys.executable, "-m", "pip_audit", "--local", "--format=json", "--progress-spinner=off", "--timeout=5"]
    try:
        report = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS).stdout
    except subprocess.TimeoutExpired:
        report = ""
    code, message = verdict(report)
    print(message)
    sys.exit(code)
