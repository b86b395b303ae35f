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
adlrns-map processors show h100
```

## The model

A processor computes every step of a spiking network densely, as torch and snnTorch do: it
multiplies whole matrices, whatever spikes, and updates every compartment. Only the rank of
gated layers is what the gates asked for, on average, as kernels with a rank per sample have it; the
column "full rank" has the cost with one rank for all. Per step of the input there is one kernel for
each projection, factors apart, one for each gate with what it reads, and one for each population of
neurons; a kernel also computes the relays that it fills. How the chip cuts the network into cores,
and the steps that its pipeline adds, cost a processor nothing:

- operations: 2 per synapse and sample (of sparse layers without their zeros), 6 per compartment and
  sample;
- bytes: inputs and outputs of the network; weights and states too, unless all of them fit into
  `on_chip_bytes` together, where they then stay; what one kernel hands to the next always stays;
- time of a kernel: `launch_s`, then the longer of operations / `peak_ops_per_s` and bytes /
  `bandwidth_bytes_per_s` (roofline; Williams et al., 2009); the latency is that of the whole
  batch;
- energy: operations × `energy_per_op_j` + bytes × `energy_per_byte_j` + latency ×
  `idle_power_w`.

Intervals have every figure at its cheap and fast, and at its dear and slow bound. The status is
that of the weakest figure.

**Left out:** frameworks that wait for the host between kernels, rates below the peak, clocks
that fall under load, host processors and power supplies, energy of on-chip memory beyond what
`energy_per_op_j` holds, indices of sparse weights. Programs that compute many steps of a layer in
one launch, or are launched as one graph, take less time than this at batch 1.

**Against silicon** (`python benchmarks/processor_cases.py`): one keyword-spotting network of
172,800 multiply-adds, one sample at a time, in TensorFlow (Blouw et al., 2019, arXiv:1812.01739;
energies from its idle and running power). None of those parts is modelled here; beside each stands
the model of a younger part of its kind.

| measured on | measured | modelled for | modelled | model has | of |
|---|---|---|---|---|---|
| Quadro K4000 | 1.3 ms | v100 | 30 µs | 2.31% | time |
| Quadro K4000 | 49.1 mJ | v100 | 1.36 mJ | 2.76% | energy, rest included |
| Quadro K4000 | 29.7 mJ | v100 | 5.9 µJ | 0.02% | energy beyond rest |
| Xeon E5-2630 | 551 µs | cpu | 7.39 µs | 1.34% | time |
| Xeon E5-2630 | 15.7 mJ | cpu | 16.6 µJ | 0.11% | energy, rest included |
| Xeon E5-2630 | 6.32 mJ | cpu | 5.5 µJ | 0.09% | energy beyond rest |
| Jetson TX1 | 2.39 ms | jetson-orin-nano | 60.3 µs | 2.53% | time |
| Jetson TX1 | 11.9 mJ | jetson-orin-nano | 245 µJ | 2.06% | energy, rest included |
| Jetson TX1 | 5.58 mJ | jetson-orin-nano | 3.54 µJ | 0.06% | energy beyond rest |

So at batch 1 a small network is launches, idling and, above all, what is left out: real programs
take 40 to 75 times the time and 36 to 950 times the energy, more than any interval here says, for
an interval holds how uncertain the figures are and not what is missing. Part of the gap is that the
models are of younger parts, and `cpu` is one core where the Xeon's power is that of all. The table
cannot tell how right the models are for large networks and batches, where operations and bytes
decide: nothing was measured there.

**Measured.** `--measure` computes every step densely in NumPy, all samples at once and at full
rank, on this machine, between two readings of its meters (RAPL of the processor's packages and
their memory, or that of a Jetson or an Apple chip; library `zeus`, `pip install 'adlrns[meter]'`).
What the machine takes at rest is part of it. GPUs are not read, for nothing runs on them, nor is
RAPL's `psys`, which holds the packages once more. Where no meter can be read it says so; nothing is
ever estimated under the name of a measurement.

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
