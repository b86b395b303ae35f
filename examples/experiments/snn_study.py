"""An adaptive spiking network beside its dense twin, both compiled and run on the chip simulator.

cd examples/experiments
python snn_study.py --config spiking/fashion_mnist_snn.yaml --seed 0 --seed 1 --seed 2

The twin has the same neurons with a full input matrix, and trains on labels for as many epochs as
teacher and factors together. Held-out samples choose every epoch, fit the gate and set the price
that is reported: the one of least energy among those within a tenth of a point of the best. The
test split is measured once, on the compiled programs. With ``folds`` every sample is tested once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import typer
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, ValidationError

from adlrns_neuro.data import Labelled, folds, hold_out, load_dataset
from adlrns_neuro.data.coding import Coding, code, graded, is_binary, requantised
from adlrns_neuro.evaluation import Examples, accuracy_at_price
from adlrns_neuro.export import export_network
from adlrns_neuro.gates.spiking import fit_spiking_gate
from adlrns_neuro.models import DenseSNN, LowRankSNN, SnnConfig
from adlrns_neuro.snn_trainer import (
    TrainingConfig,
    limit_readout,
    train_dense_snn,
    train_snn,
)
from adlrns_neuro.training.checkpoint import load_weights, save_weights
from adlrns_neuro.yaml_file import read_yaml
from mapping import Calibration, CompileOptions, compile_network, load_target
from mapping.artifact.atomic import atomic_file
from mapping.artifact.schema import Artifact
from mapping.budget import price_for
from mapping.console import run_program, say
from mapping.errors import ConfigError
from simulators import Stimulus, estimate_energy, simulate

POINTS = 5
"""Budgets of the curve."""
TOLERANCE = 0.001
"""Accuracy on held-out samples that the reported price may give up for energy."""
CHUNK = 2000
Network = TypeVar("Network", LowRankSNN, DenseSNN)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class StudyConfig(BaseModel):
    """A study.

    Attributes:
        set, options: data set and what its loader takes.
        coding: how images become payloads; None where the set holds spikes or features, step by
            step.
        payload_max: levels above 0 of a graded payload.
        payload_unit: of a set of features, what a payload of 1 stands for; features below 0 send
            nothing.
        frames_per_step: frames of a set that arrive together in a step.
        held_out_share: of the training samples.
        image: shape (..., rows, columns) of what is turned and shifted.
        turns_deg: angles by which training samples are turned too, to make more of them.
        shift: rows and columns by which these are shifted at most, in all directions.
        folds: test every sample once, in so many parts; None for the published test split.
        parts: an option of the loader, and values of it that each give a split of their own.
        neurons_per_core, target: how programs are compiled.
        calibration_samples: held-out samples that the compiler sees.
        trace_thresholds: of the gate's event trigger; the chosen program is measured with each too.
        note: what readers of the figures should know.
        snn, training: fields of SnnConfig and TrainingConfig that differ from the defaults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    set: str
    options: dict[str, Any] = {}
    coding: Coding | None = None
    payload_max: int = Field(default=16, ge=1)
    payload_unit: float | None = Field(default=None, gt=0)
    frames_per_step: int = Field(default=1, ge=1)
    held_out_share: float = Field(default=0.1, gt=0, lt=1)
    image: tuple[int, ...] = ()
    turns_deg: tuple[float, ...] = ()
    shift: tuple[NonNegativeInt, NonNegativeInt] = (0, 0)
    folds: int | None = Field(default=None, ge=2)
    parts: dict[str, list[Any]] = Field(default={}, max_length=1)
    neurons_per_core: int = Field(default=64, ge=1)
    target: str = "loihi2"
    calibration_samples: int = Field(default=200, ge=1)
    trace_thresholds: tuple[PositiveFloat, ...] = ()
    note: str = ""
    snn: dict[str, Any] = {}
    training: dict[str, Any] = {}

    @property
    def training_hash(self) -> str:
        """Of everything that trained weights depend on, but the seed."""
        after = {"neurons_per_core", "target", "calibration_samples", "trace_thresholds", "note"}
        text = json.dumps(self.model_dump(mode="json", exclude=after), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the networks of one split are kept.

    Attributes:
        folder: of ``adaptive.safetensors`` and ``dense.safetensors``.
        seed: of their training.
        resume: whether to take those that are there.
    """

    folder: Path
    seed: int
    resume: bool

    def trained(self, name: str, empty: Network, train: Callable[[], Network]) -> Network:
        """The network of a name: as it was left there, or trained and left there."""
        path = self.folder / f"{name}.safetensors"
        if self.resume and path.exists():
            load_weights(empty, path)
            return empty
        network = train()
        save_weights(network, path, {"seed": self.seed})
        return network


@app.command()
def run(
    config: Annotated[Path, typer.Option(help="YAML file of the study.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    save_dir: Annotated[Path, typer.Option(help="For weights.")] = Path("out/snn_study"),
    results: Annotated[Path, typer.Option(help="Folder for figures.")] = Path("results"),
    seed: Annotated[list[int] | None, typer.Option(help="Repeatable.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take the weights that an equal training has left.")
    ] = False,
) -> None:
    """Train, compile, measure, and write one JSON per seed."""
    torch.set_num_threads(1)
    study = read_study(config)
    folder_of_data = "" if data_dir is None else " --data-dir DIR"
    for one in seed or [0]:
        folder = save_dir / config.stem / f"seed{one}-{study.training_hash}"
        parts = [
            measure(study, *split, Weights(folder / f"part{number}", one, resume))
            for number, split in enumerate(splits(study, data_dir, one))
        ]
        found = {
            "name": config.stem,
            "seed": one,
            "command": f"python snn_study.py --config {config}{folder_of_data} --seed {one}",
            "config": study.model_dump(mode="json"),
            "parts": parts,
        }
        with atomic_file(results / config.stem / f"seed{one}.json") as work:
            work.write_text(json.dumps(found, indent=1) + "\n")


def read_study(path: Path) -> StudyConfig:
    """The study of a file.

    Raises:
        ConfigError: ``ADL-YML-01`` when the file cannot be read, ``ADL-YML-03`` on a key or value
            that a study cannot have.
    """
    try:
        return StudyConfig(**read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{first['msg'][:1].lower()}{first['msg'][1:]}",
            where=f"{path}: {'.'.join(map(str, first['loc']))}",
            remedy="correct it; the keys are the fields of StudyConfig in snn_study.py",
            code="ADL-YML-03",
        ) from error


def splits(
    study: StudyConfig, data_dir: Path | None, seed: int
) -> Iterator[tuple[Labelled, Labelled, Labelled]]:
    """Train, held-out and test samples, once or for every fold or part."""
    choices: list[dict[str, Any]] = [{}]
    for option, values in study.parts.items():
        choices = [{option: value} for value in values]
    for choice in choices:
        data = load_dataset(study.set, data_dir, **study.options, **choice)
        pairs = (
            [(data.train, data.test)]
            if study.folds is None
            else folds(data.pooled(), study.folds, seed)
        )
        for rest, test in pairs:
            train, held_out = hold_out(rest, study.held_out_share, seed)
            yield moved(study, train), held_out, test


def moved(study: StudyConfig, part: Labelled) -> Labelled:
    """The samples at all angles and shifts, the originals among them; blank pixels move in."""
    if not study.image:
        return part
    (rows, columns), (down, right) = study.image[-2:], study.shift
    images = part.inputs.reshape(-1, rows, columns)
    copies = []
    for angle in (0.0, *study.turns_deg):
        padded = np.pad(turned(images, angle), ((0, 0), (down, down), (right, right)))
        copies += [
            padded[:, row : row + rows, column : column + columns].reshape(part.inputs.shape)
            for row in range(2 * down + 1)
            for column in range(2 * right + 1)
        ]
    return Labelled(inputs=np.concatenate(copies), labels=np.tile(part.labels, len(copies)))


def turned(images: np.ndarray, angle_deg: float) -> np.ndarray:
    """Images (n, rows, columns) about their centre; a pixel gets the value of the nearest one."""
    size = np.array(images.shape[1:])[:, None, None]
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    centre = (size - 1) / 2
    offset = np.indices(images.shape[1:]) - centre
    source = np.tensordot([[cosine, -sine], [sine, cosine]], offset, 1) + centre
    nearest = np.rint(source).astype(int)
    inside = ((nearest >= 0) & (nearest < size)).all(axis=0)
    row, column = np.clip(nearest, 0, size - 1)
    return images[:, row, column] * inside.astype(images.dtype)


def measure(
    study: StudyConfig, train: Labelled, held_out: Labelled, test: Labelled, weights: Weights
) -> dict[str, Any]:
    """Everything about one split."""
    coded = [payloads_of(study, part) for part in (train, held_out, test)]
    inputs, steps = coded[0].shape[2], coded[0].shape[1]
    binary = study.payload_unit is None if study.coding is None else is_binary(study.coding)
    largest = 1 if binary else study.payload_max
    known = {key: tuple(v) if isinstance(v, list) else v for key, v in study.snn.items()}
    snn = SnnConfig(
        **{
            "inputs": inputs,
            "steps": steps,
            "coding": study.coding or ("rate" if binary else "direct"),
            "payload_max": largest,
            "payload_scale": 1.0 / largest,
        }
        | known
    )
    training = TrainingConfig(seed=weights.seed, **study.training)
    examples = [
        Examples(
            payloads=torch.tensor(payloads.swapaxes(0, 1), dtype=torch.float32),
            labels=torch.tensor(part.labels),
        )
        for payloads, part in zip(coded, (train, held_out, test), strict=True)
    ]

    def adaptive() -> LowRankSNN:
        model = train_snn(examples[0], examples[1], snn, training).model
        limit_readout(model)
        fit_spiking_gate(model, examples[1], training)
        return model

    def twin_of_it() -> DenseSNN:
        network = train_dense_snn(examples[0], examples[1], snn, training)
        limit_readout(network)
        return network

    model = weights.trained("adaptive", LowRankSNN(snn), adaptive)
    dense = weights.trained("dense", DenseSNN(snn), twin_of_it)
    held, tested = (
        Stimulus(payloads=payloads.astype(np.int64), labels=part.labels)
        for payloads, part in zip(coded[1:], (held_out, test), strict=True)
    )
    twin = compiled(study, export_network(dense, name="dense", dt_s=1e-3), held)
    program = adaptive_program(study, model, held)
    energies = [entry.energy_j for entry in program.budgets]
    budgets = np.linspace(min(energies), max(energies), POINTS).tolist()
    prices = [price_for(program, budget) for budget in budgets]
    held_shares = [figures(program, held, price)["accuracy"] for price in prices]
    chosen = next(n for n, s in enumerate(held_shares) if s >= max(held_shares) - TOLERANCE)
    with torch.no_grad():
        right = [
            (dense.predict(part.payloads) == part.labels).sum() for part in examples[2].chunks()
        ]
    found = {
        "samples": {"train": len(train), "held_out": len(held_out), "test": len(test)},
        "dense": figures(twin, tested) | {"float_accuracy": int(sum(right)) / len(test)},
        "levels": list(snn.levels),
        "chosen": chosen,
        "curve": [
            {"budget_j": budget, "price": price}
            | figures(program, tested, price)
            | {"float_accuracy": accuracy_at_price(model, examples[2], price)}
            for budget, price in zip(budgets, prices, strict=True)
        ],
        "triggered": [
            {"trace_threshold": threshold}
            | figures(adaptive_program(study, model, held, threshold), tested, prices[chosen])
            for threshold in study.trace_thresholds
        ],
    }
    for name, point in (("dense", found["dense"]), *(("adaptive", p) for p in found["curve"])):
        say(
            f"{name}: {point['accuracy']:.2%} ({point['float_accuracy']:.2%} in float), "
            f"{point['synaptic_ops']:,.0f} synaptic operations, {point['dynamic_j'] * 1e6:.3g} µJ, "
            f"{point['dark_cores']} of {point['cores']} cores dark"
        )
    return found


def payloads_of(study: StudyConfig, part: Labelled) -> np.ndarray:
    """What the input sends, shape (n, steps, inputs)."""
    if study.coding is None:
        inputs = part.inputs
        if study.payload_unit is not None:
            inputs = graded(inputs, unit=study.payload_unit, maximum=study.payload_max)
        samples, frames = inputs.shape[:2]
        return inputs.reshape(samples, frames // study.frames_per_step, -1)
    images = part.inputs.reshape(len(part), -1)
    largest = int(np.iinfo(images.dtype).max)
    scaled = requantised(images, maximum=largest, to=study.payload_max)
    steps = study.snn.get("steps", 8)
    return code(scaled, steps, study.coding, maximum=study.payload_max)


def adaptive_program(
    study: StudyConfig, model: LowRankSNN, held_out: Stimulus, trace_threshold: float = 0.0
) -> Artifact:
    """The program of a network with its gate, and with an event trigger where there is one."""
    before = model.config
    model.config = replace(before, trace_threshold=trace_threshold)
    try:
        network = export_network(model, name="adaptive", dt_s=1e-3, gated=True)
    finally:
        model.config = before
    return compiled(study, network, held_out)


def compiled(study: StudyConfig, network: Any, held_out: Stimulus) -> Artifact:
    """The program of a network."""
    return compile_network(
        network,
        load_target(study.target),
        CompileOptions(neurons_per_core=study.neurons_per_core),
        calibration=Calibration(payloads=held_out.first(study.calibration_samples).payloads),
    ).artifact


def figures(program: Artifact, stimulus: Stimulus, price: float = 0.0) -> dict[str, Any]:
    """Of a program on all samples: means per inference, and what stayed dark throughout."""
    assert stimulus.labels is not None
    hits: list[bool] = []
    sums = {"synaptic_ops": 0.0, "dynamic_j": 0.0, "static_j": 0.0, "latency_s": 0.0}
    busy: np.ndarray | None = None
    for start in range(0, stimulus.samples, CHUNK):
        part = slice(start, start + CHUNK)
        some = Stimulus(payloads=stimulus.payloads[part], labels=stimulus.labels[part])
        trace = simulate(program, some, price=price)
        energy = estimate_energy(program, trace)
        counts = trace.counts_for(program)
        hits += (trace.predictions() == some.labels).tolist()
        sums["synaptic_ops"] += float(counts.synaptic_op.sum())
        for key in ("dynamic_j", "static_j", "latency_s"):
            sums[key] += getattr(energy, key) * some.samples
        lit = energy.core_dark_share < 1.0
        busy = lit if busy is None else busy | lit
    assert busy is not None
    return {
        "accuracy": float(np.mean(hits)),
        "hits": np.packbits(hits).tobytes().hex(),
        "cores": energy.cores,
        "dark_cores": int((~busy).sum()),
        **{key: total / stimulus.samples for key, total in sums.items()},
    }


if __name__ == "__main__":
    run_program(app)
