"""How many users the load shapes want at each moment."""

import pytest

from loadtests.profiles import RAMP, SOAK, SPIKE, Profile, users_at


@pytest.mark.parametrize(
    ("profile", "users"),
    [
        (RAMP, {0.0: 1, 0.2: 25, 0.4: 50, 0.8: 100, 0.99: 100}),
        (SPIKE, {0.0: 10, 0.39: 10, 0.4: 100, 0.59: 100, 0.6: 10, 0.99: 10}),
        (SOAK, {0.0: 1, 0.025: 50, 0.05: 100, 0.94: 100, 0.975: 50}),
    ],
    ids=["ramp", "spike", "soak"],
)
def test_users_follow_the_profile(profile: Profile, users: dict[float, int]) -> None:
    assert {share: users_at(profile, share, 100) for share in users} == users


@pytest.mark.parametrize("profile", [RAMP, SPIKE, SOAK], ids=["ramp", "spike", "soak"])
def test_there_is_always_a_user_until_the_time_is_over(profile: Profile) -> None:
    assert all((users_at(profile, step / 1000, 3) or 0) >= 1 for step in range(1000))
    assert users_at(profile, 1.0, 3) is None
