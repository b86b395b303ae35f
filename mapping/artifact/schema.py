"""The compiled program: everything that a backend, a rule or the estimator may look at."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mapping.ir.network import Input
from mapping.ir.partitioned import CompartmentGroup, PartitionedNetwork, reassemble
from mapping.ir.payloads import payload_ranges
from mapping.ir.placed import CoreSlot, Placement
from mapping.ir.quantized import ProjectionSpec, QuantizedNetwork, WeightFidelity
from mapping.ir.ranges import Reach
from mapping.ir.routed import Routing
from mapping.ir.synapses import Form
from mapping.targets.spec import ChipSpec

SCHEMA = "adlrns-artifact/4"
REPORT_SCHEMA = "adlrns-report/1"
MANIFEST_FILE = "manifest.json"
CORES_FILE = "cores.npz"
ROUTES_FILE = "routes.npz"
REPORT_FILE = "report.json"
SYNAPSE_ARRAYS: dict[Form, tuple[str, ...]] = {
    "dense": ("values",),
    "sparse": ("values", "targets", "starts"),
    "conv": ("values", "outputs"),
}
"""What the core file holds of the synapses of a tile, by their form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a compiled program comes from; the same origin gives the same program.

    Attributes:
        tool_version: version of this package.
        seed: seed of the search passes.
        options: compiler options and, of a model of another tool, the conventions it was read by,
            by name.
        network_sha256, chip_sha256: fingerprints of the inputs; calibration_sha256 is empty
            without calibration data.
        stages: names of the passes that ran.
    """

    tool_version: str
    seed: int
    options: dict[str, str | int | float | None]
    network_sha256: str
    chip_sha256: str
    calibration_sha256: str
    stages: tuple[str, ...]

    def fingerprint(self) -> str:
        """SHA-256 that ties traces to the program they ran."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedEnergy:
    """What an inference took on the calibration data while the gates paid ``price``.

    Attributes:
        price: of a level's cost, see :class:`mapping.ir.elements.Gate`.
        energy_j: mean dynamic energy per sample [J].
    """

    price: float
    energy_j: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Artifact:
    """A compiled program in memory.

    Attributes:
        budgets: by rising price, what a gated program takes; empty without gates or calibration.
    """

    chip: ChipSpec
    partitioned: PartitionedNetwork
    placement: Placement
    routing: Routing
    origin: Origin
    budgets: tuple[PricedEnergy, ...] = ()

    @cached_property
    def network(self) -> QuantizedNetwork:
        """The integer network, put together again from the core programs."""
        return reassemble(self.partitioned)

    @cached_property
    def payload_ranges(self) -> dict[str, Reach]:
        """Worst-case payloads of every population."""
        return payload_ranges(self.network)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class InputRecord(_Record):
    """An input population in the manifest."""

    kind: Literal["input"] = "input"
    population: Input


class LifRecord(_Record):
    """LIF compartments in the manifest; their bias mantissas lie in the core file."""

    kind: Literal["lif"] = "lif"
    name: str
    shape: tuple[int, ...]
    du: int
    dv: int
    threshold: int
    bias_exponent: int
    scale: float


class RelayRecord(_Record):
    """Relay compartments in the manifest; thresholds and biases lie in the core file."""

    kind: Literal["relay"] = "relay"
    name: str
    block_bounds: tuple[int, ...]
    block_scales: tuple[float, ...]
    gates_needed: tuple[int, ...]
    rectified: bool
    sigma: bool
    delta: bool


class GateRecord(_Record):
    """Gates in the manifest; their biases and costs lie in the core file."""

    kind: Literal["gate"] = "gate"
    name: str
    scale: float
    gain_decay: int
    trace_decay: int
    trace_threshold: int


PopulationRecord = Annotated[
    InputRecord | LifRecord | RelayRecord | GateRecord, Field(discriminator="kind")
]


class TileRecord(_Record):
    """A synapse tile in the manifest; its mantissas lie in the core file."""

    projection: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=1)]


class CoreRecord(_Record):
    """One core program and its place."""

    groups: list[CompartmentGroup]
    tiles: list[TileRecord]
    slot: CoreSlot


class ManifestRecord(_Record):
    """``manifest.json``."""

    format: Literal["adlrns-artifact/4"] = Field(alias="schema")
    origin: Origin
    files: dict[str, str]
    name: str
    dt_s: float
    output: str
    populations: list[PopulationRecord]
    projections: list[ProjectionSpec]
    fidelity: list[WeightFidelity]
    cores: list[CoreRecord]
    budgets: list[PricedEnergy]
    chip: dict[str, object]
