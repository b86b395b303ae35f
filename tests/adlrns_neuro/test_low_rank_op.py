"""The operator of torch, and linear layers that run on it."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from support.errors import refused
from torch import Tensor

from adlrns_neuro.functional import packed
from adlrns_neuro.functional.low_rank_op import low_rank, runs_on_kernels
from adlrns_neuro.layers import DynamicLowRankLayer
from adlrns_neuro.layers.base import LowRankLayer
from mapping.errors import ConfigError
from simulators.kernels import Workspace, explain, vector
from simulators.kernels.pool import pool

GPU = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use"),
    ],
)
on_devices = pytest.mark.parametrize("device", ["cpu", GPU])
LEVELS = (2, 5, 9)


def arguments(
    device: str, dtype: torch.dtype = torch.float32, batch: int = 7
) -> tuple[Tensor, ...]:
    """x, U, V, ranks, scale and bias."""
    torch.manual_seed(0)
    sizes = ((batch, 12), (10, 9), (12, 9), (9,), (10,))
    x, U, V, scale, bias = (torch.randn(*size, dtype=dtype, device=device) for size in sizes)
    ranks = torch.arange(batch, device=device) * 9 // max(batch - 1, 1)
    return x, U, V, ranks, scale, bias


def plain(
    x: Tensor,
    U: Tensor,
    V: Tensor,
    ranks: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The same, of finite factors, by operators of torch."""
    within = torch.arange(U.shape[1], device=U.device) < ranks[..., None]
    z = x.to(U.dtype) @ V * within
    outputs = (z if scale is None else z * scale) @ U.T
    return outputs if bias is None else outputs + bias


def layer(device: str = "cpu", **options: bool) -> DynamicLowRankLayer:
    """A layer in evaluation mode whose gate decides differently from sample to sample."""
    torch.manual_seed(1)
    found = DynamicLowRankLayer(12, 10, levels=LEVELS, **options)
    torch.nn.init.normal_(found.gate.weight)
    torch.nn.init.zeros_(found.gate.bias)
    if found.level_bias is not None:
        torch.nn.init.normal_(found.level_bias)
    return found.to(device).eval()


@on_devices
@pytest.mark.parametrize("extras", [(False, False), (False, True), (True, False), (True, True)])
def test_agrees_with_plain_torch(device: str, extras: tuple[bool, bool]) -> None:
    *given, scale, bias = arguments(device)
    further = (scale if extras[0] else None, bias if extras[1] else None)
    torch.testing.assert_close(low_rank(*given, *further), plain(*given, *further))


