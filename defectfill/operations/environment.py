"""The environment that a run needs."""

import os

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


def set_environment() -> None:
    """Set what is not set otherwise; to be called before torch and Prefect are imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
