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


@rule("ADL-CAP-01")
def compartments(artifact: Artifact) -> Iterator[Finding]:
    """A core holds at most ``core.compartments`` compartments."""
    return _over(artifact, "compartments", "lower neurons_per_core")


@rule("ADL-CAP-02")
def synapse_words(artifact: Artifact) -> Iterator[Finding]:
    """The synapse lists of a core's input axons fit its synapse memory."""
    return _over(artifact, "synapse_words", "lower the rank, the weight bits or neurons_per_core")


@rule("ADL-CAP-03")
def input_axons(artifact: Artifact) -> Iterator[Finding]:
    """A core listens to at most ``core.input_axons`` compartments."""
    return _over(artifact, "input_axons", "lower the fan-in of the layer or its rank")


@rule("ADL-CAP-04")
def output_axons(artifact: Artifact) -> Iterator[Finding]:
    """A core's compartments send to at most ``core.output_axons`` (compartment, core) pairs."""
    return _over(artifact, "output_axons", "use fewer, fuller cores for the layers it feeds")


@rule("ADL-CAP-05")
def compartment_groups(artifact: Artifact) -> Iterator[Finding]:
    """A core holds slices of at most ``core.compartment_groups`` populations."""
    return _over(artifact, "compartment_groups", "raise neurons_per_core or merge populations")


@rule("ADL-CAP-06")
def cores(artifact: Artifact) -> Iterator[Finding]:
    """No chip holds more core programs than it has usable cores."""
    limit = artifact.chip.mesh.usable_cores.value
    for chip, used in sorted(Counter(s.chip for s in artifact.placement.slots).items()):
        if used > limit:
            yield (
                f"network {artifact.partitioned.name} → chip {chip}",
                f"needs {used} cores, {artifact.chip.name} has {limit} per chip",
                "lower the rank, choose a bigger target or place the programs again",
            )
