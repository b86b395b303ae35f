"""Random float networks of every form that NIR can express."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import random_array

from mapping.ir.network import (
    Conv2d,
    ConvShape,
    Dense,
    Input,
    Li,
    Lif,
    LowRank,
    Network,
    Projection,
    Sparse,
    SparseSynapses,
    SumPool2d,
)

Population = Input | Lif | Li


@dataclass(kw_only=True)
class _Growth:
    """A network that grows at its end."""

    draw: st.DrawFn
    rng: np.random.Generator
    populations: list[Population]
    projections: list[Projection] = field(default_factory=list)

    @property
    def last(self) -> Population:
        return self.populations[-1]

    def delays(self, size: int) -> np.ndarray:
        found = np.zeros(0, np.int64)
        if self.draw(st.booleans()):
            found = self.rng.integers(0, 4, size)
        return found if found.any() else np.zeros(0, np.int64)

    def grow(self, *, answers: bool) -> None:
        """One more population, read from the last one."""
        source = self.last
        forms = ["dense", "sparse", "pair"]
        forms += ["conv", "pool"] if len(source.shape) == 3 else []
        form = self.draw(st.sampled_from(forms))
        conv = (
            self._window(source.shape, pools=form == "pool") if form in ("conv", "pool") else None
        )
        shape = conv.outputs if conv else (self.draw(st.integers(1, 5)),)
        self.populations.append(self._population(shape, answers=answers))
        scale = source.payload_scale if isinstance(source, Input) else 1.0
        if conv:
            self.projections.append(self._windowed(conv, source, scale))
        else:
            self.join(source, self.last, form=form, scale=scale)

    def join(
        self, source: Population, target: Population, *, form: str = "dense", scale: float = 1.0
    ) -> None:
        """A projection between two populations, of which the target is a vector."""
        ends = {
            "name": f"w{len(self.projections)} →",
            "source": source.name,
            "target": target.name,
        }
        rows, columns = target.size, source.size
        if form == "dense":
            weight = self.rng.normal(0, 1 / scale, (rows, columns))
            delays = self.delays(columns)
            self.projections.append(Dense(weight=weight, delays=delays, **ends))
        elif form == "sparse":
            matrix = random_array((rows, columns), density=0.5, rng=self.rng)
            synapses = SparseSynapses.of(matrix * (2 / scale))
            delays = self.delays(columns)
            self.projections.append(Sparse(synapses=synapses, delays=delays, **ends))
        else:
            rank = self.draw(st.integers(1, 3))
            U, V = self.rng.normal(0, 1, (rows, rank)), self.rng.normal(0, 1, (columns, rank))
            self.projections.append(LowRank(U=U / scale, V=V, levels=(rank,), **ends))

    def _window(self, inputs: tuple[int, ...], *, pools: bool) -> ConvShape:
        channels, height, width = inputs
        side = self.draw(st.integers(1, 3))
        gap = 1 if pools else self.draw(st.integers(1, 2))
        sizes = [side, max(1, side - 2) if self.draw(st.booleans()) else side]
        kernel = [
            size if gap * (size - 1) < extent + 2 else 1
            for size, extent in zip(sizes, (height, width), strict=True)
        ]
        if (kernel[0] - kernel[1]) % 2:
            kernel = [1, 1]
        groups = self.draw(st.sampled_from([n for n in (1, 2, 3) if channels % n == 0]))
        padding = [
            self.draw(st.integers(max(0, -(-(gap * (k - 1) + 1 - extent) // 2)), 2))
            for k, extent in zip(kernel, (height, width), strict=True)
        ]
        return ConvShape(
            inputs=(channels, height, width),
            out_channels=channels if pools else groups * self.draw(st.integers(1, 2)),
            kernel=(kernel[0], kernel[1]),
            stride=(self.draw(st.integers(1, 2)), self.draw(st.integers(1, 2))),
            padding=(padding[0], padding[1]),
            dilation=(gap, gap),
            groups=channels if pools else groups,
        )

    def _windowed(self, conv: ConvShape, source: Population, scale: float) -> Projection:
        ends = {"source": source.name, "target": self.last.name, "conv": conv}
        ends |= {"name": f"w{len(self.projections)}", "delays": self.delays(source.size)}
        pools = conv.groups == conv.out_channels == conv.inputs[0] and conv.dilation == (1, 1)
        if pools and self.draw(st.booleans()):
            return SumPool2d(weight=self.draw(st.sampled_from([1.0, 0.25, 0.7])), **ends)
        return Conv2d(weight=self.rng.normal(0, 1 / scale, conv.weight_shape), **ends)

    def _population(self, shape: tuple[int, ...], *, answers: bool) -> Lif | Li:
        size = prod(shape)
        decays = st.sampled_from([0.0, 0.1, 0.5, 0.9])
        common = {
            "name": f"p{len(self.populations)}",
            "shape": shape,
            "current_decay": self.draw(decays),
            "voltage_decay": self.draw(decays.filter(bool) | st.just(1.0)),
            "bias": self.rng.normal(0, 0.1, size) if self.draw(st.booleans()) else np.zeros(size),
        }
        if answers and self.draw(st.booleans()):
            return Li(**common)
        return Lif(threshold=self.draw(st.floats(0.2, 2)), **common)


@st.composite
def networks_of_all_forms(draw: st.DrawFn) -> Network:
    """Chains of windows, matrices, sparse ones and factor pairs; delays, one skip or loop."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.sampled_from([(2, 5, 4), (3, 4, 4), (1, 1, 6), (6,), (2, 3)]))
    top = draw(st.sampled_from([1, 3]))
    source = Input(
        name="in", shape=shape, payload_max=top, payload_scale=draw(st.sampled_from([1.0, 1 / top]))
    )
    growth = _Growth(draw=draw, rng=rng, populations=[source])
    stages = draw(st.integers(1, 4))
    for stage in range(stages):
        growth.grow(answers=stage == stages - 1)
    images = {
        end
        for p in growth.projections
        if isinstance(p, Conv2d | SumPool2d)
        for end in (p.source, p.target)
    }
    vectors = [p for p in growth.populations[1:] if p.name not in images]
    form = draw(st.sampled_from(["dense", "sparse", "pair"]))
    if vectors and draw(st.booleans()):
        target = draw(st.sampled_from(vectors))
        senders = [p for p in growth.populations if not isinstance(p, Li)]
        growth.join(draw(st.sampled_from(senders)), target, form=form)
    return Network(
        name="all forms",
        dt_s=draw(st.sampled_from([1e-4, 1e-3, 0.3])),
        populations=tuple(draw(st.permutations(growth.populations))),
        projections=tuple(draw(st.permutations(growth.projections))),
        output=growth.last.name,
    )
