"""Limits of the HTTP/1.1 server side: value, reason, precedents, and the error that the peer gets.

The fields of :class:`Limits` are options of ``[server]``. The constants are not options: no correct peer comes near
them.
"""

from typing import Annotated, Final

import msgspec

from ztoapi.option import Option, Range, Seconds, SecondsOrZero

__all__ = [
    "BODY_VALUES",
    "CHUNK_LINE_BYTES",
    "CHUNK_OVERHEAD_BYTES",
    "EMBEDDING_VALUES",
    "HIGH_WATER_BYTES",
    "LARGE_BODY_BYTES",
    "LARGE_CHAT_BODY_BYTES",
    "LARGE_CHAT_ELEMENTS",
    "LINGER_BYTES",
    "LOW_WATER_BYTES",
    "PIPELINE_BYTES",
    "READ_BUFFER_BYTES",
    "RING_BYTES",
    "SOCKET_BUFFER_BYTES",
    "SPARE_RINGS",
    "SPARSE_READ_BYTES",
    "TRAILER_BYTES",
    "TURN_BULK_BYTES",
    "TURN_CONNECTS",
    "TURN_FIRST_REQUESTS",
    "TURN_FRAMING_BYTES",
    "TURN_LINE_ENDS",
    "TURN_REQUESTS",
    "UNCOUNTED_BYTES",
    "UNUSED_BODY_BYTES",
    "Limits",
]

