"""Energy and latency beside SANA-FE on the same networks, places and spikes, and beside silicon.

python benchmarks/bench_energy.py [--quick] [--json FILE]

Three parts:

* with the constants of SANA-FE's Loihi in a target file, ``loihi1-fit``, our dynamic energy is that
  of SANA-FE 2.2.9, and our ``max-core`` latency that of its ``simple`` timing, step by step, for
  random networks and for the examples that it ships (see ``energy_networks.py``);
* what an estimate costs, as a share of the simulation that it follows;
* the signed errors against silicon (see ``silicon_cases.py``).

The program ends with an error if spikes, energies or latencies differ from SANA-FE's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from chip_networks import convolutional, perceptron
from energy_networks import EnergyCase, bundled, generated, job
from peers.environment import PeerUnavailableError, peer_python, run_peer
from results import Row, row, write
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table
from silicon_cases import comparisons
from silicon_cases import table as silicon_table

from mapping.artifact.schema import Artifact
from simulators import Stimulus, estimate_energy, simulate
from simulators.energy.estimate import EnergyReport

OUT, ERR = Console(width=120), Console(stderr=True)
RUNNER = "run_sanafe_energy.py"
NETWORKS = 24
RELATIVE_ERROR = 1e-6
PARTS = {
    "synapse": ("synapse",),
    "soma": ("compartment_access", "compartment_update", "spike"),
    "network": ("axon", "hop", "host"),
}
"""Our components in each of SANA-FE's."""
REPEATS = 5


