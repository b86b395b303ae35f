"""What Lava once did, replayed without Lava."""

from __future__ import annotations

import numpy as np
import pytest
from golden.networks import golden_cases
from golden.record import FOLDER, run_case

from simulators.compare import require_equal
from simulators.trace import load_trace

CASES = golden_cases()


@pytest.mark.parametrize("backend", ["oracle", "chip"])
@pytest.mark.parametrize("name", CASES)
def test_it_equals_what_lava_once_did(name: str, backend: str) -> None:
    golden = load_trace(FOLDER / f"{name}.npz")
    require_equal(golden, run_case(CASES[name], backend), where=name)


@pytest.mark.lava
@pytest.mark.parametrize("name", ["edges", "gates-at-host"])
def test_lava_still_does_it(name: str) -> None:
    golden = load_trace(FOLDER / f"{name}.npz")
    require_equal(golden, run_case(CASES[name], "lava"), where=name)


def test_every_trace_is_replayed_and_shows_something() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == CASES.keys()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000
    traces = {name: load_trace(FOLDER / f"{name}.npz") for name in CASES}
    for name, trace in traces.items():
        integrators = {"edges": ["silent"], "integrator": ["out"]}.get(name, [])
        assert [p for p, spikes in trace.spikes.items() if not spikes.any()] == integrators, name
        assert all(np.unique(v, axis=1).shape[1] > 5 for v in trace.v.values()), name
    silent = traces["edges"].v["silent"]
    assert (silent.min(), silent.max()) == (-(2**23) + 1, 2**23 - 1)
    for name in ("gates-at-relays", "gates-at-host"):
        gate = traces[name].spikes["gate"]
        assert (gate > 0).any(axis=(0, 1)).all()
        assert (gate < 0).any(axis=(0, 1)).all()
    assert np.unique(traces["integrator"].predictions()).size > 1
