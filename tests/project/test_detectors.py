"""The house rules that can be checked by looking at the tree."""

import functools
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Sized
from pathlib import Path
from typing import NamedTuple

import pytest

from docs.generate import render
from tests.project.rules import (
    bodies,
    class_sizes,
    duplicates,
    foreign_words,
    functions,
    imports,
    long_strings,
    module_state,
    sleeps,
    unasserted_tests,
)

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ztoapi"
MODULES = sorted(PACKAGE.rglob("*.py"))
EXTRAS = {"opentelemetry": PACKAGE / "telemetry" / "tracing.py"}
"""The distribution of an extra, and the module that needs it."""
IMPORTABLE = [path for path in MODULES if all(path != EXTRAS[one] or importlib.util.find_spec(one) for one in EXTRAS)]
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts)
MAX_CLASS_LINES = 250
"""Lines of code: without docstrings, comments and blank lines."""
LONG_CLASS_REASON = "# Over 250 lines: "
MAX_STRING_CHARACTERS = 2000
MAX_FUNCTION_LINES = 60
ROOT_FILES = {
    ".ci", ".env.example", ".git", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md",
    "CODE_OF_CONDUCT.md", "CONTRIBUTING.md",
    "LICENSE", "README.md", "README.zh-CN.md", "SECURITY.md", "bench", "changelog.d", "deploy", "docs", "loadtests",
    "mkdocs.yml", "pyproject.toml", "tests", "tox.ini", "ztoapi", "ztoapi.example.toml",
}  # fmt: skip
BANNED_NAMES = {"utils", "util", "helpers", "common", "manager", "misc"}


class Module(NamedTuple):
    """All that the rules find in a module: its tree is large, and parsed once."""

    class_sizes: list[tuple[str, int, int]]
    function_sizes: list[tuple[str, int]]
    bodies: list[tuple[str, str]]
    imports: set[str]
    long_strings: list[int]
    state: list[str]
    sleeps: list[int]
    unasserted_tests: list[str]


@functools.cache
def read(path: Path) -> Module:
    text = path.read_text("utf-8")
    return Module(
        class_sizes(text),
        [(one.name, (one.end_lineno or 0) - one.lineno + 1) for one in functions(text)],
        bodies(text),
        imports(text),
        long_strings(text, MAX_STRING_CHARACTERS),
        module_state(text),
        sleeps(text),
        unasserted_tests(text),
    )


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def holds_nothing(path: Path, name: str) -> bool:
    """Whether it is an object with methods only, such as the simulator's dialects."""
    value = getattr(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)), name)
    return not isinstance(value, Sized) and getattr(value, "__dict__", None) == {}


def tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return listing.stdout.split()


def test_the_root_holds_what_it_should() -> None:
    assert {name.split("/")[0] for name in tracked()} <= ROOT_FILES


def test_modules_have_one_subject() -> None:
    assert relative([path for path in MODULES if path.stem in BANNED_NAMES or path.parent.name in BANNED_NAMES]) == []


def test_long_classes_give_their_reason() -> None:
    for path in MODULES:
        lines = path.read_text("utf-8").splitlines()
        for name, first_line, size in read(path).class_sizes:
            reason = lines[first_line - 2]
            assert size <= MAX_CLASS_LINES or reason.startswith(LONG_CLASS_REASON), f"{path.name}:{name}: {size} lines"


