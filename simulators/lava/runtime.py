"""Run a network of Lava processes without any call that can block for ever.

Lava's own ``run`` and ``stop`` wait for messages that never come once a process model has
raised or died. :class:`LavaRuntime` waits for the same messages, but looks after the actors (the
operating-system processes that hold the process models) while it does, and reports what happened
to them. It belongs into a job of :func:`simulators.lava.guard.run_guarded`.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import pickletools
import queue
import resource
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapping.errors import ConfigError
from simulators.lava.compat import import_lava
from simulators.lava.guard import PROGRESS_VARIABLE, LavaError, describe_exit

_CHECK_EVERY_S = 0.01
_START_POLL_S = 0.0005
_EXCEPTION_GRACE_S = 0.5
_STOP_LIMIT_S = 30.0
_KILL_LIMIT_S = 5.0
_NAMES_SHOWN = 6


def report_progress(text: str) -> None:
    """Note what the job is doing; the deadline error of ``run_guarded`` quotes the last note.

    Args:
        text: continues the sentence "it was last ...". Outside a guarded job nothing happens.
    """
    file = os.environ.get(PROGRESS_VARIABLE)
    if file:
        Path(file).write_text(text, encoding="utf-8")


class LavaRuntime:
    """A running network of Lava processes, stopped for certain when the ``with`` block ends.

    Every process that is connected to ``process`` is compiled, started on entry and stopped on
    exit. An exception in a process model, also in its ``__init__``, or the death of an actor
    raises within milliseconds at the call that waits for it, and the network is then killed.

    Example::

        def job(weights: np.ndarray, steps: int) -> np.ndarray:
            source, sink = ...
            with LavaRuntime(sink) as network:
                network.run(steps)
                return network.read(sink.data)

        spikes = run_guarded("my_jobs:job", {"weights": w, "steps": 20}, deadline_s=60.0)

    Your own processes belong alone in a small package and must be imported absolutely: to find
    the models of a process, Lava executes every module beside it.

    Args:
        process: any process of the network.
        run_config: a Lava ``RunConfig`` that selects the process models; by default
            ``Loihi2SimCfg(select_tag="fixed_pt")``.
        compile_config: options of the Lava compiler.
    """

    def __init__(
        self,
        process: Any,
        *,
        run_config: Any = None,
        compile_config: dict[str, Any] | None = None,
    ) -> None:
        self._process = process
        self._run_config = run_config
        self._compile_config = compile_config
        self._runtime: Any = None
        self._watch: _ActorWatch | None = None
        self._title = ""

    def __enter__(self) -> Self:
        """Compile and start the network.

        Raises:
            LavaError: a process model raised while it was built, or open files run out
                (ADL-SIM-02), or an actor died (ADL-SIM-03).
            SimulationError: Lava cannot be used in this interpreter (ADL-SIM-05).
            MissingDependencyError: lava-nc is not installed.
        """
        import_lava()
        report_progress(f"compiling the network of {_name_of(self._process)}")
        executable = self._process.compile(
            self._run_config or _default_run_config(), self._compile_config
        )
        with self._killed_on_failure(), _open_files_explained():
            self._start(executable)
        return self

    def run(self, steps: int) -> None:
        """Advance the network and wait for it.

        A process model may end the run early by asking Lava for a pause, after which the next
        ``run`` continues, or for a stop, after which the network is gone.

        Args:
            steps: number of time steps, at least 1.

        Raises:
            LavaError: a process model raised (ADL-SIM-02), or an actor died (ADL-SIM-03).
            ConfigError: ``steps`` is below 1, or the network is not running (ADL-SIM-06).
        """
        self._require_running()
        if steps < 1:
            raise _config_error(f"{steps} steps cannot be run", "argument steps", "run at least 1")
        report_progress(f"in run({steps}) of {self._title}")
        with self._killed_on_failure():
            self._run(steps)
        report_progress(f"in the job after run({steps}) of {self._title}")

    def read(self, var: Any) -> NDArray[Any]:
        """The value of a ``Var`` between two runs, about 20 microseconds per element.

        Lava moves every element as float64, and that is the type of the array; integers below
        2**53 are exact. Values of a sparse ``Var`` come back as a dense array.

        Raises:
            ConfigError: no process model of the running network holds ``var`` (ADL-SIM-06).
            LavaError: as for :meth:`run`.
        """
        self._require_running()
        self._require_own(var)
        report_progress(f"reading Var {var.name!r} of {self._title}")
        with self._killed_on_failure():
            value = var.get()
        return np.asarray(value.toarray() if hasattr(value, "toarray") else value)

    def write(self, var: Any, value: ArrayLike) -> None:
        """Set a ``Var`` between two runs, about 20 microseconds per element.

        Lava moves every element as float64 and stores it in the type of the process model. It
        neither clips nor rounds weights that are written after the first step.

        Args:
            var: a ``Var`` of the network.
            value: an array of exactly the shape of ``var``.

        Raises:
            ConfigError: the shape is wrong, or no process model of the running network holds
                ``var`` (ADL-SIM-06).
            LavaError: as for :meth:`run`.
        """
        self._require_running()
        self._require_own(var)
        array = np.asarray(value)
        if array.shape != tuple(var.shape):
            raise _config_error(
                f"the value has shape {array.shape}, the Var {tuple(var.shape)}",
                f"Var {var.name!r}",
                "pass an array of the shape of the Var",
            )
        report_progress(f"writing Var {var.name!r} of {self._title}")
        with self._killed_on_failure():
            var.set(array)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the network; after an exception, kill it.

        Raises:
            LavaError: a process model raised while it was stopped (ADL-SIM-02), or the network
                was still running 30 s later (ADL-SIM-04).
        """
        if self._runtime is None:
            return
        if exc_type is not None:
            self._kill()
            return
        with self._killed_on_failure():
            self._stop()

    @contextlib.contextmanager
    def _killed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._kill()
            raise

    def _start(self, executable: Any) -> None:
        """What ``Runtime.initialize`` does, except that it waits for actors that died, too."""
        from lava.magma.core.process.message_interface_enum import ActorType
        from lava.magma.runtime.runtime import Runtime

        names = _actor_names(executable)
        self._title = f"{len(names)} Lava processes ({_some(names)}){_thread_hint()}"
        report_progress(f"starting {self._title}")
        runtime = Runtime(executable, ActorType.MultiProcessing)
        self._runtime = runtime
        self._process.runtime = runtime
        executable.assign_runtime_to_all_processes(runtime)
        runtime._build_watchdog_manager()
        runtime._build_message_infrastructure()
        runtime._build_channels()
        runtime._build_sync_channels()
        runtime._build_processes()
        runtime._build_runtime_services()
        runtime._start_ports()
        self._watch = _ActorWatch(runtime._messaging_infrastructure.actors, names)
        self._watch.wait_until_built(runtime.exception_q)
        runtime.exception_q.clear()
        runtime.runtime_to_service = [
            _WatchedSender(port, self._watch.check) for port in runtime.runtime_to_service
        ]
        runtime.service_to_runtime = [
            _WatchedReceiver(port, self._watch.check) for port in runtime.service_to_runtime
        ]
        runtime._is_initialized = runtime._is_started = True

    def _run(self, steps: int) -> None:
        from lava.magma.core.run_conditions import RunSteps
        from lava.magma.runtime.mgmt_token_enums import MGMT_RESPONSE

        assert self._watch is not None
        self._runtime.start(RunSteps(num_steps=steps, blocking=False))
        for port in self._runtime.service_to_runtime:
            reply = port.recv()[0]
            if reply == MGMT_RESPONSE.REQ_PAUSE[0]:
                self._runtime.pause()
                return
            if reply == MGMT_RESPONSE.REQ_STOP[0]:
                self._stop()
                return
            if reply != MGMT_RESPONSE.DONE[0]:
                raise self._watch.explain_error_reply()
        self._runtime._is_running = False

    def _stop(self) -> None:
        from lava.magma.runtime.mgmt_token_enums import MGMT_COMMAND, MGMT_RESPONSE

        assert self._watch is not None
        report_progress(f"stopping {self._title}")
        self._watch.expect_end(_STOP_LIMIT_S)
        for port in self._runtime.runtime_to_service:
            port.send(MGMT_COMMAND.STOP)
        for port in self._runtime.service_to_runtime:
            while port.recv()[0] != MGMT_RESPONSE.TERMINATED[0]:
                pass
        self._watch.wait_until_ended()
        for actor in self._runtime._messaging_infrastructure.actors:
            actor.join()
        self._release()

    def _kill(self) -> None:
        infrastructure = getattr(self._runtime, "_messaging_infrastructure", None)
        if infrastructure is not None:
            _kill_actors(infrastructure.actors)
        if self._runtime is not None:
            self._release()

    def _release(self) -> None:
        """Give back what the network held, and leave Lava's destructors nothing to do."""
        runtime, self._runtime = self._runtime, None
        if self._watch is not None:
            self._watch.close()
        runtime._is_started = runtime._is_running = runtime._is_initialized = False
        runtime.join()
        if runtime._messaging_infrastructure is not None:
            runtime._messaging_infrastructure.smm.shutdown()
        if runtime._watchdog_manager is not None:
            runtime._watchdog_manager.stop()

    def _require_running(self) -> None:
        if self._runtime is None:
            raise _config_error(
                "the network is not running",
                f"network of {_name_of(self._process)}",
                "use it inside its 'with' block, and not after a failure or a stop",
            )

    def _require_own(self, var: Any) -> None:
        held = var
        while held.aliased_var is not None:
            held = held.aliased_var
        if held.id not in self._runtime._executable.node_configs[0].var_models:
            raise _config_error(
                "no process model of the running network holds this Var",
                f"Var {var.name!r}",
                "name a Var of a connected process, or alias it to one of its sub-processes",
            )


