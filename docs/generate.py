"""Writes the option tables of ``configuration.md`` and ``limits.md`` from ``ztoapi/config/model.py`` and
``ztoapi/wire/limits.py``, and ``ztoapi/static/openapi.json`` from ``openapi.py``: ``python -m docs.generate``.
Tests hold the files to what this gives."""

import ast
import itertools
from pathlib import Path

from docs import openapi
from ztoapi.config.load import OPTIONS, variables_of

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- generated -->", "<!-- end -->"


def documented(path: Path, owner: str | None) -> list[tuple[str, str, str]]:
    """Name, default and docstring of the fields of class ``owner``, or of the module's constants."""
    tree = ast.parse(path.read_text("utf-8"))
    body: list[ast.stmt] = tree.body
    if owner is not None:
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner)
    rows = []
    for field, note in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            if field.value is None or not isinstance(note, ast.Expr) or not isinstance(note.value, ast.Constant):
                continue
            text = " ".join(str(note.value.value).replace("``", "`").split())
            rows.append((field.target.id, ast.unparse(field.value).strip("'"), text))
    return rows


def options(owner: str, table: str) -> str:
    lines = ["| TOML | environment | default | meaning |", "|---|---|---|---|"]
    listed = OPTIONS[table][1] if table else None
    for name, default, text in documented(ROOT / "ztoapi/config/model.py", owner):
        if listed is not None and name not in listed:
            continue
        try:
            variables = ", ".join(f"`{variable}`" for variable in variables_of(table, name))
        except KeyError:
            continue
        key = f"{table}.{name}" if table else name
        lines.append(f"| `{key}` | {variables} | `{default}` | {text} |")
    return "\n".join(lines)


def constants(owner: str | None) -> str:
    rows = documented(ROOT / "ztoapi/wire/limits.py", owner)
    return "\n".join(["| limit | value | why |", "|---|---|---|", *(f"| `{n}` | {v} | {t} |" for n, v, t in rows)])


def render(name: str) -> str:
    """The whole file ``name`` as it should be."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    if name == "configuration.md":
        tables = [
            options("ServerConfig", "server"),
            options("UpstreamConfig", "upstream"),
            options("LimitsConfig", "limits"),
            options("TrafficLimits", "limits.key"),
            options("CacheConfig", "cache"),
            options("Config", ""),
        ]
    else:
        tables = [constants("Limits"), constants(None)]
    parts = text.split(BEGIN)
    for number, table in enumerate(tables, 1):
        parts[number] = f"\n{table}\n{END}{parts[number].split(END, 1)[1]}"
    return BEGIN.join(parts)


if __name__ == "__main__":
    for name in ("configuration.md", "limits.md"):
        (ROOT / "docs" / name).write_text(render(name), "utf-8")
    (ROOT / "ztoapi/static/openapi.json").write_text(openapi.render(), "utf-8")
