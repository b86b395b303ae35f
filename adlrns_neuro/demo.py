"""The whole way in one run: train on digits, compile one gated program, turn its energy dial.

This is the composition root: the only module that sees training, compiler and simulators.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.progress import track

from adlrns_neuro.data.coding import code
from adlrns_neuro.data.digits import LabelledImages, load_digits_splits
from adlrns_neuro.evaluation import accuracy_at_price, encode
from adlrns_neuro.export import export_network
from adlrns_neuro.gates.spiking import fit_spiking_gate
from adlrns_neuro.models.snn_config import SnnConfig
from adlrns_neuro.recipe import Recipe
from adlrns_neuro.snn_trainer import train_dense_snn, train_snn
from mapping.artifact.read import load_report
from mapping.artifact.schema import Artifact
from mapping.artifact.write import write_artifact
from mapping.console import err
from mapping.ir.checkpoint import load_network, save_network
from mapping.ir.network import Network
from mapping.ir.traffic import Calibration
from mapping.pipeline import CompileOptions, compile_network
from mapping.processors.load import load_processor, processor_names
from mapping.targets.load import load_target
from mapping.units import with_prefix
from simulators.backend import simulate
from simulators.compare import require_equal
from simulators.curve import Curve
from simulators.energy.estimate import EnergyReport, estimate_energy
from simulators.energy.side_by_side import BATCHES, SideBySide, budgets_of, side_by_side
from simulators.energy.sweep import measure_curve
from simulators.plots.overview import draw_overview
from simulators.report.page import write_page
from simulators.trace import Stimulus
from simulators.verify import verify

TARGET = "loihi2"
NEURONS_PER_CORE = 16
POINTS = 7
"""Budgets of the curve."""
HARDWARE_POINTS = 5
"""Budgets at which other hardware stands beside the chip."""
NETWORK, DENSE, ADAPTIVE = "network", "dense-network", "adaptive"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo found on the test digits.

    Attributes:
        curve: the gated program over its budgets, and its baselines.
        hardware: the gated program beside conventional processors, at five budgets.
        energy: of the gated program at the middle budget.
        float_accuracy: of the torch network at the price of each budget, 0 to 1.
        backends: which agree in every u, v, payload and spike.
        compared_samples, compared_budgets_j: on how many digits, at which budgets [J].
        artifacts: folders of the compiled programs, the gated one first.
    """

    curve: Curve
    hardware: SideBySide
    energy: EnergyReport
    float_accuracy: tuple[float, ...]
    backends: tuple[str, ...]
    compared_samples: int
    compared_budgets_j: tuple[float, ...]
    artifacts: tuple[Path, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "curve": self.curve.model_dump(by_alias=True),
            "hardware": self.hardware.model_dump(by_alias=True),
            "energy": self.energy.as_dict(),
            "float_accuracy": self.float_accuracy,
            "backends": self.backends,
            "compared_samples": self.compared_samples,
            "compared_budgets_j": self.compared_budgets_j,
            "artifacts": [str(path) for path in self.artifacts],
        }


