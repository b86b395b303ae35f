from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.integer_networks import Case, cases

from mapping.errors import SimulationError
from simulators import ExecutionTrace, Stimulus, simulate
from simulators.compare import first_difference, require_equal


def _traces(case: Case) -> tuple[ExecutionTrace, ExecutionTrace]:
    stimulus = Stimulus(payloads=case.payloads)
    chip, oracle = (simulate(case.artifact, stimulus, b, probe="uv") for b in ("chip", "oracle"))
    return chip, oracle


@settings(max_examples=20)
@given(case=cases(), data=st.data())
def test_the_first_difference_is_found(case: Case, data: st.DataObject) -> None:
    chip, oracle = _traces(case)
    assert first_difference(chip, oracle) is None
    require_equal(chip, oracle, where="random")
    quantity = data.draw(st.sampled_from(["spikes", "u", "v"]))
    name = data.draw(st.sampled_from(sorted(getattr(oracle, quantity))))
    changed = getattr(oracle, quantity)[name].copy()
    place = tuple(data.draw(st.integers(0, n - 1)) for n in changed.shape)
    changed[place] += 1
    later = np.minimum(np.add(place, (0, 1, 0)), np.subtract(changed.shape, 1))
    if tuple(later) != place:
        changed[tuple(later)] += 1
    doctored = replace(oracle, **{quantity: getattr(oracle, quantity) | {name: changed}})
    found = first_difference(chip, doctored)
    assert found is not None
    assert (found.quantity, found.population) == (quantity, name)
    assert (found.sample, found.step, found.neuron) == place
    assert found.values[1] == found.values[0] + 1


@settings(max_examples=1)
@given(case=cases())
def test_a_difference_is_an_error_that_says_where(case: Case) -> None:
    chip, oracle = _traces(case)
    flipped = {name: 1 - values for name, values in oracle.spikes.items()}
    with pytest.raises(SimulationError, match="ADL-SIM-10 · rank 4: chip and oracle") as caught:
        require_equal(chip, replace(oracle, spikes=flipped), where="rank 4")
    assert "step 0" in caught.value.message
    assert caught.value.exit_code == 1


@settings(max_examples=1)
@given(case=cases())
def test_traces_that_recorded_different_things_are_not_equal(case: Case) -> None:
    chip, oracle = _traces(case)
    with pytest.raises(SimulationError, match="ADL-SIM-10 · rank 4: chip recorded u"):
        require_equal(chip, replace(oracle, u={}), where="rank 4")
