from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.curves import curve_record
from support.errors import refused
from support.gated import rate_gated_network
from support.networks import digits_like_network, random_payloads, small_network

from mapping import CompileOptions, CompileResult, compile_network, load_target
from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.errors import ArtifactError, ConfigError
from mapping.ir.network import Network
from mapping.processors.load import load_processor
from mapping.units import with_prefix
from simulators import ExecutionTrace, Stimulus, estimate_energy, simulate
from simulators.curve import Curve
from simulators.energy.side_by_side import SideBySide, side_by_side
from simulators.report.blocks import interval
from simulators.report.page import SECTIONS, write_page


class Page(HTMLParser):
    """Checks nesting and collects what the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.values: dict[str, list[str]] = {}
        self.prose: list[str] = []
        self._value: str | None = None
        self.source = text
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "data":
            self._value = dict(attributes)["value"]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "data":
            assert self._value is not None
            self.values.setdefault(self._value, []).append(data)
        if self.open and self.open[-1] != "style":
            self.prose.append(data)

    @property
    def text(self) -> str:
        """Everything to read, white space folded."""
        return " ".join(" ".join(self.prose).split())


@dataclass(frozen=True)
class Compiled:
    result: CompileResult
    trace: ExecutionTrace
    stimulus: Stimulus

    def page(self, path: Path, **more: Any) -> Page:
        write_page(path, self.result.artifact, self.result.report, **more)
        return Page(path.read_text("utf-8"))

    def curve(self, *, accuracy: bool = True) -> Curve:
        record = curve_record(self.result.artifact, accuracy=accuracy)
        return Curve.model_validate_json(json.dumps(record))

    def hardware(self) -> SideBySide:
        return side_by_side(
            self.result.artifact,
            self.stimulus,
            budgets=[None],
            processors=[load_processor("h100"), load_processor("cpu")],
        )


def _compiled(network: Network, **options: Any) -> Compiled:
    result = compile_network(network, load_target("loihi2"), CompileOptions(**options))
    payloads = random_payloads(network)
    labels = np.zeros(len(payloads), np.int64)
    stimulus = Stimulus(payloads=payloads, labels=labels)
    return Compiled(result, simulate(result.artifact, stimulus), stimulus)


@pytest.fixture(scope="module")
def small() -> Compiled:
    return _compiled(small_network(), neurons_per_core=3)


@pytest.fixture(scope="module")
def complete(small: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of ``small`` with everything that there is."""
    path = tmp_path_factory.mktemp("complete") / "report.html"
    return small.page(path, trace=small.trace, curve=small.curve(), hardware=small.hardware())


def test_the_figures_are_those_of_the_energy_report(small: Compiled, complete: Page) -> None:
    found = complete.values
    energy = estimate_energy(small.result.artifact, small.trace)
    for value, unit in (
        (energy.total_j, "J"),
        (energy.dynamic_j, "J"),
        (energy.static_j, "J"),
        (energy.static_chip_j, "J"),
        (energy.latency_s, "s"),
        *((component, "J") for component in energy.component_j().values()),
    ):
        assert with_prefix(value, unit) in found[str(value)]
    shown = np.array([float(value) for value in found])
    per_core: Any = energy.as_dict()["per_core"]
    for core in per_core:
        for name in ("energy_j", "static_j", "synapse", "axon"):
            assert np.isclose(shown, core[name], rtol=1e-12, atol=0).any(), name
    accuracy = small.trace.accuracy()
    assert f"{accuracy:.2%}" in found[str(accuracy)]


def test_the_page_says_what_the_compiler_reports(small: Compiled, tmp_path: Path) -> None:
    text = small.page(tmp_path / "report.html", trace=small.trace).text
    report: Any = small.result.report
    noc, origin = report["noc"], small.result.artifact.origin
    assert f"{report['cores']['used']} of 120" in text
    assert f"degree bound {noc['lower_bound']:.4g}, gap {noc['gap']:.0%}" in text
    assert "An estimate, not a measurement." in text
    assert "Left out are the host processor" in text
    assert "None: the program keeps all design rules" in text
    for known in (
        origin.network_sha256,
        origin.chip_sha256,
        origin.fingerprint(),
        "adlrns-trace/2",
    ):
        assert known in text
    constants = small.result.artifact.chip.constants()
    for name in ("energy_j.synaptic_op_dense", "latency_s.spike", "static_power_w"):
        assert name in text
        assert constants[name].source in text


def test_the_page_says_what_other_devices_take(small: Compiled, complete: Page) -> None:
    hardware = small.hardware()
    for point in hardware.points:
        for cost in (point.chip, *point.processors):
            assert cost.device in complete.text
            assert str(cost.energy_j) in complete.values
            assert str(cost.latency_s) in complete.values
    assert "full rank" not in complete.text.split("Energy per inference, by device")[1][:200]
    assert "Modelled, not measured." in complete.text
    assert "adlrns-side-by-side/2" in complete.text
    other = hardware.model_copy(update={"program": "another"})
    with refused(ConfigError, "ADL-SBS-02", where="hardware"):
        small.page(Path("nowhere.html"), hardware=other)


