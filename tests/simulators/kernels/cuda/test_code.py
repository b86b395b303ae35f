"""The kernels' code for GPUs that need not be there."""

from __future__ import annotations

import re

import pytest

from simulators.kernels.cuda.arrays import SIMULATED
from simulators.kernels.cuda.compile import KERNELS, to_binary, to_ptx

pytestmark = pytest.mark.skipif(SIMULATED, reason="simulated, not compiled")


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_becomes_machine_code(name: str, capability: tuple[int, int]) -> None:
    entry, code = to_ptx(name, "int16", capability)
    _, threads, pointers, integers = KERNELS[name]
    assert f".target sm_{capability[0]}{capability[1]}" in code
    assert len(re.findall(rf"\.param \.u64 {entry}_param_\d+", code)) == len(pointers) + integers
    assert re.search(rf"\.maxntid {threads}", code)
    assert ".local" not in code, "sums left the registers"
    assert ".f64" not in code.replace(".f64 %", ""), "numbers are float32"
    assert to_binary(code, capability).startswith(b"\x7fELF")


@pytest.mark.parametrize("name", ["project", "expand"])
def test_tiles_are_read_four_numbers_at_once_and_multiplied_and_added_in_one(name: str) -> None:
    _, code = to_ptx(name, "", (9, 0))
    wide, products = code.count("ld.shared.v4.f32"), code.count("fma.rn.f32")
    assert wide >= 8
    assert products >= 8 * wide


@pytest.mark.parametrize(
    ("name", "dtype", "instruction"),
    [
        ("scatter", "bool", "cvt.rn.f32.u16"),
        ("scatter", "int8", "cvt.rn.f32.s16"),
        ("scatter", "float32", "ld.global.f32"),
        ("sort_by_rank", "int64", "ld.global.u64"),
        ("sort_by_rank", "uint8", "ld.global.u8"),
    ],
)
def test_types_that_kernels_are_compiled_for(name: str, dtype: str, instruction: str) -> None:
    _, code = to_ptx(name, dtype, (9, 0))
    assert instruction in code
