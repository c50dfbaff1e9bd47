"""Every limit of the HTTP/1.1 server side, with its reason, precedents and what the peer sees.

All of them are settings (``config/model.py`` has the same defaults); the constants below them are not, because no
honest peer comes near them.
"""

from typing import Final

import msgspec

__all__ = [
    "CHUNK_LINE_BYTES",
    "CHUNK_OVERHEAD_BYTES",
    "HIGH_WATER_BYTES",
    "LANDING_BYTES",
    "LINGER_BYTES",
    "LOW_WATER_BYTES",
    "PIPELINE_BYTES",
    "RING_BYTES",
    "SOCKET_BUFFER_BYTES",
    "SPARE_RINGS",
    "TRAILER_BYTES",
    "Limits",
]

CHUNK_LINE_BYTES: Final = 256
"""One chunk-size line with its extensions, which nobody sends in earnest. Over it: 400."""
CHUNK_OVERHEAD_BYTES: Final = 65536
"""Framing octets of a chunked body beyond the size of the body itself: one-byte chunks stay possible, a flood of
extensions (CVE-2023-39326) does not. Over it: 400."""
TRAILER_BYTES: Final = 8192
"""Trailer section, which is read and dropped, never merged into the header fields. Over it: 431 (400 upstream)."""
PIPELINE_BYTES: Final = 65536
"""Octets of following requests that are held while a request is in hand; past it reading pauses. Below it reading
goes on, because a paused transport does not notice that its peer has gone."""
LINGER_BYTES: Final = 1048576
"""Octets read and dropped after a refusal, so that the kernel does not reset the connection before the refusal
has been read. RFC 9112 section 9.6; nginx lingers the same way."""
HIGH_WATER_BYTES: Final = 32768
LOW_WATER_BYTES: Final = 16384
"""Write marks. Past the high one the reading side pauses: a stalled stream holds that much and one read. uvloop's own
default low mark is 16 octets, which makes a slow reader flap."""
SOCKET_BUFFER_BYTES: Final = 131072
"""Kernel buffer toward a client, and from an upstream (the kernel takes twice that for its own books). Left to
itself Linux lets each grow to 4 and 6 MiB, so that a thousand stalled streams held 2.3 GiB of kernel memory here.
128 KiB carry 1.3 MB/s over a round trip of 100 ms, fifty times what a model writes."""
LANDING_BYTES: Final = 32768
"""Largest read from an upstream: two of the largest TLS records. A client that stalls leaves one such read waiting
beside its full write buffer."""
RING_BYTES: Final = 32768
"""One preallocated ring, in which an event waits for its rest: as large as a read."""
SPARE_RINGS: Final = 16
"""Rings that a worker keeps (512 KiB): a ring is borrowed only while an event is incomplete, which few streams have at
the same time."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and timers of one client connection. Sizes are octets, times are seconds."""

    request_line_bytes: int = 8192
    """414 above it. nginx 8 KiB, Apache 8 KiB."""
    head_bytes: int = 32768
    """431 above it. nginx 4 x 8 KiB, node 16 KiB."""
    head_fields: int = 100
    """431 above it. Apache 100, HAProxy 101."""
    body_bytes: int = 10485760
    """413 above it, at the declared length or while counting. 10 MiB: a long prompt with two images."""
    head_timeout: float = 10.0
    """408 when the head is not whole so long after its first octet, whatever arrives meanwhile; a connection that
    says nothing is closed without an answer."""
    body_timeout: float = 30.0
    """408 when the body is not whole so long after the head ..."""
    body_idle_timeout: float = 15.0
    """... or when nothing of it has come for so long."""
    keepalive_timeout: float = 75.0
    """Idle time between requests; longer than the usual 60 s of a proxy in front, so that the proxy closes first."""
    write_stall_timeout: float = 120.0
    """A client that takes no octet for so long is cut off. nginx has 60 s; a receiver that reads 1 KB/s over a
    link with 64 KiB segments (loopback) opens its window only every 64 s and is not to be cut off."""
    linger: float = 2.0
    """Time that a refused client has to read its refusal."""
