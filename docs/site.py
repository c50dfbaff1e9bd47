"""Hooks of the site (``mkdocs.yml``): links to files outside of ``docs``, and ``llms.txt``.

Pages link to files of the repository as GitHub shows them (``../deploy``). On the site these links lead to GitHub.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

__all__ = ["on_page_markdown", "on_post_build"]

ROOT: Final = Path(__file__).resolve().parents[1]
_LINK: Final = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_PARAGRAPH: Final = re.compile(r"^[A-Za-z`\[\u4e00-\u9fff].*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
_SENTENCE: Final = re.compile(r".*?(?:\.(?= |$)|\u3002)")
_NOTE: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class _Site(Protocol):
    site_dir: str
    site_url: str
    repo_url: str


class _File(Protocol):
    src_uri: str
    url: str


class _Page(Protocol):
    file: _File


def on_page_markdown(markdown: str, page: _Page, config: _Site, **_: object) -> str:
    """Returns the page with links to the repository in place of links out of ``docs``."""
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


def on_post_build(config: _Site, **_: object) -> None:
    """Writes ``llms.txt``, a list of the pages with a sentence on each, and ``llms-full.txt`` with their text."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    lines = ["# ztoapi", "", "> A streaming gateway for Z.ai's GLM models with the APIs of OpenAI and Anthropic", ""]
    lines += ["## Pages", ""]
    for path in pages:
        text = path.read_text("utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        about = _first_sentence(text[text.index("\n") :])
        name = "" if path.stem == "index" else f"{path.stem}/"
        lines.append(f"- [{title}]({config.site_url}{name}): {about}")
    site = Path(config.site_dir)
    (site / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(path.read_text("utf-8") for path in pages), "utf-8")
