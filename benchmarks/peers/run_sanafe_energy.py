"""Let SANA-FE run a placed network, step by step; run by SANA-FE's own environment.

The job, an ``.npz``:

* ``architecture``: a name under which SANA-FE ships an architecture; ``loihi`` takes the network
  that follows, ``example`` and ``tutorial`` bring their own, and are given ``steps`` alone;
* ``sizes``: ``(populations,)``, the input first; ``spikes``: ``(steps, sizes[0])`` of the input;
* ``core_k``: ``(sizes[k], 2)`` tile and core of each compartment, ``threshold_k``, ``leak_k``,
  ``bias_k``: its LIF parameters, for each population ``k`` but the input;
* ``ends``: ``(projections, 2)`` source and target, ``forms``: how they are stored;
  ``source_p``, ``target_p``, ``weight_p``: the synapses of projection ``p``.

The result: ``peer``; per step ``sim_time_s``, ``synapse_j``, ``soma_j``, ``network_j``,
``total_j``, ``updated``, ``fired``, ``hops``; ``packets`` and ``synaptic_ops`` of the run; and
``fired_by``: ``(spikes, 3)`` rows of step, population and compartment of those that log spikes.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import sanafe

HOST_CORE = 3
"""Core of tile 0 on which the input compartments lie."""


def build(job: dict[str, np.ndarray]) -> tuple[sanafe.Architecture, sanafe.Network]:
    """Architecture and network of the job."""
    name = str(job["architecture"])
    if name == "example":
        return sanafe.load_example()
    if name == "tutorial":
        folder = files("sanafe.examples")
        architecture = sanafe.load_arch(folder / "tutorial_arch.yaml")
        return architecture, sanafe.load_net(folder / "tutorial_snn.yaml", architecture)
    architecture, network = sanafe.load_loihi(), sanafe.Network()
    form_of = {int(end[1]): str(form) for end, form in zip(job["ends"], job["forms"], strict=True)}
    groups = []
    for number, size in enumerate(job["sizes"].tolist()):
        if number == 0:
            group = network.create_neuron_group("0", size)
        else:
            group = network.create_neuron_group(
                str(number),
                size,
                model_attributes={
                    "threshold": float(job[f"threshold_{number}"]),
                    "leak_decay": float(job[f"leak_{number}"]),
                    "input_decay": 0.0,
                    "reset_mode": "hard",
                    "reset": 0.0,
                    "reverse_threshold": -((1 << 23) - 1) / 64,
                    "reverse_reset_mode": "saturate",
                },
                soma_hw_name="loihi_lif",
                default_synapse_hw_name=f"loihi_{form_of.get(number, 'dense')}_synapse",
                log_spikes=True,
            )
        groups.append(group)
        for place, neuron in enumerate(group):
            if number == 0:
                neuron.set_attributes(
                    soma_hw_name=f"loihi_inputs[{place}]",
                    model_attributes={"spikes": job["spikes"][:, place].tolist()},
                )
                neuron.map_to_core(architecture.tiles[0].cores[HOST_CORE])
            else:
                bias = float(job[f"bias_{number}"][place])
                if bias:
                    neuron.set_attributes(model_attributes={"bias": bias})
                tile, core = job[f"core_{number}"][place].tolist()
                neuron.map_to_core(architecture.tiles[tile].cores[core])
    for number, (source, target) in enumerate(job["ends"].tolist()):
        pairs = zip(job[f"source_{number}"].tolist(), job[f"target_{number}"].tolist(), strict=True)
        weights = {"w": job[f"weight_{number}"].tolist()}
        groups[source].connect_neurons_sparse(groups[target], weights, list(pairs))
    return architecture, network


def main() -> None:
    """Run the job and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("result", type=Path)
    options = parser.parse_args()
    with np.load(options.job, allow_pickle=False) as file:
        job = dict(file)
    architecture, network = build(job)
    steps = len(job["spikes"]) if "spikes" in job else int(job["steps"])
    chip = sanafe.SpikingChip(architecture)
    chip.load(network)
    ran = chip.sim(steps, timing_model="simple", spike_trace=True, perf_trace=True)
    perf = ran["perf_trace"]
    names = sorted({address.group_name for spikes in ran["spike_trace"] for address in spikes})
    fired_by = [
        (step, names.index(address.group_name), address.neuron_offset)
        for step, spikes in enumerate(ran["spike_trace"])
        for address in spikes
    ]
    np.savez(
        options.result,
        peer=np.array(f"sanafe {version('sanafe')}"),
        sim_time_s=np.array(perf["sim_time"]),
        **{
            f"{part}_j": np.array(perf[f"{part}_energy"])
            for part in ("synapse", "soma", "network", "total")
        },
        **{name: np.array(perf[name]) for name in ("updated", "fired", "hops")},
        packets=np.array(ran["packets_sent"]),
        synaptic_ops=np.array(ran["spikes"]),
        group_names=np.array(names),
        fired_by=np.array(fired_by, np.int64).reshape(-1, 3),
    )


if __name__ == "__main__":
    main()
