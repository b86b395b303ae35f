"""Rules on what quantisation has made of the weights."""

from __future__ import annotations

from collections.abc import Iterator

from mapping.artifact.schema import Artifact
from mapping.rules.base import Finding, rule

ZEROED_SHARE = 0.25
"""Share of a projection's non-zero weights that may become 0 without a word. Normally distributed
weights whose largest is four standard deviations lose 22 % to 4-bit mantissas, whose half step is
1/14 of the largest; more means too few bits or rows of very different size."""


@rule("ADL-NUM-09", severity="warning")
def zeroed_weights(artifact: Artifact) -> Iterator[Finding]:
    """No more than a quarter of the non-zero weights of a projection become 0.

    Why: all rows share one exponent, so those with small weights can lose all of them.

    Fix: give the layer more weight bits, or train with rows of like size.

    Example: one output neuron with weights a thousand times those of the others.
    """
    for fidelity in artifact.partitioned.fidelity:
        if fidelity.zeroed > ZEROED_SHARE:
            yield (
                fidelity.projection,
                f"{fidelity.zeroed:.1%} of its non-zero weights became 0",
                "give the layer more weight bits, or train it with rows of like size, and verify "
                "the accuracy",
            )


@rule("ADL-NUM-10", severity="warning", limits=("core.weight_widths",))
def widened_weights(artifact: Artifact) -> Iterator[Finding]:
    """Weights have a number of bits in which the chip stores them.

    Why: a width that the chip does not have takes the memory of the next wider one, whose further
    precision is given away.

    Fix: choose the wider one with ``--weight-bits``, or one below to save memory.

    Example: ``--weight-bits 7`` on loihi1, which stores 1 to 6 or 8 bits.
    """
    widths = artifact.chip.core.weight_widths
    for spec in artifact.partitioned.projections:
        if not 0 < spec.weight_bits < max(widths.value):
            continue
        stored = widths.fitting(spec.weight_bits)
        if stored != spec.weight_bits:
            narrower = [width for width in widths.value if 1 < width < spec.weight_bits]
            yield (
                spec.name,
                f"its weights of {spec.weight_bits} bits are stored in {stored}",
                f"give the layer {stored} weight bits, which take no more memory"
                + (f", or {max(narrower)}, which take less" if narrower else ""),
            )
