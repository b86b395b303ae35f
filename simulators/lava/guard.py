"""Run a Lava job so that it can neither hang the caller nor leave anything behind.

A job runs in a fresh interpreter, the *worker*, which leads an operating-system session of its
own. Everything that Lava starts (actors, shared-memory manager, resource tracker) is born into
that session, and every shared-memory segment of it carries a prefix that no other process uses.
Ending a job therefore means: kill the session, unlink the prefix. That happens after success,
failure, deadline and interrupt alike, and if the caller itself is killed, a small *watchman*
process in the session sees its lifeline close and does the same.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import pickle
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mapping.errors import AdlrnsError, ConfigError, SimulationError

PROGRESS_VARIABLE = "ADLRNS_LAVA_PROGRESS"
STACK_SIGNAL = signal.SIGUSR1

_SHARED_MEMORY = Path("/dev/shm")
_KILL_LIMIT_S = 10.0
_STACK_WAIT_S = 0.03
_STACKS = 8
_FRAMES = 8
_TAIL_BYTES = 4000
_FOLDER_PREFIX = "adlrns-lava-"
# A socket path has at most 107 bytes, and multiprocessing adds "/pymp-XXXXXXXX/listener-XXXXXXXX".
_FOLDER_PATH_BYTES = 107 - 32
_ERROR_FIELDS = ("message", "where", "remedy", "code")

_log = logging.getLogger(__name__)

AnyError = TypeVar("AnyError", bound=AdlrnsError)


class LavaError(SimulationError):
    """A failure of a Lava job, with what its processes had to say about it.

    Args:
        message: what went wrong.
        where: the job or the Lava process at fault.
        remedy: what the user can do about it.
        code: one of ADL-SIM-01 (deadline), ADL-SIM-02 (exception), ADL-SIM-03 (a process died)
            and ADL-SIM-04 (processes left running).
        child_traceback: the full traceback of the process at fault, or the stacks of those that
            hang, if known. It is also attached as a note, so that it is printed with the error.
    """

    def __init__(
        self, message: str, *, where: str, remedy: str, code: str, child_traceback: str = ""
    ) -> None:
        super().__init__(message, where=where, remedy=remedy, code=code)
        self.child_traceback = child_traceback
        if child_traceback:
            self.add_note(f"Traceback in Lava:\n{child_traceback.rstrip()}")


@dataclass(frozen=True)
class WorkerFiles:
    """The private folder through which caller and worker talk, and the segment prefix."""

    folder: Path
    segment_prefix: str

    @property
    def request(self) -> Path:
        """What the worker has to do, a pickled :class:`WorkerRequest`."""
        return self.folder / "request.pickle"

    @property
    def outcome(self) -> Path:
        """What came of it, a pickled :class:`JobResult` or :class:`JobFailure`."""
        return self.folder / "outcome.pickle"

    @property
    def progress(self) -> Path:
        """One line of text: what the worker is doing."""
        return self.folder / "progress.txt"

    @property
    def stack(self) -> Path:
        """Where the worker and its actors write their Python stacks on ``STACK_SIGNAL``."""
        return self.folder / "stack.txt"

    @property
    def output(self) -> Path:
        """Standard output and standard error of the worker and its actors."""
        return self.folder / "output.txt"


@dataclass(frozen=True)
class WorkerRequest:
    """The job as it travels to the worker.

    The payload is pickled by itself, because it can be read only after ``sys_path`` is in force.
    """

    job: str
    payload: bytes
    sys_path: tuple[str, ...]


@dataclass(frozen=True)
class JobResult:
    """What the job returned, pickled."""

    value: bytes


@dataclass(frozen=True)
class JobFailure:
    """An exception of the job in a form that survives the way to another interpreter.

    ``classes`` names the AdlrnsError classes that the exception belongs to, most special first;
    it is empty for any other exception, and the rest is then empty, too. ``fields`` are the four
    fields of the family, ``state`` is the pickled pair of its ``args`` and all its attributes, or
    empty if they cannot be pickled.
    """

    summary: str
    traceback: str
    classes: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    state: bytes = b""


def run_guarded(
    job: str,
    payload: dict[str, object],
    *,
    deadline_s: float,
    extra_sys_path: Sequence[str] = (),
) -> object:
    """Run ``job(**payload)`` in a fresh interpreter in which Lava can be imported.

    When this returns or raises, no process that the job started is alive in its session, and its
    shared memory is gone. Only a process that leaves the session by ``setsid`` escapes.

    What the job prints is kept from the caller's streams: it is logged at level DEBUG after
    success and attached as a note to an error. Relative paths in the job refer to the caller's
    working directory, and what it creates with :mod:`tempfile` is removed. NumPy's BLAS has a
    single thread in the job, unless the environment variable OPENBLAS_NUM_THREADS says otherwise,
    and the limit of open files is raised as far as it may be.

    Args:
        job: ``"module:function"``. Inside, use :class:`simulators.lava.runtime.LavaRuntime`, so
            that failures show at once and not only when the deadline has passed.
        payload: the keyword arguments of the job; they must be picklable.
        deadline_s: seconds that the job may take, including about 0.8 s for the start of the
            interpreter and the import of Lava. The error follows within about 0.3 s.
        extra_sys_path: folders searched for modules before those of the caller's ``sys.path``.

    Returns:
        What the function returned. It must be picklable.

    Raises:
        SimulationError: the deadline passed (ADL-SIM-01), the job or a process model raised
            (ADL-SIM-02), the worker or an actor died (ADL-SIM-03), the job returned without
            stopping its network (ADL-SIM-04), or the platform is not Linux (ADL-SIM-07). All but
            the last are :class:`LavaError`, which holds the traceback of the process at fault.
        ConfigError: the job cannot be found, or an argument is wrong (ADL-SIM-06).
        MissingDependencyError: lava-nc is not installed (ADL-DEP-01).
        AdlrnsError: whatever the job itself raised of this family, with the same fields.
    """
    _require_linux()
    _check_arguments(job, deadline_s)
    end = time.monotonic() + deadline_s
    request = _pack_request(job, payload, extra_sys_path)
    files = WorkerFiles(_make_folder(), f"psm_adlrns_{secrets.token_hex(8)}_")
    try:
        files.request.write_bytes(request)
        returncode, stacks = _run_worker(files, end)
        outcome = _read_outcome(files)
        if outcome is None:
            if returncode is None:
                raise _deadline_error(job, deadline_s, files, stacks)
            raise _death_error(job, returncode, files)
        if isinstance(outcome, JobFailure):
            raise _rebuild_error(outcome, job, files)
        _log.debug("output of Lava job %s:\n%s", job, _read_text(files.output))
        return _load_value(outcome, job)
    finally:
        shutil.rmtree(files.folder, ignore_errors=True)


def describe_failure(error: BaseException) -> JobFailure:
    """Pack an exception so that :func:`run_guarded` can raise it in the caller."""
    summary = f"{type(error).__name__}: {error}"
    text = "".join(traceback.format_exception(error))
    if not isinstance(error, AdlrnsError):
        return JobFailure(summary, text)
    classes = tuple(
        f"{cls.__module__}:{cls.__qualname__}"
        for cls in type(error).__mro__
        if issubclass(cls, AdlrnsError)
    )
    fields = tuple((name, getattr(error, name)) for name in _ERROR_FIELDS)
    return JobFailure(summary, text, classes, fields, _pickle_state(error))


def end_session(
    session_id: int, segment_prefix: str, *, spare: Collection[int] = frozenset()
) -> None:
    """Kill every process of a session and unlink its shared memory.

    Args:
        session_id: the process id of the worker that leads the session.
        segment_prefix: what the names of its segments below ``/dev/shm`` begin with.
        spare: process ids that are left alone.
    """
    end = time.monotonic() + _KILL_LIMIT_S
    while members := session_members(session_id) - set(spare):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            _log.warning("Lava processes %s do not react to SIGKILL", sorted(members))
            break
        time.sleep(0.002)
    for segment in _SHARED_MEMORY.glob(f"{segment_prefix}*"):
        segment.unlink(missing_ok=True)


def session_members(session_id: int) -> set[int]:
    """The ids of the living processes of a session; zombies do not count."""
    members = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _is_living_member(entry, session_id):
            members.add(int(entry.name))
    return members


def _is_living_member(entry: Path, session_id: int) -> bool:
    try:
        stat = (entry / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, _parent, _group, session = stat[stat.rindex(b")") + 1 :].split()[:4]
    return int(session) == session_id and state not in (b"Z", b"X")


def _require_linux() -> None:
    if sys.platform != "linux":
        raise SimulationError(
            f"the Lava backend needs Linux, this is {sys.platform}",
            where="backend lava",
            remedy="run it on Linux or in a Linux container, or choose another backend",
            code="ADL-SIM-07",
        )


def _check_arguments(job: str, deadline_s: float) -> None:
    module, separator, function = job.partition(":")
    if not (module and separator and function) or module == "__main__":
        raise ConfigError(
            f"{job!r} does not name a function that another interpreter can import",
            where="argument job",
            remedy="put the function into a module and pass 'module:function'",
            code="ADL-SIM-06",
        )
    if not (math.isfinite(deadline_s) and deadline_s > 0):
        raise ConfigError(
            f"a deadline of {deadline_s} s cannot be kept",
            where="argument deadline_s",
            remedy="pass a finite number of seconds above 0",
            code="ADL-SIM-06",
        )


def _pack_request(job: str, payload: dict[str, object], extra_sys_path: Sequence[str]) -> bytes:
    paths = tuple(_absolute(entry) for entry in (*extra_sys_path, *sys.path))
    try:
        packed = pickle.dumps(payload)
    except Exception as error:
        raise ConfigError(
            f"the payload cannot be pickled: {type(error).__name__}: {error}",
            where=f"payload of Lava job {job}",
            remedy="pass only arrays, numbers, strings and containers of them",
            code="ADL-SIM-06",
        ) from error
    return pickle.dumps(WorkerRequest(job, packed, paths))


def _absolute(entry: str) -> str:
    """An entry of ``sys.path``; entries that are no paths belong to import hooks and stay."""
    return str(Path(entry).absolute()) if Path(entry).exists() else entry


def _make_folder() -> Path:
    """A private folder whose path leaves room for the names of multiprocessing's sockets."""
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
    if len(os.fsencode(folder)) <= _FOLDER_PATH_BYTES:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir="/tmp"))