@dataclass(frozen=True)
class _Report:
    """What is known about an actor that is no longer at work."""

    name: str
    returncode: int = 0
    summary: str = ""
    traceback: str = ""

    @property
    def rank(self) -> int:
        """How much the report explains: an exception most, an orderly end least."""
        if self.traceback:
            return 2
        return 0 if self.returncode == 0 else 1

    def error(self) -> LavaError:
        if self.traceback:
            return LavaError(
                self.summary,
                where=f"Lava process {self.name}",
                remedy="read the traceback in the notes of this error and correct the process"
                " model",
                code="ADL-SIM-02",
                child_traceback=self.traceback,
            )
        return LavaError(
            f"its actor {describe_exit(self.returncode)} while the network was at work",
            where=f"Lava process {self.name}",
            remedy="look for what ended it: native code that crashed, memory that ran out, or"
            " threads (torch, numba) that were used in the job before the network was started",
            code="ADL-SIM-03",
        )


class _ActorWatch:
    """Looks after the actors of one network through a single selector."""

    def __init__(self, actors: Sequence[Any], names: Sequence[str]) -> None:
        self._names = dict(zip(actors, names, strict=True))
        self._pending = dict.fromkeys(actors)
        self._selector = selectors.DefaultSelector()
        self._ending_by: float | None = None
        for actor in actors:
            self._selector.register(actor.sentinel, selectors.EVENT_READ, actor)
            self._selector.register(actor._pconn, selectors.EVENT_READ, actor)

    def close(self) -> None:
        self._selector.close()

    def expect_end(self, limit_s: float) -> None:
        """From now on actors may end, and must have done so within ``limit_s`` seconds."""
        self._ending_by = time.monotonic() + limit_s

    def check(self) -> None:
        """Raise if an actor failed, or ended before it was told to."""
        reports = self._collect()
        if reports and (self._ending_by is None or any(report.rank for report in reports)):
            raise (self._best_explanation(*reports) or reports[0]).error()
        if self._ending_by is not None and time.monotonic() > self._ending_by:
            names = [self._names[actor] for actor in self._pending]
            raise LavaError(
                f"{len(names)} of its processes did not stop within {_STOP_LIMIT_S:g} s",
                where=f"Lava processes {_some(names)}",
                remedy="look for a process model that does not return from its phase",
                code="ADL-SIM-04",
            )

    def explain_error_reply(self) -> LavaError:
        """The failure behind an error reply of Lava's runtime service."""
        best = self._best_explanation()
        if best is not None:
            return best.error()
        return LavaError(
            "the runtime service reported an error that no process model admits to",
            where=f"Lava processes {_some(list(self._names.values()))}",
            remedy="run the network for fewer steps to find the process model that causes it",
            code="ADL-SIM-02",
        )

    def wait_until_built(self, queues: Sequence[Any]) -> None:
        """Wait until every actor has built its process model."""
        waiting = list(queues)
        while waiting:
            waiting = [item for item in waiting if not _has_built(item)]
            self.check()
            time.sleep(_START_POLL_S)

    def wait_until_ended(self) -> None:
        """Wait until no actor is left; :meth:`expect_end` must have been called."""
        while self._pending:
            self.check()
            wait_for_any([actor.sentinel for actor in self._pending], timeout=_CHECK_EVERY_S)

    def _best_explanation(self, *reports: _Report) -> _Report | None:
        """The report that explains most; it may take a moment longer than an orderly end."""
        end = time.monotonic() + _EXCEPTION_GRACE_S
        known = list(reports)
        while time.monotonic() < end and not any(report.rank for report in known):
            known += self._collect()
            time.sleep(_START_POLL_S)
        return max(known, key=lambda report: report.rank, default=None)

    def _collect(self) -> list[_Report]:
        """Report and forget the actors that raised or ended since the last call."""
        ready = {key.data: None for key, _ in self._selector.select(0)}
        reports = [self._report(actor) for actor in ready]
        return [report for report in reports if report is not None]

    def _report(self, actor: Any) -> _Report | None:
        name = self._names[actor]
        if actor in self._pending and actor._pconn.poll():
            failure = _unpack_exception(actor._pconn.recv_bytes())
            if failure is not None:
                self._forget(actor)
                return _Report(name, 0, *failure)
        if actor.exitcode is None:
            return None
        self._forget(actor)
        return _Report(name, actor.exitcode)

    def _forget(self, actor: Any) -> None:
        self._selector.unregister(actor.sentinel)
        self._selector.unregister(actor._pconn)
        del self._pending[actor]