def test_functions_are_short() -> None:
    sizes = sorted((size, f"{path.name}:{name}") for path in MODULES for name, size in read(path).function_sizes)
    assert sizes[len(sizes) // 2][0] <= 12
    assert sizes[int(len(sizes) * 0.9)][0] <= 34
    assert [name for size, name in sizes if size > MAX_FUNCTION_LINES] == []


def test_sources_are_ascii_and_hold_no_pages() -> None:
    for path in MODULES:
        text = path.read_text("utf-8")
        allowed = text.replace("…", "") if path.name == "web.py" else text
        assert allowed.isascii(), path
        assert read(path).long_strings == [], path


def test_modules_keep_no_state() -> None:
    """Each name of a module is a constant: an unaltered literal in upper case, or immutable by its type."""
    found: list[str] = []
    for path in IMPORTABLE:
        found += [f"{path.relative_to(ROOT)}: {name}" for name in read(path).state if not holds_nothing(path, name)]
    assert found == []


def test_nothing_is_written_twice() -> None:
    for tree in (MODULES, TESTS):
        assert duplicates({str(path.relative_to(ROOT)): read(path).bodies for path in tree}) == []


def test_no_test_is_without_an_assertion() -> None:
    found = {path: read(path).unasserted_tests for path in TESTS}
    assert {str(path.relative_to(ROOT)): names for path, names in found.items() if names} == {}


def test_tests_do_not_sleep() -> None:
    assert relative([path for path in TESTS if read(path).sleeps]) == []


def test_files_name_the_project_only() -> None:
    found: dict[str, list[str]] = {}
    for name in tracked():
        path = ROOT / name
        if path.is_file():
            found[name] = foreign_words(path.read_text("utf-8", errors="replace"))
    assert {name: words for name, words in found.items() if words} == {}


def test_importing_does_nothing(tmp_path: Path) -> None:
    """Every module can be imported with sockets, files for writing and processes out of reach."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in IMPORTABLE if path.stem != "__main__"]
    script = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event.startswith(('socket.', 'subprocess.', 'os.fork')) and event != 'socket.gethostname':\n"
        "        raise RuntimeError(event)\n"
        "    if event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wax+'):\n"
        "        raise RuntimeError(args)\n"
        "import asyncio, ssl, uvloop, httpx\n"
        "sys.addaudithook(hook)\n"
        "import importlib\n"
        f"[importlib.import_module(name) for name in {names!r}]\n"
    )
    result = subprocess.run([sys.executable, "-B", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_telling_the_version_loads_no_server() -> None:
    script = (
        "import sys\n"
        "from ztoapi.cli.main import main\n"
        "try:\n"
        "    main(['--version'])\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code\n"
        "print([m for m in ('asyncio', 'h11', 'httpx', 'msgspec', 'uvloop') if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    version, loaded = result.stdout.splitlines()
    assert version.startswith("ztoapi ")
    assert loaded == "[]"


def test_every_dependency_is_used_and_every_import_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split(r"[^A-Za-z0-9_-]", line)[0].replace("-", "_").lower() for line in project["dependencies"]}
    imported = {package for path in MODULES for package in read(path).imports}
    assert imported - sys.stdlib_module_names - {"ztoapi", *EXTRAS} == declared
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    assert {name for name in EXTRAS if any(line.startswith(name) for line in extras)} == imported & {*EXTRAS}


def test_what_is_public_exists() -> None:
    for path in IMPORTABLE:
        if path.stem in ("__main__", "__init__"):
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), (path, name)
        assert hasattr(module, "__all__"), path


@pytest.mark.parametrize(
    "name", ["behaviour.md", "configuration.md", "decisions/README.md", "limits.md", "troubleshooting.md"]
)
def test_option_tables_are_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == render(name), "run python -m docs.generate"


def test_links_in_the_documents_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text("utf-8")):
            if target.startswith("http"):
                continue
            page = path.parent / target if target else path
            assert page.exists(), (path.name, target)
            assert not anchor or page.suffix != ".md" or anchor in anchors(page), (path.name, target, anchor)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_pages_name_files_that_exist() -> None:
    missing = [
        (path.name, name)
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for name in re.findall(r"`((?:ztoapi|docs|tests|bench|loadtests|deploy)/[\w./-]+)`", path.read_text("utf-8"))
        if not (ROOT / name).exists()
    ]
    assert missing == []


def test_the_map_of_the_code_has_every_package_and_no_other_name() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.partition("## Packages")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    entries = {path.stem for path in (ROOT / "ztoapi").iterdir() if path.suffix in ("", ".py")}
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == {name for name in entries if not name.startswith("__")}
    words = set(re.findall(r"\w+", "\n".join(path.read_text("utf-8") for path in MODULES)))
    names = [name.rpartition(".")[2] for name in re.findall(r"`([A-Za-z_][\w.]*)`", page)]
    assert [name for name in names if name not in words and name not in entries] == []
