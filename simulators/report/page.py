"""The page itself: its sections in order, rendered and written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mapping.artifact.atomic import atomic_file
from mapping.artifact.schema import Artifact
from simulators.curve import Curve
from simulators.energy.side_by_side import SideBySide
from simulators.report.blocks import Hint, Section
from simulators.report.curve_sections import accuracy_energy, ranks
from simulators.report.hardware_section import devices
from simulators.report.program_sections import diagnostics, layers, provenance
from simulators.report.run_sections import core_grid, cores, links, spikes
from simulators.report.sources import gather
from simulators.report.summary import summary
from simulators.trace import ExecutionTrace

SECTIONS = (
    summary,
    core_grid,
    links,
    layers,
    ranks,
    spikes,
    accuracy_energy,
    devices,
    diagnostics,
    cores,
    provenance,
)
"""In the order of the page."""

_TEMPLATES = Environment(
    loader=PackageLoader("simulators.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def write_page(
    path: Path,
    artifact: Artifact,
    report: dict[str, Any],
    *,
    trace: ExecutionTrace | None = None,
    curve: Curve | None = None,
    hardware: SideBySide | None = None,
) -> tuple[Hint, ...]:
    """Write the report as one HTML file that needs nothing else; the same input, the same bytes.

    Args:
        path: the file.
        artifact: the compiled program; report: the compiler's, from the same folder.
        trace: a run of it.
        curve: its accuracy and energy at each budget.
        hardware: what it costs on other devices.

    Returns:
        What the page lacks, and the option that adds it.

    Raises:
        ConfigError: the trace (ADL-ENG-02), the curve (ADL-CRV-02) or the comparison of hardware
            (ADL-SBS-02) is of another program.
        ArtifactError: ADL-ART-01, the file cannot be written.
    """
    sources = gather(artifact, report, trace, curve, hardware)
    sections = tuple(section(sources) for section in SECTIONS)
    content = _rendered(artifact, sections)
    with atomic_file(path) as work:
        work.write_text(content, "utf-8")
    return tuple(b for section in sections for b in section.blocks if isinstance(b, Hint))


def _rendered(artifact: Artifact, sections: tuple[Section, ...]) -> str:
    return _TEMPLATES.get_template("page.html").render(
        network=artifact.partitioned.name,
        target=artifact.chip,
        version=artifact.origin.tool_version,
        sections=sections,
    )
