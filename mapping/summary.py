"""The compiler's report for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from mapping.console import diagnostic_line, out, print_json, say
from mapping.explain import Explanation
from mapping.fit import Verdict
from mapping.processors.spec import ProcessorSpec
from mapping.targets.figures import Figure
from mapping.targets.spec import ChipSpec, MeshSpec
from mapping.units import with_prefix

_HEADINGS = {
    "compartments": "neurons",
    "compartment_groups": "groups",
    "synapse_words": "memory",
    "input_axons": "in",
    "output_axons": "out",
}
"""Short headings for the resources of a core."""


def print_summary(report: dict[str, Any]) -> None:
    """The compiler's report for people."""
    network, cores, noc = report["network"], report["cores"], report["noc"]
    say(
        f"{network['name']} on {report['target']}: {network['neurons']} neurons, "
        f"{network['synapses']} synapses, {cores['used']} of {cores['available']} cores"
        + (f" on {cores['chips']} chips" if cores["chips"] > 1 else "")
    )
    if network.get("conventions"):
        conventions = dict(network["conventions"])
        origin = conventions.pop("format")
        if conventions.pop("dt_from", "") == "assumed":
            conventions["dt"] = f"{conventions['dt']} s (assumed; set it with --dt)"
        say(f"Read from {origin} with {', '.join(f'{n} {v}' for n, v in conventions.items())}")
    cut = any(layer["truncation_error"] for layer in network["layers"])
    layers = Table(
        "layer",
        "in → out",
        "rank",
        "form",
        "cores",
        "bits",
        *(["cut"] if cut else []),
        "error",
        "clipped",
        "zeroed",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for layer in network["layers"]:
        layers.add_row(
            Text(layer["name"]),
            f"{layer['in']} → {layer['out']}",
            ", ".join(map(str, layer["levels"])),
            layer["realisation"],
            str(layer["cores"]),
            str(layer["weight_bits"]),
            *([f"{layer['truncation_error']:.1%}"] if cut else []),
            f"{layer['relative_error']:.2%}",
            f"{layer['clipped']:.2%}",
            f"{layer['zeroed']:.2%}",
        )
    out.print(layers)
    for layer in network["layers"]:
        if layer["why"]:
            say(f"{layer['name']} is {layer['realisation']}: {layer['why']}")
    if report["low_rank"] and report["low_rank"]["search"]:
        _print_search(report["low_rank"]["search"])
    busiest = max(cores["per_core"], key=lambda core: core["utilisation"])
    out.print(
        f"Busiest core: {busiest['id']} at {busiest['utilisation']:.1%} of its "
        f"{busiest['bottleneck'].replace('_', ' ')}"
    )
    out.print(
        f"Traffic ({noc['traffic']}): {noc['packets_per_step']:.4g} packets and "
        f"{noc['hops_per_step']:.4g} hops per step ({noc['bound']} bound "
        f"{noc['lower_bound']:.4g}, gap {noc['gap']:.0%}), busiest link "
        f"{noc['max_link_load']:.4g}, longest path {noc['longest_path']}"
    )
    estimate = report["estimate"]
    energy = _with_interval(estimate, "energy", "j", "J")
    latency = _with_interval(estimate, "latency", "s", "s")
    say(
        f"Estimate ({estimate['status']} constants, {estimate['activity']} activity): {energy} "
        f"and {latency} per step,\nof it {with_prefix(estimate['static_j_per_step'], 'J')} static "
        "on the used cores"
    )
    if report["budgets"]:
        energies = [entry["energy_j"] for entry in report["budgets"]]
        say(
            f"Gates: the dial goes from {with_prefix(min(energies), 'J')} to "
            f"{with_prefix(max(energies), 'J')} of dynamic energy per inference on the calibration "
            f"data;\nset it with `simulate --budget` in mJ, at most {max(energies) * 1e3:.3g}"
        )
    elif any(len(layer["levels"]) > 1 for layer in network["layers"]):
        say(
            "Gates: no energies are known, since there are no calibration data, so `simulate "
            "--budget` will refuse; compile with --calibration to have them"
        )
    for diagnostic in report["diagnostics"]:
        say(diagnostic_line(diagnostic))


def _print_search(search: dict[str, Any]) -> None:
    kept = [step for step in search["steps"] if step["kept"]]
    say(
        f"Ranks found in {len(search['steps'])} steps, {len(kept)} of them kept: accuracy on the "
        f"calibration data {search['full_accuracy']:.2%} → {search['accuracy']:.2%} "
        f"({search['max_accuracy_drop']:g} points allowed), modelled energy of the layers "
        f"{with_prefix(search['full_energy_j'], 'J')} → {with_prefix(search['energy_j'], 'J')} "
        "per step"
    )


def _with_interval(estimate: dict[str, Any], quantity: str, suffix: str, unit: str) -> str:
    low, high = estimate[f"{quantity}_interval_{suffix}_per_step"]
    ends = " … ".join(with_prefix(end, unit, digits=2) for end in (low, high))
    return f"{with_prefix(estimate[f'{quantity}_{suffix}_per_step'], unit)} ({ends})"


def print_cores(report: dict[str, Any], mesh: MeshSpec) -> None:
    """One row per core: where it is, what it holds and how full it is."""
    table = Table(
        "core",
        "tile",
        "neurons",
        "words",
        "in",
        "out",
        "full",
        "holds",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for core in report["cores"]["per_core"]:
        table.add_row(
            str(core["id"]),
            mesh.tile_name(core["chip"], core["x"], core["y"]),
            str(core["neurons"]),
            str(core["synapse_words"]),
            str(core["in_axons"]),
            str(core["out_axons"]),
            f"{core['utilisation']:.1%}",
            Text(", ".join(core["holds"])),
        )
    out.print(table)


def print_descriptions(found: Iterable[ChipSpec | ProcessorSpec], *, as_json: bool) -> None:
    """One line per chip or processor: its name and what it is."""
    if as_json:
        print_json([{"name": one.name, "description": one.description} for one in found])
        return
    for one in found:
        say(f"{one.name}: {one.description}")


def print_constants(description: str, constants: Mapping[str, Figure]) -> None:
    """Every figure of a chip or processor with its interval, status and source."""
    table = Table(title=Text(description), box=SIMPLE, collapse_padding=True, pad_edge=False)
    table.add_column("entry", no_wrap=True)
    for heading in ("value", "status", "source"):
        table.add_column(heading, overflow="fold")
    for name, entry in constants.items():
        factor = getattr(entry, "factor", 1.0)
        interval = f" (×/÷ {factor:g})" if factor > 1 else ""
        plain = isinstance(entry.value, int | float) and not isinstance(entry.value, bool)
        value = f"{entry.value:g}" if plain else str(entry.value)
        table.add_row(name, value + interval, entry.status, Text(entry.source))
    out.print(table)


def print_verdicts(name: str, verdicts: Sequence[Verdict], *, ranked: bool) -> None:
    """One row per target: how full its fullest core is of each resource, and whether that fits.

    Args:
        name: of the network.
        verdicts: by target.
        ranked: whether a rank was asked for; where it changes nothing, a line says so.
    """
    table = Table(box=SIMPLE, collapse_padding=True, pad_edge=False)
    for heading in ("target", "fits", "cores", *_HEADINGS.values()):
        table.add_column(heading, no_wrap=True)
    for verdict in verdicts:
        taken = verdict.occupancy
        row = ["no" if verdict.error else "yes"]
        if taken:
            row.append(f"{taken.cores_used} of {taken.cores_available}")
            row += [f"{taken.busiest[resource]:.0%}" for resource in _HEADINGS]
        table.add_row(Text(verdict.target), *row)
    say(f"{name}: cores, and the share of each resource that the fullest core takes")
    out.print(table)
    for verdict in verdicts:
        if verdict.error:
            say(f"{verdict.target}: {verdict.error}")
    idle = [v.target for v in verdicts if v.occupancy and not v.occupancy.factor_pairs]
    if ranked and idle:
        say(
            f"--rank takes no less of {', '.join(idle)}: no layer is kept there as two factors, "
            "which need graded spikes, and a rank at which they cost less than the full matrix"
        )
    fitting = [verdict.target for verdict in verdicts if not verdict.error]
    if len(fitting) < len(verdicts):
        say(f"As it is, {name} fits {', '.join(fitting) or 'none of these targets'}")


def print_explanation(code: str, text: Explanation) -> None:
    """One code in words."""
    say(f"{code} · {text.title}\n\n{text.means}\n")
    for heading in ("why", "fix", "example"):
        say(f"{heading.capitalize()}: {getattr(text, heading)}")
