"""Compare the synapse memory of ``loihi1`` with NengoLoihi's own count on 1,000 random layers.

python benchmarks/loihi1_memory.py [--record]

``--record`` writes NengoLoihi's answers to ``tests/golden/loihi1_memory.csv``, which the tests
replay without NengoLoihi.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from peers.environment import HERE, PeerUnavailableError, peer_python

from mapping.targets.load import load_target

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "loihi1_memory.csv"
Layer = dict[str, str]
"""A row of the CSV file: columns, rows, weight_bits, delay_bits, form, stride and maybe bits."""


def random_layers(number: int = 1000, *, seed: int = 0) -> list[Layer]:
    """Layers of 1 to 4096 inputs and outputs, small sizes as likely as large ones."""
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(number):
        columns, rows = np.rint(2.0 ** rng.uniform(0, 12, 2)).astype(int)
        form = str(rng.choice(["dense", "sparse"]))
        layers.append(
            {
                "columns": str(columns),
                "rows": str(rows),
                "weight_bits": str(rng.integers(1, 9)),
                "delay_bits": str(rng.choice([0, 0, 0, *range(1, 7)])),
                "form": form,
                "stride": str(rng.integers(1, 1000) if form == "sparse" else 0),
            }
        )
    return layers


def list_lengths(layer: Layer) -> Counter[int]:
    """How many synapse lists a layer has of which length; the first one is complete."""
    columns, rows, stride = (int(layer[name]) for name in ("columns", "rows", "stride"))
    return Counter(1 + (stride * column + rows - 1) % rows for column in range(columns))


def our_bits(layer: Layer) -> int:
    """Synapse memory of a layer on one core of ``loihi1`` [bit]."""
    core = load_target("loihi1").core
    targets = int(layer["rows"]) if layer["form"] == "sparse" else 0
    delay = 2 ** int(layer["delay_bits"]) - 1
    words = sum(
        number
        * core.words_per_axon(length, int(layer["weight_bits"]), targets=targets, delay=delay)
        for length, number in list_lengths(layer).items()
    )
    return words * core.word_bits.value


def their_bits(layers: list[Layer]) -> list[Layer]:
    """The layers with NengoLoihi's count.

    Raises:
        PeerUnavailableError: it has no environment.
    """
    given = io.StringIO()
    writer = csv.DictWriter(given, layers[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(layers)
    command = [str(peer_python("nengo_loihi")), "-E", str(HERE / "nengo_loihi_memory.py")]
    done = subprocess.run(
        command, input=given.getvalue(), check=True, stdout=subprocess.PIPE, text=True, timeout=900
    )
    return list(csv.DictReader(io.StringIO(done.stdout)))


def main() -> None:
    """Compare, and record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {GOLDEN.name}")
    options = parser.parse_args()
    try:
        answers = their_bits(random_layers())
    except PeerUnavailableError as error:
        sys.exit(str(error))
    different = [row for row in answers if our_bits(row) != int(row["bits"])]
    print(f"{len(answers) - len(different)} of {len(answers)} layers take the same memory")
    for row in different[:10]:
        print(row, our_bits(row))
    if options.record:
        with GOLDEN.open("w", newline="") as file:
            writer = csv.DictWriter(file, answers[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(answers)
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
