"""Generates the tables of the documentation, the example file, the JSON Schema and the OpenAPI document.

Run ``python -m docs.generate`` after a change of an option; tests compare the files with its output.
"""

import ast
import itertools
import json
import textwrap
import tomllib
from collections.abc import Iterable
from pathlib import Path

from docs import client_pages, openapi
from ztoapi.config.catalogue import zai_models
from ztoapi.config.model import Config, ModelFacts, PlatformSettings
from ztoapi.config.options import Declared, literals, options_of, tables
from ztoapi.config.schema import make_schema
from ztoapi.errors import Failure
from ztoapi.wire.limits import Limits

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- generated -->", "<!-- end -->"


def documented(path: Path, owner: str | None) -> list[tuple[str, str, str]]:
    """Return name, default and docstring of the fields of class ``owner``, or of the module's constants."""
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
            rows.append((field.target.id, ast.unparse(field.value), text))
    return rows


def default_of(option: Declared) -> str:
    """Return a default as it is written in TOML."""
    default = option.default
    if default in (None, ()):
        return ""
    return f"`{json.dumps(list(default) if isinstance(default, tuple) else default)}`"


def values_of(option: Declared) -> str:
    """Return the valid values for a cell of a table."""
    if option.range is None:
        return ", ".join(f"`{choice}`" for choice in literals(option.type)) or option.values.removeprefix("a ")
    low, high, unit, exclusive = option.range
    text = f"{'above ' if exclusive else ''}{low:.0f} to {high:.0f} {unit}".rstrip()
    return text + (f", or `auto`: {option.option.auto}" if option.option.auto else "")