def run_demo(output: Path, recipe: Recipe, *, compared_samples: int, progress: bool) -> DemoResult:
    """Do everything and write it to ``output``.

    Args:
        output: folder for networks, input files, artifacts, curve, trace, picture and report.
        recipe: how to train; its seed also splits the data.
        compared_samples: test digits that run in all backends.
        progress: show progress bars.

    Raises:
        SimulationError: ADL-SIM-10, two backends disagree.
    """
    splits = load_digits_splits(recipe.training.seed)
    train, held_out, test = (
        encode(part, recipe.snn.steps, recipe.snn.coding)
        for part in (splits.train, splits.calibration, splits.test)
    )
    trained = train_snn(train, held_out, recipe.snn, recipe.training, progress=progress)
    fit_spiking_gate(trained.model, held_out, recipe.training)
    dense = train_dense_snn(train, held_out, recipe.snn, recipe.training, progress=progress)
    adaptive = export_network(trained.model, name="digits", dt_s=1e-3, gated=True)
    save_network(adaptive, output / NETWORK)
    save_network(export_network(dense, name="digits-dense", dt_s=1e-3), output / DENSE)
    stimulus, calibration = (
        as_stimulus(part, recipe.snn) for part in (splits.test, splits.calibration)
    )
    stimulus.save(output / "test.npz")
    calibration.save(output / "calibration.npz")
    wanted = {
        ADAPTIVE: (NETWORK, None),
        **{f"rank-{rank}": (NETWORK, rank) for rank in recipe.snn.levels},
        "dense": (DENSE, None),
    }
    artifacts = {
        name: compiled(load_network(output / network), calibration, rank, output / name)
        for name, (network, rank) in track(
            wanted.items(), "compile", console=err, disable=not progress
        )
    }
    program = artifacts.pop(ADAPTIVE)
    curve = measure_curve(program, stimulus, baselines=artifacts, points=POINTS, split="test")
    curve.save(output / "curve.json")
    falling = curve.adaptive.falling()
    few = (falling[0], falling[POINTS // 2], falling[-1])
    others = ("chip", "lava") if find_spec("lava") else ("chip",)
    for point in track(few, "compare backends", console=err, disable=not progress):
        some = stimulus.first(compared_samples)
        traces = verify(program, some, others, price=point.price).traces
        require_equal(*traces, where=f"price {point.price:.3g}")
    hardware = side_by_side(
        program,
        stimulus,
        budgets=budgets_of(program, HARDWARE_POINTS),
        processors=[load_processor(name) for name in processor_names()],
        batches=BATCHES,
    )
    hardware.save(output / "hardware.json")
    trace = simulate(program, stimulus, price=few[1].price)
    trace.save(output / "trace.npz")
    energy = estimate_energy(program, trace)
    draw_overview(program, trace, energy, output / "adaptive.png")
    write_page(
        output / "report.html",
        program,
        load_report(output / ADAPTIVE),
        trace=trace,
        curve=curve,
        hardware=hardware,
    )
    return DemoResult(
        curve=curve,
        hardware=hardware,
        energy=energy,
        float_accuracy=tuple(
            accuracy_at_price(trained.model, test, point.price) for point in falling
        ),
        backends=tuple(trace.backend for trace in traces),
        compared_samples=min(compared_samples, stimulus.samples),
        compared_budgets_j=tuple(point.budget_j for point in few),
        artifacts=tuple(output / name for name in wanted),
    )


def demo_lines(result: DemoResult) -> list[str]:
    """What the table of the curve does not say."""
    floating = ", ".join(f"{accuracy:.2%}" for accuracy in result.float_accuracy)
    budgets = ", ".join(with_prefix(budget_j, "J") for budget_j in result.compared_budgets_j)
    lines = [
        f"The torch network at the same prices: {floating}",
        f"{', '.join(result.backends)}: every u, v, payload and spike of "
        f"{result.compared_samples} digits is the same, at {budgets} each",
    ]
    if "lava" not in result.backends:
        lines.append("Lava is not installed and took no part; `make setup` installs it")
    low, high = (with_prefix(energy_j, "J", digits=2) for energy_j in result.energy.interval_j())
    lines.append(
        f"At {with_prefix(result.compared_budgets_j[1], 'J')} an inference takes "
        f"{with_prefix(result.energy.total_j, 'J')} with the used cores' static energy; constants "
        f"are {result.energy.status}, within their factors {low} … {high}"
    )
    return lines


def as_stimulus(part: LabelledImages, config: SnnConfig) -> Stimulus:
    """Labelled images in the network's coding."""
    payloads = code(part.images, config.steps, config.coding)
    return Stimulus(payloads=payloads, labels=part.labels)


def compiled(
    network: Network, calibration: Stimulus, rank: int | None = None, folder: Path | None = None
) -> Artifact:
    """The program of ``network`` on the demo's target, written to ``folder`` if there is one."""
    result = compile_network(
        network,
        load_target(TARGET),
        CompileOptions(rank=rank, neurons_per_core=NEURONS_PER_CORE),
        calibration=Calibration(payloads=calibration.payloads),
    )
    if folder is not None:
        write_artifact(result.artifact, result.report, folder)
    return result.artifact
