"""What a conversion did to each layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """A layer before and after.

    Attributes:
        name: of the layer, or of the first of those that share its weight.
        also: names of the others.
        kind: class of the layer before.
        shape: (out, fan_in) of its weight matrix; None for an attention that stays as it is.
        ranks: its levels; empty where it was left alone.
        macs_before: multiply-accumulates per sample of the model.
        macs_after: the same at each level.
        weights_before, weights_after: entries of the matrix, and of the factors at each level.
        relative_error: root of E‖error of the outputs‖² / E‖outputs‖² on calibration data, at each
            level.
        reason: why it was left alone; None where it was not.
    """

    name: str
    also: tuple[str, ...] = ()
    kind: str
    shape: tuple[int, int] | None
    ranks: tuple[int, ...] = ()
    macs_before: float = 0.0
    macs_after: tuple[float, ...] = ()
    weights_before: int = 0
    weights_after: tuple[int, ...] = ()
    relative_error: tuple[float, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionReport:
    """All Linear and Conv2d layers of a model, and its attentions that stay as they are.

    Attributes:
        layers: in the model's order.
    """

    layers: tuple[LayerReport, ...]

    @property
    def levels(self) -> int:
        """Levels of the layer that has most."""
        return max(len(layer.ranks) for layer in self.layers)

    @property
    def macs_before(self) -> float:
        """Of all layers listed, per sample."""
        return sum(layer.macs_before for layer in self.layers)

    @property
    def weights_before(self) -> int:
        """Of all layers listed, biases excluded."""
        return sum(layer.weights_before for layer in self.layers)

    def macs_after(self, level: int = -1) -> float:
        """Of all layers listed, per sample, at a level of the model; the highest by default."""
        return sum(_at(layer.macs_after, level, layer.macs_before) for layer in self.layers)

    def weights_after(self, level: int = -1) -> float:
        """Of all layers listed, biases excluded, at a level; the highest is what stays resident."""
        return sum(_at(layer.weights_after, level, layer.weights_before) for layer in self.layers)

    def as_dict(self) -> dict[str, object]:
        """All fields and totals, for JSON."""
        levels = range(self.levels)
        return {
            "layers": [asdict(layer) for layer in self.layers],
            "macs_before": self.macs_before,
            "macs_after": [self.macs_after(level) for level in levels],
            "weights_before": self.weights_before,
            "weights_after": [self.weights_after(level) for level in levels],
        }

    def __str__(self) -> str:
        lines = []
        for layer in self.layers:
            shape = "" if layer.shape is None else " {} x {}".format(*layer.shape)
            head = f"{layer.name}: {layer.kind}{shape}"
            if layer.reason is not None:
                lines.append(f"{head}, left alone: {layer.reason}")
                continue
            errors = ", ".join(f"{error:.1%}" for error in layer.relative_error)
            lines.append(f"{head}, ranks {layer.ranks}, relative errors {errors}")
        for level in range(self.levels):
            macs, weights = self.macs_after(level), self.weights_after(level)
            lines.append(
                f"level {level}: {macs / self.macs_before:.1%} of {self.macs_before:.4g} MAC, "
                f"{weights / self.weights_before:.1%} of {self.weights_before:,} weights"
            )
        return "\n".join(lines)


def _at(after: tuple[float, ...] | tuple[int, ...], level: int, before: float) -> float:
    """The figure of a level; layers with fewer levels stay at their last."""
    if not after:
        return before
    return after[level] if level < len(after) else after[-1]