@dataclass(frozen=True, eq=False)
class Answer:
    """What SANA-FE says of a case.

    Attributes:
        peer: name and version.
        part_j: by part, ``(steps,)`` energy [J].
        step_s: ``(steps,)`` duration [s].
        spikes: ``(spikes, 3)`` step, population and compartment.
        groups: names of its populations.
    """

    peer: str
    part_j: dict[str, np.ndarray]
    step_s: np.ndarray
    spikes: np.ndarray
    groups: list[str]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Largest relative differences from SANA-FE, and whether the spikes are the same."""

    same_spikes: bool
    energy: float
    latency: float

    @property
    def holds(self) -> bool:
        """Whether they are the same figures."""
        return self.same_spikes and max(self.energy, self.latency) < RELATIVE_ERROR


def ask_sanafe(case: EnergyCase, *, timeout_s: float = 600) -> Answer:
    """Let SANA-FE run ``case``.

    Raises:
        PeerUnavailableError: it has no environment.
        PeerFailedError: it crashed or took longer than ``timeout_s``.
    """
    steps = case.stimulus.steps + case.artifact.network.latency_steps
    told = {"architecture": np.array(case.architecture), "steps": np.array(steps)}
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "job.npz", Path(folder) / "result.npz"
        np.savez(given, **(job(case) if case.architecture == "loihi" else told))
        run_peer("sanafe", given, answer, runner=RUNNER, timeout_s=timeout_s)
        with np.load(answer, allow_pickle=False) as file:
            found = dict(file)
    return Answer(
        peer=str(found["peer"]),
        part_j={part: found[f"{part}_j"] for part in PARTS},
        step_s=found["sim_time_s"],
        spikes=found["fired_by"],
        groups=found["group_names"].tolist(),
    )


def estimated(case: EnergyCase) -> tuple[EnergyReport, dict[str, np.ndarray]]:
    """Our estimate, and the spikes of every population."""
    trace = simulate(case.artifact, case.stimulus)
    return estimate_energy(case.artifact, trace), {n: s[0] for n, s in trace.spikes.items()}


def agreement(case: EnergyCase, answer: Answer) -> Agreement:
    """How far ``answer`` is from our estimate."""
    energy, spikes = estimated(case)
    differences = []
    for part, components in PARTS.items():
        ours = sum(energy.core_step_j[name].sum(axis=1) for name in components)
        scale = max(answer.part_j[part].sum(), 1e-30)
        differences.append(np.abs(ours - answer.part_j[part]).sum() / scale)
    return Agreement(
        same_spikes=_same_spikes(case, spikes, answer),
        energy=float(max(differences)),
        latency=float(np.abs(energy.step_s / answer.step_s - 1).max()),
    )


def _same_spikes(case: EnergyCase, ours: dict[str, np.ndarray], answer: Answer) -> bool:
    """Whether all populations that SANA-FE logs spiked as ours did."""
    names = [p.name for p in case.artifact.network.populations]
    for group, name in enumerate(answer.groups):
        own = ours.get(names[int(name)] if case.architecture == "loihi" else name)
        if own is None:
            continue
        theirs = np.zeros(own.shape, bool)
        logged = answer.spikes[answer.spikes[:, 1] == group]
        theirs[logged[:, 0], logged[:, 2]] = True
        if not np.array_equal(own != 0, theirs):
            return False
    return True


def compare_with_sanafe(cases: list[EnergyCase]) -> tuple[list[Row], bool]:
    """A row per network; whether all figures are the same."""
    title = "Dynamic energy per run, and the largest relative differences"
    headings = ("network", "cores", "spikes", "ours", "SANA-FE", "energy off by", "latency off by")
    shown = Table(*headings, box=SIMPLE, title=title)
    rows: list[Row] = []
    right = True
    for case in track(cases, "SANA-FE", console=ERR):
        answer = ask_sanafe(case)
        found = agreement(case, answer)
        energy, spikes = estimated(case)
        theirs = float(sum(part.sum() for part in answer.part_j.values()))
        peers = {answer.peer: theirs}
        rows.append(row(case.name, "dynamic energy", "J", energy.dynamic_j, peers))
        peers = {answer.peer: float(answer.step_s.sum())}
        rows.append(row(case.name, "latency", "s", energy.latency_s, peers))
        right = right and found.holds
        shown.add_row(
            case.name,
            str(energy.cores),
            str(sum(int((own != 0).sum()) for own in spikes.values()))
            + ("" if found.same_spikes else " (others)"),
            f"{energy.dynamic_j * 1e9:.6g} nJ",
            f"{theirs * 1e9:.6g} nJ",
            f"{found.energy:.0e}",
            f"{found.latency:.0e}",
        )
    OUT.print(shown)
    return rows, right


def estimate_share(name: str, artifact: Artifact, samples: int, steps: int) -> Row:
    """Time of an estimate beside that of the simulation before it."""
    shape = artifact.partitioned.input.shape
    spikes = np.random.default_rng(0).random((samples, steps, *shape)) < 0.1
    stimulus = Stimulus(payloads=spikes.astype(np.int8))
    trace = simulate(artifact, stimulus)
    estimate_energy(artifact, trace)
    ran = min(_seconds(lambda: simulate(artifact, stimulus)) for _ in range(REPEATS))
    told = min(_seconds(lambda: estimate_energy(artifact, trace)) for _ in range(REPEATS))
    OUT.print(
        f"{name}, {samples} samples of {steps} steps: simulated in {ran * 1e3:.1f} ms, "
        f"estimated in {told * 1e3:.2f} ms, {told / ran:.1%}"
    )
    case = f"{name}, {samples} x {steps}"
    return row(case, "time of an estimate", "s", told, {"simulation": ran})


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print all three parts and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four random networks, no large one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[Row] = []
    right = True
    try:
        environment = peer_python("sanafe").parents[1]
        examples = next(environment.glob("lib/*/site-packages/sanafe/examples"))
    except PeerUnavailableError as error:
        print(f"SANA-FE is left out: {error}", file=sys.stderr)
    else:
        cases = [generated(seed) for seed in range(4 if options.quick else NETWORKS)]
        own = bundled(examples)
        found, right = compare_with_sanafe(cases + (own[:2] if options.quick else own))
        rows += found
    small, large = ((64, 8), (500, 100)) if options.quick else ((1_000, 32), (10_000, 32))
    rows += [estimate_share("784-128-10", perceptron(), *size) for size in (small, large)]
    if not options.quick:
        rows.append(estimate_share("convolutional net", convolutional(), 20, 50))
    silicon = list(comparisons())
    OUT.print(silicon_table(silicon))
    rows += [
        row(
            f"{one.case}, {one.target}, {one.activity:.1%}",
            one.metric,
            one.unit,
            one.ours,
            {"silicon": one.measured},
        )
        for one in silicon
    ]
    if options.json:
        write(options.json, rows, ["numpy", "numba"])
    if not right:
        sys.exit("spikes, energies or latencies are not SANA-FE's")


if __name__ == "__main__":
    main()