def test_the_page_says_what_processors_take_at_full_rank(tmp_path: Path) -> None:
    gated = _compiled(rate_gated_network(), neurons_per_core=6)
    hardware = gated.hardware()
    page = gated.page(tmp_path / "report.html", hardware=hardware)
    assert len(hardware.full_rank) == len(hardware.points[0].processors) == 2
    for cost in hardware.full_rank:
        assert with_prefix(cost.energy_j, "J") in page.values[str(cost.energy_j)]
    assert "full rank" in page.text.split("Energy per inference, by device")[1][:200]


def test_the_page_gives_every_component_its_interval_and_status(
    small: Compiled, complete: Page
) -> None:
    energy = estimate_energy(small.result.artifact, small.trace)
    for name, ends in energy.intervals_j().items():
        if name != "dynamic":
            assert interval(ends, "J") in complete.text
    assert "Cross-check: 29.9 pJ" in complete.text


def test_the_page_says_what_the_curve_holds(small: Compiled, tmp_path: Path) -> None:
    curve = small.curve()
    found = small.page(tmp_path / "report.html", curve=curve)
    for measured in (*curve.adaptive.points, *curve.baselines):
        for value in (measured.dynamic_j, measured.static_j, measured.static_chip_j):
            assert str(value) in found.values
        assert f"{measured.accuracy:.2%}" in found.values[str(measured.accuracy)]
    plots = [a["aria-label"] or "" for tag, a in found.tags if tag == "svg"]
    assert any("dense 8: 95.0% at 250 nJ" in label for label in plots)
    assert any(label.startswith("Heat map of the dark share") for label in plots)
    assert any("share of each rank of enc" in label for label in plots)


def test_without_labels_the_curve_has_a_table_and_no_plot(small: Compiled, tmp_path: Path) -> None:
    found = small.page(tmp_path / "report.html", curve=small.curve(accuracy=False))
    assert "Accuracy is unknown: the input has no labels." in found.text
    assert not any("Accuracy against" in (a.get("aria-label") or "") for _, a in found.tags)


def test_findings_of_the_design_rules_are_listed(small: Compiled, tmp_path: Path) -> None:
    finding = {
        "code": "ADL-NUM-02",
        "severity": "warning",
        "where": "core <3>",
        "message": "it is close",
        "remedy": "leave room",
    }
    report = small.result.report | {"diagnostics": [finding]}
    write_page(tmp_path / "report.html", small.result.artifact, report)
    text = Page((tmp_path / "report.html").read_text("utf-8")).text
    for entry in finding.values():
        assert entry in text


def test_what_is_not_given_is_left_out_with_the_option_that_adds_it(
    small: Compiled, tmp_path: Path
) -> None:
    path, artifact, report = tmp_path / "report.html", small.result.artifact, small.result.report
    hints = write_page(path, artifact, report)
    text = Page(path.read_text("utf-8")).text
    for hint in hints:
        assert f"Left out: {hint.missing}. Add {hint.option}" in text
    assert {hint.option for hint in hints} == {"--trace trace.npz", "--hardware hardware.json"}
    assert "The program has no gates" in text
    gated = compile_network(rate_gated_network(), load_target("loihi2"), CompileOptions())
    hints = write_page(path, gated.artifact, gated.report)
    assert "--curve curve.json" in {hint.option for hint in hints}
    assert "Energy per step" in text
    assert "Energy per inference" not in text
    hints = write_page(path, artifact, report, trace=small.trace)
    assert {hint.option for hint in hints} == {"--hardware hardware.json"}
    given = {"trace": small.trace, "curve": small.curve(), "hardware": small.hardware()}
    assert write_page(path, artifact, report, **given) == ()


def test_a_trace_without_counts_shows_its_spikes_alone(small: Compiled, tmp_path: Path) -> None:
    bare = replace(small.trace, counts=None, link_packets=None)
    found = small.page(tmp_path / "report.html", trace=bare)
    assert "Spikes of sample 0" in found.text
    assert "Left out: the load of every link. Add --trace trace.npz of the chip backend" in (
        found.text
    )


def test_the_page_stands_alone(complete: Page) -> None:
    assert not {tag for tag, _ in complete.tags} & {"script", "link", "img", "iframe", "object"}
    targets = [v for _, a in complete.tags for k, v in a.items() if k in ("href", "src", "xmlns")]
    assert targets
    assert all(target is not None and target.startswith("#") for target in targets)
    assert all(r.startswith("#") for r in re.findall(r"url\(([^)]*)\)", complete.source))
    assert "http" not in complete.source
    assert "@import" not in complete.source


def test_every_reference_within_the_page_is_unique_and_there(complete: Page) -> None:
    names = [a["id"] for _, a in complete.tags if "id" in a]
    assert len(names) == len(set(names))
    wanted = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)|labelledby="([^"]+)"', complete.source)
    assert {name for group in wanted for name in group if name} <= set(names)
    assert len([1 for tag, _ in complete.tags if tag == "h2"]) == len(SECTIONS)


