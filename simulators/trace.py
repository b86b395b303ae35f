"""What goes into a backend and what comes out of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.artifact.archive import Arrays, read_archive, read_spikes, write_archive
from mapping.artifact.atomic import atomic_file
from mapping.artifact.schema import Artifact
from mapping.cost import ActionCounts
from mapping.errors import ArtifactError, ConfigError
from mapping.ir.partitioned import PartitionedNetwork
from mapping.ir.traffic import check_labels, check_payloads
from mapping.latency import Work
from mapping.semantics.answer import highest_voltage, most_spikes

IntArray = npt.NDArray[np.integer[Any]]
SCHEMA = "adlrns-trace/2"
PROBES = ("u", "v")
"""States of LIF populations that a trace may hold."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stimulus:
    """Input spikes of a set of samples.

    Attributes:
        payloads: ``(samples, steps, *input shape)`` integers.
        labels: ``(samples,)`` class of each sample, if known.
    """

    payloads: IntArray
    labels: IntArray | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.payloads.shape[0])

    @property
    def steps(self) -> int:
        """Number of input steps per sample."""
        return int(self.payloads.shape[1])

    def first(self, samples: int) -> Stimulus:
        """The first ``samples`` samples."""
        labels = None if self.labels is None else self.labels[:samples]
        return Stimulus(payloads=self.payloads[:samples], labels=labels)

    def as_stream(self) -> Stimulus:
        """The samples after each other as one, without labels."""
        shape = self.payloads.shape
        return Stimulus(payloads=self.payloads.reshape(1, shape[0] * shape[1], *shape[2:]))

    def checked(self, network: PartitionedNetwork, *, where: str = "stimulus") -> Stimulus:
        """This stimulus, if it suits the input of ``network``, and its labels the output.

        Raises:
            ConfigError: ADL-INP-01 … 04, naming ``where``.
        """
        payloads = check_payloads(self.payloads, network.input, where=where)
        if self.labels is not None:
            classes = network.population(network.output).size
            check_labels(self.labels, self.samples, classes, where=where)
        return Stimulus(payloads=payloads, labels=self.labels)

    def save(self, path: Path | str) -> None:
        """Write an ``.npz`` with the keys ``spikes`` and, if known, ``labels``.

        Raises:
            ArtifactError: ADL-ART-01, the file cannot be written.
        """
        arrays: Arrays = {"spikes": self.payloads}
        if self.labels is not None:
            arrays["labels"] = self.labels
        with atomic_file(Path(path)) as work:
            write_archive(work, arrays)


