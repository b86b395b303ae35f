"""Synapse memory of layers as NengoLoihi counts it; run by its environment.

Reads rows ``columns, rows, weight_bits, delay_bits, form, stride`` as CSV from stdin and writes
them with one more field, ``bits``, to stdout. ``list_lengths`` in :mod:`loihi1_memory` says what
``stride`` makes of a sparse layer. NengoLoihi's own ``set_weights`` leaves the index out of sparse
lists, too; what it calls compression 0, as its convolutions have, is the format with an index.
"""

from __future__ import annotations

import csv
import sys

import numpy as np
from nengo_loihi.block import Synapse, SynapseConfig

DENSE, INDEXED = 3, 0


def stored_bits(columns: int, rows: int, form: str, lengths: list[int], **widths: int) -> int:
    """Bits of a layer whose lists end on its last compartments, the first on all of them."""
    synapse = Synapse(columns)
    if form == "dense":
        synapse.set_weights(np.zeros((columns, rows), np.float32))
    else:
        synapse.set_population_weights(
            weights=[np.zeros((1, n), np.float32) for n in lengths],
            indices=[np.arange(rows - n, rows, dtype=np.int32)[None] for n in lengths],
            axon_to_weight_map=None,
            compartment_bases=None,
        )
    config = synapse.synapse_cfg
    assert config.compression == (DENSE if form == "dense" else INDEXED)
    width = min(w for w in SynapseConfig.WEIGHT_BITS_MAP if w >= widths["weight_bits"])
    synapse.format(
        weight_bits=SynapseConfig.WEIGHT_BITS_MAP.index(width), delay_bits=widths["delay_bits"]
    )
    return int(synapse.bits())


def main() -> None:
    """Fill in the last column."""
    rows = list(csv.DictReader(sys.stdin))
    writer = csv.DictWriter(sys.stdout, [*rows[0], "bits"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        columns, height = int(row["columns"]), int(row["rows"])
        lengths = [1 + (int(row["stride"]) * c + height - 1) % height for c in range(columns)]
        widths = {name: int(row[name]) for name in ("weight_bits", "delay_bits")}
        bits = stored_bits(columns, height, row["form"], lengths, **widths)
        writer.writerow({**row, "bits": bits})


if __name__ == "__main__":
    main()
