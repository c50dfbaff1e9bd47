"""The files that the distribution contains besides its modules: examples, and what operates the gateway."""

from pathlib import Path
from typing import Final

__all__ = ["SHIPPED", "shipped"]

SHIPPED: Final = (
    "deploy/grafana",
    "deploy/kubernetes",
    "deploy/prometheus",
    "deploy/systemd",
    "docs/ztoapi.schema.json",
    "ztoapi.example.toml",
)
"""Files and folders, by their paths in the repository. The wheel has the same paths in ``ztoapi/shipped``."""
_PACKAGE: Final = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """Returns the path of one of ``SHIPPED`` in the installed package, or in the checkout."""
    installed = _PACKAGE / "shipped" / name
    return installed if installed.exists() else _PACKAGE.parent / name
