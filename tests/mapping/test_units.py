from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.units import si_prefix, with_prefix

EXPONENT = {"": 0, "m": -3, "µ": -6, "n": -9, "p": -12}


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (2.538e-6, 3, "2.54 µJ"),
        (1.52e-7, 2, "150 nJ"),
        (9.996e-7, 3, "1 µJ"),
        (0.0, 3, "0 J"),
        (12.0, 3, "12 J"),
        (-3.1e-3, 3, "-3.1 mJ"),
        (4.2e-15, 2, "0.0042 pJ"),
    ],
)
def test_quantities_carry_a_prefix_and_few_digits(value: float, digits: int, text: str) -> None:
    assert with_prefix(value, "J", digits=digits) == text


def test_prefix_of_a_range() -> None:
    assert si_prefix(4e-8) == (1e-9, "n")


@given(value=st.floats(1e-12, 999.0), digits=st.integers(1, 6))
def test_the_text_is_the_value_to_so_many_digits(value: float, digits: int) -> None:
    number, prefix = with_prefix(value, "s", digits=digits).removesuffix("s").split(" ")
    assert float(number) * 10.0 ** EXPONENT[prefix] == pytest.approx(
        value, rel=0.51 * 10.0 ** (1 - digits)
    )
    assert 1 <= float(number) <= 1000
