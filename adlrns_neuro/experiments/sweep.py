"""Many experiments at once, on the cores of this machine or on a cluster, through Dask."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adlrns_neuro.config import ExperimentConfig, with_settings
from adlrns_neuro.experiments.run import result_path, run_experiment
from adlrns_neuro.yaml_file import parse_value
from mapping.errors import AdlrnsError, ConfigError, MissingDependencyError

CONNECT_S = 10
"""How long a scheduler may take to answer [s]."""

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One experiment of a sweep.

    Attributes:
        config, save_dir, results_dir, device, command, resume: as in
            :func:`adlrns_neuro.experiments.run.run_experiment`.
    """

    config: ExperimentConfig
    save_dir: Path
    results_dir: Path
    device: str
    command: str
    resume: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: which.
        result: its figures; None if it was refused.
        error: why it was refused, else None.
    """

    run: Run
    result: Mapping[str, Any] | None
    error: str | None


def combinations(
    config: ExperimentConfig, seeds: Sequence[int], settings: Mapping[str, Sequence[Any]]
) -> tuple[ExperimentConfig, ...]:
    """Every seed with every combination of settings, in the order given.

    Args:
        config: what the settings change.
        seeds: that of the configuration if there are none.
        settings: the values of each key, sections parted by dots.

    Raises:
        ConfigError: ``ADL-YML-02`` or ``ADL-YML-03`` on a wrong key or value, ``ADL-SWP-01`` when
            two combinations are the same.
    """
    axes = {"seed": seeds or [config.seed], **settings}
    found = [
        with_settings(config, dict(zip(axes, values, strict=True)))
        for values in product(*axes.values())
    ]
    paths = [result_path(one, Path()) for one in found]
    if len(set(paths)) < len(paths):
        raise ConfigError(
            f"{len(paths) - len(set(paths))} of {len(paths)} runs repeat others",
            where="sweep",
            remedy="give each seed and each value once",
            code="ADL-SWP-01",
        )
    return tuple(found)


def parse_settings(given: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each key from options of the form ``KEY=VALUE``, in the order given.

    Raises:
        ConfigError: ``ADL-SWP-04`` on another form, ``ADL-YML-01`` when a value is no YAML.
    """
    found: dict[str, list[Any]] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(
                f"{text!r} sets nothing",
                where="--set",
                remedy="write KEY=VALUE, as --set train.lr=1e-3",
                code="ADL-SWP-04",
            )
        found.setdefault(key, []).append(parse_value(value))
    return found


def sweep(runs: Sequence[Run], *, cluster: str | None, workers: int) -> Iterator[Outcome]:
    """Run all; one that is refused does not stop the others.

    Args:
        runs: what to run.
        cluster: address of a Dask scheduler, ``tcp://host:port``, whose workers see the folders
            under the same paths; None starts processes here.
        workers: how many processes, each on one thread; those of a cluster are its own.

    Returns:
        Outcomes in the order in which they arrive.

    Raises:
        MissingDependencyError: ``ADL-SWP-02`` without Dask.
        ConfigError: ``ADL-SWP-03`` when the cluster does not answer, ``ADL-SWP-05`` in one of
            several processes that train together.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"each of {os.environ['WORLD_SIZE']} processes would run the whole sweep",
            where="sweep",
            remedy="start it alone, without torchrun; --workers says how many runs go at once",
            code="ADL-SWP-05",
        )
    with _client(cluster, workers) as client:
        from distributed import as_completed

        waiting = {client.submit(_outcome, run, pure=False): run for run in runs}
        for future in as_completed(waiting):
            yield future.result()


def _outcome(run: Run) -> Outcome:
    """In a worker: run one experiment."""
    try:
        result = run_experiment(
            run.config,
            run.save_dir,
            run.results_dir,
            device=run.device,
            command=run.command,
            resume=run.resume,
            progress=False,
        )
    except AdlrnsError as error:
        return Outcome(run=run, result=None, error=str(error))
    return Outcome(run=run, result=result, error=None)


@contextmanager
def _client(cluster: str | None, workers: int) -> Iterator[Client]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingDependencyError(
            "sweeps run on Dask, which is not installed",
            where="sweep",
            remedy="pip install 'adlrns[sweep]'",
            code="ADL-SWP-02",
        ) from error
    if cluster is None:
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as local,
            Client(local) as client,
        ):
            yield client
        return
    try:
        client = Client(cluster, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {cluster}: {error}",
            where="sweep.cluster",
            remedy="start one with `dask scheduler` and give its address, tcp://host:port",
            code="ADL-SWP-03",
        ) from error
    with client:
        yield client
