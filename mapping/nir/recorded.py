"""Projections that our exporter recorded, put together again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mapping.errors import UnsupportedModelError
from mapping.ir.network import Dense, FloatArray, LowRank, Projection, RankGate, Relay, Sparse
from mapping.ir.synapses import IntArray, SparseSynapses
from mapping.nir.chain import Factors
from mapping.nir.notes import Notes


def factor_pair(
    name: str, ends: tuple[str, str], form: Factors, gain: FloatArray, notes: Notes
) -> LowRank:
    """The factor pair ``name`` between the populations ``ends``.

    Args:
        name: of the projection.
        ends: source and target.
        form: the factors, with the gain of each target neuron in them.
        gain: ``(target size,)`` that gain, for the level biases.
        notes: what was recorded.
    """
    rank = form.V.shape[1]
    bias = notes.array("level_bias", np.zeros((0, 0)))
    if bias.shape[1:] == gain.shape and not (gain == 1).all():
        bias = bias * gain
    return LowRank(
        name=name,
        source=ends[0],
        target=ends[1],
        U=form.U,
        V=form.V,
        levels=notes.vector("levels", (rank,)),
        relay_threshold=notes.array("relay_threshold", np.zeros(rank)),
        sigma=bool(notes.whole("sigma", 0)),
        delta=bool(notes.whole("delta", 0)),
        level_bias=bias,
        gate=_gate(notes) if "gate_at_source" in notes else None,
    )


def _gate(notes: Notes) -> RankGate:
    """The gate that our exporter recorded."""
    matrix, vector = np.zeros((0, 0)), np.zeros(0)
    return RankGate(
        weight=notes.array("gate_weight", matrix),
        bias=notes.array("gate_bias", vector),
        cost=notes.array("gate_cost", vector),
        decay=notes.number("gate_decay", 0.0),
        trace_decay=notes.number("gate_trace_decay", 0.0),
        trace_threshold=notes.number("gate_trace_threshold", 0.0),
        hidden_weight=notes.array("gate_hidden_weight", matrix),
        hidden_bias=notes.array("gate_hidden_bias", vector),
        at="source" if notes.whole("gate_at_source", 0) else "relay",
    )


def spelt_out(pair: LowRank, delays: IntArray, where: str) -> tuple[list[Relay], list[Projection]]:
    """``pair`` as relays between two matrices, of which the first has ``delays``.

    Raises:
        UnsupportedModelError: ADL-NIR-11, it chooses its rank at run time.
    """
    if len(pair.levels) > 1:
        raise UnsupportedModelError(
            "chooses its rank at run time, and so has no delays",
            where=where,
            remedy="prune it to one rank before export, or give other ways as many layers",
            code="ADL-NIR-11",
        )
    relay = Relay(
        name=f"{pair.name}/relay",
        threshold=pair.relay_threshold,
        block_bounds=(0, pair.rank),
        sigma=pair.sigma,
        delta=pair.delta,
    )
    ends = {"layer": pair.name}
    return [relay], [
        Dense(
            name=f"{pair.name}/V",
            part="V",
            source=pair.source,
            target=relay.name,
            weight=pair.V.T,
            delays=delays,
            **ends,  # type: ignore[arg-type]
        ),
        Dense(
            name=f"{pair.name}/U",
            part="U",
            source=relay.name,
            target=pair.target,
            weight=pair.U,
            **ends,  # type: ignore[arg-type]
        ),
    ]


def as_recorded(dense: Dense, notes: Notes) -> Dense | Sparse:
    """``dense`` in the form that was exported: sparse, or reading a part of its source.

    Metadata count only where all other weights are zero.
    """
    rows, columns = dense.weight.shape
    if "starts" in notes:
        starts = np.array(notes.vector("starts", ()), np.int64)
        targets = np.array(notes.vector("targets", ()), np.int64)
        sound = (
            starts.size == columns + 1
            and starts[0] == 0
            and starts[-1] == targets.size
            and bool((np.diff(starts) >= 0).all())
            and bool(((targets >= 0) & (targets < rows)).all())
        )
        if sound:
            values = dense.weight[targets, np.repeat(np.arange(columns), np.diff(starts))]
            if np.count_nonzero(values) == np.count_nonzero(dense.weight):
                listed = SparseSynapses(
                    values=values, targets=targets.astype(np.int32), starts=starts, height=rows
                )
                return Sparse(
                    name=dense.name,
                    source=dense.source,
                    target=dense.target,
                    synapses=listed,
                    delays=dense.delays,
                )
    first, last = notes.whole("source_start", 0), notes.whole("source_stop", columns)
    if "source_start" not in notes or not 0 <= first < last <= columns:
        return dense
    weight = dense.weight[:, first:last]
    if np.count_nonzero(weight) != np.count_nonzero(dense.weight):
        return dense
    return replace(
        dense,
        weight=weight,
        source_start=first,
        source_stop=None if notes.whole("to_the_end", 0) else last,
        delays=dense.delays[first:last] if dense.delays.any() else np.zeros(0, np.int64),
    )
