"""The environment that a run needs."""

import os
import re

from defectfill.io.errors import ConfigError

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "GOMP_SPINCOUNT": "5000",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}
"""Environment of a run, unless the user sets it otherwise.

No telemetry, errors told once, a slow disk forgiven. Threads that wait for each other soon sleep: on a CPU that
another process uses too, spinning as long as OpenMP does by default makes torch some forty times slower.
"""


_PROXIES, _CERTIFICATES = r"(?i)(all|https?|wss?)_proxy", "SSL_CERT_(FILE|DIR)"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def set_environment() -> None:
    """Set what is not set otherwise; to be called before torch and Prefect are imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if _set(_PROXIES):
        _spare_loopback()


def _spare_loopback() -> None:
    """Have no proxy asked for this machine itself, on which Prefect's server and Dask's scheduler may listen.

    Only where the environment names a proxy: NO_PROXY alone would hide those of the system's settings.
    """
    spared = [name for name in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")).split(",") if name]
    value = ",".join([*spared, *(host for host in LOOPBACK if host not in spared)])
    os.environ.update({"no_proxy": value, "NO_PROXY": value})


def check_connections() -> None:
    """Raise ConfigError where no connection can be opened to anything, since proxies or certificates cannot be used.

    To be called before Prefect is imported, which stumbles over the same.
    """
    import httpx

    try:
        httpx.Client().close()
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        named = _set(_CERTIFICATES if isinstance(error, OSError) else _PROXIES)
        shown = ", ".join(f"{name}={os.environ[name]}" for name in named)
        raise ConfigError(f"{shown}: no connection can be opened with this: {error}") from error


def _set(names: str) -> list[str]:
    """Return the variables of the environment that have one of these names and are not empty."""
    return sorted(name for name, value in os.environ.items() if re.fullmatch(names, name) and value)
