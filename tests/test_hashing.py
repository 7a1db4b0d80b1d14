"""Fingerprints and seeds follow from content alone, on every machine and in every version."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectfill.io.hashing import derive_seed, digest

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_digest_is_the_sha256_of_compact_json() -> None:
    text = '{"count":5,"name":"Größe","parts":[1,0.5,null,true]}'
    value = {"parts": [1, 0.5, None, True], "name": "Größe", "count": 5}
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()


@given(st.dictionaries(st.text(), values, max_size=5))
def test_the_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


def test_the_order_of_a_list_counts() -> None:
    assert digest([1, 2]) != digest([2, 1])


def test_different_values_have_different_digests() -> None:
    values = [1, "1", 1.5, [1], [[1]], {"1": 1}, None, True, "", [], {}, [""], ["", ""], [[], ""], {"a": {}}]
    assert len({digest(value) for value in values}) == len(values)


def test_seeds_stay_what_they_are() -> None:
    """A change here would change every dataset ever planned; it needs a new METHOD_VERSION."""
    assert derive_seed(0, "hazelnut", "hole", 0, "painting") == 4169594103101990498


@given(st.lists(st.integers(0, 2**40) | st.text(max_size=9), max_size=5))
def test_a_seed_fits_a_signed_64_bit_integer(parts: list[int | str]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63
    assert derive_seed(*parts) == derive_seed(*parts)


def test_neighbouring_samples_share_no_seed() -> None:
    parts = [(seed, "nut", defect, index) for seed in range(3) for defect in ("a", "b") for index in range(500)]
    seeds = {derive_seed(*part) for part in parts}
    assert len(seeds) == len(parts)
    assert abs(sum(seed >> 62 for seed in seeds) / len(seeds) - 0.5) < 0.05


@pytest.mark.parametrize(
    ("first", "second"), [(("a", "bc"), ("ab", "c")), ((1,), ("1",)), ((1, 2), (12,)), ((), ("",))]
)
def test_parts_are_kept_apart(first: tuple[int | str, ...], second: tuple[int | str, ...]) -> None:
    assert derive_seed(*first) != derive_seed(*second)