def option_table(options: Iterable[Declared]) -> str:
    lines = ["| TOML | environment, flag | value | default | meaning |", "|---|---|---|---|---|"]
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.variables, option.flag) if name)
        cells = (f"`{option.key}`", names, values_of(option), default_of(option), option.option.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def limits_table() -> str:
    reasons = {name: text for name, _, text in documented(ROOT / "ztoapi/wire/limits.py", "Limits")}
    rows = (
        f"| `{option.key}` | {option.default} | {option.option.help} | {reasons[option.name]} |"
        for option in options_of(Limits, "server")
    )
    return "\n".join(["| option | default | meaning | reason |", "|---|---|---|---|", *rows])


def constants_table() -> str:
    rows = documented(ROOT / "ztoapi/wire/limits.py", None)
    return "\n".join(["| limit | value | reason |", "|---|---|---|", *(f"| `{n}` | {v} | {t} |" for n, v, t in rows)])


def failures_table() -> str:
    rows = (
        f"| {each.occasion} | {each.status} | `{each.type}` | [`{each.code}`](troubleshooting.md#{each.code}) | "
        f"{each.fault.value} | "
        f"{'yes' if each.retried else 'with another credential' if each.fault.of_credential else 'no'} |"
        for each in Failure
    )
    header = "| what happens | status | type | code | fault | further attempt |"
    return "\n".join([header, "|---|---|---|---|---|---|", *rows])


def error_codes() -> dict[str, dict[str, str]]:
    """Return the table of error codes, with the statuses of upstream failures."""
    codes: dict[str, dict[str, str]] = tomllib.loads((ROOT / "docs/error_codes.toml").read_text("utf-8"))
    for code, entry in codes.items():
        statuses = sorted({str(each.status) for each in Failure if each.code == code})
        entry.setdefault("status", ", ".join(statuses))
    return codes


def troubleshooting() -> str:
    return "\n\n".join(
        f"## `{code}`\n\nStatus {entry['status']}. At fault: the {entry['fault']}.\n\n"
        f"- **Symptom.** {entry['symptom']}\n- **Cause.** {entry['cause']}\n- **Remedy.** {entry['remedy']}"
        for code, entry in error_codes().items()
    )


def chinese_troubleshooting() -> str:
    """Return the sections in Chinese; a text that is not translated is in English."""
    translated = tomllib.loads((ROOT / "docs/error_codes.zh-CN.toml").read_text("utf-8"))
    sections = []
    for code, english in error_codes().items():
        entry = english | translated.get(code, {})
        sections.append(
            f"## `{code}`\n\n状态 {entry['status']}。责任方：{CHINESE_FAULTS[entry['fault']]}。\n\n"
            f"- **现象。** {entry['symptom']}\n- **原因。** {entry['cause']}\n- **处理。** {entry['remedy']}"
        )
    return "\n\n".join(sections)


def facts_table() -> str:
    lines = ["| key | value | meaning |", "|---|---|---|"]
    for option in options_of(ModelFacts):
        meaning = option.option.help.replace("|", "\\|")
        lines.append(f"| `{option.name}` | {values_of(option)} | {meaning} |")
    return "\n".join(lines)


def catalogue_table() -> str:
    lines = [
        "| model | since | context | output | input | thinking | efforts | prompt, cached, response | notes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, facts in zai_models().items():
        prices = (facts.input_price, facts.cached_input_price, facts.output_price)
        cells = (
            f"`{name}`",
            facts.since,
            f"{facts.context_tokens:,}",
            "" if facts.max_output_tokens is None else f"{facts.max_output_tokens:,}",
            ", ".join(facts.inputs or ()),
            facts.thinking,
            ", ".join(facts.reasoning_efforts or ()),
            "" if facts.input_price is None else ", ".join("-" if price is None else f"{price:g}" for price in prices),
            facts.notes,
        )
        lines.append("| " + " | ".join(cell or "" for cell in cells) + " |")
    return "\n".join(lines)


def decisions_table() -> str:
    lines = ["| decision | question |", "|---|---|"]
    for path in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        title, _, text = path.read_text("utf-8").split("\n", 2)
        question = text.partition("\n\n")[0].removeprefix("**Question.** ")
        lines.append(f"| [{title.removeprefix('# ')}]({path.name}) | {' '.join(question.split())} |")
    return "\n".join(lines)


def render(name: str) -> str:
    """Return the whole file ``name`` as it should be."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    if name == "configuration.md":
        kinds = dict(tables())
        generated = [option_table(options_of(PlatformSettings))]
        generated += [option_table(options_of(kinds[table], table)) for table in TABLES]
        generated.append(option_table(options_of(Config)))
    elif name == "behaviour.md":
        generated = [failures_table()]
    elif name == "troubleshooting.md":
        generated = [f"\n{troubleshooting()}\n"]
    elif name == "troubleshooting.zh-CN.md":
        generated = [f"\n{chinese_troubleshooting()}\n"]
    elif name in client_pages.PAGES:
        generated = client_pages.generated_parts(name)
    elif name == "decisions/README.md":
        generated = [decisions_table()]
    elif name == "models.md":
        generated = [facts_table(), catalogue_table()]
    else:
        generated = [limits_table(), constants_table()]
    parts = text.split(BEGIN)
    for number, table in enumerate(generated, 1):
        parts[number] = f"\n{table}\n{END}{parts[number].split(END, 1)[1]}"
    return BEGIN.join(parts)


def example() -> str:
    """Return the text of ``ztoapi.example.toml``."""
    kinds = dict(tables())
    parts = [EXAMPLE_HEAD]
    parts += [setting(option) for option in options_of(PlatformSettings) if option.example is not None]
    parts += [setting(option) for option in options_of(Config) if option.example is not None]
    parts.append(EXAMPLE_MAPS)
    for table in TABLES[:3]:
        parts += [f"\n[{table}]\n", *(setting(option) for option in options_of(kinds[table], table))]
    for table, help_text in EXAMPLE_SCOPES.items():
        parts += [f"\n# {help_text}\n[{table}]\n", *(setting(option) for option in options_of(kinds[table], table))]
    for table in ("cache", "responses", "claude"):
        parts += [f"\n[{table}]\n", *(setting(option) for option in options_of(kinds[table], table))]
    return "".join(parts) + EXAMPLE_TABLES


def setting(option: Declared) -> str:
    """Return an option of the example file with its help; a comment if it is unset by default."""
    lines = textwrap.wrap(option.option.help.replace("`", ""), 118, initial_indent="# ", subsequent_indent="# ")
    value = option.example
    text = json.dumps(list(value) if isinstance(value, tuple) else value)
    lines.append(f"{'#' if option.default in (None, ()) else ''}{option.name} = {text}")
    return "\n".join(lines) + "\n"


def schema() -> str:
    """Return the text of ``docs/ztoapi.schema.json``."""
    return json.dumps(make_schema(), indent=2) + "\n"


TABLES = ("server", "upstream", "limits", "limits.key", "limits.budget", "cache", "responses", "claude")
"""The tables in the order of ``configuration.md``; the other tables under ``limits`` are like ``limits.key``."""

CHINESE_FAULTS = {"client": "客户端", "operator": "运维者", "upstream": "上游", "gateway": "网关"}

EXAMPLE_HEAD = """#:schema ./docs/ztoapi.schema.json
# Copy this file to ztoapi.toml. It lists every option with its default; options in comments are unset by default.
# The command line and the environment override it. Prefer the environment for tokens and keys.
# `ztoapi check --all` prints the resulting configuration. Manual:
# https://ztoapi.github.io/ztoapi/configuration/

"""
EXAMPLE_MAPS = """
# Public models: the platform, or an object of platform, upstream and alias.
#[model_platform_map]
#"glm-4.5" = "zread"
#fast = { platform = "zai", upstream = "glm-4.5-air", alias = "quick" }

# Public models on the default platform: the upstream's model id.
#[upstream_model_id_map]
#"gpt-4o" = "glm-5.3"

# Tokens by platform.
#[platform_token_map]
#zai = ["..."]
"""
EXAMPLE_SCOPES = {
    "limits.global": "All requests together.",
    "limits.key": "Each client key; a key of the key file may have its own limits.",
    "limits.model": "Each model.",
    "limits.address": "Each client address; IPv6 addresses by their first 64 bits.",
    "limits.budget": "Each client key, by day and month (UTC); a key of the key file may have its own budgets.",
}
EXAMPLE_TABLES = """
# Models that replace an unavailable model, in this order.
#[fallbacks]
#"glm-5.3" = ["glm-5.2", "glm-5.3-flash"]

# Facts about a model that the catalogue lacks or has otherwise, with the keys of
# https://ztoapi.github.io/ztoapi/models/
#[models."glm-5.2"]
#thinking = "always"
#max_output_tokens = 65536

# Largest number of requests in flight for each credential of a platform, over all workers: in total and by model.
#[platforms.zai]
#max_in_flight = 50
#max_in_flight_per_model = { "glm-5.3" = 5, "*" = 20 }

# Requests of the Messages and the Responses API go to the platform's own endpoints, without translation.
#messages = "native"
#responses = "native"

# Other APIs that are passed on to the platform as they are.
#passthrough_paths = ["/v1/images/generations", "/v1/audio/"]

# Credentials with a name, a share of the requests, and their own limits. Tokens from other options have weight 1.
#[[platforms.zai.credentials]]
#name = "team-a"
#token = "..."
#weight = 3
#max_in_flight = 100
"""


if __name__ == "__main__":
    for name in (
        "behaviour.md",
        *client_pages.PAGES,
        "configuration.md",
        "decisions/README.md",
        "limits.md",
        "models.md",
        "troubleshooting.md",
        "troubleshooting.zh-CN.md",
    ):
        (ROOT / "docs" / name).write_text(render(name), "utf-8")
    (ROOT / "ztoapi.example.toml").write_text(example(), "utf-8")
    (ROOT / "docs/ztoapi.schema.json").write_text(schema(), "utf-8")
    (ROOT / "ztoapi/static/openapi.json").write_text(openapi.render(), "utf-8")
    # Only this needs shtab.
    from docs import completions

    for name, script in completions.completions().items():
        (completions.DIRECTORY / name).write_text(script, "utf-8")
