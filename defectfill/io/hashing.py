"""Fingerprints and seeds: everything the run derives from content rather than from time or location."""

import hashlib
import json
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: Any) -> str:
    """Return the SHA-256, as 64 hex digits, of a value of JSON types; the order of keys does not count."""
    return hashlib.sha256(_ENCODER.encode(value).encode()).hexdigest()


def derive_seed(*parts: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on `parts` alone, so that neighbouring samples share nothing."""
    return int(digest(list(parts))[:16], 16) >> 1