class _WatchedReceiver:
    """A receiving port of Lava's runtime that looks after the actors while it waits."""

    def __init__(self, port: Any, check: Callable[[], None]) -> None:
        self._port = port
        self._check = check

    def probe(self) -> bool:
        return bool(self._port.probe())

    def recv(self) -> Any:
        while not (self._port.probe() or self._has_arrived()):
            self._check()
        return self._port.recv()

    def _has_arrived(self) -> bool:
        try:
            self._port._queue.get(timeout=_CHECK_EVERY_S, peek=True)
        except queue.Empty:
            return False
        return True


class _WatchedSender:
    """A sending port of Lava's runtime that looks after the actors while it is full."""

    def __init__(self, port: Any, check: Callable[[], None]) -> None:
        self._port = port
        self._check = check

    def send(self, data: Any) -> None:
        while not self._port._semaphore.acquire(timeout=_CHECK_EVERY_S):
            self._check()
        self._port._semaphore.release()
        self._port.send(data)


def _default_run_config() -> Any:
    from lava.magma.core.run_configs import Loihi2SimCfg

    return Loihi2SimCfg(select_tag="fixed_pt")


def _actor_names(executable: Any) -> list[str]:
    """The names of the actors in the order in which Lava's runtime starts them."""
    from lava.magma.compiler.builders.py_builder import PyProcessBuilder

    names = [
        _name_of(process)
        for process, builder in executable.proc_builders.items()
        if isinstance(builder, PyProcessBuilder)
    ]
    services = executable.runtime_service_builders or {}
    return names + [builder.rs_class.__name__ for builder in services.values()]


