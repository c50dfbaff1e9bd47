"""The known platforms, and the URLs that follow from the URL of a setting."""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Final, NamedTuple

from ztoapi.config.host import is_loopback
from ztoapi.config.model import DEFAULT_MODEL
from ztoapi.config.sources import Problems, Setting
from ztoapi.dialects.registry import DialectName

__all__ = ["KINDS", "Kind", "Place", "check_place", "place_of", "platform_of_host", "read_url", "warn_unencrypted"]


class Kind(NamedTuple):
    """The defaults of a platform. Paths begin at the base URL."""

    dialect: DialectName
    origin: str
    base_path: str
    chat_path: str
    models_path: str | None
    model: str
    keeps_chat_url: bool = False
    """Whether a whole chat URL is kept as it is, because the chat path of the application has changed before."""


class Place(NamedTuple):
    """The base URL and the chat URL, without a trailing slash."""

    base: str
    chat: str


KINDS: Final[Mapping[str, Kind]] = {
    # The official general endpoint. The coding endpoint has its own usage policy and is never a default.
    "zai": Kind("zai", "https://api.z.ai", "/api/paas/v4", "/chat/completions", "/models", DEFAULT_MODEL),
    "zai_web": Kind("zai_web", "https://chat.z.ai", "", "/api/chat/completions", "/api/models", "0727-360B-API", True),
    "zread": Kind("zread", "https://zread.ai", "/api/v1", "/talk", None, "glm-4.5"),
    "openai": Kind("openai", "", "/v1", "/chat/completions", "/models", DEFAULT_MODEL),
}
_HOSTS: Final = {
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zai",
    "chat.z.ai": "zai_web",
    "zread.ai": "zread",
    "www.zread.ai": "zread",
}
_OTHER_HOSTS: Final = "openai"
_WEB_PATH = re.compile(r"/api(?:/v[0-9]+)?")
_SLASHES = re.compile("/+")
_CODING_POLICY: Final = (
    "the coding endpoint is for the tools that Z.ai lists (https://docs.z.ai/devpack/usage-policy); other use may "
    "suspend the plan"
)


def platform_of_host(url: str) -> str:
    """Returns the platform of a URL's host. :func:`place_of` reports an invalid URL."""
    try:
        host = urllib.parse.urlsplit(url.strip()).hostname or ""
    except ValueError:
        host = ""
    return _HOSTS.get(host.removesuffix("."), _OTHER_HOSTS)


def read_url(url: Setting, problems: Problems) -> urllib.parse.SplitResult | None:
    """Returns the parts of a URL without credentials, query and fragment; None after a problem."""
    text = str(url.value).strip()
    try:
        parts = urllib.parse.urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    # urlsplit drops some control characters; they would end up in a request head.
    if not good or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        problems.add(url.where, "must be an http:// or https:// URL with a host, such as https://api.z.ai/api/paas/v4")
        return None
    if parts.username is not None or "?" in text or "#" in text:
        problems.add(
            url.where, "must not contain credentials, a query or a fragment; set tokens in their own variables"
        )
        return None
    return parts


def place_of(url: Setting, kind: Kind, problems: Problems) -> Place | None:
    """Returns the base URL and the chat URL, given either; None after a problem."""
    parts = read_url(url, problems)
    if parts is None:
        return None
    origin = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.rstrip("/")
    if kind.keeps_chat_url:
        return _web_place(origin, path, kind)
    if path.endswith(kind.chat_path):
        base = origin + path.removesuffix(kind.chat_path)
    else:
        base = origin + (path or kind.base_path)
    return Place(base, base + kind.chat_path)


def _web_place(origin: str, path: str, kind: Kind) -> Place:
    if not path.endswith("/chat/completions"):
        base = origin + _WEB_PATH.sub("", path)
        return Place(base, base + kind.chat_path)
    return Place(origin + _WEB_PATH.sub("", path.removesuffix("/chat/completions")), origin + path)


def check_place(
    name: str, url: Setting, place: Place, *, allow_coding: bool, problems: Problems, warnings: list[str]
) -> None:
    """Rejects the coding endpoint unless it is allowed, and warns about risks of the URL of platform ``name``."""
    host_platform = platform_of_host(place.chat)
    if _OTHER_HOSTS not in (name, host_platform) and name != host_platform:
        warnings.append(
            f"{url.where}: the host belongs to {host_platform} and would receive the tokens of {name}: "
            f"set PLATFORM_ID={host_platform}, or remove PLATFORM_ID"
        )
    parts = urllib.parse.urlsplit(place.chat)
    if "/api/coding/" in _SLASHES.sub("/", urllib.parse.unquote(parts.path)).lower():
        if allow_coding:
            warnings.append(f"{url.where}: {_CODING_POLICY}")
        else:
            problems.add(
                url.where,
                f"is the coding endpoint; {_CODING_POLICY}. Set ZTOAPI_ALLOW_CODING_ENDPOINT=true to use it, or use "
                "https://api.z.ai/api/paas/v4",
            )
    warn_unencrypted(url, parts, warnings)


def warn_unencrypted(url: Setting, parts: urllib.parse.SplitResult, warnings: list[str]) -> None:
    """Warns about a URL that leaves the host without TLS."""
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        warnings.append(f"{url.where}: http:// sends tokens and conversations unencrypted")
