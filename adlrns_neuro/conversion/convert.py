"""Any torch model with its linear and convolutional layers replaced by low-rank ones."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from adlrns_neuro.conversion.attention import close_attentions, open_attentions, replace_modules
from adlrns_neuro.conversion.candidates import Candidate, find_candidates
from adlrns_neuro.conversion.costs import CostUnit, layer_cost
from adlrns_neuro.conversion.factors import Factorisation, Method
from adlrns_neuro.conversion.norms import level_norms, watched_order
from adlrns_neuro.conversion.ranks import (
    Levels,
    affordable_levels,
    check_ways,
    checked_budgets,
    named_levels,
    paying_levels,
)
from adlrns_neuro.conversion.report import ConversionReport, LayerReport
from adlrns_neuro.conversion.sensitivity import Loss, loss_increases
from adlrns_neuro.conversion.statistics import (
    Batch,
    InputStatistics,
    first_batches,
    gather_statistics,
)
from adlrns_neuro.layers import Ranked
from adlrns_neuro.layers.levels import geometric_levels
from adlrns_neuro.perf import PerfEstimator
from mapping.errors import ConfigError

Statistics = Mapping[Candidate, InputStatistics]


def convert(
    model: nn.Module,
    calibration_loader: Iterable[Batch],
    *,
    levels: Sequence[int] | None = None,
    r_min: int | None = None,
    r_max: int | None = None,
    ranks: Mapping[str, int | Sequence[int]] | None = None,
    budget: float | Sequence[float] | None = None,
    share: float | Sequence[float] | None = None,
    cost: CostUnit = "macs",
    loss: Loss | None = None,
    sensitivity_batches: int = 4,
    method: Method = "whitened",
    match_means: bool = True,
    scorer_hidden: int = 0,
    perf_estimator: PerfEstimator | None = None,
    in_place: bool = False,
) -> tuple[nn.Module, ConversionReport]:
    """Replace layers by :class:`~adlrns_neuro.layers.ranked.Ranked` low-rank ones.

    The ranks come from exactly one of: ``levels``; ``r_min`` and ``r_max``; ``ranks``; ``budget``;
    ``share``. Factors are those that change a layer's outputs least on the inputs that it has on
    the calibration data (:func:`mapping.lowrank.whitened_svd`). Layers that cannot be replaced,
    or where that would not pay, are left alone; the report says why. Batch normalisations behind
    the first new layer get statistics of each level, see
    :class:`~adlrns_neuro.layers.norm.LevelBatchNorm`; they start with those that they had, until
    training moves them or :func:`~adlrns_neuro.conversion.norms.calibrate_norms` measures them.

    A new layer's gate predicts that every level is worth it, so the converted model runs at its
    highest level until gates are fitted or :func:`adlrns_neuro.ranks.at_level` sets another.

    Args:
        model: any module.
        calibration_loader: batches of inputs, of (inputs, labels, ...), or of keyword arguments of
            the model, on its device. Statistics use all of them, in one pass; the first are read
            once more where sensitivity is measured.
        levels: of every layer, less those that do not pay there.
        r_min, r_max: instead: r_min, 2 r_min, 4 r_min, … and r_max.
        ranks: instead: by layer name its rank or levels; the others are left alone.
        budget: instead: what a sample may cost in the unit of ``cost``, all Linear and Conv2d
            layers together. Several, ascending, become as many levels. Ranks are those with the
            least sum of :func:`~adlrns_neuro.conversion.sensitivity.loss_increases`.
        share: a budget relative to the cost of the model as it is.
        cost: unit of budgets: multiply-accumulates, weights, or modelled energy [mJ].
        loss: what sensitivity is measured by, see there.
        sensitivity_batches: how many of the loader's first batches measure it.
        method: "plain" ignores what the inputs look like.
        match_means: give every level the bias that keeps the mean of the layer's outputs.
        scorer_hidden, perf_estimator: see :class:`~adlrns_neuro.layers.DynamicLowRankLayer`.
        in_place: change ``model`` itself instead of a copy.

    Returns:
        The converted model, and what was done to each layer.

    Raises:
        ConfigError: ``ADL-CNV-01`` unless ranks are given in one way, ``ADL-CNV-02`` when a name in
            ``ranks`` is none of a layer that can be replaced, ``ADL-CNV-03`` when no ranks keep to
            the budget, ``ADL-CNV-04`` when the loader yields nothing to use, ``ADL-CNV-05`` when
            all layers would be left alone, ``ADL-CNV-06`` when a loss is needed,
            ``ADL-LAY-01`` when ``levels`` or ``ranks`` are not ascending ranks that fit.
    """
    check_ways(levels=levels, r_min=r_min, r_max=r_max, ranks=ranks, budget=budget, share=share)
    if levels is None and r_min is not None and r_max is not None:
        levels = geometric_levels(r_min, r_max)
    converted = model if in_place else copy.deepcopy(model)
    opened, reasons = open_attentions(converted)
    kinds = {name: type(part).__name__ for name, part in converted.named_modules()}
    candidates, obstacles = find_candidates(converted)
    reasons |= obstacles
    with _evaluating(converted):
        unnamed = [one for one in candidates if ranks and not ranks.keys() & set(one.names)]
        modules = {module for one in candidates for module in one.modules}
        with watched_order(converted, modules) as order:
            statistics = gather_statistics(converted, calibration_loader, candidates, unnamed)
        for one in candidates:
            reason = _why_not(one, statistics[one])
            if reason is not None:
                reasons[one.name] = reason
        usable = [one for one in candidates if one.name not in reasons]

        def factors(one: Candidate, rank: int) -> Factorisation:
            return Factorisation.of(one, statistics[one], rank, method, match_means)

        made: dict[Candidate, Factorisation] = {}
        if levels is not None:
            chosen = paying_levels(usable, levels)
            left = "none of the levels has fewer weights than the matrix"
        elif ranks is not None:
            chosen = named_levels(usable, ranks)
            left = "it is not among the ranks"
        else:
            made = {one: factors(one, one.highest_rank_that_pays) for one in usable}
            batches = first_batches(calibration_loader, sensitivity_batches)
            losses = loss_increases(converted, batches, list(made.values()), loss)
            chosen = affordable_levels(
                usable,
                statistics,
                losses,
                *_limits(candidates, usable, statistics, budget, share, cost, perf_estimator),
                cost,
                perf_estimator,
            )
            left = "the budget is better spent on its full matrix"
    reasons |= {one.name: left for one, found in chosen.items() if not found}
    made = {
        one: made.get(one) or factors(one, min(max(found), one.fan_in, one.out))
        for one, found in chosen.items()
        if found
    }
    if not made:
        raise ConfigError(
            "all layers would be left alone: "
            + ("; ".join(f"{name}, {why}" for name, why in reasons.items()) or "there is none"),
            where=type(model).__name__,
            remedy="ask for lower ranks or a smaller budget",
            code="ADL-CNV-05",
        )
    new: dict[nn.Module, nn.Module] = {}
    for one, factorisation in made.items():
        layers = factorisation.layers(
            chosen[one], scorer_hidden=scorer_hidden, perf_estimator=perf_estimator
        )
        new |= {module: Ranked(layer) for module, layer in layers.items()}
    new |= level_norms(order, new, max(map(len, chosen.values())))
    report = _report(kinds, candidates, statistics, chosen, made, reasons)
    replace_modules(converted, new)
    close_attentions(converted, opened)
    return converted, report


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """All parts in evaluation mode inside the block, and as before after it."""
    before = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


def _why_not(one: Candidate, statistics: InputStatistics) -> str | None:
    """Why a layer that could be replaced is not, or None."""
    if statistics.rows == 0:
        return "it was not called on the calibration data"
    if statistics.products is not None and not float(statistics.covariance.diagonal().sum()) > 0.0:
        return "its inputs do not vary on the calibration data"
    if one.highest_rank_that_pays < 1:
        return "no rank has fewer weights than the matrix"
    return None


def _limits(
    candidates: Sequence[Candidate],
    usable: Sequence[Candidate],
    statistics: Statistics,
    budget: float | Sequence[float] | None,
    share: float | Sequence[float] | None,
    unit: CostUnit,
    perf_estimator: PerfEstimator | None,
) -> tuple[tuple[float, ...], float]:
    """The budgets in the unit of costs, and what the layers cost that stay as they are."""
    full = {
        one: layer_cost(one, statistics[one], None, unit, perf_estimator)
        for one in candidates
        if statistics[one].rows
    }
    total = sum(full.values())
    fixed = sum(price for one, price in full.items() if one not in usable)
    if budget is not None:
        return checked_budgets(budget), fixed
    assert share is not None, "check_ways let nothing else through"
    return tuple(part * total for part in checked_budgets(share)), fixed


def _report(
    kinds: Mapping[str, str],
    candidates: Sequence[Candidate],
    statistics: Statistics,
    chosen: Levels,
    made: Mapping[Candidate, Factorisation],
    reasons: Mapping[str, str],
) -> ConversionReport:
    """What happens to each layer, in the model's order."""
    layers = {
        name: LayerReport(name=name, kind=kinds[name], shape=None, reason=reason)
        for name, reason in reasons.items()
    }
    for one in candidates:
        found = chosen.get(one, ())
        width, size = one.fan_in + one.out, one.fan_in * one.out
        positions = statistics[one].positions
        layers[one.name] = LayerReport(
            name=one.name,
            also=one.names[1:],
            kind=kinds[one.name],
            shape=(one.out, one.fan_in),
            ranks=found,
            macs_before=positions * size,
            macs_after=tuple(positions * rank * width for rank in found),
            weights_before=size,
            weights_after=tuple(rank * width for rank in found),
            relative_error=tuple(made[one].relative_error(rank) for rank in found),
            reason=reasons.get(one.name),
        )
    return ConversionReport(layers=tuple(layers[name] for name in kinds if name in layers))
