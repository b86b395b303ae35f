"""What a model of a conventional processor knows; every figure carries its status and source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mapping.targets.figures import Constant, Status, weakest

NumberFormat = Literal["fp32", "fp16", "bf16", "int8"]
BYTES: Mapping[NumberFormat, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""Of one number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSpec:
    """A processor, or one core of one, with its memory.

    Attributes:
        name: processor name.
        description: one sentence for people.
        peak_ops_per_s: by number format, operations per second, a multiply-add counted as two.
        energy_per_op_j: by number format, of an operation and everything that feeds it [J].
        bandwidth_bytes_per_s: of the off-chip memory [B/s].
        energy_per_byte_j: of the off-chip memory [J].
        on_chip_bytes: memory on the chip that holds weights and states between steps [B].
        idle_power_w: of the processor while it does nothing [W].
        launch_s: before each kernel begins, whatever it does [s].
    """

    name: str
    description: str
    peak_ops_per_s: dict[NumberFormat, Constant]
    energy_per_op_j: dict[NumberFormat, Constant]
    bandwidth_bytes_per_s: Constant
    energy_per_byte_j: Constant
    on_chip_bytes: Constant
    idle_power_w: Constant
    launch_s: Constant

    def constants(self) -> dict[str, Constant]:
        """Every figure under its dotted name, e.g. ``energy_per_op_j.fp32``."""
        found = {f"peak_ops_per_s.{n}": c for n, c in self.peak_ops_per_s.items()}
        found |= {f"energy_per_op_j.{n}": c for n, c in self.energy_per_op_j.items()}
        single = (
            "bandwidth_bytes_per_s",
            "energy_per_byte_j",
            "on_chip_bytes",
            "idle_power_w",
            "launch_s",
        )
        return found | {name: getattr(self, name) for name in single}

    def status(self) -> Status:
        """The weakest status among the figures."""
        return weakest(constant.status for constant in self.constants().values())

    def at_bound(self, exponent: Literal[-1, 1]) -> ProcessorSpec:
        """This processor at its cheapest and fastest (-1) or dearest and slowest (+1)."""

        def moved(constant: Constant, way: int) -> Constant:
            return constant.times(constant.factor ** (exponent * way))

        def each(
            table: Mapping[NumberFormat, Constant], by: Callable[[Constant], Constant]
        ) -> dict[NumberFormat, Constant]:
            return {name: by(constant) for name, constant in table.items()}

        return replace(
            self,
            peak_ops_per_s=each(self.peak_ops_per_s, lambda c: moved(c, -1)),
            energy_per_op_j=each(self.energy_per_op_j, lambda c: moved(c, 1)),
            bandwidth_bytes_per_s=moved(self.bandwidth_bytes_per_s, -1),
            energy_per_byte_j=moved(self.energy_per_byte_j, 1),
            on_chip_bytes=moved(self.on_chip_bytes, -1),
            idle_power_w=moved(self.idle_power_w, 1),
            launch_s=moved(self.launch_s, 1),
        )
