"""What becomes of each layer of one lava-dl file."""

from __future__ import annotations

from pathlib import Path

from mapping.errors import AdlrnsError, ArtifactError, UnsupportedModelError
from mapping.netx.file import load_file
from mapping.netx.layers import LAYERS
from mapping.netx.read import read_net
from mapping.nir.lookup import NodeSupport


def layers_of(path: Path) -> list[NodeSupport]:
    """The layers of the file ``path``, up to the first that is refused.

    Raises:
        ArtifactError: the file is missing or damaged (ADL-NTX-01, ADL-NTX-02).
    """
    layers = load_file(path).layers
    fault: AdlrnsError | None = None
    try:
        read_net(path)
    except (UnsupportedModelError, ArtifactError) as error:
        if error.where not in {layer.where for layer in layers}:
            raise
        fault = error
    found = []
    for layer in layers:
        kind = layer.text("type")
        refused = fault if fault is not None and fault.where == layer.where else None
        found.append(
            NodeSupport(
                name=str(layer.number),
                kind=kind,
                refused=refused is not None,
                reason=LAYERS[kind].becomes if refused is None else refused.message,
                remedy="" if refused is None else refused.remedy,
            )
        )
        if refused is not None:
            break
    return found
