"""Train full matrices, take them through NIR, and let the compiler give the layers a rank.

python examples/06_low_rank.py [OUT]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from adlrns_neuro.data import load_digits_splits
from adlrns_neuro.evaluation import encode
from adlrns_neuro.export import export_network
from adlrns_neuro.recipe import digits_recipe
from adlrns_neuro.snn_trainer import train_dense_snn
from mapping import Calibration, CompileOptions, compile_network, load_target, write_artifact
from mapping.nir import read_nir, write_nir
from mapping.units import with_prefix
from simulators import Stimulus, estimate_energy, simulate
from simulators.compare import require_equal


def main(output: Path) -> None:
    splits = load_digits_splits(seed=0)
    recipe = digits_recipe("delta", hidden=320)
    snn, training = recipe.snn, replace(recipe.training, teacher_epochs=25, nested_epochs=50)
    held_out, train = (
        encode(part, snn.steps, snn.coding) for part in (splits.calibration, splits.train)
    )
    model = train_dense_snn(train, held_out, snn, training, progress=False)
    write_nir(export_network(model, name="digits-full", dt_s=1e-3), output / "full.nir")
    test, labelled = (
        Stimulus(payloads=part.payloads.long().transpose(0, 1).numpy(), labels=part.labels.numpy())
        for part in (encode(splits.test, snn.steps, snn.coding), held_out)
    )
    test.save(output / "full-test.npz")
    labelled.save(output / "full-calibration.npz")
    calibration = Calibration(payloads=labelled.payloads, labels=labelled.labels)
    for rank in (None, 8, 0.25, "auto"):
        result = compile_network(
            read_nir(output / "full.nir"),
            load_target("loihi2"),
            CompileOptions(rank=rank),
            calibration=calibration,
        )
        write_artifact(result.artifact, result.report, output / f"full-{rank}")
        trace = simulate(result.artifact, test)
        require_equal(trace, simulate(result.artifact, test, "oracle"), where=f"rank {rank}")
        energy = estimate_energy(result.artifact, trace)
        print(
            f"rank {rank}: {trace.accuracy():.2%} of the test digits, "
            f"{with_prefix(energy.total_j, 'J')} per inference ({energy.status})"
        )
        for layer in result.report["network"]["layers"] if rank else ():
            print(f"  {layer['name']}: {layer['realisation']} {layer['rank']}, {layer['why']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/examples"))
