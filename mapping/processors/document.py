"""Make ``docs/processors.md`` of the built-in processors.

python -m mapping.processors.document > docs/processors.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import resources
from itertools import chain

from mapping.processors.load import load_processor, processor_names
from mapping.targets.figures import Constant
from mapping.units import unit_of, with_prefix

_HEAD = """\
# Conventional processors

`adlrns-map compare OUT --input test.npz` puts the chip beside conventional processors: the same
network on the same input, at five budgets if it has gates. All of that is *modelled*, from the
figures below.

```
adlrns-map compare out --input test.npz --processors h100,mine.toml --batch 1 --batch 256
adlrns-map compare out --input test.npz --measure
```

## The model

A processor computes every step of a spiking network densely, as torch and snnTorch do: it
multiplies whole matrices, whatever spikes, and updates every compartment. Only the rank of
gated layers is what the gates asked for, on average, as kernels with a rank per sample have it.
Per step there is one kernel for each projection, factors apart, and one for each population:

- operations: 2 per synapse and sample, 6 per compartment and sample;
- bytes: inputs and outputs of the network; weights and states too, unless all of them fit into
  `on_chip_bytes` together, where they then stay;
- time of a kernel: `launch_s`, then the longer of operations / `peak_ops_per_s` and bytes /
  `bandwidth_bytes_per_s` (roofline; Williams et al., 2009); the latency is that of the whole
  batch;
- energy: operations × `energy_per_op_j` + bytes × `energy_per_byte_j` + latency ×
  `idle_power_w`.

Intervals have every figure at its cheap and fast, and at its dear and slow bound. The status is
that of the weakest figure.

**Left out:** frameworks that wait for the host between kernels, rates below the peak, clocks
that fall under load, host processors and power supplies. At batch 1 a small network is all
launches and idling: for scale, one keyword-spotting network of 172,800 multiply-adds was
measured at batch 1 (public figures) with 6.3 mJ and 0.55 ms on a Xeon E5-2630, 5.6 mJ and 2.4
ms on a Jetson TX1, 29.8 mJ and 1.3 ms on a Quadro K4000. None of those parts is modelled here,
and a model of launches and idling alone stays well below such figures: take these columns as
what a processor needs at least.

**Measured.** `--measure` runs the chip simulator on this machine between two readings of its
energy meters (NVML, AMDSMI, RAPL; library `zeus`, `pip install 'adlrns[meter]'`). Where no
meter can be read it says so; nothing is ever estimated under the name of a measurement.

## Your own

A file like this one, `h100.toml`, describes a processor; nothing has a default. Statuses are
those of [energy-constants.md](energy-constants.md).
"""


def processors_page() -> str:
    """The page in Markdown."""
    example = (resources.files("mapping.processors") / "h100.toml").read_text("utf-8")
    sections = (_section(name) for name in processor_names())
    fence = f"```toml\n{example}```\n"
    return "\n".join([_HEAD, fence, "## Figures\n", *chain.from_iterable(sections)])


def _section(name: str) -> Iterator[str]:
    processor = load_processor(name)
    yield f"### {name}\n"
    yield f"{processor.description}.\n"
    yield "| entry | value | factor | status | source |"
    yield "|---|---|---|---|---|"
    for entry, constant in processor.constants().items():
        factor = f"×/÷ {constant.factor:g}" if constant.factor > 1 else "–"
        cells = (_value(entry, constant), factor, constant.status, constant.source)
        yield f"| `{entry}` | {' | '.join(cells)} |"
    yield ""


def _value(entry: str, constant: Constant) -> str:
    if entry.endswith("bytes"):
        return f"{constant.value / 1e6:g} MB"
    if "_per_s" in entry:
        what = "B" if entry.startswith("bandwidth") else "op"
        return f"{constant.value / 1e9:,g} G{what}/s"
    return with_prefix(constant.value, unit_of(entry))


if __name__ == "__main__":
    sys.stdout.write(processors_page())
