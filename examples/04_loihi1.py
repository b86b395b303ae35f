"""Train a twin with rate-coded input and run it on Loihi 1, its factor pair fused at every rank.

python examples/04_loihi1.py [OUT]
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from adlrns_neuro.data import code, load_digits_splits
from adlrns_neuro.evaluation import accuracy_by_rank, encode
from adlrns_neuro.export import export_network
from adlrns_neuro.models import SnnConfig
from adlrns_neuro.snn_trainer import TrainingConfig, train_digits_snn
from mapping import Calibration, CompileOptions, compile_network, load_target, write_artifact
from mapping.units import with_prefix
from simulators import Stimulus, estimate_energy, simulate
from simulators.compare import require_equal

BACKENDS = ("chip", "oracle", "lava") if find_spec("lava") else ("chip", "oracle")


def main(output: Path) -> None:
    splits = load_digits_splits(seed=0)
    config = SnnConfig(coding="rate", payload_max=1, payload_scale=1.0)
    trained = train_digits_snn(splits, config, TrainingConfig(teacher_epochs=8, nested_epochs=12))
    network = export_network(trained.model, name="digits-rate", dt_s=1e-3)
    floating = accuracy_by_rank(trained.model, encode(splits.test, config.steps, config.coding))
    test, calibration = (
        Stimulus(payloads=code(part.images, config.steps, config.coding), labels=part.labels)
        for part in (splits.test, splits.calibration)
    )
    for rank in config.levels:
        result = compile_network(
            network,
            load_target("loihi1"),
            CompileOptions(rank=rank, neurons_per_core=16),
            calibration=Calibration(payloads=calibration.payloads),
        )
        write_artifact(result.artifact, result.report, output / f"loihi1-rank-{rank}")
        trace = simulate(result.artifact, test)
        require_equal(trace, simulate(result.artifact, test, "oracle"), where=f"rank {rank}")
        few = (simulate(result.artifact, test.first(20), b, probe=("u", "v")) for b in BACKENDS)
        require_equal(*few, where=f"rank {rank}")
        energy = estimate_energy(result.artifact, trace)
        print(
            f"rank {rank:2}: {floating[rank]:.2%} float, {trace.accuracy():.2%} integer, "
            f"{with_prefix(energy.total_j, 'J')} per inference ({energy.status}) in "
            f"{with_prefix(energy.latency_s, 's')} on {energy.cores} cores"
        )
    print(f"u, v and spikes of {', '.join(BACKENDS)} are identical on 20 digits")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/examples"))
