"""Compiled programs on which energy and latency are compared with SANA-FE, and what it is told.

Random networks of binary LIF compartments: dense, sparse and convolutional layers, loops, biases,
random cuts and random places on Loihi 1. Currents have no memory, so that SANA-FE computes the very
spikes that the chip does, see :mod:`chip_peers`. Then the examples that come with SANA-FE.

SANA-FE has no host: input spikes come from compartments on a core. They get one of the tile at
which the host is attached, and our programs leave it alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mapping import CompileOptions, compile_network, load_target
from mapping.artifact.schema import Artifact
from mapping.ir.network import Input
from mapping.ir.placed import Placement, slot_at
from mapping.ir.quantized import (
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    ProjectionSpec,
    QuantizedNetwork,
)
from mapping.ir.synapses import (
    ConvShape,
    ConvSynapses,
    DenseSynapses,
    Form,
    SparseSynapses,
    Synapses,
)
from mapping.passes.route import Route
from mapping.semantics.fixedpoint import STATE_SHIFT
from mapping.targets.figures import Faults
from mapping.targets.spec import ChipSpec
from simulators import Stimulus

NO_CURRENT_MEMORY = 4095
HOST_CORE = 3
"""Core of the host's tile that holds SANA-FE's input compartments."""
HERE = Path(__file__).parent
Job = dict[str, np.ndarray]
"""What SANA-FE's runner is given: see ``peers/run_sanafe_energy.py``."""


@dataclass(frozen=True, eq=False)
class EnergyCase:
    """A program and its input.

    Attributes:
        name: for people.
        artifact: compiled and placed.
        stimulus: one sample.
        architecture: of SANA-FE, by its name there.
    """

    name: str
    artifact: Artifact
    stimulus: Stimulus
    architecture: str


def loihi() -> ChipSpec:
    """``loihi1-fit`` without the core that SANA-FE's inputs take."""
    return _without_host_core(load_target("loihi1-fit"))


