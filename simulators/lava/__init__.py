"""Lava as a backend, run in an interpreter of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.lava.compat import import_lava

if TYPE_CHECKING:
    from mapping.artifact.schema import Artifact
    from simulators.lava.program import LavaProgram

__all__ = ["lava_network"]


def lava_network(artifact: Artifact, *, price: float = 0.0, fuse: bool = False) -> LavaProgram:
    """The Lava Processes of a compiled program, to be connected with Processes of your own.

    Call it in a job of :func:`simulators.lava.guard.run_guarded` and run the network with
    :class:`simulators.lava.runtime.LavaRuntime`; docs/lava.md has an example.

    Args:
        artifact: the compiled program.
        price: of a level's cost, for the gates.
        fuse: run all cores in one operating-system process, so that large programs start.

    Raises:
        MissingDependencyError: ADL-DEP-01, Lava is not installed.
        SimulationError: ADL-SIM-05, Lava cannot be used in this interpreter.
    """
    import_lava()
    from simulators.lava.program import build_program

    return build_program(artifact, price=price, fuse=fuse)
