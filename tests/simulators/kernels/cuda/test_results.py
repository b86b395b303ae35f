"""What the kernels compute on a GPU; test_simulator.py runs the same tests without one."""

from __future__ import annotations

import numpy as np
import pytest
from numba import cuda
from support.errors import refused
from support.gpu import SIMULATED, WITHOUT_GPU, from_gpu, needs_gpu, on_gpu
from support.low_rank import Call, random_call

from mapping.errors import ConfigError
from simulators.kernels.cuda import low_rank_forward, workspace_bytes
from simulators.kernels.cuda.arrays import DeviceArray, device_array
from simulators.kernels.cuda.forward import run

pytestmark = [pytest.mark.cuda, needs_gpu]

TILES = [((1, 1, 1), 1), ((67, 40, 35), 66), ((5, 150, 3), 2), ((3, 2, 258), 3)]
EVENTS = [((1, 1, 1), 1), ((5, 600, 3), 2), ((4, 3, 130), 2)]
LARGE = [] if SIMULATED else [((256, 512, 64), 1), ((1024, 1024, 128), 300), ((515, 4099, 257), 33)]


def forward(call: Call, **further: object) -> np.ndarray:
    """The call's outputs, from arrays that are all on the GPU."""
    found = low_rank_forward(
        on_gpu(call.x),
        on_gpu(call.U),
        on_gpu(call.V),
        on_gpu(call.ranks),
        scale=on_gpu(call.scale),
        bias=on_gpu(call.bias),
        **further,
    )
    return from_gpu(found)


@pytest.mark.parametrize(("shape", "batch"), TILES + LARGE)
def test_dense_inputs(shape: tuple[int, int, int], batch: int) -> None:
    call = random_call(np.random.default_rng(0), shape, batch)
    call.check(forward(call))


def test_scale_and_bias() -> None:
    call = random_call(np.random.default_rng(0), (67, 33, 35), 5, scaled=True, biased=True)
    call.check(forward(call))


@pytest.mark.parametrize(("shape", "batch"), EVENTS + LARGE)
def test_sparse_inputs_by_events(shape: tuple[int, int, int], batch: int) -> None:
    """Graded ones too, which are float32: by the kernels themselves."""
    call = random_call(np.random.default_rng(1), shape, batch, activity=0.2)
    x, U, V, ranks, y = (
        on_gpu(array)
        for array in (call.x, call.U, call.V, call.ranks, np.empty((batch, shape[0]), np.float32))
    )
    arrays: list[DeviceArray] = [device_array(array) for array in (x, U, V, ranks, y)]  # type: ignore[misc]
    run(*arrays, scale=None, bias=None, workspace=None, stream=0, on_events=True)
    call.check(from_gpu(y))


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int16", "uint16"])
def test_events_of_every_type(kind: str) -> None:
    rng = np.random.default_rng(2)
    call = random_call(rng, (3, 20, 40), 3)
    high = 2 if kind == "bool" else np.iinfo(kind).max
    x = (rng.integers(0, high, call.x.shape) * (rng.random(call.x.shape) < 0.3)).astype(kind)
    events = Call(x=x, U=call.U, V=call.V, ranks=call.ranks, scale=None, bias=None)
    events.check(forward(events))


def test_strides() -> None:
    call = random_call(np.random.default_rng(3), (6, 9, 4), 5)
    x = on_gpu(np.repeat(np.repeat(call.x, 2, axis=0), 3, axis=1))
    out = on_gpu(np.zeros((10, 12), np.float32))
    ranks = on_gpu(np.repeat(call.ranks, 2))
    U, V = (on_gpu(np.pad(factor, [(0, 0), (2, 1)])) for factor in (call.U, call.V))
    found = low_rank_forward(x[::2, ::3], U[:, 2:6], V[:, 2:6], ranks[::2], out=out[::2, ::2])
    assert found.shape == (5, 6)
    written = from_gpu(out)
    call.check(written[::2, ::2])
    assert not written[1::2].any()
    assert not written[:, 1::2].any()


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_leading_axes_and_ranks_that_broadcast(leading: tuple[int, ...]) -> None:
    call = random_call(np.random.default_rng(4), (7, 12, 6), 6)
    x = on_gpu(call.x[: int(np.prod(leading))].reshape(*leading, 12))
    U, V = on_gpu(call.U), on_gpu(call.V)
    ranks = np.arange(6)[: leading[-1]] if leading else np.int64(4)
    found = from_gpu(low_rank_forward(x, U, V, ranks))
    every = np.broadcast_to(ranks, leading)
    Call(x=from_gpu(x), U=call.U, V=call.V, ranks=every, scale=None, bias=None).check(found)
    np.testing.assert_array_equal(
        found, from_gpu(low_rank_forward(x, U, V, on_gpu(np.array(every))))
    )


def test_no_sample() -> None:
    U, V = on_gpu(np.ones((4, 2), np.float32)), on_gpu(np.ones((3, 2), np.float32))
    assert low_rank_forward(on_gpu(np.ones((0, 3), np.float32)), U, V, 1).shape == (0, 4)


