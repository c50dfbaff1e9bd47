"""The platforms that are known, and where they are: from a URL as a user writes it to the URLs that are called."""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Final, NamedTuple

from ztoapi.config.host import is_loopback
from ztoapi.config.model import DialectName
from ztoapi.config.sources import Found, Problems

__all__ = ["KINDS", "Kind", "Place", "check_place", "place_of", "platform_of_host"]


class Kind(NamedTuple):
    """What is known of a platform without any configuration. Paths begin at the base URL."""

    dialect: DialectName
    origin: str
    base_path: str
    chat_path: str
    models_path: str | None
    model: str

    @property
    def own_names(self) -> bool:
        """Whether the upstream knows many models, so that a client's own name for one is passed on."""
        return self.dialect in ("openai", "zai")


class Place(NamedTuple):
    """Where a platform is; both without a trailing slash."""

    base: str
    chat: str


KINDS: Final[Mapping[str, Kind]] = {
    # The official general endpoint; the coding endpoint has a policy of its own and is never a default.
    "zai": Kind("zai", "https://api.z.ai", "/api/paas/v4", "/chat/completions", "/models", "glm-4.6"),
    "zai_web": Kind("zai_web", "https://chat.z.ai", "", "/api/chat/completions", "/api/models", "0727-360B-API"),
    "zread": Kind("zread", "https://zread.ai", "/api/v1", "/talk", None, "glm-4.5"),
    "openai": Kind("openai", "", "/v1", "/chat/completions", "/models", "glm-4.6"),
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
    "the coding endpoint is for the tools that Z.ai lists (https://docs.z.ai/devpack/usage-policy): other use may get "
    "the plan suspended"
)


def platform_of_host(url: str) -> str:
    """The platform at a URL; what is wrong with the URL is for :func:`place_of` to say."""
    try:
        host = urllib.parse.urlsplit(url.strip()).hostname or ""
    except ValueError:
        host = ""
    return _HOSTS.get(host.removesuffix("."), _OTHER_HOSTS)


def place_of(url: Found, kind: Kind, problems: Problems) -> Place | None:
    """Base and chat URL, from either; None after a problem."""
    text = str(url.value).strip()
    try:
        parts = urllib.parse.urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    # urlsplit drops some control characters; here they would end up in a request head.
    if not good or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        problems.add(url.where, "must be an http:// or https:// URL with a host, such as https://api.z.ai/api/paas/v4")
        return None
    if parts.username is not None or "?" in text or "#" in text:
        problems.add(url.where, "must not hold credentials, a query or a fragment; tokens have variables of their own")
        return None
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    if kind.dialect == "zai_web":
        return _web_place(origin, path, kind)
    if path.endswith(kind.chat_path):
        base = origin + path.removesuffix(kind.chat_path)
    else:
        base = origin + (path or kind.base_path)
    return Place(base, base + kind.chat_path)


def _web_place(origin: str, path: str, kind: Kind) -> Place:
    """The web application has moved its chat path before: a whole chat URL is taken as it is."""
    if not path.endswith("/chat/completions"):
        base = origin + _WEB_PATH.sub("", path)
        return Place(base, base + kind.chat_path)
    return Place(origin + _WEB_PATH.sub("", path.removesuffix("/chat/completions")), origin + path)


def check_place(
    name: str, url: Found, place: Place, *, allow_coding: bool, problems: Problems, warnings: list[str]
) -> None:
    """Refuse what needs an explicit word, and warn of what a user should know about the URL of platform ``name``."""
    there = platform_of_host(place.chat)
    if _OTHER_HOSTS not in (name, there) and name != there:
        warnings.append(
            f"{url.where}: this is the host of {there}, and the platform is {name}, whose tokens are sent there: "
            f"set PLATFORM_ID={there}, or leave it out"
        )
    parts = urllib.parse.urlsplit(place.chat)
    if "/api/coding/" in _SLASHES.sub("/", urllib.parse.unquote(parts.path)).lower():
        if allow_coding:
            warnings.append(f"{url.where}: {_CODING_POLICY}")
        else:
            problems.add(
                url.where,
                f"names the coding endpoint; {_CODING_POLICY}; to use it all the same set "
                "ZTOAPI_ALLOW_CODING_ENDPOINT=true, else use https://api.z.ai/api/paas/v4",
            )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        warnings.append(f"{url.where}: http:// sends tokens and conversations unencrypted")