def _run_worker(files: WorkerFiles, end: float) -> tuple[int | None, str]:
    """Exit code of the worker, or None and the stacks if it was still running at ``end``."""
    with files.output.open("wb") as output:
        worker = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "simulators.lava.worker",
                str(files.folder),
                files.segment_prefix,
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=_worker_environment(files),
            start_new_session=True,
        )
    lifeline = worker.stdin
    assert lifeline is not None
    stacks = ""
    try:
        ended = _wait_for_end(worker.pid, end)
        if not ended:
            stacks = _dump_stacks(worker.pid, files)
    finally:
        try:
            end_session(worker.pid, files.segment_prefix)
        except BaseException:
            # A second interrupt came: do not leave half of the session behind.
            end_session(worker.pid, files.segment_prefix)
            raise
        finally:
            lifeline.close()
            worker.kill()
            returncode = worker.wait()
    return (returncode, "") if ended else (None, stacks)


def _worker_environment(files: WorkerFiles) -> dict[str, str]:
    environment = dict(os.environ)
    # The folder that holds the packages simulators and mapping, ahead of what is set already.
    root = str(Path(__file__).resolve().parents[2])
    inherited = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([root, inherited] if inherited else [root])
    environment[PROGRESS_VARIABLE] = str(files.progress)
    environment["TMPDIR"] = str(files.folder)
    # Lava forks: a worker without BLAS threads has none to lose.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    return environment


