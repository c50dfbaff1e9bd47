"""Adds the load tests to the wheel, as ``ztoapi.load``.

They lie in ``loadtests``, because they are no part of the gateway. Their copies in the wheel import each other by that
name.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_IMPORT: Final = re.compile(r"(?<=from )loadtests\b|(?<=-m )loadtests\b")


class LoadTestsHook(BuildHookInterface[Any]):
    """Copies ``loadtests`` with its new name, and includes the copies."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._copies = Path(tempfile.mkdtemp(prefix="ztoapi-load-"))
        for source in sorted((Path(self.root) / "loadtests").iterdir()):
            if source.is_file():
                copy = self._copies / source.name
                copy.write_text(_IMPORT.sub("ztoapi.load", source.read_text("utf-8")), "utf-8")
                build_data["force_include"][str(copy)] = f"ztoapi/load/{source.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            shutil.rmtree(self._copies)