@on_devices
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(device: str, dtype: torch.dtype) -> None:
    given = arguments(device, dtype)
    found = low_rank(*given)
    assert found.dtype == dtype
    torch.testing.assert_close(found, plain(*given), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("leading", [(5,), (2, 3), (0,)])
@pytest.mark.parametrize("extras", [False, True])
def test_bfloat16_is_rounded_once_at_each_stage(leading: tuple[int, ...], extras: bool) -> None:
    """Sums are float32, unlike those of torch's product of a gain or a bias."""
    _, U, V, _, *further = arguments("cpu", torch.bfloat16)
    x, ranks = torch.randn(*leading, 12).bfloat16(), torch.randint(0, 10, leading)
    given = (x, U, V), ranks, further if extras else []
    found = low_rank(*given[0], ranks, *given[2])
    exact = plain(*(t.double() for t in given[0]), ranks, *(t.double() for t in given[2]))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"x": torch.randn(7, 8)}, "ADL-KRN-02", "shape (7, 8)"),
        ({"ranks": torch.full((7,), 2.7)}, "ADL-KRN-02", "float32"),
        ({"ranks": torch.ones(3, dtype=torch.int64)}, "ADL-KRN-02", "shape (3,)"),
        ({"ranks": torch.full((7,), 10)}, "ADL-KRN-03", "rank 10"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_calls_that_do_not_fit_are_refused(
    dtype: torch.dtype, change: dict[str, Tensor], code: str, message: str
) -> None:
    x, U, V, ranks, *_ = arguments("cpu", dtype)
    given = {"x": x, "ranks": ranks} | change
    with refused(ConfigError, code, message=message):
        low_rank(given["x"].to(dtype), U, V, given["ranks"])


def test_bfloat16_of_inference_mode_goes_through_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its changes cannot be seen, so that every call would lay the factors out anew."""
    monkeypatch.setattr(packed, "Packed", lambda *_, **__: pytest.fail("laid out"))
    with torch.inference_mode():
        given = arguments("cpu", torch.bfloat16)
        torch.testing.assert_close(low_rank(*given), plain(*given), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bfloat16_of_factors_that_are_not_finite_goes_through_torch(value: float) -> None:
    x, U, V, *_ = arguments("cpu", torch.bfloat16)
    U[:, 5:] = value
    ranks = torch.tensor([0, 5, 3, 9, 5, 1, 2])
    found = low_rank(x, U, V, ranks)
    assert torch.equal(found.isfinite().all(dim=1), ranks <= 5)


@on_devices
@pytest.mark.parametrize("kind", [torch.bool, torch.int8, torch.uint8, torch.int16, torch.uint16])
def test_events(device: str, kind: torch.dtype) -> None:
    x, U, V, ranks, *_ = arguments(device)
    events = (3 * x).relu().to(torch.bool if kind == torch.bool else torch.int16).to(kind)
    torch.testing.assert_close(low_rank(events, U, V, ranks), plain(events, U, V, ranks))


@on_devices
def test_leading_axes_and_no_sample(device: str) -> None:
    x, U, V, ranks, *_ = arguments(device, batch=6)
    found = low_rank(x.reshape(2, 3, 12), U, V, ranks.reshape(2, 3))
    torch.testing.assert_close(found.reshape(6, 10), plain(x, U, V, ranks))
    assert low_rank(x[:0], U, V, ranks[:0]).shape == (0, 10)


@on_devices
def test_obeys_the_rules_of_operators(device: str) -> None:
    given = arguments(device)
    torch.library.opcheck(low_rank, given[:4])
    for argument in given:
        argument.requires_grad_(argument.is_floating_point())
    torch.library.opcheck(low_rank, given)


@on_devices
def test_gradients_are_those_of_plain_torch(device: str) -> None:
    x, U, V, ranks, scale, bias = arguments(device)
    leaves = [tensor.requires_grad_() for tensor in (x, U, V, scale, bias)]
    weights = torch.randn(7, 10, device=device)
    found = torch.autograd.grad((low_rank(x, U, V, ranks, scale, bias) * weights).sum(), leaves)
    right = torch.autograd.grad((plain(x, U, V, ranks, scale, bias) * weights).sum(), leaves)
    for ours, theirs in zip(found, right, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_those_of_finite_differences() -> None:
    x, U, V, ranks, scale, bias = arguments("cpu", torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (x, U, V, scale, bias)]
    assert torch.autograd.gradcheck(
        lambda x, U, V, scale, bias: low_rank(x, U, V, ranks, scale, bias), leaves
    )
    assert torch.autograd.gradgradcheck(lambda x, U, V: low_rank(x, U, V, ranks), leaves[:3])


@on_devices
def test_compiles_whole(device: str) -> None:
    torch._dynamo.reset()
    given = arguments(device)
    compiled = torch.compile(
        lambda *inputs: low_rank(*inputs).relu() + 1, fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(*given), plain(*given).relu() + 1)


def test_the_kernels_use_no_more_threads_than_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = packed.low_rank_forward

    def noted(*given: object, **further: object) -> object:
        workspace = further["workspace"]
        assert isinstance(workspace, Workspace)
        seen.append(workspace.threads)
        return forward(*given, **further)  # type: ignore[arg-type]

    monkeypatch.setattr(packed, "low_rank_forward", noted)
    monkeypatch.setattr(pool, "threads", 3)
    x, U, V, ranks, *_ = arguments("cpu")
    threads = torch.get_num_threads()
    try:
        for most in (1, 4):
            torch.set_num_threads(most)
            low_rank(x, U, V, ranks)
    finally:
        torch.set_num_threads(threads)
    assert seen == [1, 3]
    assert pool.threads == 3


def test_layouts_are_gone_with_their_factors() -> None:
    """At once, since they may be large: nothing that they are part of holds them."""
    gc.disable()
    try:
        x, U, V, ranks, *_ = arguments("cpu")
        low_rank(x, U, V, ranks)
        layout = weakref.ref(packed.packed(U, V))
        assert layout() is not None
        del U, V
        assert layout() is None
    finally:
        gc.enable()


def test_tensors_of_inference_mode_are_packed_at_every_call() -> None:
    with torch.inference_mode():
        x, U, V, ranks, *_ = arguments("cpu")
        for _ in range(2):
            torch.testing.assert_close(low_rank(x, U, V, ranks), plain(x, U, V, ranks))
            U.mul_(2)


@on_devices
@pytest.mark.parametrize("level_bias", [False, True])
@pytest.mark.parametrize("level_gain", [False, True])
def test_a_layer_gives_what_it_gave(
    device: str, level_bias: bool, level_gain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = layer(device, level_bias=level_bias, level_gain=level_gain)
    x = torch.randn(2, 40, 12, device=device)
    with torch.no_grad():
        outputs, ranks = given(x)
        again = given.at_levels(x, (torch.arange(2, device=device)))
        monkeypatch.setattr(DynamicLowRankLayer, "_at_levels", LowRankLayer._at_levels)
        monkeypatch.setattr(DynamicLowRankLayer, "_grouped", LowRankLayer._grouped)
        right, right_ranks = given(x)
        torch.testing.assert_close(outputs, right)
        torch.testing.assert_close(again, given.at_levels(x, torch.arange(2, device=device)))
    assert torch.equal(ranks, right_ranks)
    assert len(ranks.unique()) > 1


def test_a_layer_follows_its_factors() -> None:
    given = layer()
    x = torch.randn(9, 12)
    with torch.no_grad():
        given(x)
        for change in (
            lambda: given.U.mul_(-2),
            lambda: given.load_state_dict(layer().state_dict()),
            lambda: given.load_factors(torch.randn(10, 9), given.V),
            lambda: torch.nn.utils.vector_to_parameters(
                torch.randn(sum(p.numel() for p in given.parameters())), given.parameters()
            ),
        ):
            change()
            outputs, ranks = given(x)
            torch.testing.assert_close(outputs, plain(x, given.U, given.V, ranks))


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_and_the_kernels_leave_each_other_matrix_registers(threads: int) -> None:
    """Both shape them anew where they need them, on CPUs that have such."""
    torch.set_num_threads(threads)
    _, U, V, *_ = arguments("cpu", torch.bfloat16)
    x, ranks = torch.randn(64, 12).bfloat16(), torch.arange(64) % 10
    pairs = [torch.randn(2, size, size).bfloat16() for size in (33, 64, 256)]
    expected = [low_rank(x, U, V, ranks), *(a @ b for a, b in pairs)]
    for _ in range(20):
        for (a, b), product in zip(pairs, expected[1:], strict=True):
            assert torch.equal(low_rank(x, U, V, ranks), expected[0])
            assert torch.equal(a @ b, product)


@pytest.mark.usefixtures("exact_after")
def test_numbers_are_rounded_if_torch_may_round_them() -> None:
    """Batches alone are, since nothing else would save time."""
    torch.manual_seed(0)
    x, U, V = torch.randn(256, 700), torch.randn(300, 128), torch.randn(700, 128)
    ranks = torch.full((256,), 128)
    exact = low_rank(x, U, V, ranks)
    torch.testing.assert_close(exact, plain(x, U, V, ranks), rtol=1e-5, atol=1e-2)
    torch.set_float32_matmul_precision("medium")
    assert packed.torch_rounds()
    rounded = low_rank(x, U, V, ranks)
    error = (rounded - exact).abs().max() / exact.std()
    assert error < 0.05
    chosen = explain(x.numpy(), packed.packed(U, V).factors, ranks.numpy()).path
    assert bool(error > 1e-3) == (chosen == "bfloat16")
    assert chosen == "bfloat16" or not vector.BFLOAT16
    torch.set_float32_matmul_precision("highest")
    torch.testing.assert_close(low_rank(x, U, V, ranks), exact)


@pytest.mark.skipif(packed._PRECISION is None, reason="torch asks for precision in the old way")
def test_the_newer_way_to_ask_for_rounding() -> None:
    assert packed._PRECISION is not None
    before = packed._PRECISION.fp32_precision
    assert not packed.torch_rounds()
    try:
        packed._PRECISION.fp32_precision = "bf16"
        assert packed.torch_rounds()
    finally:
        packed._PRECISION.fp32_precision = before


def test_a_copy_and_a_cast_of_a_layer_run() -> None:
    given = layer(level_bias=True)
    x = torch.randn(9, 12)
    with torch.no_grad():
        outputs, ranks = given(x)
        twin, twin_ranks = copy.deepcopy(given)(x)
        assert torch.equal(ranks, twin_ranks)
        torch.testing.assert_close(twin, outputs)
        double, double_ranks = given.double()(x.double())
    same = ranks == double_ranks
    torch.testing.assert_close(double[same].float(), outputs[same])


def test_training_and_gradients_stay_with_torch() -> None:
    given = layer()
    x = torch.randn(9, 12)
    assert not runs_on_kernels(x, given.U, given.V)
    outputs, _ = given(x)
    outputs.sum().backward()
    assert given.U.grad is not None
    with torch.no_grad():
        assert runs_on_kernels(x, given.U, given.V)
        assert not runs_on_kernels(x.double(), given.U, given.V)
        assert not runs_on_kernels(x.to("meta"), given.U, given.V)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert not runs_on_kernels(x, given.U, given.V)
        assert given(x)[0].dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_layer_compiles_whole_and_exports() -> None:
    torch._dynamo.reset()
    given = layer(level_bias=True)
    x = torch.randn(9, 12)
    with torch.no_grad():
        outputs, ranks = given(x)
        compiled = torch.compile(given, fullgraph=True, backend="aot_eager")
        exported = torch.export.export(given, (x,)).module()
        for run in (compiled, exported):
            found, found_ranks = run(x)
            torch.testing.assert_close(found, outputs)
            assert torch.equal(found_ranks, ranks)
