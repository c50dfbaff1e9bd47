"""GET /docs, /openapi.json, /dashboard and the files of these pages.

The files are read once. Their names come from the directory, never from a request, so no path can leave it.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Final

from ztoapi.server.exchange import Exchange

__all__ = ["FileHandler", "Page"]

STATIC: Final = Path(__file__).parent.parent / "static"
_SHARED: Final = "shared"
_INDEX: Final = "index.html"
_TYPES: Final = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".json": b"application/json",
}
_HEADERS: Final = (
    # Only own files, no inline script or style, and no way to turn a string into markup or code.
    b"content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"referrer-policy: no-referrer\r\n"
    b"cross-origin-opener-policy: same-origin\r\n"
    # Validated on every use, and not sent again while unchanged: an upgrade takes effect at once.
    b"cache-control: no-cache\r\n"
)


class FileHandler:
    """Serves one file."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._type = _TYPES[path.suffix]
        self._tag = b'"%b"' % hashlib.sha256(self._content).hexdigest()[:32].encode("ascii")

    def handle(self, exchange: Exchange) -> None:
        """Responds with the file, or with 304 if the client has it."""
        headers = _HEADERS + b"etag: %b\r\n" % self._tag
        cached = exchange.request.headers.get(b"if-none-match", b"")
        if cached.strip() == b"*" or self._tag in [tag.strip().removeprefix(b"W/") for tag in cached.split(b",")]:
            exchange.respond(304, b"", headers=headers)
            return
        exchange.respond(200, self._content, content_type=self._type, headers=headers)


class Page:
    """One page, ``static/<name>/``, with the files that all pages share.

    ``files`` maps paths to handlers: the page is at ``/<name>``, its files below that; ``parts`` are the paths of the
    latter. The links of the page are relative to it, so that a proxy may add a prefix; ``/<name>/`` would change their
    base, and redirects to ``/<name>``.
    """

    def __init__(self, name: str) -> None:
        files = [*(STATIC / name).iterdir(), *(STATIC / _SHARED).iterdir()]
        page = f"/{name}"
        self.files = {f"/{name}/{path.name}": FileHandler(path).handle for path in files if path.name != _INDEX}
        self.files[f"/{name}/"] = partial(_redirect, b"../" + name.encode("ascii"))
        self.parts = frozenset(self.files)
        self.files[page] = FileHandler(STATIC / name / _INDEX).handle


def _redirect(location: bytes, exchange: Exchange) -> None:
    exchange.respond(308, b"", headers=b"location: %b\r\n" % location)
