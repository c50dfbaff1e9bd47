"""``.env`` files that were written for another gateway."""

import re
from pathlib import Path

from tests.support.table import table
from ztoapi.config.load import load
from ztoapi.config.other_gateways import NAMES, UNUSED, other_gateways

PAGE = Path(__file__).resolve().parents[2] / "docs/coming-from.md"
WARNING = "a variable of another gateway, without effect here"


def warnings(directory: Path, environ: dict[str, str]) -> list[str]:
    found = load({}, environ={"ZAI_TOKEN": "t", **environ}, directory=directory, config_file=None).config.warnings
    return [warning for warning in found if WARNING in warning]


@table(
    ("line", "remedy"),
    [("AUTH_TOKEN=sk-1", "use DEFAULT_KEY"), ("export LISTEN_PORT='8080'", "use PORT"), ("KV_URL=x", "remove it")],
)
def test_a_variable_of_another_gateway_is_named_with_its_remedy(line: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"PORT=9090\n{line}\n")
    name = re.findall(r"(\w+)=", line)[0]
    assert warnings(tmp_path, {}) == [f"{name} (.env line 2): {WARNING}: {remedy}"]


def test_the_environment_and_empty_variables_are_left_alone(tmp_path: Path) -> None:
    """Other programs may use the same names."""
    (tmp_path / ".env").write_text("AUTH_TOKEN=\n")
    assert warnings(tmp_path, {"AUTH_TOKEN": "of another program"}) == []


def test_warnings_and_manual_agree() -> None:
    rows = (line.split("|") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `"))
    cells = {name: row[2] for row in rows for name in re.findall(r"`([A-Z_0-9]+)[`=]", row[1])}
    remedies = {name: next(other_gateways([(name, name)]), None) for name in cells}
    named = {name: remedy.rpartition("use ")[2] for name, remedy in remedies.items() if remedy is not None}
    assert len(named) == len(NAMES) + len(UNUSED)
    for name, remedy in named.items():
        assert NAMES.get(name, "none") in cells[name] or "remove" in remedy, (name, cells[name])