@pytest.mark.parametrize("events", [False, True])
def test_what_lies_beyond_a_rank_does_not_enter(events: bool) -> None:
    call = random_call(np.random.default_rng(5), (3, 4, 4), 5, scaled=True)
    call.ranks[:] = np.arange(5)
    x = np.ones((5, 4), np.int8) if events else call.x
    poisoned = Call(
        x=x, U=call.U, V=call.V, ranks=np.minimum(call.ranks, 2), scale=call.scale, bias=None
    )
    for array in (call.U[:, 2:], call.V[:, 2:], call.scale[2:]):
        array[:] = np.nan
    assert np.isfinite(forward(poisoned)).all()
    poisoned.ranks[:] = call.ranks
    assert (np.isnan(forward(poisoned)).all(axis=1) == (call.ranks > 2)).all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_not_a_number_meets_events_that_are_0() -> None:
    call = random_call(np.random.default_rng(6), (3, 6, 4), 2)
    call.V[5, 2] = np.inf
    events = Call(x=np.zeros((2, 6), np.int8), U=call.U, V=call.V, ranks=np.array([2, 3]),
                  scale=None, bias=None)  # fmt: skip
    found = forward(events)
    assert (found[0] == 0).all()
    assert np.isnan(found[1]).all()


def test_an_impossible_rank_on_the_gpu_gives_nan_there_alone() -> None:
    call = random_call(np.random.default_rng(7), (5, 6, 4), 4, biased=True)
    right = forward(call)
    for rank in (-1, 5):
        wrong = call.ranks.copy()
        wrong[2] = rank
        found = forward(Call(x=call.x, U=call.U, V=call.V, ranks=wrong, scale=None, bias=call.bias))
        assert np.isnan(found[2]).all()
        np.testing.assert_array_equal(np.delete(found, 2, 0), np.delete(right, 2, 0))


def test_a_sample_s_outputs_do_not_depend_on_its_company() -> None:
    call = random_call(np.random.default_rng(8), (5, 20, 10), 66)
    found = forward(call)
    order = np.random.default_rng(9).permutation(66)
    again = Call(x=call.x[order], U=call.U, V=call.V, ranks=call.ranks[order], scale=None,
                 bias=None)  # fmt: skip
    np.testing.assert_array_equal(forward(again), found[order])


def test_a_workspace() -> None:
    call = random_call(np.random.default_rng(10), (5, 90, 4), 3)
    memory = cuda.device_array(workspace_bytes(7, 4), np.uint8)
    call.check(forward(call, workspace=memory))
    with refused(ConfigError, "ADL-KRN-04", where="workspace", remedy="workspace_bytes"):
        forward(call, workspace=memory[:40])


X, UP, VP = np.ones((5, 3), np.float32), np.ones((4, 2), np.float32), np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("arguments", "code", "where", "message"),
    [
        ({"x": X}, "ADL-KRN-02", "x", "ndarray is not on the GPU"),
        ({"x": on_gpu(np.ones((5, 4), np.float32))}, "ADL-KRN-02", "x", "(5, 4)"),
        ({"x": on_gpu(np.ones((5, 3)))}, "ADL-KRN-02", "x", "float64"),
        ({"U": on_gpu(np.ones((4, 2)))}, "ADL-KRN-02", "U", "float64"),
        ({"U": on_gpu(np.ones((4, 4), np.float32))[:, ::2]}, "ADL-KRN-02", "U", "strides (4, 2)"),
        ({"U": on_gpu(np.ones(4, np.float32))}, "ADL-KRN-01", "U", "shape (4,)"),
        ({"V": on_gpu(np.ones((3, 1), np.float32))}, "ADL-KRN-01", "", "V has 1"),
        ({"ranks": 1.5}, "ADL-KRN-02", "ranks", "float64"),
        ({"ranks": on_gpu(np.ones(5))}, "ADL-KRN-02", "ranks", "float64"),
        ({"ranks": np.ones(4, int)}, "ADL-KRN-02", "ranks", "(4,)"),
        ({"ranks": on_gpu(np.ones(4, int))}, "ADL-KRN-02", "ranks", "(4,)"),
        ({"ranks": [1, 1, 1, 3, 1]}, "ADL-KRN-03", "ranks", "sample 3 has rank 3"),
        ({"scale": on_gpu(np.ones(3, np.float32))}, "ADL-KRN-02", "scale", "(3,)"),
        ({"bias": on_gpu(np.ones(2, np.float32))}, "ADL-KRN-02", "bias", "(2,)"),
        ({"out": on_gpu(np.ones((5, 3), np.float32))}, "ADL-KRN-02", "out", "(5, 3)"),
    ] if not WITHOUT_GPU else [],
)  # fmt: skip
def test_arrays_that_do_not_fit(
    arguments: dict[str, object], code: str, where: str, message: str
) -> None:
    given = {"x": on_gpu(X), "U": on_gpu(UP), "V": on_gpu(VP), "ranks": 1} | arguments
    with refused(ConfigError, code, where=where, message=message):
        low_rank_forward(**given)  # type: ignore[arg-type]


def test_outputs_may_not_overwrite_inputs() -> None:
    memory = on_gpu(np.ones((5, 7), np.float32))
    with refused(ConfigError, "ADL-KRN-02", where="out", message="overlap"):
        low_rank_forward(memory[:, :3], on_gpu(UP), on_gpu(VP), 1, out=memory[:, 2:6])


def test_many_axes_have_to_be_contiguous() -> None:
    x = on_gpu(np.ones((2, 4, 3), np.float32))[:, ::2]
    with refused(ConfigError, "ADL-KRN-02", where="x", message="strides (12, 6, 1)"):
        low_rank_forward(x, on_gpu(UP), on_gpu(VP), 1)


@pytest.mark.skipif(SIMULATED, reason="torch knows no simulator")
def test_tensors_of_torch_on_a_stream_of_its_own() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    call = random_call(np.random.default_rng(11), (70, 500, 40), 100)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x, U, V, ranks = (
            torch.from_numpy(array).cuda() for array in (call.x, call.U, call.V, call.ranks)
        )
        out = torch.empty(100, 70, device="cuda")
        low_rank_forward(x, U, V, ranks, out=out, stream=stream.cuda_stream)
        call.check(out.cpu().numpy())
