"""Layouts are kept as long as they are right."""

from __future__ import annotations

import gc
import itertools

import pytest
import torch
from torch import Tensor

from adlrns_neuro.functional import kept as kept_module
from adlrns_neuro.functional.kept import Kept, sizes_kept


def counted() -> tuple[Kept[int], itertools.count[int]]:
    """Nothing kept yet, and what numbers the layouts that are made."""
    return Kept(), itertools.count()


def pair() -> tuple[Tensor, Tensor]:
    return torch.nn.Parameter(torch.randn(6, 6)), torch.nn.Parameter(torch.randn(4, 6))


def test_a_layout_is_made_once() -> None:
    kept, numbers = counted()
    tensors = pair()
    assert [kept.of(tensors, numbers.__next__) for _ in range(3)] == [0, 0, 0]
    assert kept.of(tensors, numbers.__next__, key=True) == 1
    assert kept.of(tensors[:1], numbers.__next__, key="one") == 2
    assert kept.of(tensors, numbers.__next__) == 0


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("change", ["in place", "taken", "narrowed", "turned", "loaded"])
def test_a_change_that_torch_sees_makes_it_anew(which: int, change: str) -> None:
    kept, numbers = counted()
    tensors = pair()
    square = torch.nn.Parameter(torch.randn(6, 6))
    tensors = (square, tensors[1]) if which == 0 else (tensors[0], square)
    assert kept.of(tensors, numbers.__next__) == 0
    with torch.no_grad():
        if change == "in place":
            square.mul_(2)
        elif change == "taken":
            square.data = torch.randn(6, 6)
        elif change == "narrowed":
            square.data = square.data[:, :3]
        elif change == "turned":
            square.data = square.data.T
        else:
            square.copy_(torch.randn(6, 6))
    assert kept.of(tensors, numbers.__next__) == 1
    assert kept.of(tensors, numbers.__next__) == 1


def test_other_memory_at_the_same_place_is_not_taken_for_it() -> None:
    kept, numbers = counted()
    first, second = pair()
    kept.of((first, second), numbers.__next__)
    alike = torch.from_numpy(second.detach().numpy())
    assert alike.data_ptr() == second.data_ptr()
    assert kept.of((first, alike), numbers.__next__) == 1


def test_layouts_are_gone_when_the_first_tensor_is() -> None:
    kept, numbers = counted()
    first, second = pair()
    kept.of((first, second), numbers.__next__)
    assert len(kept) == 1
    del first
    gc.collect()
    assert len(kept) == 0


def test_tensors_of_inference_mode_count_no_changes() -> None:
    kept, numbers = counted()
    with torch.inference_mode():
        tensors = torch.randn(2, 2), torch.randn(2, 2)
    assert [kept.of(tensors, numbers.__next__) for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("guards", [True, False])
@pytest.mark.parametrize("change", ["none", "narrowed", "turned"])
def test_sizes_are_watched(change: str, guards: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not guards:  # As where torch's compiler has none.
        monkeypatch.setattr(kept_module, "_GUARDS", None)
    tensors = pair()
    same = sizes_kept(tensors)
    square = tensors[0]
    with torch.no_grad():
        square.mul_(2)
        if change == "narrowed":
            square.data = square.data[:4]
        elif change == "turned":
            square.data = square.data.T
        assert same(*tensors) == (change == "none")
