from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.units import with_prefix

EXPONENT = {"": 0, "m": -3, "µ": -6, "n": -9, "p": -12}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 J"),
        (1.0, "1 J"),
        (0.248, "248 mJ"),
        (2.54e-6, "2.54 µJ"),
        (9.996e-7, "1 µJ"),
        (23.6e-12, "23.6 pJ"),
        (1.7e-12, "1.7 pJ"),
        (-3e-9, "-3 nJ"),
    ],
)
def test_a_quantity_gets_the_prefix_that_suits_it(value: float, text: str) -> None:
    assert with_prefix(value, "J") == text


@given(value=st.floats(1e-12, 999.0), digits=st.integers(1, 6))
def test_the_text_is_the_value_to_so_many_digits(value: float, digits: int) -> None:
    number, prefix = with_prefix(value, "s", digits=digits).removesuffix("s").split(" ")
    assert float(number) * 10.0 ** EXPONENT[prefix] == pytest.approx(
        value, rel=0.51 * 10.0 ** (1 - digits)
    )
    assert 1 <= float(number) <= 1000