def test_the_drawings_take_every_colour_from_the_page(complete: Page) -> None:
    styles = [a["style"] or "" for tag, a in complete.tags if "style" in a]
    assert any("var(--heat)" in style for style in styles)
    for style in styles:
        assert not re.search(r"#[0-9a-f]{3,}", style), style
    defined = set(re.findall(r"(--[\w-]+):", complete.source))
    used = {name for style in styles for name in re.findall(r"var\((--[\w-]+)\)", style)}
    assert used <= defined
    plots = [a for tag, a in complete.tags if tag == "svg"]
    assert plots
    assert all(a["role"] == "img" and a["aria-label"] for a in plots)


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    odd = "<b>$x_1$ & 'é\"ネ"
    network = small_network()
    renamed = replace(
        network,
        name="<script>",
        populations=tuple(
            replace(p, name=odd) if p.name == "hidden" else p for p in network.populations
        ),
        projections=tuple(
            replace(
                p,
                source=odd if p.source == "hidden" else p.source,
                target=odd if p.target == "hidden" else p.target,
            )
            for p in network.projections
        ),
    )
    compiled = _compiled(renamed)
    found = compiled.page(tmp_path / "report.html", trace=compiled.trace)
    assert not {tag for tag, _ in found.tags} & {"b", "script"}
    assert odd in found.text
    assert "<script>" in found.text


def test_the_same_input_gives_the_same_bytes(small: Compiled, tmp_path: Path) -> None:
    slower = replace(small.trace, seconds=small.trace.seconds + 1.0)
    report = small.result.report | {"stages": [{"name": "place", "seconds": 9.0}]}
    pages = []
    for trace, stated in ((small.trace, small.result.report), (slower, report)):
        path = tmp_path / "report.html"
        write_page(path, small.result.artifact, stated, trace=trace, curve=small.curve())
        pages.append(path.read_bytes())
    assert pages[0] == pages[1]


def test_large_programs_keep_the_page_small(tmp_path: Path) -> None:
    large = _compiled(digits_like_network(hidden=900), neurons_per_core=16)
    text = large.page(tmp_path / "report.html", trace=large.trace).text
    assert (tmp_path / "report.html").stat().st_size < 1_500_000
    assert "Of larger populations the first 128 neurons." in text
    assert "The 40 costliest cores." in text
    assert "The 10 busiest of" in text


def test_a_core_that_rests_is_marked(small: Compiled, tmp_path: Path) -> None:
    """Nothing happens on a core of relays alone once the input is over."""
    compiled = _compiled(small_network(), neurons_per_core=4)
    payloads = np.zeros((2, 60, 12), np.int64)
    payloads[:, 0] = 1
    quiet = simulate(compiled.result.artifact, Stimulus(payloads=payloads))
    assert "of the steps or more" not in small.page(tmp_path / "a.html", trace=small.trace).text
    assert "of the steps or more" in compiled.page(tmp_path / "b.html", trace=quiet).text


def _full_disk(path: Path, *_: object) -> None:
    path.write_bytes(b"half")
    raise OSError(28, "No space left on device")


def test_no_half_page_is_left(
    small: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b"the old page")
    monkeypatch.setattr(Path, "write_text", _full_disk)
    with refused(ArtifactError, "ADL-ART-01", where="report.html"):
        write_page(path, small.result.artifact, small.result.report)
    assert path.read_text() == "the old page"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_trace_or_curve_of_another_program_is_refused(small: Compiled, tmp_path: Path) -> None:
    artifact, report = small.result.artifact, small.result.report
    path = tmp_path / "report.html"
    foreign = replace(small.trace, program="another")
    with refused(ConfigError, "ADL-ENG-02", where="trace"):
        write_page(path, artifact, report, trace=foreign)
    with refused(ConfigError, "ADL-ENG-02", where="trace"):
        write_page(path, artifact, report, trace=replace(foreign, counts=None))
    record = curve_record(artifact)
    record["adaptive"]["program"] = "another"
    curve = Curve.model_validate_json(json.dumps(record))
    with refused(ConfigError, "ADL-CRV-02", where="curve"):
        write_page(path, artifact, report, curve=curve)
    assert not path.exists()


def test_the_command(small: Compiled, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, trace, curve = tmp_path / "out", tmp_path / "trace.npz", tmp_path / "curve.json"
    write_artifact(small.result.artifact, small.result.report, folder)
    small.trace.save(trace)
    curve.write_text(json.dumps(curve_record(small.result.artifact)))
    target = tmp_path / "report.html"
    command = ["report", str(folder), "-o", str(target)]
    assert adlrns_map(command) == 0
    printed = capsys.readouterr().out
    assert "Left out: the load of every link; add --trace trace.npz" in printed
    assert f"Written to {target}" in printed
    hardware = tmp_path / "hardware.json"
    small.hardware().save(hardware)
    files = ["--trace", str(trace), "--curve", str(curve), "--hardware", str(hardware)]
    assert adlrns_map([*command, *files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(target), "left_out": []}
    Page(target.read_text("utf-8"))
    assert adlrns_map([*command, "--curve", str(trace)]) == 2
    assert "ADL-CRV-01" in capsys.readouterr().err
