"""Whether processes are profiled, and where the profiles go: the `PYROSCOPE_*` variables of Grafana's agents."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from otelfork.settings.environment import Environment, SettingsError

ADDRESS = "PYROSCOPE_SERVER_ADDRESS"
_USER, _PASSWORD = "PYROSCOPE_BASIC_AUTH_USER", "PYROSCOPE_BASIC_AUTH_PASSWORD"
_INTERVAL = "PYROSCOPE_UPLOAD_INTERVAL"


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """Nothing is profiled unless there is an address."""

    address: str = ""
    application: str = ""
    """The name that profiles have there; the service's by default."""
    token: str = field(default="", repr=False)
    """A bearer token; with a user it is that user's password (Grafana Cloud)."""
    user: str = ""
    password: str = field(default="", repr=False)
    tenant: str = ""
    upload_seconds: int = 10

    @classmethod
    def read(cls, environment: Environment | None = None) -> ProfileSettings:
        """Read and check the environment.

        Raises:
            SettingsError: the address is none, the interval no number of seconds, or a password has no user.
        """
        env = environment or Environment()
        address = env.text(ADDRESS)
        if not address:
            return cls()
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(ADDRESS, address, "an address such as http://localhost:4040")
        token, user, password = env.text("PYROSCOPE_AUTH_TOKEN"), env.text(_USER), env.text(_PASSWORD)
        if password and not user:
            raise SettingsError(_PASSWORD, "***", f"{_USER} to be set, too")
        return cls(
            address=address,
            application=env.text("PYROSCOPE_APPLICATION_NAME"),
            token="" if user else token,
            user=user,
            password=password or (token if user else ""),
            tenant=env.text("PYROSCOPE_TENANT_ID"),
            upload_seconds=_seconds(env),
        )


def _seconds(env: Environment) -> int:
    """Return the interval: whole seconds, with or without an `s` behind them (the Java agent's spelling)."""
    value = env.text(_INTERVAL, default="10")
    seconds = value.removesuffix("s")
    if not seconds.isdecimal() or int(seconds) < 1:
        raise SettingsError(_INTERVAL, value, "whole seconds, such as 10 or 10s")
    return int(seconds)