def generated(seed: int) -> EnergyCase:
    """A random network on random cores, in which about a tenth of everything spikes."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 3)), int(rng.integers(5, 12)), int(rng.integers(5, 12)))
    populations: list[IntegerPopulation] = [Input(name="in", shape=shape)]
    projections: list[IntegerProjection] = []
    for number in range(int(rng.integers(1, 5))):
        source = populations[-1]
        form = str(rng.choice(["dense", "sparse", "conv"]))
        conv = _convolution(rng, source.shape) if len(source.shape) == 3 else None
        form = "dense" if form == "conv" and conv is None else form
        own = conv.outputs if form == "conv" and conv else (int(rng.integers(3, 120)),)
        target = _lif(rng, f"layer{number}", own)
        populations.append(target)
        projections.append(_projection(rng, source, target, form, conv if form == "conv" else None))
        if rng.random() < 0.3 and form != "conv":
            projections.append(_projection(rng, target, target, form, None))
    network = QuantizedNetwork(
        name=f"generated {seed}",
        dt_s=1e-3,
        populations=tuple(populations),
        projections=tuple(projections),
        output=populations[-1].name,
        fidelity=(),
    )
    options = CompileOptions(
        neurons_per_core=int(rng.integers(8, 60)),
        partitioner=str(rng.choice(["first-fit", "balanced"])),
        placer="raster",
        seed=seed,
    )
    artifact = _scattered(rng, compile_network(network, loihi(), options).artifact)
    spikes = rng.random((1, 30, *shape)) < rng.choice([0.05, 0.2, 0.5])
    return EnergyCase(
        name=network.name,
        artifact=artifact,
        stimulus=Stimulus(payloads=spikes.astype(np.int64)),
        architecture="loihi",
    )


def bundled(examples: Path) -> list[EnergyCase]:
    """The networks that come with SANA-FE and that the chip model can express.

    Args:
        examples: folder of the data files that SANA-FE ships.
    """
    return [example_case(), tutorial_case(), _dvs(examples / "dvs_challenge.npz")]


def example_case() -> EnergyCase:
    """``example_snn.yaml`` on ``example_chip.yaml``: two inputs, two neurons, one loop."""
    source = Input(name="in", shape=(2,))
    target = _plain_lif("out", (2,), threshold=2)
    forward = _dense(source, target, np.array([[-1, 1], [2, 3]]))
    loop = replace(forward.spec, name="loop", layer="loop", source="out", form="sparse")
    back = IntegerProjection(
        spec=loop, synapses=SparseSynapses.of(np.array([[0, 0], [0, -4]], np.int8))
    )
    spikes = np.zeros((1, 8, 2), np.int64)
    spikes[0, [0, 2], 1] = 1
    return EnergyCase(
        name="example_snn",
        artifact=_unlimited((source, target), (forward, back), load_target(_target("example"))),
        stimulus=Stimulus(payloads=spikes),
        architecture="example",
    )


def tutorial_case() -> EnergyCase:
    """``tutorial_snn.yaml`` on ``tutorial_arch.yaml``: a bias of 0.2 is one unit, 1.0 are five."""
    driven = _plain_lif("0", (2,), threshold=5, bias=np.array([1, 0]))
    driven_by_it = _plain_lif("1", (1,), threshold=10)
    edge = replace(_dense(driven, driven_by_it, np.array([[-5, 0]])).spec, form="sparse")
    synapses = SparseSynapses.of(np.array([[-5, 0]], np.int8))
    populations = (Input(name="none", shape=(1,)), driven, driven_by_it)
    projections = (IntegerProjection(spec=edge, synapses=synapses),)
    return EnergyCase(
        name="tutorial_snn",
        artifact=_unlimited(populations, projections, load_target(_target("tutorial"))),
        stimulus=Stimulus(payloads=np.zeros((1, 40, 1), np.int64)),
        architecture="tutorial",
    )


def _dvs(file: Path) -> EnergyCase:
    """The gesture network of ``dvs_challenge.npz``, its pixels driven by a bias each.

    Its weights reach -289, beyond the nine bits of a Loihi weight, so they are rounded to
    multiples of four, here as there.
    """
    with np.load(file) as data:
        given = dict(data)
    limits = given["thresholds"].tolist()
    populations: list[IntegerPopulation] = [
        Input(name="none", shape=(1,)),
        _plain_lif("pixels", (1, 32, 32), limits[0], given["inputs"].astype(np.int32)),
    ]
    projections = []
    for number in range(1, 5):
        kernel = np.round(given[f"conv{number}"].transpose(3, 2, 0, 1) / 4)
        source = populations[-1]
        conv = ConvShape(
            inputs=source.shape,
            out_channels=len(kernel),
            kernel=(3, 3),
            stride=2 if number == 1 else 1,
        )
        target = _plain_lif(f"conv{number}", conv.outputs, limits[number])
        populations.append(target)
        spec = _spec(source, target, form="conv", conv=conv, exponent=1)
        synapses = ConvSynapses.whole(kernel.astype(np.int8), conv)
        projections.append(IntegerProjection(spec=spec, synapses=synapses))
    source = populations[-1]
    _, height, width = source.shape
    by_place = given["dense1"].reshape(height, width, -1, len(given["dense1"].T))
    weights = np.round(by_place.transpose(3, 2, 0, 1).reshape(-1, source.size) / 4)
    populations.append(_plain_lif("dense1", (len(weights),), limits[5]))
    dense = _dense(source, populations[-1], weights)
    projections.append(replace(dense, spec=replace(dense.spec, exponent=1)))
    return EnergyCase(
        name="dvs_challenge, weights to multiples of 4",
        artifact=_unlimited(tuple(populations), tuple(projections), loihi()),
        stimulus=Stimulus(payloads=np.zeros((1, 100, 1), np.int64)),
        architecture="loihi",
    )


def pair_of_neurons(chip: ChipSpec) -> Artifact:
    """Two neurons and a synapse from the first, which a bias drives, to the second."""
    one = _plain_lif("one", (1,), threshold=5, bias=np.array([1]))
    other = _plain_lif("other", (1,), threshold=5)
    populations = (Input(name="none", shape=(1,)), one, other)
    return _unlimited(populations, (_dense(one, other, np.array([[5]])),), chip)


def _target(name: str) -> Path:
    return HERE / "peers" / f"sanafe-{name}.toml"


def _unlimited(
    populations: tuple[IntegerPopulation, ...],
    projections: tuple[IntegerProjection, ...],
    chip: ChipSpec,
) -> Artifact:
    """The network in the order of its compartments, on a chip that is limited by them alone.

    SANA-FE knows no other limit.
    """
    plenty = {
        name: replace(getattr(chip.core, name), value=10**7)
        for name in ("compartment_groups", "input_axons", "output_axons", "synapse_words")
    }
    network = QuantizedNetwork(
        name="bundled",
        dt_s=1e-3,
        populations=populations,
        projections=projections,
        output=populations[-1].name,
        fidelity=(),
    )
    options = CompileOptions(partitioner="first-fit", placer="raster")
    return compile_network(
        network, replace(chip, core=replace(chip.core, **plenty)), options
    ).artifact


def job(case: EnergyCase) -> Job:
    """The program as SANA-FE is told it."""
    artifact, network = case.artifact, case.artifact.network
    slots, mesh = artifact.placement.slots, artifact.chip.mesh
    numbers = {p.name: n for n, p in enumerate(network.populations)}
    silence = np.zeros((network.latency_steps, network.input.size), np.bool_)
    spikes = case.stimulus.payloads.reshape(case.stimulus.steps, -1) != 0
    found: Job = {
        "architecture": np.array(case.architecture),
        "sizes": np.array([p.size for p in network.populations]),
        "spikes": np.concatenate([spikes, silence]),
        "ends": np.array(
            [(numbers[p.spec.source], numbers[p.spec.target]) for p in network.projections]
        ).reshape(-1, 2),
        "forms": np.array([p.spec.form for p in network.projections]),
    }
    core_of = np.array([(s.x * mesh.height + s.y, s.core) for s in slots])
    for number, population in enumerate(network.populations):
        if isinstance(population, IntegerLif):
            found[f"core_{number}"] = core_of[artifact.partitioned.homes[population.name]]
            found[f"threshold_{number}"] = np.array(float(population.threshold))
            found[f"leak_{number}"] = np.array(1 - population.dv / 4096)
            bias = population.bias_mantissa.astype(float) * 2.0**population.bias_exponent
            found[f"bias_{number}"] = bias / (1 << STATE_SHIFT)
    for number, projection in enumerate(network.projections):
        target, source, weight = _listed(projection)
        found |= {
            f"source_{number}": source + projection.spec.source_start,
            f"target_{number}": target + projection.spec.target_start,
            f"weight_{number}": weight * 2.0**projection.spec.exponent,
        }
    return found


def _listed(projection: IntegerProjection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and weight of every synapse, zero weights included."""
    matrix, shift = projection.synapses.matrix(), 1 << projection.spec.weight_shift
    if isinstance(matrix, np.ndarray):
        rows, columns = np.indices(matrix.shape)
        return rows.ravel(), columns.ravel(), matrix.ravel() * float(shift)
    entries = matrix.tocoo()
    assert entries.nnz == projection.synapses.count, "a synapse of no weight got lost"
    return *entries.coords, entries.data * float(shift)


