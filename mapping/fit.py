"""Whether a network fits, and the cheapest change that would make it fit.

Changes are really tried: the passes up to the partition run with one option changed. Their price is
the risk to accuracy: first what computes the same (neurons per core, all partitioners), then a
bigger target, then fewer weight bits, then a lower rank; of each the smallest change that fits.
A further kind of change is a function in ``_BY_PRICE``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mapping.errors import AdlrnsError, CapacityError, DesignRuleError
from mapping.ir.diagnostic import Fix
from mapping.ir.network import FloatArray, LowRank, Network
from mapping.ir.partitioned import CoreUsage, PartitionedNetwork
from mapping.ir.quantized import QuantizedNetwork
from mapping.passes.partition import check_core_count
from mapping.passes.prune_ranks import PruneRanks
from mapping.targets.load import load_target, target_names
from mapping.targets.spec import ChipSpec

if TYPE_CHECKING:
    from mapping.pipeline import CompileOptions

Cut = Callable[[Network | QuantizedNetwork, ChipSpec, "CompileOptions"], PartitionedNetwork]
"""What runs the passes up to the partition, without counting the cores."""

_MOST_FIXES = 3
_SEARCH_S = 5.0
"""After that long, or twice as long as the compiler took, no further change is tried."""
_TRIALS = 10
"""So many changes are tried in that time, if need be with one partitioner instead of all."""
_ALL, _QUICK = "best", "first-fit"
_BITS_HELP = {"ADL-CAP-02", "ADL-CAP-04", "ADL-CAP-06", "ADL-CAP-07", "ADL-CAP-08"}
_FEWEST_SHARE = 32
"""Cores are filled to a 32nd at least when more of them shall share the sending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """What a network takes of a chip, or grid of chips.

    Attributes:
        cores_used, cores_available: as many as it takes, even if there are fewer.
        busiest: per resource of a core the share that the core takes that needs most of it.
        relative_error: of the weights of the layer that is rounded worst; 0 for integer models.
        factor_pairs: layers that are kept as two factors, whose rank tells what they take.
    """

    cores_used: int
    cores_available: int
    busiest: dict[str, float]
    relative_error: float
    factor_pairs: int

    @classmethod
    def of(cls, partitioned: PartitionedNetwork, chip: ChipSpec) -> Occupancy:
        """The occupancy of ``chip`` by ``partitioned``."""
        usage = partitioned.usage(chip)
        return cls(
            cores_used=len(usage),
            cores_available=chip.cores,
            busiest={
                f.name: max(getattr(core, f.name) for core in usage)
                / getattr(chip.core, f.name).value
                for f in fields(CoreUsage)
            },
            relative_error=max((f.relative_error for f in partitioned.fidelity), default=0.0),
            factor_pairs=len({spec.layer for spec in partitioned.projections if spec.part == "U"}),
        )

    @property
    def fits(self) -> bool:
        """Whether there are enough cores, each within its limits."""
        return self.cores_used <= self.cores_available and max(self.busiest.values()) <= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a network fits one target, and why not.

    Attributes:
        target: its name.
        occupancy: None if it cannot even be cut into cores.
        error: None if it fits.
    """

    target: str
    occupancy: Occupancy | None
    error: AdlrnsError | None

    def as_dict(self) -> dict[str, object]:
        """The content under the keys of the JSON contract."""
        return {
            "target": self.target,
            "fits": self.error is None,
            **(asdict(self.occupancy) if self.occupancy else {}),
            "diagnostics": self.error.as_dicts() if self.error else [],
        }


def judge(
    network: Network | QuantizedNetwork, chip: ChipSpec, options: CompileOptions, cut: Cut
) -> Verdict:
    """Whether ``network`` fits ``chip``; an error has the cheapest fixes without another target."""
    taken: Occupancy | None = None
    start = time.monotonic()
    try:
        partitioned = cut(network, chip, options)
        taken = Occupancy.of(partitioned, chip)
        check_core_count(partitioned, chip)
    except CapacityError as error:
        took_s = time.monotonic() - start
        fixes = find_fixes(
            error, network, chip, options, cut, other_targets=False, compile_s=took_s
        )
        error.propose(fixes)
        return Verdict(target=chip.name, occupancy=taken, error=error)
    except AdlrnsError as error:
        return Verdict(target=chip.name, occupancy=taken, error=error)
    return Verdict(target=chip.name, occupancy=taken, error=None)


def find_fixes(
    error: CapacityError | DesignRuleError,
    network: Network | QuantizedNetwork,
    chip: ChipSpec,
    options: CompileOptions,
    cut: Cut,
    *,
    other_targets: bool = True,
    compile_s: float = 0.0,
) -> tuple[Fix, ...]:
    """Changes of one option with which ``network`` fits, the cheapest first, at most three.

    Args:
        error: why it does not fit; only what can help against it is tried.
        network, chip, options: what was compiled.
        cut: the passes to try with.
        other_targets: whether other built-in targets are tried.
        compile_s: time that it took to find out that it does not fit [s].
    """
    codes = error.capacity_codes if isinstance(error, DesignRuleError) else [error.code]
    if not codes:
        return ()
    search = _Search(
        network=network,
        chip=chip,
        options=options,
        cut=cut,
        quick=options.partitioner == _ALL and compile_s * _TRIALS > _SEARCH_S,
        end=time.monotonic() + max(_SEARCH_S, 2 * compile_s),
    )
    found: list[Fix] = []
    for candidates in _BY_PRICE:
        if candidates is not _other_target or other_targets:
            found += candidates(search, codes)
    return tuple(found[:_MOST_FIXES])


@dataclass(slots=True, kw_only=True)
class _Search:
    network: Network | QuantizedNetwork
    chip: ChipSpec
    options: CompileOptions
    cut: Cut
    quick: bool
    end: float

    def fix(self, option: str, value: int | str | None) -> Fix | None:
        """The fix that sets ``option`` to ``value``, or None if the network does not fit then."""
        if time.monotonic() > self.end:
            return None
        try:
            if option == "target":
                chip, options = load_target(str(value)), self.options
            else:
                changed: dict[str, Any] = {option: value}
                chip, options = self.chip, replace(self.options, **changed)
            if self.quick:
                options = replace(options, partitioner=_QUICK)
            taken = Occupancy.of(self.cut(self.network, chip, options), chip)
        except AdlrnsError:
            return None
        if not taken.fits:
            return None
        return Fix(
            option=option,
            value=value,
            cores_used=taken.cores_used,
            cores_available=taken.cores_available,
            utilisation=max(taken.busiest.values()),
            relative_error=max(taken.relative_error, self._cut_off(option, value)),
        )

    def _cut_off(self, option: str, value: int | str | None) -> float:
        """Relative Frobenius norm that a lower rank takes from the layer that loses most."""
        if option != "rank" or not isinstance(self.network, Network) or not isinstance(value, int):
            return 0.0
        pairs = (p for p in self.network.projections if isinstance(p, LowRank))
        return max(
            (
                _product_norm(p.U[:, value:], p.V[:, value:]) / (_product_norm(p.U, p.V) or 1.0)
                for p in pairs
            ),
            default=0.0,
        )

    def first(self, option: str, values: Sequence[int | str | None]) -> Iterator[Fix]:
        """The first of ``values`` that fits, if any."""
        fixes = (self.fix(option, value) for value in values)
        yield from itertools.islice((fix for fix in fixes if fix), 1)

    def largest(self, option: str, values: Sequence[int]) -> Iterator[Fix]:
        """The largest of rising ``values`` that fits, if any; less is supposed to need less."""
        best = self.fix(option, values[0]) if values else None
        low, high = 0, len(values) - 1
        while best and low < high:
            middle = (low + high + 1) // 2
            fix = self.fix(option, values[middle])
            best, low, high = (fix, middle, high) if fix else (best, low, middle - 1)
        if best:
            yield best


def _other_cap(search: _Search, codes: list[str]) -> Iterator[Fix]:
    """Fuller cores if there are too few, emptier ones if one has too much to send."""
    cap = search.options.neurons_per_core
    if "ADL-CAP-06" in codes and cap is not None:
        yield from search.first("neurons_per_core", [None])
    elif "ADL-CAP-04" in codes:
        most = min(cap or search.chip.core.compartments.value, _neurons(search.network))
        share = 2
        caps = []
        while share <= _FEWEST_SHARE and most // share:
            caps.append(most // share)
            share *= 2
        yield from search.first("neurons_per_core", caps)


def _all_partitioners(search: _Search, codes: list[str]) -> Iterator[Fix]:
    helps = {"ADL-CAP-04", "ADL-CAP-05", "ADL-CAP-06"} & set(codes)
    if helps and search.options.partitioner != _ALL:
        yield from search.first("partitioner", [_ALL])


def _other_target(search: _Search, codes: list[str]) -> Iterator[Fix]:
    """The built-in target with the fewest chips, among those that compute as exactly."""
    chips = [load_target(name) for name in target_names() if name != search.chip.name]
    able = [chip for chip in chips if _not_narrower(chip, search.chip)]
    able.sort(key=lambda chip: (chip.mesh.chip_count, chip.cores, chip.name))
    yield from search.first("target", [chip.name for chip in able])


def _fewer_bits(search: _Search, codes: list[str]) -> Iterator[Fix]:
    if isinstance(search.network, Network) and _BITS_HELP & set(codes):
        now = search.options.weight_bits or search.chip.numeric.weight_bits.value
        stored = search.chip.core.weight_widths.value
        yield from search.largest("weight_bits", [b for b in range(2, now) if b in stored])


def _lower_rank(search: _Search, codes: list[str]) -> Iterator[Fix]:
    """A lower rank for factor pairs, where the chip keeps them as such."""
    if isinstance(search.network, Network) and search.chip.capabilities.graded_spikes.value:
        asked = search.options.rank
        now = _smallest_rank(search.network, None if asked == "auto" else asked)
        yield from search.largest("rank", range(1, now))


_BY_PRICE = (_other_cap, _all_partitioners, _other_target, _fewer_bits, _lower_rank)


def _product_norm(U: FloatArray, V: FloatArray) -> float:
    """Frobenius norm of U Vᵀ."""
    return float(np.sqrt(max(((U.T @ U) * (V.T @ V)).sum(), 0.0)))


def _neurons(network: Network | QuantizedNetwork) -> int:
    return max(population.size for population in network.populations)


def _smallest_rank(network: Network, rank: int | float | None) -> int:
    """The smallest rank among the factor pairs as they are compiled; 0 if there are none."""
    projections = PruneRanks(rank=rank).run(network).projections
    return min((p.rank for p in projections if isinstance(p, LowRank)), default=0)


def _not_narrower(chip: ChipSpec, than: ChipSpec) -> bool:
    """Whether ``chip`` holds every number and every spike that ``than`` holds."""
    for limit in fields(chip.numeric):
        ours, theirs = (getattr(c.numeric, limit.name).value for c in (chip, than))
        if ours > theirs if limit.name == "weight_exponent_min" else ours < theirs:
            return False
    return chip.capabilities.graded_spikes.value >= than.capabilities.graded_spikes.value