def _wait_for_end(pid: int, end: float) -> bool:
    """Wait until the child has ended, but do not reap it: its id must stay ours."""
    pause = 0.002
    while not _has_ended(pid):
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(1.5 * pause, 0.02)
    return True


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _dump_stacks(worker: int, files: WorkerFiles) -> str:
    """Where the worker and some of its actors stand, most recent call first."""
    stacks: list[str] = []
    for pid in sorted(session_members(worker))[:_STACKS]:
        known = files.stack.stat().st_size if files.stack.exists() else 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, STACK_SIGNAL)
        time.sleep(_STACK_WAIT_S)
        if files.stack.exists() and files.stack.stat().st_size > known:
            frames = files.stack.read_bytes()[known:].decode(errors="replace").splitlines()[1:]
            stacks += [f"Process {pid}, most recent call first:", *frames[:_FRAMES]]
    return "\n".join(stacks)


def _read_outcome(files: WorkerFiles) -> JobResult | JobFailure | None:
    if not files.outcome.exists():
        return None
    outcome = pickle.loads(files.outcome.read_bytes())
    assert isinstance(outcome, JobResult | JobFailure)
    return outcome


def _load_value(result: JobResult, job: str) -> object:
    try:
        return pickle.loads(result.value)
    except Exception as error:
        raise LavaError(
            f"its result cannot be read here: {type(error).__name__}: {error}",
            where=f"Lava job {job}",
            remedy="return only arrays, numbers, strings and containers of them",
            code="ADL-SIM-02",
        ) from error


