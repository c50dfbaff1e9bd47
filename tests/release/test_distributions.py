"""The distributions: complete, with links that lead somewhere from PyPI, and useful without the repository."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.project.test_detectors import tracked
from ztoapi.cli.shipped import SHIPPED, shipped

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
VERSION = re.findall(r'__version__ = "(.*)"', (ROOT / "ztoapi/__init__.py").read_text("utf-8"))[0]


def run(*command: str | Path, folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def versions_of(path: str) -> list[str]:
    """Returns the minor versions of Python that a pyproject.toml declares."""
    project = tomllib.loads((ROOT / path).read_text("utf-8"))["project"]
    return re.findall(r"Python :: 3\.(\d+)'", str(project["classifiers"]))


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-B", "-m", "hatchling", "build", "-d", folder, folder=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> zipfile.ZipFile:
    (path,) = distributions.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    return Parser().parsestr(wheel.read(name).decode("utf-8"))


@pytest.fixture(scope="module")
def unpacked(distributions: Path) -> Path:
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(distributions, filter="data")
    return distributions / f"ztoapi-{VERSION}"


def test_the_source_distribution_has_every_file_of_the_repository(unpacked: Path) -> None:
    assert [name for name in tracked() if (ROOT / name).exists() and not (unpacked / name).exists()] == []


def test_the_house_rules_hold_in_the_source_distribution(unpacked: Path) -> None:
    """Those that read documents, and the one that imports every module."""
    tests = ["tests/project", "-k", "test_readmes or importing or links or map_of_the_code or option_tables"]
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    assert " passed" in run(*command, *tests, folder=unpacked)


def test_pypi_shows_links_of_the_release(metadata: Message) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", str(metadata.get_payload()))
    assert len(targets) > 30
    assert [target for target in targets if not target.startswith("https://")] == []
    files = [target for target in targets if "ztoapi/ztoapi" in target]
    assert files == [target for target in files if f"/v{VERSION}/" in target]
    assert {"Changelog", "Documentation", "Issues", "Source"} <= {
        line.partition(",")[0] for line in metadata.get_all("Project-URL", [])
    }


def test_pypi_shows_commands_that_need_no_checkout(metadata: Message) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", str(metadata.get_payload()), re.DOTALL)
    assert [block.split()[0] for block in blocks] == ["uvx", "curl", "ZAI_TOKEN=your-z.ai-api-key"]
    assert f" ghcr.io/ztoapi/ztoapi:{VERSION}\n" in blocks[2] and " uvx ztoapi serve\n" in blocks[2]


@pytest.mark.parametrize("path", ["pyproject.toml", "bench/gate/pyproject.toml"])
def test_the_versions_of_python_are_those_that_tox_runs(path: str) -> None:
    assert versions_of(path) == re.findall(r"\bpy3(\d+)", (ROOT / "tox.ini").read_text("utf-8"))


def test_budgets_that_depend_on_python_have_a_number_for_each_version() -> None:
    tables = tomllib.loads((ROOT / "bench" / "budgets.toml").read_text("utf-8")).values()
    numbers = [number for table in tables for number in table.values() if isinstance(number, dict)]
    assert {tuple(number) for number in numbers} == {
        tuple(f"cpython-3.{minor}" for minor in versions_of("pyproject.toml"))
    }


def test_the_wheel_has_the_example_files(wheel: zipfile.ZipFile) -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {name: f"ztoapi/shipped/{name}" for name in SHIPPED}
    files = {
        path
        for name in SHIPPED
        for path in [shipped(name), *shipped(name).rglob("*")]
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"ztoapi/shipped/{path.relative_to(ROOT)}" for path in files} <= set(wheel.namelist())


def test_an_installed_gateway_writes_its_example_files(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "folder"
    wheel.extractall(installed)
    folder.mkdir()
    (folder / "ztoapi.example.toml").write_text("mine")
    program = f"import sys; sys.path.insert(0, {str(installed)!r}); from ztoapi.cli.main import main; main(['init'])"
    printed = run(sys.executable, "-c", program, folder=folder)
    assert "kept   ztoapi.example.toml" in printed
    assert (folder / "ztoapi.example.toml").read_text() == "mine"
    for name in SHIPPED[:-1]:
        for path in (path for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file()):
            assert (folder / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("module", "arguments"), [("twine", ["check", "--strict"]), ("check_wheel_contents", [])], ids=["twine", "wheel"]
)
def test_a_release_would_be_accepted(distributions: Path, module: str, arguments: list[str]) -> None:
    pytest.importorskip(module, reason="pip install -e '.[release]'")
    wheels = "*.whl" if module == "check_wheel_contents" else "*"
    files = [path for path in distributions.glob(wheels) if path.is_file()]
    assert run(sys.executable, "-m", module, *arguments, *files, folder=distributions)
