"""The stores of responses: a record comes back to its owner, for a time, within a bound."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from tests.limits.redis_server import RedisServer
from ztoapi.apis.responses.stored import StoredResponse
from ztoapi.errors import ApiError
from ztoapi.store.redis_values import RedisValues
from ztoapi.store.response_store import ResponseStore
from ztoapi.store.values import MemoryValues

RECORD = StoredResponse([msgspec.Raw(b'{"id":"item_1"}')], msgspec.Raw(b'{"output":[{"id":"msg_1"}]}'))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def in_memory(max_bytes: int = 100_000, clock: Clock | None = None) -> ResponseStore:
    return ResponseStore(MemoryValues(max_bytes, 60.0, clock or Clock()))


@asynccontextmanager
async def in_redis(server: RedisServer, ttl_seconds: float = 60.0) -> AsyncIterator[ResponseStore]:
    values = RedisValues(
        server.url, b"test:", ttl_seconds, purpose="responses", fallback="storing no responses", read_seconds=1.0
    )
    await values.start()
    try:
        yield ResponseStore(values)
    finally:
        await values.close()


async def found_by(store: ResponseStore) -> list[object]:
    """The results of the calls that a record can be reached by, and of those that miss it."""
    return [
        await store.get("key", "resp_1"),
        await store.put("key", "resp_1", RECORD),
        await store.get("key", "resp_1"),
        await store.get("other", "resp_1"),
        await store.get("key", "resp_2"),
        await store.delete("other", "resp_1"),
        await store.delete("key", "resp_1"),
        await store.delete("key", "resp_1"),
        await store.get("key", "resp_1"),
    ]


FOUND = [None, True, RECORD, None, None, False, True, False, None]


def test_a_record_in_memory_belongs_to_its_owner() -> None:
    assert asyncio.run(found_by(in_memory())) == FOUND


def test_a_record_in_redis_belongs_to_its_owner(tmp_path: Path) -> None:
    async def found(server: RedisServer) -> list[object]:
        async with in_redis(server) as store:
            return await found_by(store)

    with RedisServer(tmp_path) as server:
        assert asyncio.run(found(server)) == FOUND


def test_a_record_in_memory_expires() -> None:
    async def check() -> None:
        clock = Clock()
        store = in_memory(clock=clock)
        await store.put("key", "resp_1", RECORD)
        clock.now = 59.9
        assert await store.get("key", "resp_1") is not None
        clock.now = 60.0
        assert await store.get("key", "resp_1") is None
        assert not await store.delete("key", "resp_1")

    asyncio.run(check())


def test_a_record_in_redis_expires(tmp_path: Path) -> None:
    async def found(server: RedisServer) -> StoredResponse | None:
        async with in_redis(server, 0.001) as store:
            await store.put("key", "resp_1", RECORD)
            async with asyncio.timeout(10):
                while (record := await store.get("key", "resp_1")) is not None:
                    pass
            return record

    with RedisServer(tmp_path) as server:
        assert asyncio.run(found(server)) is None


def test_the_least_recently_used_record_makes_room() -> None:
    async def check() -> None:
        store = in_memory(1200)
        for number in range(4):
            await store.put("key", f"resp_{number}", RECORD)
            await store.get("key", "resp_0")
        kept = [number for number in range(4) if await store.get("key", f"resp_{number}") is not None]
        assert kept == [0, 2, 3]

    asyncio.run(check())


def test_a_record_above_the_maximum_is_counted_as_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        store = in_memory(300)
        assert not await store.put("key", "resp_1", RECORD)
        samples = {sample.metric: sample.value for sample in store.values.samples()}
        assert samples["ztoapi_store_failures"] == 1
        assert samples["ztoapi_stored_responses"] == 0

    asyncio.run(check())
    assert "the response resp_1 of" in caplog.text


def test_an_unreachable_redis_is_no_missing_record(tmp_path: Path) -> None:
    async def check(server: RedisServer) -> None:
        async with in_redis(server) as store:
            await store.put("key", "resp_1", RECORD)
            server.kill()
            assert not await store.put("key", "resp_2", RECORD)
            assert not store.up
            for call in (store.get("key", "resp_1"), store.delete("key", "resp_1")):
                with pytest.raises(ApiError) as caught:
                    await call
                assert (caught.value.status, caught.value.code) == (503, "store_unavailable")

    with RedisServer(tmp_path) as server:
        asyncio.run(check(server))
