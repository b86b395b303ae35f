"""Train one low-rank spiking network for three ranks on scikit-learn's digits, and its gate.

python examples/01_train.py [OUT]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from adlrns_neuro.data import code, load_digits_splits
from adlrns_neuro.evaluation import accuracy_by_rank, encode
from adlrns_neuro.export import export_network
from adlrns_neuro.gates.spiking import fit_spiking_gate
from adlrns_neuro.recipe import digits_recipe
from adlrns_neuro.snn_trainer import train_digits_snn
from mapping import save_network
from simulators import Stimulus


def main(output: Path) -> None:
    splits = load_digits_splits(seed=0)
    recipe = digits_recipe()
    snn = recipe.snn
    training = replace(recipe.training, teacher_epochs=25, nested_epochs=50)
    trained = train_digits_snn(splits, snn, training)
    held_out = encode(splits.calibration, snn.steps, snn.coding)
    fit_spiking_gate(trained.model, held_out, training)
    network = export_network(trained.model, name="digits", dt_s=1e-3, gated=True)
    save_network(network, output / "network")
    for name in ("calibration", "test"):
        part = getattr(splits, name)
        payloads = code(part.images, snn.steps, snn.coding)
        Stimulus(payloads=payloads, labels=part.labels).save(output / f"{name}.npz")
    for rank, accuracy in accuracy_by_rank(trained.model, held_out).items():
        print(f"rank {rank:2}: {accuracy:.1%} of the calibration digits")
    print(f"written to {output}/")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/examples"))
