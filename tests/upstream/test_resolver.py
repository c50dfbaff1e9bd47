"""The addresses of names, which stay in use while the resolver fails."""

import asyncio
import logging
import socket

import pytest

from tests.upstream.names import Names
from tests.upstream.scripted import settle, soon
from ztoapi.upstream import resolver as subject
from ztoapi.upstream.resolver import Address, Resolver

pytestmark = pytest.mark.anyio

A, B, C = ("192.0.2.1", 443), ("192.0.2.2", 443), ("192.0.2.3", 443)
SIX, OTHER_SIX = ("2001:db8::1", 443), ("2001:db8::2", 443)
NO_RESOLVER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def where(found: list[Address]) -> list[tuple[str, int]]:
    return [each[4] for each in found]


async def look(resolver: Resolver) -> list[tuple[str, int]]:
    return where(await soon(resolver.resolve("api.test", 443)))


async def resolved() -> tuple[Names, Resolver]:
    """Returns a resolver that has just found the address A."""
    names = Names(A)
    resolver = Resolver(names.look_up, names.clock)
    await look(resolver)
    return names, resolver


def samples(resolver: Resolver) -> dict[str, float]:
    return {sample.metric.removeprefix("ztoapi_upstream_"): sample.value for sample in resolver.samples()}


async def test_the_families_alternate_and_the_first_one_stays_first() -> None:
    names = Names(SIX, OTHER_SIX, A, B, C)
    assert await look(Resolver(names.look_up, names.clock)) == [SIX, A, OTHER_SIX, B, C]


async def test_connections_share_a_lookup() -> None:
    names = Names(A)
    names.hold()
    resolver = Resolver(names.look_up, names.clock)
    waiting = [asyncio.ensure_future(look(resolver)) for _ in range(20)]
    await soon(names.started.wait())
    names.go_on()
    assert await soon(asyncio.gather(*waiting)) == [[A]] * 20
    assert names.lookups == 1


async def test_a_fresh_name_is_not_looked_up() -> None:
    names, resolver = await resolved()
    names.now += subject.FRESH_SECONDS - 1
    assert (await look(resolver), names.lookups) == ([A], 1)


async def test_a_name_is_looked_up_in_the_background() -> None:
    names, resolver = await resolved()
    names.found = Names(B).found
    names.now += subject.FRESH_SECONDS
    names.hold()
    assert await look(resolver) == [A]
    names.go_on()
    await settle(lambda: names.lookups == 2 and len(asyncio.all_tasks()) <= 2)
    assert await look(resolver) == [B]
    assert names.lookups == 2


async def test_old_addresses_wait_for_a_lookup() -> None:
    names, resolver = await resolved()
    names.found = Names(B).found
    names.now += subject.OLD_SECONDS
    assert await look(resolver) == [B]


async def test_old_addresses_do_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "WAIT_SECONDS", 0.01)
    names, resolver = await resolved()
    names.now += subject.OLD_SECONDS
    names.hold()
    assert await look(resolver) == [A]
    resolver.close()


@pytest.mark.parametrize("fault", [NO_RESOLVER, NO_NAME])
async def test_addresses_outlive_a_resolver_that_fails(
    fault: socket.gaierror, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names, resolver = await resolved()
    names.fault = fault
    for _ in range(5):
        names.now += 4 * 3600.0
        assert await look(resolver) == [A]
    assert samples(resolver) == {"lookups_failed": 5, "names_stale": 1}
    names.fault = None
    names.found = Names(B).found
    names.now += subject.RETRY_SECONDS
    assert await look(resolver) == [B]
    assert samples(resolver) == {"lookups_failed": 5, "names_stale": 0}
    # On a busy machine asyncio warns about slow tasks, too.
    warning, recovery = (record.getMessage() for record in caplog.records if record.name == subject.__name__)
    assert warning == f"the name api.test cannot be resolved ({fault.strerror}): using its addresses of 14400 s ago"
    assert recovery == "the name api.test can be resolved again"


async def test_a_resolver_that_fails_is_not_called_for_each_connection() -> None:
    names, resolver = await resolved()
    names.fault = NO_RESOLVER
    names.now += subject.OLD_SECONDS
    for _ in range(10):
        resolver.failed("api.test", 443)
        await look(resolver)
    assert names.lookups == 2
    names.now += subject.RETRY_SECONDS
    await look(resolver)
    assert names.lookups == 3


async def test_addresses_are_dropped_after_a_day() -> None:
    names, resolver = await resolved()
    names.fault = NO_RESOLVER
    names.now += subject.MAX_AGE_SECONDS
    with pytest.raises(socket.gaierror):
        await look(resolver)


async def test_an_unknown_name_is_looked_up_each_time() -> None:
    names = Names(A)
    names.fault = NO_NAME
    resolver = Resolver(names.look_up, names.clock)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await look(resolver)
    names.fault = None
    assert await look(resolver) == [A]
    assert samples(resolver) == {"lookups_failed": 2, "names_stale": 0}


async def test_an_upstream_that_has_moved_is_found_at_once() -> None:
    names, resolver = await resolved()
    names.found = Names(B).found
    names.now += subject.DOUBT_SECONDS
    resolver.failed("api.test", 443)
    assert await look(resolver) == [B]


async def test_an_address_on_which_tls_fails_is_not_the_first_one_next_time() -> None:
    names = Names(A, B, C)
    resolver = Resolver(names.look_up, names.clock)
    found = await resolver.resolve("api.test", 443)
    resolver.failed("api.test", 443, found[0])
    assert await look(resolver) == [B, A, C]
    resolver.connected("api.test", 443, found[0])
    assert await look(resolver) == [A, B, C]


async def test_a_preference_ends_although_the_address_works() -> None:
    names = Names(SIX, A)
    resolver = Resolver(names.look_up, names.clock)
    four = (await resolver.resolve("api.test", 443))[1]
    for _ in range(4):
        resolver.connected("api.test", 443, four)
        assert await look(resolver) == [A, SIX]
        names.now += subject.PREFERENCE_SECONDS / 4
    assert await look(resolver) == [SIX, A]


async def test_names_are_bounded() -> None:
    names = Names(A)
    resolver = Resolver(names.look_up, names.clock)
    for number in range(subject.MAX_NAMES + 1):
        await resolver.resolve(f"{number}.test", 443)
    await resolver.resolve("0.test", 443)
    assert names.lookups == subject.MAX_NAMES + 2