CHUNK_LINE_BYTES: Final = 256
"""One chunk-size line with its extensions, which no common client sends. Above it: 400."""
CHUNK_OVERHEAD_BYTES: Final = 65536
"""Framing bytes of a chunked body beyond the body itself. Leaves room for one-byte chunks, none for a flood of
extensions (CVE-2023-39326). Above it: 400."""
TRAILER_BYTES: Final = 8192
"""Trailer section. It is read and dropped, never merged into the header fields. Above it: 431 (400 upstream)."""
PIPELINE_BYTES: Final = 65536
"""Bytes of pipelined requests that are buffered while a request is in flight; above it reading pauses. Below it reading
goes on, because a paused transport does not notice that its peer has closed the connection."""
TURN_REQUESTS: Final = 16
"""Pipelined requests of one connection that are answered in one turn of the event loop, about 1 ms of `/livez`. The
rest is answered after the other connections had their turn."""
TURN_FIRST_REQUESTS: Final = 32
"""First requests of connections that a worker takes up in one turn of the event loop, 2 to 4 ms. A first request is the
most expensive: its head may have to be parsed, and an upstream connection be opened for it."""
TURN_CONNECTS: Final = 8
"""Connections to upstreams whose opening begins in one turn of the event loop, 1 to 2 ms with what follows."""
TURN_FRAMING_BYTES: Final = 2048
"""Framing of a chunked body after which the rest waits for the next turn of the event loop: 700 chunks of one byte,
about 2 ms. Bodies in large chunks are decoded as they arrive."""
TURN_BULK_BYTES: Final = 131072
"""A larger read is the last of its connection in one turn of the event loop. uvloop otherwise reads up to 32 times
250 KiB from a connection that sends fast, before any other connection has its turn."""
UNUSED_BODY_BYTES: Final = 16384
"""Body of a request whose method gives it no meaning, such as GET. It is read and dropped. Above it: 413."""
LARGE_BODY_BYTES: Final = 65536
"""A larger request body is decoded and translated in a thread, so that other connections have their turns meanwhile. At
this size the densest body, 2,000 messages of two fields, takes 10 ms."""
LARGE_CHAT_BODY_BYTES: Final = 524288
"""The same for the bodies of chats and embeddings, which are only decoded as far as routing requires: 7 ms at most."""
LARGE_CHAT_ELEMENTS: Final = 1024
"""Messages, or tools, of a chat above ``LARGE_BODY_BYTES`` beyond which it is translated in the thread. Below, the
translation takes at most 2 ms."""
BODY_VALUES: Final = 131072
"""JSON values in a request body: objects, lists, and all that they contain. Above it: 413. A conversation of 10,000
messages with tool calls has 120,000. A decoder takes at most 13 ms for so many, and cannot be interrupted. Chats of up
to ``LARGE_CHAT_BODY_BYTES`` are not counted."""
EMBEDDING_VALUES: Final = 1048576
"""The same for embeddings, whose values are not decoded but skipped, in 8 ms. OpenAI accepts 300,000 tokens."""
UNCOUNTED_BYTES: Final = 16384
"""Bytes that each connection may buffer without being counted toward `max_buffered_bytes`: most requests are smaller,
and counting them would cost more than it bounds."""
LINGER_BYTES: Final = 1048576
"""Bytes read and dropped after the last response of a connection whose client still sends, so that the kernel does not
reset the connection before the client has read the response. RFC 9112 section 9.6; nginx lingers the same way."""
HIGH_WATER_BYTES: Final = 32768
LOW_WATER_BYTES: Final = 16384
"""Write marks. Above the high mark the reading side pauses: a stalled stream buffers that much and one read. The
default low mark of uvloop is 16 bytes, which makes reading switch on and off with every write to a slow client."""
SOCKET_BUFFER_BYTES: Final = 131072
"""Kernel buffer toward a client, and from an upstream (the kernel reserves twice as much for its bookkeeping). Without
it Linux lets them grow to 4 and 6 MiB: 1000 stalled streams used 2.3 GiB of kernel memory in a measurement. 128 KiB
carry 1.3 MB/s over a round trip of 100 ms, fifty times the rate of a model."""
READ_BUFFER_BYTES: Final = 32768
"""Largest read from an upstream: two of the largest TLS records. A stalled client leaves one such read buffered beside
its full write buffer."""
TURN_LINE_ENDS: Final = 2048
"""CR and LF in one read from an upstream beyond which the rest of the read waits for the next turn of the event loop.
An empty event in a chunk of its own has six and takes 6 us. A full read of a model's events has 1,000."""
SPARSE_READ_BYTES: Final = 8192
"""Largest read from an upstream whose line ends are not counted: nearly every read of a stream is smaller. 2,700 empty
comments of this size take 4 ms."""
RING_BYTES: Final = 32768
"""One preallocated ring, which buffers an incomplete event until the rest arrives: as large as a read."""
SPARE_RINGS: Final = 16
"""Rings that a worker keeps (512 KiB). A stream borrows a ring only while an event is incomplete, which few streams do
at the same time."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and timers of one client connection."""

    max_request_line_bytes: Annotated[
        int, Range(64, 1048576, "bytes"), Option("Largest request line; 414 above it.")
    ] = 8192
    """nginx 8 KiB, Apache 8 KiB."""
    max_head_bytes: Annotated[int, Range(256, 1048576, "bytes"), Option("Largest request head; 431 above it.")] = 32768
    """nginx 4 x 8 KiB, node 16 KiB."""
    max_head_fields: Annotated[
        int, Range(1, 10000, "fields"), Option("Largest number of header fields; 431 above it.")
    ] = 100
    """Apache 100, HAProxy 101."""
    max_body_bytes: Annotated[int, Range(1024, 1073741824, "bytes"), Option("Largest request body; 413 above it.")] = (
        10485760
    )
    """10 MiB: a long prompt with two images. Checked against the declared length, and while a chunked body arrives."""
    max_buffered_bytes: Annotated[
        int,
        Range(1048576, 1099511627776, "bytes"),
        Option("Memory for the requests of all client connections of a worker; 503 above it."),
    ] = 268435456
    """26 of the largest bodies. A body counts from its first read to the end of the response, a head and pipelined
    requests until they are parsed. The values decoded from a body are not counted: a text takes as much memory again as
    its bytes, small values take ten times theirs. The most values allowed (``BODY_VALUES``) in a body of 1.3 MB take
    13 MB, the body included. nginx writes bodies to disk, Envoy sheds load above its heap limit."""
    max_connections: Annotated[
        int,
        Range(0, 10_000_000, "connections"),
        Option("Client connections of a worker; 503 above it. 0: as many as the limit on open files allows."),
    ] = 0
    """At the limit, and when only one in eight file descriptors is free, the oldest idle connections are closed for new
    ones, as nginx does."""
    max_connections_per_address: Annotated[
        int,
        Range(0, 10_000_000, "connections"),
        Option("Client connections of one address to a worker; 429 above it. 0: no limit."),
    ] = 0
    """Addresses count as in `[limits.address]`; trusted proxies are not limited. nginx and HAProxy have no such limit
    by default: many clients may share an address."""
    head_timeout_seconds: Annotated[Seconds, Option("Time to receive a whole request head; 408.")] = 10.0
    """Counts from the first byte; later bytes do not extend it. A connection without any byte is closed without a
    response."""
    body_timeout_seconds: Annotated[Seconds, Option("Time to receive a whole request body; 408.")] = 30.0
    """Counts from the end of the head."""
    body_idle_timeout_seconds: Annotated[Seconds, Option("Longest pause within a request body; 408.")] = 15.0
    """Ends a stalled upload before ``body_timeout_seconds`` does."""
    keepalive_timeout_seconds: Annotated[Seconds, Option("Time that an idle client connection is kept open.")] = 75.0
    """Longer than the usual 60 s of a proxy in front, so that the proxy closes first."""
    write_stall_timeout_seconds: Annotated[
        Seconds, Option("Time after which a client that accepts no byte is disconnected.")
    ] = 120.0
    """nginx has 60 s. A client that reads 1 KB/s over a link with 64 KiB segments (loopback) opens its window only
    every 64 s, and must stay connected."""
    linger_seconds: Annotated[
        SecondsOrZero, Option("Time for reading the last response before the connection of a sending client is closed.")
    ] = 2.0
    """See ``LINGER_BYTES``."""
