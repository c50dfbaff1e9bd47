"""Generates the tables and sections of the pages about clients, from the data of ``ztoapi connect``."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from ztoapi.clients.settings import GatewayAccess, Model, shell_line
from ztoapi.clients.table import ClientDescription, clients, settings
from ztoapi.config.catalogue import zai_models
from ztoapi.config.model import DEFAULT_MODEL

__all__ = ["PAGES", "generated_parts"]

_RESULTS: Final = Path(__file__).with_name("client-results.json")
_URL: Final = "http://127.0.0.1:9090"
_KEY: Final = "YOUR-KEY"
_SMALL_MODEL: Final = "glm-4.5-air"


class _Words(NamedTuple):
    """The words of a page in its language."""

    client: str
    install: str
    environment: str
    file: str
    form: str
    start: str
    apis: dict[str, str]
    checks: tuple[str, ...]
    untested: str
    outcomes: dict[str, str]


_APIS: Final = {"chat": "Chat Completions", "messages": "Messages", "responses": "Responses"}
_CHECKS: Final = ("stream", "tools", "error", "rate_limit", "cut_stream")
PAGES: Final = {
    "clients.md": _Words(
        "client",
        "Install:",
        "Environment:",
        "File",
        "Fields:",
        "Start:",
        _APIS,
        ("version", "tested on", "streams", "runs tools", "an error", "a rate limit", "a cut stream"),
        "not tested",
        {},
    ),
    "clients.zh-CN.md": _Words(
        "客户端",
        "安装：",
        "环境变量：",
        "文件",
        "设置项：",
        "启动：",
        _APIS,
        ("版本", "测试日期", "流式", "工具调用", "出错", "限流", "流中断"),
        "未测试",
        {"yes": "是", "retried": "重试", "reported": "报错"},
    ),
}
"""The pages, by file name."""


def generated_parts(page: str) -> list[str]:
    """Return the table and the sections of a page."""
    words = PAGES[page]
    sections = [
        "\n\n".join(_section(name, client, words, chinese=page.endswith(".zh-CN.md")))
        for name, client in clients().items()
    ]
    return [_table(words), "\n\n".join(sections)]


def _table(words: _Words) -> str:
    results: dict[str, Any] = json.loads(_RESULTS.read_text("utf-8"))
    lines = [f"| {' | '.join(('`ztoapi connect`', words.client, 'API', *words.checks))} |"]
    lines.append("|---" * (3 + len(words.checks)) + "|")
    for name, client in clients().items():
        for api in client.apis:
            cells = (f"`{name}`", client.title, words.apis[api], *_outcomes(results.get(f"{name} {api}"), words))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _outcomes(result: dict[str, Any] | None, words: _Words) -> Iterator[str]:
    """Yield the cells of :attr:`_Words.checks`."""
    if result is None:
        yield from (words.untested, *[""] * (len(words.checks) - 1))
        return
    yield from (result["version"], result["date"])
    for check in _CHECKS:
        outcome, _, requests = result["checks"].get(check, "-").partition(" after ")
        outcome = words.outcomes.get(outcome, outcome)
        yield f"{outcome} ({requests})" if requests else outcome


def _section(name: str, client: ClientDescription, words: _Words, *, chinese: bool) -> Iterator[str]:
    """Yield the paragraphs of a section."""
    models = (DEFAULT_MODEL, _SMALL_MODEL)
    facts = zai_models()
    access = GatewayAccess(
        client.apis[0], _URL, _KEY, tuple(Model(model, facts[model]) for model in models), _SMALL_MODEL
    )
    made = settings(name, access)
    yield f"### {client.title}"
    yield f"{words.install} {client.install if client.install.startswith('https://') else f'`{client.install}`'}"
    if made.environment:
        exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in made.environment.items())
        yield f"{words.environment}\n\n```sh\n{exports}\n```"
    for file in made.files:
        yield f"{words.file} `{file.path}`:\n\n```{_language(file.path)}\n{file.text.rstrip()}\n```"
    if made.form:
        yield f"{words.form}\n\n" + "\n".join(f"- {label}: `{value}`" for label, value in made.form.items())
    if made.commands:
        commands = "\n".join(shell_line(command) for command in made.commands)
        yield f"{words.start}\n\n```sh\n{commands}\n```"
    note = client.note_zh if chinese else client.note
    if note:
        yield note


def _language(path: str) -> str:
    """Return the language of a code block."""
    ending = path.rpartition(".")[2]
    return {"mjs": "js", "py": "python"}.get(ending, ending)
