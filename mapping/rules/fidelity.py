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
