"""Keeps secrets and internal addresses out of the text that leaves the gateway.

The messages of an upstream may quote the gateway's credential, as a whole, masked
(``sk-abc...wxyz``) or encoded, and the upstream's address. :class:`Redaction` replaces both.
"""

import base64
import binascii
import html
import ipaddress
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ztoapi.config.endpoints import platform_of_host
from ztoapi.config.model import Config

__all__ = ["MASK", "Redaction", "redaction_for"]

MASK: Final = "***"
_ADDRESS: Final = "[address]"
_MIN_SECRET_CHARACTERS: Final = 4
"""Shortest secret that is masked. A shorter token protects nothing, and its letters occur in any text."""
_MIN_PART_CHARACTERS: Final = 8
"""Characters of a secret that are masked wherever they occur in a word. Fewer occur in other words by chance."""
_MIN_END_CHARACTERS: Final = 4
"""Characters at the beginning or the end of a secret that are masked as a word: error messages end keys with four."""
_MAX_PLAIN_CHARACTERS: Final = 10
"""A segment of a secret that is a word or a number of up to so many characters, such as ``token`` in ``my-token``, is
not masked alone: it identifies no secret, and messages are full of such words."""

_WORD = re.compile(r"""[^\s"'`<>(){}\[\],|]+""")
_ELISION = re.compile(r"\*{2,}|\.{3,}|[\u2026\u2022\u00b7]+|#{3,}|_{4,}|[xX]{4,}")
_SEPARATOR = re.compile(r"[=:;?&/@]")
_SEGMENT = re.compile(r"[A-Za-z]+|[0-9]+")
_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{6,}={0,2}")
_PUNCTUATION: Final = ".,:;!?"
_IPV4: Final = r"(?:\d{1,3}\.){3}\d{1,3}"
_IP = re.compile(rf"(?<![\w.:])\[?(?:{_IPV4}|(?:[0-9a-f]*:){{2,8}}(?:{_IPV4}|[0-9a-f]*))\]?(?::\d{{1,5}})?(?!\w)", re.I)


class Redaction:
    """``secrets`` are masked; ``hosts`` maps each internal host name or address to the name of its platform."""

    def __init__(self, secrets: Iterable[str], hosts: Mapping[str, str]) -> None:
        values = {secret for secret in secrets if len(secret) >= _MIN_SECRET_CHARACTERS}
        self._secrets = sorted(values, key=len, reverse=True)
        self._values = values
        self._joined = "\n".join(self._secrets).lower()
        self._plain = {
            segment
            for secret in values
            for segment in re.split(r"[^A-Za-z0-9]", secret)
            if len(segment) <= _MAX_PLAIN_CHARACTERS and _SEGMENT.fullmatch(segment)
        } - values
        self._hosts = {host.lower(): name for host, name in hosts.items()}
        names = "|".join(re.escape(host) for host in sorted(self._hosts, key=len, reverse=True))
        # A host of one label is a common word: it is replaced only with a scheme or a port.
        self._host = (
            re.compile(rf"([a-z]+://)?\[?(?<![\w.-])({names})\]?(?![\w-]|\.\w)(:\d+)?", re.I) if names else None
        )

    def __repr__(self) -> str:
        return f"<Redaction secrets={len(self._secrets)} hosts={len(self._hosts)}>"

    def text(self, words: str) -> str:
        """Returns ``words`` without secrets and internal addresses."""
        words = self.secrets(words)
        if self._host is not None:
            words = self._host.sub(self._named, words)
        return _IP.sub(_hidden, words)

    def secrets(self, words: str) -> str:
        """Returns ``words`` without secrets."""
        for secret in self._secrets:
            if len(secret) >= _MIN_PART_CHARACTERS and secret in words:
                words = words.replace(secret, MASK)
        return _WORD.sub(self._masked, words)

    def _masked(self, word: re.Match[str]) -> str:
        return MASK if any(map(self._reveals, _readings(word[0]))) else word[0]

    def _reveals(self, word: str) -> bool:
        """Whether ``word`` shows a part of a secret."""
        parts = {part.strip(_PUNCTUATION) for part in (word, *_SEPARATOR.split(word))} - self._plain
        if not parts.isdisjoint(self._values):
            return True
        elision = _ELISION.search(word)
        if elision is not None:
            start, end = _SEPARATOR.split(word[: elision.start()])[-1], word[elision.end() :].strip(_PUNCTUATION)
            if self._has_end(start, end):
                return True
        for part in parts:
            if len(part) >= _MIN_END_CHARACTERS and self._has_end(part, part):
                return True
            lower = part.lower()
            if any(
                lower[at : at + _MIN_PART_CHARACTERS] in self._joined
                for at in range(len(lower) - _MIN_PART_CHARACTERS + 1)
            ):
                return True
        return False

    def _has_end(self, start: str, end: str) -> bool:
        """Whether a secret begins with ``start`` or ends with ``end``."""
        return any((start and secret.startswith(start)) or (end and secret.endswith(end)) for secret in self._secrets)

    def _named(self, match: re.Match[str]) -> str:
        scheme, host, port = match.groups()
        if "." not in host and ":" not in host and not scheme and not port:
            return match[0]
        return self._hosts[host.lower()]


def redaction_for(config: Config) -> Redaction:
    """Returns the redaction for the secrets and hosts of ``config``, and for the proxies of the environment."""
    secrets = [credential.token for platform in config.platforms for credential in platform.credentials]
    secrets += [config.default_key, config.admin_key, *config.api_keys]
    texts = [secret.reveal() for secret in secrets if secret is not None]
    urls = list(urllib.request.getproxies().values())
    if config.limits.redis_url is not None:
        urls.append(config.limits.redis_url.reveal())
    for url in urls:
        password = urllib.parse.urlsplit(url).password
        if password is not None:
            texts += [password, urllib.parse.unquote(password)]
    hosts = {
        urllib.parse.urlsplit(url).hostname or "": platform.id
        for platform in config.platforms
        for url in (platform.chat_url, platform.messages_url, platform.responses_url)
        if url is not None and _is_internal(url)
    }
    return Redaction(texts, hosts)


def _is_internal(url: str) -> bool:
    """Whether the host of ``url`` is not a public service."""
    return platform_of_host(url) == "openai"


def _readings(word: str) -> Iterator[str]:
    """Yields ``word``, and each text that it may encode."""
    yield word
    if "%" in word:
        yield urllib.parse.unquote(word)
    if "\\" in word:
        yield _ESCAPE.sub(_unescaped, word)
    if "&" in word:
        yield html.unescape(word)
    for part in {word, *_SEPARATOR.split(word)}:
        coded = part.strip(_PUNCTUATION)
        if _BASE64.fullmatch(coded):
            coded = coded.rstrip("=").translate({45: 43, 95: 47})
            try:
                yield base64.b64decode(coded + "=" * (-len(coded) % 4)).decode("latin-1")
            except binascii.Error:
                continue


def _unescaped(escape: re.Match[str]) -> str:
    number = escape[1] or escape[2]
    return chr(int(number, 16)) if number else escape[3]


def _hidden(match: re.Match[str]) -> str:
    """Returns ``[address]`` for an IP address."""
    host = match[0].strip("[").partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return match[0]
    # Of IPv6 only addresses with a digit: ``a::b`` is a name in some languages.
    return _ADDRESS if any(map(str.isdigit, host)) else match[0]
