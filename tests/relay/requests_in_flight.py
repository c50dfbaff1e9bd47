"""Leases and places in tests of the pool."""

from collections import Counter
from collections.abc import Callable, Mapping

from ztoapi.relay.credentials import CredentialLease, Unavailable

__all__ = ["Room", "lent"]


def lent(answer: CredentialLease | Unavailable) -> CredentialLease:
    assert isinstance(answer, CredentialLease), answer
    return answer


class Room:
    """So many places with each credential; each is given back at most once."""

    def __init__(self, most: Mapping[int, int]) -> None:
        self.most = most
        self.taken: Counter[int] = Counter()

    def take(self, credential: int, model: str) -> Callable[[], None] | None:
        if self.taken[credential] >= self.most[credential]:
            return None
        self.taken[credential] += 1
        given = False

        def give_back() -> None:
            nonlocal given
            assert not given
            given = True
            self.taken[credential] -= 1

        return give_back
