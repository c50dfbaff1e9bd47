"""House rules as functions of a source text, so that each can be shown to find what it is for."""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

__all__ = [
    "bodies",
    "class_sizes",
    "duplicates",
    "foreign_words",
    "functions",
    "imports",
    "long_strings",
    "module_state",
    "sleeps",
    "unasserted_tests",
]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Node = TypeVar("Node", bound=ast.AST)

DUPLICATE_LINES = 6
# Calls whose result holds nothing that a request could change.
_IMMUTABLE = frozenset(
    "bytes float frozenset int len max min range re.compile tuple Path TypeVar typing.TypeVar attrgetter "
    "MappingProxyType msgspec.Raw msgspec.json.Decoder msgspec.json.Encoder logging.getLogger".split()
)
_MUTATORS = frozenset(
    "add append clear discard extend insert pop popitem remove reverse setdefault sort update".split()
)
# Helpers of the tests that assert on behalf of their caller.
_ASSERTING = frozenset("raises fail run_state_machine_as_test until wait_for round_trip".split())
# In two halves each, or this file would be found by its own rule.
_FOREIGN = re.compile("|".join(("/" + "work/", "/opt" + "/zv", "/" + "root/", "as an " + "AI", "AI" + "-generated")))


@functools.lru_cache(maxsize=1)
def parse(text: str) -> ast.Module:
    """Parses a module once for all rules that are applied to it in a row."""
    return ast.parse(text)


@functools.lru_cache(maxsize=1)
def nodes_by_class(text: str) -> Mapping[type[ast.AST], list[ast.AST]]:
    """Sorts the nodes of a module, except operators and contexts. Each rule then visits its own nodes only: those of
    all modules are almost a million, and ``ast.walk`` takes three times as long."""
    found: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
    nodes: list[ast.AST] = [parse(text)]
    for node in nodes:
        found[type(node)].append(node)
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                nodes += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST) and value._fields:
                nodes.append(value)
    return found


def nodes(text: str, kind: type[Node]) -> list[Node]:
    """Returns the nodes of one class, the outer ones first."""
    return cast("list[Node]", nodes_by_class(text).get(kind, []))


def functions(text: str) -> list[Function]:
    return [*nodes(text, ast.FunctionDef), *nodes(text, ast.AsyncFunctionDef)]


def class_sizes(text: str) -> list[tuple[str, int, int]]:
    """Name, first line and lines of code of each class; docstrings, comments and blank lines do not count."""
    lines = text.splitlines()
    blank = {number for number, line in enumerate(lines, 1) if not line.strip() or line.lstrip().startswith("#")}
    for node in nodes(text, ast.Expr):
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            blank.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return [
        (node.name, node.lineno, sum(number not in blank for number in range(node.lineno, (node.end_lineno or 0) + 1)))
        for node in nodes(text, ast.ClassDef)
    ]


def module_state(text: str) -> list[str]:
    """Names bound at module level to something that can change: not a constant, or one that the module alters."""
    tree = parse(text)
    frozen = _IMMUTABLE | {node.name for node in tree.body if isinstance(node, ast.ClassDef) and _is_frozen(node)}
    altered = _altered(text)
    found: list[str] = []
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            name = ast.unparse(target)
            if name != "__all__" and (name in altered or _is_state(name, node.value, frozen)):
                found.append(name)
    return found


def _is_state(name: str, value: ast.expr, frozen: Iterable[str]) -> bool:
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return not name.isupper()
    if isinstance(value, ast.Call):
        on_literal = isinstance(value.func, ast.Attribute) and isinstance(value.func.value, ast.Constant)
        return not on_literal and ast.unparse(value.func) not in frozen
    return False


def _is_frozen(node: ast.ClassDef) -> bool:
    """A named tuple, or a struct or dataclass with ``frozen=True``."""
    decorated = [word for call in node.decorator_list if isinstance(call, ast.Call) for word in call.keywords]
    return any(ast.unparse(base).endswith("NamedTuple") for base in node.bases) or any(
        word.arg == "frozen" and isinstance(word.value, ast.Constant) and word.value.value is True
        for word in [*node.keywords, *decorated]
    )


def _altered(text: str) -> set[str]:
    """The names whose items the module assigns or deletes, or whose mutating methods it calls."""
    found: set[str] = set()
    for item in nodes(text, ast.Subscript):
        if not isinstance(item.ctx, ast.Load):
            found.add(ast.unparse(item.value))
    for call in nodes(text, ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr in _MUTATORS:
            found.add(ast.unparse(call.func.value))
    return found


def bodies(text: str) -> list[tuple[str, str]]:
    """Returns name and body of each function whose body has six lines or more, without docstring and comments."""
    lines = text.splitlines()
    found: list[tuple[str, str]] = []
    for function in functions(text):
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        first, last = (body[0].lineno, body[-1].end_lineno or 0) if body else (1, 0)
        if last - first + 1 >= DUPLICATE_LINES:
            code = (line.strip() for line in lines[first - 1 : last])
            found.append((function.name, "\n".join(line for line in code if line and not line.startswith("#"))))
    return found


def duplicates(modules: Mapping[str, list[tuple[str, str]]]) -> list[list[str]]:
    """Returns the functions of ``modules`` that have the same body. The formatter leaves one spelling of each."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, functions in modules.items():
        for name, body in functions:
            places[body].append(f"{path}:{name}")
    return [alike for alike in places.values() if len(alike) > 1]


def unasserted_tests(text: str) -> list[str]:
    return [
        function.name for function in functions(text) if function.name.startswith("test_") and not _asserts(function)
    ]


def _asserts(function: Function) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            # Playwright's expect(...).to_have_text(...) and the like.
            if name in _ASSERTING or name.startswith(("assert_", "to_have_", "to_be_", "to_contain_")):
                return True
    return False


def long_strings(text: str, characters: int) -> list[int]:
    """Lines with a literal of more than ``characters`` characters or bytes."""
    return [
        node.lineno for node in nodes(text, ast.Constant)
        if isinstance(node.value, str | bytes) and len(node.value) > characters
    ]  # fmt: skip


def imports(text: str) -> set[str]:
    """Packages that a module imports, but for relative imports."""
    found: set[str] = set()
    for statement in nodes(text, ast.Import):
        found |= {alias.name.split(".")[0] for alias in statement.names}
    for node in nodes(text, ast.ImportFrom):
        if node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def sleeps(text: str) -> list[int]:
    """Lines on which time.sleep or asyncio.sleep is called, or imported by name."""
    found: list[int] = []
    for node in nodes(text, ast.ImportFrom):
        if node.module in ("time", "asyncio"):
            found += [node.lineno for alias in node.names if alias.name == "sleep"]
    for called in nodes(text, ast.Attribute):
        if called.attr == "sleep" and ast.unparse(called) in ("time.sleep", "asyncio.sleep"):
            found.append(called.lineno)
    return found


def foreign_words(text: str) -> list[str]:
    """Paths of the machine a file was written on, and words about how it was written."""
    return _FOREIGN.findall(text)