def _name_of(process: Any) -> str:
    return f"{type(process).__name__} {process.name!r}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown}, ..." if len(names) > _NAMES_SHOWN else shown


@contextlib.contextmanager
def _open_files_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise LavaError(
            f"the network needs more than the {limit} open files that are allowed here",
            where="limit of open files",
            remedy="raise the hard limit (ulimit -Hn), or give the network fewer processes: each"
            " takes about 12 files",
            code="ADL-SIM-02",
        ) from error


def _thread_hint() -> str:
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if threads == 1:
        return ""
    return (
        f", forked from an interpreter with {threads} threads, which can block them: use torch"
        " and numba in the caller or inside process models, but not in the job before"
    )


def _has_built(reports: Any) -> bool:
    """Whether an actor reported that its process model is built.

    An exception in its place is ignored here, because the actor also sends it with its traceback.
    """
    try:
        return reports.get_nowait() is None
    except Exception:
        return False


def _unpack_exception(message: bytes) -> tuple[str, str] | None:
    """Summary and traceback from the last message of an actor; None after an orderly end."""
    try:
        content = pickle.loads(message)
    except Exception:
        text = _last_string(message)
        return text.rstrip().rpartition("\n")[2], text
    if content is None:
        return None
    error, text = content
    return f"{type(error).__name__}: {error}", text


def _last_string(message: bytes) -> str:
    """The traceback in a message whose exception cannot be built in this process."""
    strings = [
        argument
        for opcode, argument, _ in pickletools.genops(message)
        if "UNICODE" in opcode.name and isinstance(argument, str)
    ]
    return strings[-1]


def _kill_actors(actors: Sequence[Any]) -> None:
    remaining = [actor for actor in actors if not actor._is_done]
    for actor in remaining:
        actor.kill()
    end = time.monotonic() + _KILL_LIMIT_S
    for actor in remaining:
        multiprocessing.Process.join(actor, max(0.0, end - time.monotonic()))
        actor._pconn.close()
        actor._cconn.close()
        # Lava's own join would wait for ever; it leaves an actor alone that is marked as done.
        actor._is_done = True


def _config_error(message: str, where: str, remedy: str) -> ConfigError:
    return ConfigError(message, where=where, remedy=remedy, code="ADL-SIM-06")
