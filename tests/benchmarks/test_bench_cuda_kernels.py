from __future__ import annotations

import bench_cuda_kernels
import pytest
import torch
from bench_cuda_kernels import Case


def case(dtype: torch.dtype = torch.float32) -> Case:
    """A small call on the CPU, which the peers take too."""
    torch.manual_seed(0)
    return Case(
        x=(4 * torch.rand(9, 24)).to(dtype),
        U=torch.randn(20, 16),
        V=torch.randn(24, 16),
        ranks=torch.tensor([2, 4, 6, 8, 10, 12, 14, 16, 2]),
    )


def test_outputs_at_other_ranks_are_refused() -> None:
    given = case()
    right = bench_cuda_kernels.bucketed(given, given.x)()
    given.check(right)
    with pytest.raises(AssertionError, match="wrong"):
        given.check(given.x @ given.V @ given.U.T)


def test_the_dense_peers_agree() -> None:
    given = case()
    products = bench_cuda_kernels.peers(given)
    torch.testing.assert_close(
        products["dense f32"](), products["two products f32"](), rtol=1e-4, atol=1e-4
    )


def test_the_limit_counts_the_work_of_the_ranks_or_the_bytes() -> None:
    total, bytes_moved = 74, 4 * (9 * 24 + 9 * 20 + 16 * 44)
    assert case().limit_s(1.0, 1e9) == 2 * total * 44
    assert case().limit_s(1e9, 1.0) == bytes_moved
    events = case(torch.int8)
    assert events.limit_s(1.0, 1e9) == pytest.approx(2 * total * (2.4 + 20))
    assert events.limit_s(1e9, 1.0) == bytes_moved - 3 * 9 * 24
