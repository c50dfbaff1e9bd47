"""The profiles as load shapes of locust. ``-u`` is the peak, ``-t`` the total time; ``-r`` is not needed."""

from typing import Final

from locust import LoadTestShape

from loadtests.profiles import RAMP, SOAK, SPIKE, Profile, users_at

__all__ = ["ProfileShape", "Ramp", "Soak", "Spike"]

_USERS: Final = 20
_SECONDS: Final = 60.0


class ProfileShape(LoadTestShape):
    """Follows ``profile``."""

    abstract = True
    use_common_options = True
    profile: Profile

    def tick(self) -> tuple[int, float] | None:
        """Returns the current number of users. They start at once, because the profile has its own slope."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        peak = options.num_users or _USERS
        elapsed: float = self.get_run_time()  # type: ignore[no-untyped-call]  # it has no types
        users = users_at(self.profile, elapsed / (options.run_time or _SECONDS), peak)
        return None if users is None else (users, peak)


class Ramp(ProfileShape):
    profile = RAMP


class Spike(ProfileShape):
    profile = SPIKE


class Soak(ProfileShape):
    profile = SOAK
