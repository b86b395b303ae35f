"""A compiled program as part of a larger Lava network, core by core and fused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.integer_networks import Case
from support.synapse_forms import synapse_cases, wide_case

from mapping.errors import ConfigError
from simulators.lava.guard import LavaError, run_guarded
from simulators.oracle import run_oracle

pytestmark = pytest.mark.lava


def outputs(case: Case, *populations: str, fuse: bool) -> dict[str, Any]:
    found = run_guarded(
        "program_jobs:outputs",
        {
            "artifact": case.artifact,
            "payloads": case.payloads,
            "populations": populations,
            "fuse": fuse,
        },
        deadline_s=90.0,
        extra_sys_path=[str(Path(__file__).parent)],
    )
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("fuse", [False, True], ids=["core by core", "fused"])
def test_processes_of_others_hear_every_population(fuse: bool) -> None:
    case = synapse_cases()["loop"]
    found = outputs(case, "relay", "in", "out", fuse=fuse)["spikes"]
    expected = run_oracle(case.run()).spikes | {"in": case.payloads}
    assert len(case.artifact.partitioned.cores) > 5
    for name, spikes in found.items():
        assert spikes.any()
        np.testing.assert_array_equal(spikes, expected[name], name)


def test_a_population_that_does_not_exist_is_a_configuration_error() -> None:
    with pytest.raises(
        ConfigError, match=r"ADL-SIM-06 · population 'outt': .* in, lif, relay, out"
    ):
        outputs(synapse_cases()["loop"], "outt", fuse=True)


def test_fused_processes_are_not_to_be_connected_with_others() -> None:
    case = synapse_cases()["sparse"]
    with pytest.raises(LavaError, match=r"ADL-SIM-02 .* RingBuffer .* connect it to s_in or out"):
        run_guarded(
            "program_jobs:connected_inside",
            {"artifact": case.artifact},
            deadline_s=30.0,
            extra_sys_path=[str(Path(__file__).parent)],
        )


def test_two_hundred_cores_fused_take_few_processes_and_files() -> None:
    """Core by core it would take more than 600 processes, with thousands of files each."""
    case = wide_case(200)
    found = outputs(case, "hidden", "out", fuse=True)
    for name, spikes in found["spikes"].items():
        assert spikes.any()
        np.testing.assert_array_equal(spikes, run_oracle(case.run()).spikes[name])
    # Source, cores, two slices, two sinks, the runtime service, and Lava's manager of memory.
    assert found["processes"] <= 8
    assert found["descriptors"] < 256
    assert found["start_s"] < 30
    assert found["run_s"] < 30
