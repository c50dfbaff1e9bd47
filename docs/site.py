"""Hooks of the site (``mkdocs.yml``): links to files outside of ``docs``, the language of a page, and ``llms.txt``.

Pages link to files of the repository as GitHub shows them (``../deploy``). On the site these links lead to GitHub.
"""

import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

__all__ = ["on_page_context", "on_page_markdown", "on_post_build"]

ROOT: Final = Path(__file__).resolve().parents[1]
_LINK: Final = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_PARAGRAPH: Final = re.compile(r"^[A-Za-z`\[\u4e00-\u9fff].*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
_SENTENCE: Final = re.compile(r".*?(?:\.(?= |$)|\u3002)")
_NOTE: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CHINESE: Final = ".zh-CN"


class _Site(Protocol):
    site_dir: str
    site_url: str
    site_name: str
    site_description: str
    repo_url: str
    nav: list[dict[str, list[object]]]
    theme: MutableMapping[str, str]
    extra: dict[str, list[dict[str, str]]]


class _File(Protocol):
    src_uri: str


class _Page(Protocol):
    file: _File
    meta: dict[str, str]


def on_page_markdown(markdown: str, page: _Page, config: _Site, **_: object) -> str:
    """Returns the page with links to the repository in place of links out of ``docs``, and gives it a description."""
    page.meta.setdefault("description", _first_sentence(markdown[markdown.find("\n") :]))
    folder = PurePosixPath("docs", page.file.src_uri).parent

    def replace(match: re.Match[str]) -> str:
        target = _resolved(folder, match[1])
        if target.startswith("docs/") and (Path(target).suffix in (".md", ".png", ".svg", ".json")):
            return match[0]
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{target}{match[2] or ''})"

    return _LINK.sub(replace, markdown)


def _resolved(folder: PurePosixPath, link: str) -> str:
    parts: list[str] = []
    for part in (folder / link).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _first_sentence(text: str) -> str:
    """Returns the first sentence of the first paragraph, without links and line ends."""
    paragraph = _PARAGRAPH.search(text)
    if paragraph is None:
        return ""
    plain = _NOTE.sub(r"\1", " ".join(paragraph[0].split()))
    sentence = _SENTENCE.match(plain)
    return sentence[0] if sentence else plain.rstrip(":\uff1a")


def on_page_context(context: dict[str, object], page: _Page, config: _Site, **_: object) -> dict[str, object]:
    """Sets the language of the theme, and the links from the page to the same page in each language.

    A page without a translation links to the first page in the other language.
    """
    name = page.file.src_uri.removesuffix(".md")
    english = name.removesuffix(_CHINESE)
    chinese = english + _CHINESE if (ROOT / "docs" / f"{english}{_CHINESE}.md").exists() else f"index{_CHINESE}"
    config.theme["language"] = "zh" if name.endswith(_CHINESE) else "en"
    config.extra["alternate"] = [
        {"name": "English", "link": _address(english), "lang": "en"},
        {"name": "中文", "link": _address(chinese), "lang": "zh"},
    ]
    return context


def _address(name: str) -> str:
    """Returns the address of a page on the site, relative to its root."""
    return "." if name == "index" else f"{name.removesuffix('README').removesuffix('/')}/"


def on_post_build(config: _Site, **_: object) -> None:
    """Writes the source of each page, ``llms.txt`` with a list of them, and ``llms-full.txt`` with their text."""
    site = Path(config.site_dir)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    texts = []
    for section in config.nav:
        for title, items in section.items():
            lines += ["", f"## {title}", ""]
            for name in _pages(items):
                text = (ROOT / "docs" / name).read_text("utf-8")
                heading, _newline, rest = text.partition("\n")
                lines.append(f"- [{heading.removeprefix('# ')}]({config.site_url}{name}): {_first_sentence(rest)}")
                (site / name).write_text(text, "utf-8")
                texts.append(text)
    (site / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(texts), "utf-8")


def _pages(items: object) -> Iterator[str]:
    """Yields the files of a section of the navigation, and of its sections."""
    if isinstance(items, str):
        yield items
    elif isinstance(items, dict):
        for item in items.values():
            yield from _pages(item)
    elif isinstance(items, list):
        for item in items:
            yield from _pages(item)
