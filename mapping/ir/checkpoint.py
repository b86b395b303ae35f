"""ADLRNS checkpoints: a folder with ``network.json`` and ``tensors.safetensors``, never pickle."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mapping.artifact.atomic import atomic_directory
from mapping.errors import ArtifactError
from mapping.intake import MOST_COMPARTMENTS
from mapping.ir.network import (
    Conv2d,
    ConvShape,
    Dense,
    FloatArray,
    Gate,
    Input,
    Li,
    Lif,
    LowRank,
    Network,
    Part,
    Port,
    RankGate,
    Relay,
    Sparse,
    SparseSynapses,
    SumPool2d,
)
from mapping.ir.quantized import QuantizedNetwork

SCHEMA = "adlrns-network/1"
DESCRIPTION_FILE = "network.json"
TENSOR_FILE = "tensors.safetensors"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _InputRecord(_Record):
    kind: Literal["input"]
    name: str
    shape: list[int]
    payload_min: int
    payload_max: int
    payload_scale: float
    delta: bool = False


class _LifRecord(_Record):
    kind: Literal["lif"]
    name: str
    shape: list[int]
    current_decay: float
    voltage_decay: float
    threshold: float


class _LiRecord(_Record):
    kind: Literal["li"]
    name: str
    shape: list[int]
    current_decay: float
    voltage_decay: float


class _RelayRecord(_Record):
    kind: Literal["relay"]
    name: str
    block_bounds: list[int]
    gates_needed: list[int] = []
    rectified: bool = False
    sigma: bool = False
    delta: bool = False


class _GateRecord(_Record):
    kind: Literal["gate"]
    name: str
    decay: float
    trace_decay: float
    trace_threshold: float


class _DenseRecord(_Record):
    kind: Literal["dense"]
    name: str
    source: str
    target: str
    layer: str
    part: Part = "full"
    port: Port = "signal"
    source_start: int = 0
    source_stop: int | None = None
    gate: str = ""
    gates_needed: list[int] = []
    fused_rank: int = 0


class _SparseRecord(_Record):
    kind: Literal["sparse"]
    name: str
    source: str
    target: str
    height: int


class _ConvShapeRecord(_Record):
    inputs: tuple[int, int, int]
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class _ConvRecord(_Record):
    kind: Literal["conv2d"]
    name: str
    source: str
    target: str
    conv: _ConvShapeRecord


class _PoolRecord(_Record):
    kind: Literal["sum_pool2d"]
    name: str
    source: str
    target: str
    conv: _ConvShapeRecord
    weight: float


class _RankGateRecord(_Record):
    decay: float
    trace_decay: float
    trace_threshold: float
    at: Literal["relay", "source"]


class _LowRankRecord(_Record):
    kind: Literal["low_rank"]
    name: str
    source: str
    target: str
    levels: list[int]
    sigma: bool = False
    delta: bool = False
    gate: _RankGateRecord | None = None


class _NetworkRecord(_Record):
    format: Literal["adlrns-network/1"] = Field(alias="schema")
    name: str
    dt_s: float
    output: str
    populations: list[
        Annotated[
            _InputRecord | _LifRecord | _LiRecord | _RelayRecord | _GateRecord,
            Field(discriminator="kind"),
        ]
    ]
    projections: list[
        Annotated[
            _DenseRecord | _LowRankRecord | _SparseRecord | _ConvRecord | _PoolRecord,
            Field(discriminator="kind"),
        ]
    ]


_TYPES = {
    "input": Input,
    "lif": Lif,
    "li": Li,
    "relay": Relay,
    "gate": Gate,
    "dense": Dense,
    "low_rank": LowRank,
    "sparse": Sparse,
    "conv2d": Conv2d,
    "sum_pool2d": SumPool2d,
}
_KINDS = {value: key for key, value in _TYPES.items()}
_TENSORS = {
    "input": (),
    "lif": ("bias",),
    "li": ("bias",),
    "relay": ("threshold", "bias"),
    "gate": ("bias", "cost"),
    "dense": ("weight", "delays"),
    "low_rank": ("U", "V", "relay_threshold", "level_bias"),
    "sparse": ("delays",),
    "conv2d": ("weight", "delays"),
    "sum_pool2d": ("delays",),
}
_SPARSE_TENSORS = ("values", "targets", "starts")
_INTEGER_TENSORS = ("delays", "targets", "starts")
_GATE_TENSORS = ("weight", "bias", "cost", "hidden_weight", "hidden_bias")


def save_network(network: Network, folder: Path | str) -> None:
    """Write ``network`` as a checkpoint folder, whole or not at all.

    Raises:
        ArtifactError: ADL-ART-01, the folder cannot be written or holds something else.
    """
    description, tensors = _described(network)
    with atomic_directory(Path(folder), marker=DESCRIPTION_FILE) as work:
        (work / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n")
        save_file(tensors, work / TENSOR_FILE)


def fingerprint(network: Network | QuantizedNetwork) -> str:
    """SHA-256 over everything that ``network`` holds, as a checkpoint would."""
    if isinstance(network, QuantizedNetwork):
        return _integer_fingerprint(network)
    description, tensors = _described(network)
    digest = sha256(json.dumps(description, sort_keys=True).encode())
    for key in sorted(tensors):
        digest.update(key.encode() + tensors[key].tobytes())
    return digest.hexdigest()


def _integer_fingerprint(network: QuantizedNetwork) -> str:
    digest = sha256()

    def add(value: Any) -> None:
        if is_dataclass(value):
            digest.update(type(value).__name__.encode())
            for item in fields(value):
                digest.update(item.name.encode())
                add(getattr(value, item.name))
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode() + value.tobytes())
        elif isinstance(value, tuple):
            digest.update(f"{len(value)}:".encode())
            for entry in value:
                add(entry)
        else:
            digest.update(f"{value!r};".encode())

    add(network)
    return digest.hexdigest()


def _described(network: Network) -> tuple[dict[str, object], dict[str, FloatArray]]:
    tensors: dict[str, FloatArray] = {}

    def record(element: object, where: str, tensor_names: tuple[str, ...]) -> dict[str, object]:
        found: dict[str, object] = {}
        for item in fields(element):  # type: ignore[arg-type]
            value = getattr(element, item.name)
            if item.name in tensor_names:
                tensors[f"{where}/{item.name}"] = np.ascontiguousarray(value)
            elif isinstance(value, RankGate):
                found[item.name] = record(value, f"{where}/{item.name}", _GATE_TENSORS)
            elif isinstance(value, ConvShape):
                found[item.name] = record(value, where, ())
            elif isinstance(value, SparseSynapses):
                found |= record(value, f"{where}/{item.name}", _SPARSE_TENSORS)
            else:
                found[item.name] = list(value) if isinstance(value, tuple) else value
        return found

    records = {
        group: [
            {"kind": (kind := _KINDS[type(e)]), **record(e, e.name, _TENSORS[kind])}
            for e in getattr(network, group)
        ]
        for group in ("populations", "projections")
    }
    description = {
        "schema": SCHEMA,
        "name": network.name,
        "dt_s": network.dt_s,
        "output": network.output,
        **records,
    }
    return description, tensors


def load_network(folder: Path | str) -> Network:
    """Read a checkpoint folder.

    Raises:
        ArtifactError: a file is missing (ADL-CKP-01), unreadable (ADL-CKP-02) or does not hold
            what the schema demands (ADL-CKP-03).
        ConfigError, UnsupportedModelError: the network itself is wrong (ADL-NET-…).
    """
    folder = Path(folder)
    record = _read_description(folder / DESCRIPTION_FILE)
    tensors = _read_tensors(folder / TENSOR_FILE)
    elements: dict[str, list[object]] = {"populations": [], "projections": []}
    for group in elements:
        for item in getattr(record, group):
            values = item.model_dump(exclude={"kind"})
            _check_shape(item.name, values.get("shape", [1]), folder / DESCRIPTION_FILE)
            for key in _TENSORS[item.kind]:
                values[key] = _tensor(tensors, f"{item.name}/{key}", folder / TENSOR_FILE)
            if values.get("gate") and item.kind == "low_rank":
                values["gate"] |= {
                    key: _tensor(tensors, f"{item.name}/gate/{key}", folder / TENSOR_FILE)
                    for key in _GATE_TENSORS
                }
                values["gate"] = RankGate(**values["gate"])
            if item.kind == "sparse":
                found = {
                    key: _tensor(tensors, f"{item.name}/synapses/{key}", folder / TENSOR_FILE)
                    for key in _SPARSE_TENSORS
                }
                values["synapses"] = SparseSynapses(**found, height=values.pop("height"))  # type: ignore[arg-type]
            if "conv" in values:
                values["conv"] = ConvShape(**values["conv"])
            elements[group].append(_TYPES[item.kind](**_tuples(values)))
    return Network(
        name=record.name,
        dt_s=record.dt_s,
        output=record.output,
        populations=tuple(elements["populations"]),  # type: ignore[arg-type]
        projections=tuple(elements["projections"]),  # type: ignore[arg-type]
    )


def _check_shape(name: str, shape: list[int], path: Path) -> None:
    """Nothing is made that no chip could hold, however small its file."""
    if prod(shape) > MOST_COMPARTMENTS:
        raise ArtifactError(
            f"{name}: the shape {shape} holds more than {MOST_COMPARTMENTS} compartments",
            where=str(path),
            remedy="split the population",
            code="ADL-CKP-03",
        )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _read_description(path: Path) -> _NetworkRecord:
    _require(path)
    try:
        return _NetworkRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ArtifactError(
            f"{place}: {first['msg']} ({error.error_count()} problems in all)",
            where=str(path),
            remedy=f"export the checkpoint again; the schema is {SCHEMA}",
            code="ADL-CKP-03",
        ) from error


def _read_tensors(path: Path) -> dict[str, FloatArray]:
    _require(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"is truncated or holds tensors that NumPy lacks ({error})",
            where=str(path),
            remedy="copy the checkpoint again or export it anew",
            code="ADL-CKP-02",
        ) from error


def _require(path: Path) -> None:
    if not path.is_file():
        raise ArtifactError(
            "no such file",
            where=str(path),
            remedy=f"give a checkpoint folder that holds {DESCRIPTION_FILE} and {TENSOR_FILE}",
            code="ADL-CKP-01",
        )


def _tensor(tensors: dict[str, FloatArray], key: str, path: Path) -> FloatArray:
    if key not in tensors:
        raise ArtifactError(
            f"holds no tensor {key!r}",
            where=str(path),
            remedy=f"export the checkpoint again, so that {DESCRIPTION_FILE} and it agree",
            code="ADL-CKP-03",
        )
    values = tensors[key]
    integers = key.rsplit("/", 1)[-1] in _INTEGER_TENSORS
    if values.dtype.kind not in "fiu" or (integers and not (values == np.rint(values)).all()):
        raise ArtifactError(
            f"tensor {key!r} holds {values.dtype}, not "
            + ("integers" if integers else "real numbers"),
            where=str(path),
            remedy="export real weights, and delays and places of synapses as integers",
            code="ADL-CKP-03",
        )
    return values
