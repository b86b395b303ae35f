"""The compiler's benchmark, on its smallest case."""

from __future__ import annotations

from bench_compile import CASES, UNITS, bench, deep


def test_the_smallest_case_saves_packets() -> None:
    rows = bench(quick=True)
    assert [entry["metric"] for entry in rows] == list(UNITS)
    found = {entry["metric"]: entry for entry in rows}
    assert found["packets"]["ours"] <= found["packets"]["peers"]["first-fit, raster"]
    assert all(entry["ours"] > 0 for entry in rows)


def test_the_largest_case_has_a_million_neurons() -> None:
    network = deep(3, width=64, rank=4)
    assert sum(p.size for p in network.populations[1:]) == 3 * 64
    assert 244 * 4096 > 999_000
    assert list(CASES)[-1].startswith("244 layers of 4096")
