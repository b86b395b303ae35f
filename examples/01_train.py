"""Train one low-rank spiking network for three ranks on scikit-learn's digits.

python examples/01_train.py [OUT]
"""

from __future__ import annotations

import sys
from pathlib import Path

from adlrns_neuro.data import direct_code, load_digits_splits
from adlrns_neuro.export import export_network
from adlrns_neuro.models.snn import SnnConfig
from adlrns_neuro.trainer import TrainingConfig, train_digits_snn
from mapping import save_network
from simulators import Stimulus


def main(output: Path) -> None:
    splits = load_digits_splits(seed=0)
    trained = train_digits_snn(splits, SnnConfig(), TrainingConfig(seed=0))
    save_network(export_network(trained.model, name="digits", dt_s=1e-3), output / "network")
    for name in ("calibration", "test"):
        part = getattr(splits, name)
        payloads = direct_code(part.images, trained.model.config.steps)
        Stimulus(payloads=payloads, labels=part.labels).save(output / f"{name}.npz")
    for rank, accuracy in trained.calibration_accuracy.items():
        print(f"rank {rank:2}: {accuracy:.1%} of the calibration digits")
    print(f"written to {output}/")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/examples"))
