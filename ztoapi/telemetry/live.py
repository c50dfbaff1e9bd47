"""Live records: what a dashboard shows of one request. They have a fixed size, so that texts may have to be cut.

They are written by the worker's scan, four times a second, never on a request's path, and of what has ended since the
last scan the newest :data:`NEWEST`: more than anybody could read, and at high rates most would be overwritten before
anybody looked.
"""

from typing import Final

import msgspec

from ztoapi.telemetry.board import MetricsBoard, Slot, cut
from ztoapi.telemetry.layout import (
    FINISHED_START,
    IN_FLIGHT_START,
    LIVE_BYTES,
    LIVE_FINISHED,
    LIVE_IN_FLIGHT,
    LIVE_WORDS,
    WORD_BYTES,
    Cell,
)
from ztoapi.telemetry.record import RequestRecord

__all__ = ["LOST", "NEWEST", "LiveRecord", "read_live", "reclaim", "write_finished", "write_in_flight"]

LOST: Final = "worker_died"
"""The ending of what was in flight in a worker that died."""
NEWEST: Final = 50
"""Finished requests that one scan writes at most: 200 a second."""
_ROOM: Final = LIVE_BYTES - 2 * WORD_BYTES
_TEXT_BYTES: Final = {
    "id": 120, "method": 16, "path": 120, "model": 64, "platform": 32, "credential": 64, "key": 64, "client": 48,
    "peer": 56, "user_agent": 120, "error_code": 48,
}  # fmt: skip
"""What is left of each text where all together find no room. With the numbers that is less than 1,000 octets."""


class LiveRecord(msgspec.Struct, array_like=True, gc=False, kw_only=True):
    """One request. ``started`` is in Unix seconds, ``duration`` and ``time_to_first_token`` in seconds."""

    id: str
    started: float
    method: str
    path: str
    model: str | None
    platform: str | None
    credential: str | None
    key: str | None
    client: str | None
    user_agent: str | None
    status: int
    ending: str | None
    phase: str
    stream: bool
    attempts: int
    bytes_in: int
    bytes_out: int
    input_tokens: int | None
    output_tokens: int | None
    time_to_first_token: float | None
    duration: float
    error_code: str | None
    cache: str | None
    peer: str | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LiveRecord).decode


def _encoded(record: RequestRecord, offset: float, now: float) -> bytes:
    """``offset`` is what turns monotonic seconds into Unix seconds; ``now`` is monotonic."""
    ending, usage, agent = record.ending, record.usage, record.user_agent
    live = LiveRecord(
        id=record.request_id,
        started=record.started + offset,
        method=record.method,
        path=record.path,
        model=record.served_model or record.model,
        platform=record.platform,
        credential=record.credential,
        key=record.key,
        client=record.client,
        user_agent=None if agent is None else agent.decode("utf-8", "replace"),
        status=record.status,
        ending=None if ending is None else ending.value,
        phase="done" if ending is not None else "streaming" if record.first_byte is not None else "waiting",
        stream=record.stream,
        attempts=record.attempts,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        input_tokens=None if usage is None else usage.prompt_tokens,
        output_tokens=None if usage is None else usage.completion_tokens,
        time_to_first_token=record.time_to_first_token,
        duration=max((record.finished or now) - record.started, 0.0),
        error_code=record.error_code,
        cache=record.cache,
        peer=record.peer,
    )
    return _packed(live)


def _packed(live: LiveRecord) -> bytes:
    octets = _encode(live)
    return octets if len(octets) <= _ROOM else _encode(_shortened(live))


def _shortened(live: LiveRecord) -> LiveRecord:
    for name, size in _TEXT_BYTES.items():
        text = getattr(live, name)
        if text is not None:
            setattr(live, name, cut(text, size))
    return live


def write_finished(slot: Slot, records: list[RequestRecord], offset: float) -> None:
    """Put finished requests, the oldest first, into the ring."""
    for record in records:
        number = slot.ints[Cell.LIVE_WRITTEN]
        octets = _encoded(record, offset, 0.0)
        slot.write_record(FINISHED_START + number % LIVE_FINISHED * LIVE_WORDS, octets)
        slot.ints[Cell.LIVE_WRITTEN] = number + 1


def write_in_flight(slot: Slot, records: list[RequestRecord], offset: float, now: float) -> None:
    """Show these requests in flight, and no others."""
    shown = records[:LIVE_IN_FLIGHT]
    for place, record in enumerate(shown):
        slot.write_record(IN_FLIGHT_START + place * LIVE_WORDS, _encoded(record, offset, now))
    slot.ints[Cell.LIVE_SHOWN] = len(shown)


def reclaim(board: MetricsBoard, number: int, now: float) -> None:
    """Worker ``number`` has died at ``now`` (Unix seconds). What it had in flight has ended; a record that it was in
    the middle of is dropped."""
    board.reclaim(number)
    slot = board.slot(number)
    ints = slot.ints
    for place in range(LIVE_FINISHED):
        at = FINISHED_START + place * LIVE_WORDS
        if ints[at] & 1:
            ints[at] = 0
    for place in slot.shown_in_flight():
        octets = slot.record(IN_FLIGHT_START + place * LIVE_WORDS)
        if octets is None:
            continue
        live = _decode(octets)
        live.phase, live.ending, live.duration = "done", LOST, max(now - live.started, 0.0)
        number = ints[Cell.LIVE_WRITTEN]
        slot.write_record(FINISHED_START + number % LIVE_FINISHED * LIVE_WORDS, _packed(live))
        ints[Cell.LIVE_WRITTEN] = number + 1
    ints[Cell.LIVE_SHOWN] = 0


def read_live(board: MetricsBoard) -> list[LiveRecord]:
    """All workers' records: those in flight first, then those that have ended; the newest first of each."""
    running: list[LiveRecord] = []
    ended: list[LiveRecord] = []
    for slot in board.slots:
        # In this order: what ends in between is seen twice, not never.
        for place in slot.shown_in_flight():
            _add(running, slot.record(IN_FLIGHT_START + place * LIVE_WORDS))
        for number in slot.newest_finished():
            _add(ended, slot.record(FINISHED_START + number % LIVE_FINISHED * LIVE_WORDS))
    over = {(one.id, one.started) for one in ended}
    running = [one for one in running if (one.id, one.started) not in over]
    for records in (running, ended):
        records.sort(key=lambda one: one.started, reverse=True)
    return running + ended


def _add(records: list[LiveRecord], octets: bytes | None) -> None:
    if octets is not None:
        records.append(_decode(octets))
