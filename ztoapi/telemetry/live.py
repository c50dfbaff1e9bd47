"""Live records: the requests that the dashboard lists. A record has a fixed size, so long texts are cut.

The worker's scan writes them four times a second, never the path of a request. Of the requests that ended since the
last scan it writes the :data:`MAX_PER_SCAN` newest: at high rates most records would be overwritten unread.
"""

from typing import Final

import msgspec

from ztoapi.telemetry.board import MetricsBoard, Slot, cut
from ztoapi.telemetry.figures import LiveRequest
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
from ztoapi.telemetry.record import Outcome, RequestRecord

__all__ = ["LOST", "MAX_PER_SCAN", "LiveRecord", "read_live", "reclaim", "write_finished", "write_in_flight"]

LOST: Final = "worker_died"
"""The ending of requests that were in flight in a worker that died."""
MAX_PER_SCAN: Final = 50
"""Finished requests that one scan writes: 200 a second."""
_ROOM_BYTES: Final = LIVE_BYTES - 2 * WORD_BYTES
_TEXT_BYTES: Final = {
    "id": 120, "method": 16, "path": 120, "model": 64, "platform": 32, "credential": 64, "key": 64, "client": 48,
    "peer": 56, "user_agent": 120, "error_code": 48,
    "upstream_code": 48, "error_message": 240,
}  # fmt: skip
"""The lengths to which texts are cut if a record does not fit. With the numbers this is less than 1,500 bytes."""


class LiveRecord(LiveRequest, array_like=True, gc=False):
    """A :class:`LiveRequest` as it is stored: without the names of its fields."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LiveRecord).decode


def _pack(record: RequestRecord, offset: float, now: float) -> bytes:
    """Encodes a record as a :class:`LiveRecord`. ``offset`` converts monotonic to Unix seconds; ``now`` is
    monotonic."""
    started = record.started
    ending = record.ending
    outcome = record.outcome
    usage = record.usage
    agent = record.user_agent
    fields = (
        # In the order of the fields. A worker encodes 128 requests at once: as a LiveRecord, each takes 8 us more.
        record.request_id,
        started + offset,
        record.method,
        record.path,
        record.served_model or record.model,
        record.platform,
        record.credential,
        record.key,
        record.client,
        None if agent is None else agent.decode("utf-8", "replace"),
        record.status,
        None if ending is None else ending.value,
        None if outcome is None else outcome.value,
        record.error_message,
        record.upstream_code,
        _after(started, record.whole),
        _after(started, record.sent),
        _after(started, record.first_byte),
        _after(started, record.complete),
        "done" if ending is not None else "streaming" if record.first_byte is not None else "waiting",
        record.stream,
        record.attempts,
        record.bytes_in,
        record.bytes_out,
        None if usage is None else usage.prompt_tokens,
        None if usage is None else usage.completion_tokens,
        record.time_to_first_token,
        max((record.finished or now) - started, 0.0),
        record.error_code,
        record.cache,
        record.peer,
    )
    return _fit(_encode(fields))


def _after(started: float, at: float | None) -> float | None:
    return None if at is None else at - started


def _fit(encoded: bytes) -> bytes:
    """Returns a record, with its texts cut if it has no room."""
    if len(encoded) <= _ROOM_BYTES:
        return encoded
    live = _decode(encoded)
    for name, size in _TEXT_BYTES.items():
        text = getattr(live, name)
        if text is not None:
            setattr(live, name, cut(text, size))
    return _encode(live)


def write_finished(slot: Slot, records: list[RequestRecord], offset: float) -> None:
    """Writes finished requests, the oldest first, into the ring."""
    for record in records:
        number = slot.ints[Cell.LIVE_WRITTEN]
        encoded = _pack(record, offset, 0.0)
        slot.write_record(FINISHED_START + number % LIVE_FINISHED * LIVE_WORDS, encoded)
        slot.ints[Cell.LIVE_WRITTEN] = number + 1


def write_in_flight(slot: Slot, records: list[RequestRecord], offset: float, now: float) -> None:
    """Replaces the requests in flight that are shown."""
    records = records[:LIVE_IN_FLIGHT]
    for place, record in enumerate(records):
        slot.write_record(IN_FLIGHT_START + place * LIVE_WORDS, _pack(record, offset, now))
    slot.ints[Cell.LIVE_SHOWN] = len(records)


def reclaim(board: MetricsBoard, number: int, now: float, *, crashed: bool = True) -> None:
    """Settles the slot of worker ``number``, which ended at ``now`` (Unix seconds): its requests in flight have ended.
    A record that it was writing is dropped."""
    board.reclaim(number, crashed=crashed)
    slot = board.slot(number)
    ints = slot.ints
    for place in range(LIVE_FINISHED):
        at = FINISHED_START + place * LIVE_WORDS
        if ints[at] & 1:
            ints[at] = 0
    for place in slot.live_places():
        encoded = slot.record(IN_FLIGHT_START + place * LIVE_WORDS)
        if encoded is None:
            continue
        live = _decode(encoded)
        live.phase = "done"
        live.ending = LOST
        live.outcome = Outcome.FAILED.value
        live.duration = max(now - live.started, 0.0)
        number = ints[Cell.LIVE_WRITTEN]
        slot.write_record(FINISHED_START + number % LIVE_FINISHED * LIVE_WORDS, _fit(_encode(live)))
        ints[Cell.LIVE_WRITTEN] = number + 1
    ints[Cell.LIVE_SHOWN] = 0


def read_live(board: MetricsBoard) -> list[LiveRecord]:
    """Returns the records of all workers: requests in flight, then finished ones, each with the newest first."""
    running: list[LiveRecord] = []
    ended: list[LiveRecord] = []
    for slot in board.slots:
        # A request that ends in between is found twice; in the other order it could be missed.
        for place in slot.live_places():
            _add(running, slot.record(IN_FLIGHT_START + place * LIVE_WORDS))
        for number in slot.newest_finished():
            _add(ended, slot.record(FINISHED_START + number % LIVE_FINISHED * LIVE_WORDS))
    ended_ids = {(record.id, record.started) for record in ended}
    running = [record for record in running if (record.id, record.started) not in ended_ids]
    for records in (running, ended):
        records.sort(key=lambda record: record.started, reverse=True)
    return running + ended


def _add(records: list[LiveRecord], encoded: bytes | None) -> None:
    if encoded is not None:
        records.append(_decode(encoded))