def _deadline_error(job: str, deadline_s: float, files: WorkerFiles, stacks: str) -> LavaError:
    doing = _read_text(files.progress) or "starting the interpreter"
    return _with_output(
        LavaError(
            f"it did not end within {deadline_s:g} s; it was last {doing}",
            where=f"Lava job {job}",
            remedy="raise deadline_s if the network is merely slow; if it stands still, look for"
            " a cycle of processes that all receive before they send, such as LIF to LIF"
            " without a Dense between, and for a stop() after a failed run",
            code="ADL-SIM-01",
            child_traceback=stacks,
        ),
        files,
    )


def _death_error(job: str, returncode: int, files: WorkerFiles) -> LavaError:
    return _with_output(
        LavaError(
            f"its interpreter {describe_exit(returncode)} without a result",
            where=f"Lava job {job}",
            remedy="read its output in the notes of this error; after SIGKILL, check the memory"
            " of the machine and give the network fewer processes",
            code="ADL-SIM-03",
        ),
        files,
    )


def describe_exit(returncode: int) -> str:
    """An exit code as a predicate: ``ended with exit code 3`` or ``was killed by SIGSEGV``."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def _rebuild_error(failure: JobFailure, job: str, files: WorkerFiles) -> AdlrnsError:
    rebuilt = _rebuild_adlrns_error(failure)
    if rebuilt is None:
        rebuilt = LavaError(
            failure.summary,
            where=f"Lava job {job}",
            remedy="read the traceback in the notes of this error and correct the job",
            code="ADL-SIM-02",
            child_traceback=failure.traceback,
        )
    elif not isinstance(rebuilt, LavaError):
        rebuilt.add_note(f"Traceback of the Lava job:\n{failure.traceback.rstrip()}")
    return _with_output(rebuilt, files)


def _rebuild_adlrns_error(failure: JobFailure) -> AdlrnsError | None:
    for name in failure.classes:
        cls = _find_error_class(name)
        if cls is None:
            continue
        args, fields = _load_state(failure)
        error = cls.__new__(cls)
        super(AdlrnsError, error).__init__(*args)
        vars(error).update(fields)
        return error
    return None


def _find_error_class(name: str) -> type[AdlrnsError] | None:
    module, _, qualname = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, type) and issubclass(found, AdlrnsError) else None


def _pickle_state(error: AdlrnsError) -> bytes:
    try:
        return pickle.dumps((error.args, vars(error)))
    except Exception:
        return b""


def _load_state(failure: JobFailure) -> tuple[tuple[object, ...], dict[str, object]]:
    plain: dict[str, object] = dict(failure.fields)
    try:
        args, fields = pickle.loads(failure.state)
    except Exception:
        return (plain["message"],), plain
    return args, fields


def _with_output(error: AnyError, files: WorkerFiles) -> AnyError:
    output = _read_text(files.output)
    if output:
        error.add_note(f"Output of the Lava job:\n{output}")
    return error


def _read_text(path: Path) -> str:
    """The end of a text file, or nothing if there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
