"""Read processors: built-in ones by name, a user's own from a TOML file."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from mapping.descriptions import Descriptions
from mapping.errors import TargetError
from mapping.processors.spec import ProcessorSpec

_ADAPTER = TypeAdapter(ProcessorSpec)
_PROCESSORS = Descriptions(
    package="mapping.processors",
    kind="processor",
    listing="list processors with `adlrns-map processors list`",
    example="docs/processors.md shows a complete example",
    unknown="ADL-PRC-01",
    broken="ADL-PRC-02",
    invalid="ADL-PRC-03",
)


def processor_names() -> tuple[str, ...]:
    """Names of the built-in processors, sorted."""
    return _PROCESSORS.names()


def load_processor(name_or_file: str | Path) -> ProcessorSpec:
    """The processor called ``name_or_file``, or described by that TOML file.

    Raises:
        TargetError: unknown name or missing file (ADL-PRC-01), not TOML (ADL-PRC-02), an entry is
            missing, unknown, of the wrong type or not positive (ADL-PRC-03).
    """
    text = str(name_or_file)
    return parse_processor(_PROCESSORS.read(text, where=text), where=text)


def parse_processor(data: object, *, where: str) -> ProcessorSpec:
    """Check a description and build the :class:`ProcessorSpec`.

    Raises:
        TargetError: ADL-PRC-03, naming the entry at fault.
    """
    processor = _PROCESSORS.parse(_ADAPTER, data, where=where)
    formats, priced = processor.peak_ops_per_s.keys(), processor.energy_per_op_j.keys()
    zero = [
        name
        for name, constant in processor.constants().items()
        if constant.value == 0 and not name.startswith(("idle_power_w", "launch_s"))
    ]
    if formats != priced or "fp32" not in formats or zero:
        raise TargetError(
            f"{', '.join(zero)} is 0"
            if zero
            else f"peaks are for {sorted(formats)}, energies for {sorted(priced)}",
            where=where,
            remedy="give a positive peak and energy of fp32 and of each other number format",
            code="ADL-PRC-03",
        )
    return processor
