"""The pages' files: what they are sent with, and what they may not hold."""

import os
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "ztoapi/static"
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
PAGES = sorted(path.parent.name for path in STATIC.rglob("index.html"))


class Links(HTMLParser):
    """The references of a page, and the parts that the Content-Security-Policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.targets += [value for name, value in attrs if name in ("src", "href") and value is not None]
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.inline.append(tag)
        self.inline += [name for name in attributes if name == "style" or name.startswith("on")]


def links(page: str) -> Links:
    parser = Links()
    parser.feed((STATIC / page / "index.html").read_text("utf-8"))
    return parser


def test_the_dashboard_loads_its_modules_at_once() -> None:
    """Otherwise the browser finds them one import after the other."""
    files = {
        path.name: path.read_text("utf-8") for name in ("dashboard", "shared") for path in STATIC.glob(f"{name}/*.js")
    }
    found: set[str] = set()
    waiting = ["page.js"]
    while waiting:
        more = set(re.findall(r'^import .* from "\./(.+)";$', files[waiting.pop()], re.MULTILINE)) - found
        found |= more
        waiting += more
    html = (STATIC / "dashboard/index.html").read_text("utf-8")
    assert set(re.findall(r'<link rel="modulepreload" href="dashboard/(.+)">', html)) == found


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.js", "/docs/base.css", "/openapi.json"])
def test_files_are_sent_with_care(gateway: Stack, path: str) -> None:
    answer = httpx.get(gateway.url + path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    head = httpx.head(gateway.url + path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])


def test_what_the_client_has_is_not_sent_again(gateway: Stack) -> None:
    with httpx.Client(base_url=gateway.url) as client:
        tag = client.get("/docs/docs.js").headers["etag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            again = client.get("/docs/docs.js", headers={"if-none-match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert "content-length" not in again.headers
        assert client.get("/docs/docs.js", headers={"if-none-match": '"other"'}).status_code == 200


def test_a_slash_at_the_end_leads_to_the_page(gateway: Stack) -> None:
    answer = httpx.get(gateway.url + "/docs/")
    assert (answer.status_code, answer.headers["location"]) == (308, "../docs")


@pytest.mark.parametrize("path", ["/docs/../app.py", "/docs/%2e%2e/app.py", "/docs/index.html", "/static"])
def test_there_is_nothing_else(gateway: Stack, path: str) -> None:
    answer = httpx.get(gateway.url + path, headers={"authorization": "Bearer YOUR_KEY"})
    assert answer.status_code == 404
    assert "base.css" not in answer.json()["error"]["message"].partition("; there is ")[2]


@pytest.mark.parametrize("page", PAGES)
def test_pages_hold_no_inline_code_and_link_to_files_that_exist(page: str) -> None:
    found = links(page)
    assert found.inline == []
    for target in found.targets:
        if target.startswith("#") or target in PAGES or (STATIC / target).is_file():
            continue
        folder, name = target.split("/")
        assert folder == page
        assert (STATIC / page / name).is_file() or (STATIC / "shared" / name).is_file(), target


def test_files_fetch_nothing_from_elsewhere_and_make_no_markup_of_text() -> None:
    for path in FILES:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            continue
        urls = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z0-9][^\"'` )]*", text))
        assert urls <= {"http://www.w3.org/2000/svg", "http://127.0.0.1:9090"}, path
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert way not in text, (path, way)
        assert "@import" not in text, path


def test_files_are_in_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {str(path.relative_to(ROOT)) for path in FILES} <= set(names)
