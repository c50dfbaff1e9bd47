"""Wrong keys of an address: how many, for how long, and the right keys that are not shut out."""

from ztoapi.errors import ApiError
from ztoapi.server.wrong_keys import WrongKeys

SECOND = 10**9


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def make(per_minute: int = 3) -> tuple[WrongKeys, Clock]:
    clock = Clock()
    return WrongKeys(per_minute, clock), clock


def code(refusal: ApiError | None) -> tuple[int, str | None] | None:
    return None if refusal is None else (refusal.status, refusal.code)


THROTTLED = (429, "too_many_wrong_keys")


def test_the_address_is_refused_until_it_has_been_quiet() -> None:
    keys, clock = make()
    assert [code(keys.wrong("192.0.2.1")) for _ in range(4)] == [None, None, None, THROTTLED]
    assert code(keys.right("192.0.2.1", "alice")) == THROTTLED
    refusal = keys.wrong("192.0.2.1")
    assert refusal is not None
    assert refusal.retry_after == 60.0
    clock.now += 59 * SECOND
    assert code(keys.right("192.0.2.1", "alice")) == THROTTLED
    clock.now += SECOND
    assert keys.right("192.0.2.1", "alice") is None
    assert keys.wrong("192.0.2.1") is None


def test_other_addresses_are_not_affected() -> None:
    keys, _ = make()
    for _ in range(4):
        keys.wrong("2001:db8::1")
    assert code(keys.wrong("2001:db8::2")) == THROTTLED, "one subscriber has the whole network"
    assert keys.wrong("2001:db8:0:1::1") is None
    assert keys.right("192.0.2.2", "alice") is None


def test_a_key_that_was_right_before_stays_valid() -> None:
    keys, _ = make()
    keys.wrong("192.0.2.1")
    assert keys.right("192.0.2.1", "alice") is None
    for _ in range(3):
        keys.wrong("192.0.2.1")
    assert keys.right("192.0.2.1", "alice") is None
    assert code(keys.right("192.0.2.1", "bob")) == THROTTLED


def test_an_address_is_forgotten_an_hour_after_its_last_wrong_key() -> None:
    keys, clock = make()
    for address in ("192.0.2.1", "192.0.2.2"):
        keys.wrong(address)
        clock.now += 1800 * SECOND
    assert keys.right("192.0.2.3", "alice") is None
    assert [*keys.addresses] == ["192.0.2.1", "192.0.2.2"]
    clock.now += 1801 * SECOND
    for left in (["192.0.2.2"], []):
        clock.now += 60 * SECOND if left else 1800 * SECOND
        assert keys.right("192.0.2.3", "alice") is None
        assert [*keys.addresses] == left


def test_addresses_are_bounded() -> None:
    keys, _ = make(1)
    for number in range(10_001):
        keys.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert keys.wrong("10.0.0.0") is None
    assert code(keys.wrong("10.0.39.16")) == THROTTLED


def test_no_limit() -> None:
    keys, _ = make(0)
    assert [keys.wrong("192.0.2.1") for _ in range(1000)] == [None] * 1000
    assert [sample.value for sample in keys.samples()] == [1000, 0]