def _without_host_core(chip: ChipSpec) -> ChipSpec:
    x, y = chip.mesh.host_tile
    taken = Faults(
        cores=((0, x, y, HOST_CORE),),
        links=(),
        status="assumed",
        source="holds SANA-FE's input compartments",
    )
    return replace(chip, mesh=replace(chip.mesh, faulty=taken))


def _scattered(rng: np.random.Generator, artifact: Artifact) -> Artifact:
    """The same program on random cores, one of them on the host's tile."""
    mesh = artifact.chip.mesh
    cores = len(artifact.placement.slots)
    others = rng.permutation(np.arange(1, artifact.chip.cores))[: cores - 1]
    order = rng.permutation([0, *others])
    placement = Placement(slots=tuple(slot_at(int(n), mesh) for n in order))
    routing = Route().run(artifact.partitioned, placement, artifact.chip)
    return replace(artifact, placement=placement, routing=routing)


def _lif(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> IntegerLif:
    size = int(np.prod(shape))
    bias = rng.integers(0, 3000, size) * (rng.random(size) < rng.choice([0.0, 0.2]))
    return IntegerLif(
        name=name,
        shape=shape,
        du=NO_CURRENT_MEMORY,
        dv=int(rng.choice([0, 410, 2000, 4095])),
        threshold=int(rng.integers(30, 600)),
        bias_mantissa=bias.astype(np.int32),
        bias_exponent=0,
        scale=1.0,
    )


def _plain_lif(
    name: str, shape: tuple[int, ...], threshold: int, bias: np.ndarray | None = None
) -> IntegerLif:
    """Compartments that forget nothing."""
    return IntegerLif(
        name=name,
        shape=shape,
        du=NO_CURRENT_MEMORY,
        dv=0,
        threshold=threshold,
        bias_mantissa=np.zeros(int(np.prod(shape)), np.int32) if bias is None else bias,
        bias_exponent=STATE_SHIFT,
        scale=1.0,
    )


def _dense(
    source: IntegerPopulation, target: IntegerPopulation, weights: np.ndarray
) -> IntegerProjection:
    synapses = DenseSynapses(values=weights.astype(np.int8))
    return IntegerProjection(spec=_spec(source, target), synapses=synapses)


def _spec(
    source: IntegerPopulation,
    target: IntegerPopulation,
    *,
    form: Form = "dense",
    conv: ConvShape | None = None,
    exponent: int = -1,
) -> ProjectionSpec:
    """A projection of 8-bit weights; sums of them are even, so that halving them is exact."""
    name = f"{source.name} to {target.name}"
    return ProjectionSpec(
        name=name,
        layer=name,
        part="full",
        source=source.name,
        source_start=0,
        source_stop=source.size,
        target=target.name,
        target_start=0,
        target_stop=target.size,
        weight_bits=8,
        exponent=exponent,
        graded=False,
        form=form,
        conv=conv,
    )


def _projection(
    rng: np.random.Generator,
    source: IntegerPopulation,
    target: IntegerPopulation,
    form: str,
    conv: ConvShape | None,
) -> IntegerProjection:
    """Random weights, zeros among those of dense and convolutional ones."""
    shape = (target.size, source.size)
    synapses: Synapses
    if conv is not None:
        values = rng.integers(-127, 128, conv.weight_shape).astype(np.int8)
        synapses = ConvSynapses.whole(values, conv)
    elif form == "dense":
        synapses = DenseSynapses(values=rng.integers(-127, 128, shape).astype(np.int8))
    else:
        matrix = rng.integers(1, 128, shape) * rng.choice([-1, 1], shape)
        matrix = matrix * (rng.random(shape) < 0.3)
        synapses = SparseSynapses.of(matrix.astype(np.int8))
    spec = _spec(source, target, form=synapses.form, conv=conv)
    return IntegerProjection(spec=spec, synapses=synapses)


def _convolution(rng: np.random.Generator, shape: tuple[int, ...]) -> ConvShape | None:
    """A random small convolution over ``shape``, None if it is too small."""
    channels, height, width = shape
    if min(height, width) < 3:
        return None
    return ConvShape(
        inputs=(channels, height, width),
        out_channels=int(rng.integers(1, 5)),
        kernel=(3, 3),
        stride=(int(rng.integers(1, 3)),) * 2,
        padding=(int(rng.integers(0, 2)),) * 2,
    )
