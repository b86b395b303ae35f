"""Capacity rules: what a core program takes against what a core has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mapping.artifact.schema import Artifact
from mapping.rules.base import Finding, rule


def _over(artifact: Artifact, resource: str, remedy: str) -> Iterator[Finding]:
    chip = artifact.chip
    limit = getattr(chip.core, resource).value
    for core, usage in enumerate(artifact.partitioned.usage(chip)):
        used = getattr(usage, resource)
        if used > limit:
            holds = ", ".join(map(str, artifact.partitioned.cores[core].groups))
            words = resource.replace("_", " ")
            yield (
                f"{holds} → core {core}",
                f"needs {used:,} {words}, {chip.name} has {limit:,}",
                remedy,
            )


@rule("ADL-CAP-01", limits=("core.compartments",))
def compartments(artifact: Artifact) -> Iterator[Finding]:
    """A core holds at most ``core.compartments`` compartments.

    Why: each compartment keeps its state and its parameters in memory of its core, which has a
    place for so many.

    Fix: lower ``--neurons-per-core``, so that the layer is spread over more cores.

    Example: 1,100 neurons on one core of loihi1, which has 1,024 compartments.
    """
    return _over(artifact, "compartments", "lower neurons_per_core")


@rule(
    "ADL-CAP-02",
    limits=(
        "core.synapse_words",
        "core.word_bits",
        "core.synapse_bits",
        "core.weight_widths",
        "core.index_widths",
        "core.delay_widths",
        "core.block_synapses",
        "core.block_header_bits",
    ),
)
def synapse_words(artifact: Artifact) -> Iterator[Finding]:
    """The synapse lists of a core's input axons fit into its synapse memory.

    Why: weights lie on the core that they end on, one list per input axon, in whole memory words. A
    neuron that does not fit alone, with its complete fan-in, fits on no core.

    Fix: lower the rank, ``--weight-bits`` or ``--neurons-per-core``; ``adlrns-map fit`` tries them.

    Example: 128 inputs to 1,024 neurons at 8 bits take 18,432 words of loihi1, whose cores have
    16,384.
    """
    return _over(artifact, "synapse_words", "lower the rank, the weight bits or neurons_per_core")


@rule("ADL-CAP-03", limits=("core.input_axons",))
def input_axons(artifact: Artifact) -> Iterator[Finding]:
    """A core listens to at most ``core.input_axons`` compartments.

    Why: for each compartment that sends to it a core keeps where the synapse list begins.

    Fix: lower the fan-in of the layer: a factor pair listens to as many relays as its rank has.

    Example: a neuron that reads an image of 64 × 64 pixels in 3 channels, 12,288 axons, on loihi1.
    """
    return _over(artifact, "input_axons", "lower the fan-in of the layer or its rank")


@rule("ADL-CAP-04", limits=("core.output_axons",))
def output_axons(artifact: Artifact) -> Iterator[Finding]:
    """A core's compartments send to at most ``core.output_axons`` (compartment, core) pairs.

    Why: packets are unicast, so a compartment keeps one entry for each core that listens to it.

    Fix: put the layers that it feeds on fewer, fuller cores, or this layer on more.

    Example: 1,000 neurons of loihi1 that all feed a layer on five cores need 5,000 output axons of
    4,096.
    """
    return _over(artifact, "output_axons", "use fewer, fuller cores for the layers it feeds")


@rule("ADL-CAP-05", limits=("core.compartment_groups",))
def compartment_groups(artifact: Artifact) -> Iterator[Finding]:
    """A core holds slices of at most ``core.compartment_groups`` populations.

    Why: compartments of one population share a threshold and decays, of which a core keeps few
    sets.

    Fix: raise ``--neurons-per-core``, or merge small populations that have the same parameters.

    Example: nine layers of ten neurons each on one core of loihi2, which has eight neuron groups.
    """
    return _over(artifact, "compartment_groups", "raise neurons_per_core or merge populations")


@rule("ADL-CAP-06", limits=("mesh.usable_cores", "mesh.chips"))
def cores(artifact: Artifact) -> Iterator[Finding]:
    """No chip holds more core programs than it has usable cores.

    Why: one core runs one program; a few cores of some chips are not for users.

    Fix: lower the rank or the weight bits, allow more neurons per core, or choose a bigger target;
    ``adlrns-map fit`` tries them.

    Example: a network of 130 cores on loihi2, of whose 128 cores 120 may be used.
    """
    limit = artifact.chip.mesh.usable_cores.value
    for chip, used in sorted(Counter(s.chip for s in artifact.placement.slots).items()):
        if used > limit:
            yield (
                f"network {artifact.partitioned.name} → chip {chip}",
                f"needs {used} cores, {artifact.chip.name} has {limit} per chip",
                "lower the rank, choose a bigger target or place the programs again",
            )


@rule("ADL-CAP-07", limits=("core.weight_widths", "core.index_widths", "core.delay_widths"))
def synapse_fields(artifact: Artifact) -> Iterator[Finding]:
    """Weight, index and delay of a synapse fit the fields that the chip stores them in.

    Why: a synapse of a sparse or shared list names its compartment by an index, and its delay; the
    chip has them in certain widths only, of which the next wider one is taken.

    Fix: lower ``--neurons-per-core`` for the index, the delays of the layer or ``--weight-bits``.

    Example: a sparse list that must tell 5,000 compartments apart, with indices of 12 bits.
    """
    core, partitioned = artifact.chip.core, artifact.partitioned
    for number, program in enumerate(partitioned.cores):
        for tile in program.tiles:
            spec = partitioned.projections[tile.projection]
            rows = tile.synapses.shape[0]
            needs = {
                "weight": (spec.weight_bits, core.weight_widths),
                "index": (
                    0 if spec.form == "dense" else (rows - 1).bit_length(),
                    core.index_widths,
                ),
                "delay": (spec.longest_delay.bit_length(), core.delay_widths),
            }
            for what, (bits, widths) in needs.items():
                if 0 < max(widths.value) < bits:
                    yield (
                        f"{spec.name} → core {number}",
                        f"its synapses need {bits} {what} bits, {artifact.chip.name} stores up to "
                        f"{max(widths.value)}",
                        "lower the delays, the weight bits or neurons_per_core",
                    )