def load_stimulus(path: Path | str) -> Stimulus:
    """Read an input file: key ``spikes``, optional ``labels``.

    Raises:
        ArtifactError: the file is missing or not an archive (ADL-INP-05).
        ConfigError: ADL-INP-06, there is no key ``spikes``.
    """
    spikes, labels = read_spikes(Path(path))
    return Stimulus(payloads=spikes, labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExecutionTrace:
    """What one backend did, step by step; arrays are ``(samples, steps, size)``.

    Steps include the pipeline's latency, so there are more of them than input steps, unless the
    state was carried from sample to sample.

    Attributes:
        backend: its name.
        program: fingerprint of the artifact that ran.
        output: name of the output population.
        seconds: wall-clock duration of the run itself.
        price: of a level's cost, that the gates paid.
        spikes: payloads sent by each population but the input (0 or 1 for LIF, ±1 for gates).
        u, v: states after each step of the LIF populations, if probed; v of an output that only
            integrates in any case.
        counts: actions per core, if the backend counts.
        link_packets: ``(links,)`` packets over each mesh link, all samples and steps together, if
            the backend counts.
        busiest_link, busiest_chip_link: ``(samples, steps)`` packets over the link that carries
            most, within chips and between them, if the backend counts.
        labels: ``(samples,)`` class of each sample, if known.
        reads_voltage: the answer is the voltage of the output, which never spikes.
    """

    backend: str
    program: str
    output: str
    seconds: float
    price: float
    spikes: Mapping[str, IntArray]
    u: Mapping[str, IntArray]
    v: Mapping[str, IntArray]
    counts: ActionCounts | None = None
    link_packets: IntArray | None = None
    busiest_link: IntArray | None = None
    busiest_chip_link: IntArray | None = None
    labels: IntArray | None = None
    reads_voltage: bool = False

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.spikes[self.output].shape[0])

    @property
    def steps(self) -> int:
        """Number of executed steps per sample."""
        return int(self.spikes[self.output].shape[1])

    def with_labels(self, labels: IntArray | None) -> ExecutionTrace:
        """This trace with the classes of its samples, of which ``labels`` may hold more."""
        return replace(self, labels=None if labels is None else labels[: self.samples])

    def cut(self, samples: int) -> ExecutionTrace:
        """This trace of one long sample as that of ``samples`` short ones after each other."""

        def short(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return values.reshape(samples, -1, *values.shape[2:])

        def all_short(values: Mapping[str, IntArray]) -> dict[str, IntArray]:
            return {name: short(steps) for name, steps in values.items()}

        def perhaps(values: IntArray | None) -> IntArray | None:
            return None if values is None else short(values)

        counts = self.counts
        return replace(
            self,
            spikes=all_short(self.spikes),
            u=all_short(self.u),
            v=all_short(self.v),
            counts=counts and ActionCounts(**{k: short(v) for k, v in counts.items()}),
            busiest_link=perhaps(self.busiest_link),
            busiest_chip_link=perhaps(self.busiest_chip_link),
        )

    def counts_for(self, artifact: Artifact) -> ActionCounts:
        """The action counts, if ``artifact`` is what ran.

        Raises:
            ConfigError: the trace holds no action counts (ADL-ENG-01) or another program's
                (ADL-ENG-02).
        """
        cores = len(artifact.partitioned.cores)
        foreign = self.counts is not None and self.counts.spike.shape[2] != cores
        if foreign or self.program != artifact.origin.fingerprint():
            raise ConfigError(
                "it was recorded with another compiled program",
                where="trace",
                remedy="simulate this artifact and use that trace",
                code="ADL-ENG-02",
            )
        if self.counts is None:
            raise ConfigError(
                f"the {self.backend} backend records no action counts",
                where="trace",
                remedy="simulate with the chip backend; its spikes are identical",
                code="ADL-ENG-01",
            )
        return self.counts

    def work_for(self, artifact: Artifact) -> Work:
        """What the duration of each step depends on; errors as of :meth:`counts_for`."""
        counts = self.counts_for(artifact)
        assert self.busiest_link is not None
        assert self.busiest_chip_link is not None
        return Work(
            counts=counts,
            used_tiles=artifact.placement.used_tiles(),
            busiest_link=self.busiest_link,
            busiest_chip_link=self.busiest_chip_link,
        )

    def predictions(self) -> IntArray:
        """``(samples,)`` class with the most output spikes, ties to the lowest index.

        Of an output that only integrates, which spikes never: with the highest voltage, summed.
        """
        if self.reads_voltage:
            return highest_voltage(self.v[self.output])
        return most_spikes(self.spikes[self.output])

    def is_silent(self) -> bool:
        """Whether the answer comes from spikes, and there are none."""
        return not (self.reads_voltage or self.spikes[self.output].any())

    def accuracy(self) -> float | None:
        """Share of correct predictions, or None without labels."""
        if self.labels is None:
            return None
        return float((self.predictions() == self.labels).mean())

    def summary(self) -> dict[str, object]:
        """The figures of ``simulate --json``."""
        total = self.samples * self.steps
        figures: dict[str, object] = {
            "backend": self.backend,
            "samples": self.samples,
            "steps": self.steps,
            "seconds": self.seconds,
            "steps_per_second": total / self.seconds if self.seconds > 0 else None,
            "spikes_total": int(sum((s != 0).sum() for s in self.spikes.values())),
        }
        if self.labels is not None:
            figures["accuracy"] = self.accuracy()
        return figures

    def save(self, path: Path | str) -> None:
        """Write an ``.npz``, whole or not at all.

        Raises:
            ArtifactError: ADL-ART-01, the file cannot be written.
        """
        about = {
            "schema": SCHEMA,
            "backend": self.backend,
            "program": self.program,
            "output": self.output,
            "seconds": self.seconds,
            "price": self.price,
            "reads_voltage": self.reads_voltage,
        }
        arrays: Arrays = {"about": np.array(json.dumps(about))}
        for group in ("spikes", "u", "v"):
            for name, values in getattr(self, group).items():
                arrays[f"{group}/{name}"] = values.astype(np.int32)
        if self.counts is not None:
            arrays |= {f"counts/{name}": values for name, values in self.counts.items()}
        for name in ("link_packets", "busiest_link", "busiest_chip_link", "labels"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        with atomic_file(Path(path)) as work:
            write_archive(work, arrays)


def check_probe(probe: Sequence[str], *, where: str) -> tuple[str, ...]:
    """``probe``, if every state in it can be recorded.

    Raises:
        ConfigError: ADL-CFG-06, naming ``where``.
    """
    unknown = [name for name in probe if name not in PROBES]
    if unknown:
        raise ConfigError(
            f"cannot probe {', '.join(map(repr, unknown))}",
            where=where,
            remedy=f"probe any of {', '.join(PROBES)}",
            code="ADL-CFG-06",
        )
    return tuple(probe)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what was done until then.

    Attributes:
        trace: of the samples that were complete; it may have none.
    """

    def __init__(self, trace: ExecutionTrace) -> None:
        super().__init__()
        self.trace = trace


def _check_counts(counts: Mapping[str, IntArray], arrays: Mapping[str, IntArray]) -> None:
    """Raise ValueError unless ``counts``, if any, are whole numbers of the same steps."""
    if not counts:
        return
    shape = counts["spike"].shape
    expected = {f"counts/{name}": shape for name in counts}
    expected |= dict.fromkeys(("busiest_link", "busiest_chip_link"), shape[:2])
    for name, wanted in expected.items():
        found = arrays[name]
        if found.dtype.kind not in "iu" or found.shape != wanted or len(shape) != 3:
            raise ValueError(f"{name}: {found.dtype} of shape {found.shape}")


def load_trace(path: Path | str) -> ExecutionTrace:
    """Read a trace file.

    Raises:
        ArtifactError: ADL-TRC-01, the file is missing, truncated or not a trace.
    """
    arrays = read_archive(Path(path), code="ADL-TRC-01", what="trace")
    try:
        about = json.loads(str(arrays["about"]))
        if about.pop("schema") != SCHEMA:
            raise KeyError("schema")
        grouped: dict[str, dict[str, IntArray]] = {"spikes": {}, "u": {}, "v": {}, "counts": {}}
        for key, values in arrays.items():
            group, _, name = key.partition("/")
            if name:
                grouped[group][name] = values
        counts = grouped.pop("counts")
        _check_counts(counts, arrays)
        answer = grouped["v" if about["reads_voltage"] else "spikes"]
        if about["output"] not in answer:
            raise KeyError(about["output"])
        return ExecutionTrace(
            **about,
            spikes=grouped["spikes"],
            u=grouped["u"],
            v=grouped["v"],
            counts=ActionCounts(**{f.name: counts[f.name] for f in fields(ActionCounts)})
            if counts
            else None,
            link_packets=arrays["link_packets"] if counts else None,
            busiest_link=arrays["busiest_link"] if counts else None,
            busiest_chip_link=arrays["busiest_chip_link"] if counts else None,
            labels=arrays.get("labels"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"is not a trace of schema {SCHEMA} (trouble with {error})",
            where=str(path),
            remedy="give a file that `adlrns-map simulate -o` wrote",
            code="ADL-TRC-01",
        ) from error
