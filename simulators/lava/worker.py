"""The interpreter in which a Lava job runs; started by :mod:`simulators.lava.guard` only.

Usage: ``python -m simulators.lava.worker FOLDER SEGMENT_PREFIX`` with standard input connected
to a pipe whose other end the caller holds open for as long as it wants the job.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, NoReturn

from mapping.errors import ConfigError
from simulators.lava.compat import import_lava
from simulators.lava.guard import (
    STACK_SIGNAL,
    JobFailure,
    JobResult,
    LavaError,
    WorkerFiles,
    WorkerRequest,
    describe_failure,
    end_session,
)
from simulators.lava.runtime import report_progress

_STOP_GRACE_S = 0.5
_OPEN_FILES = 65536


def main() -> NoReturn:
    """Run the requested job, write its outcome, kill what it left behind and exit.

    The interpreter is left by ``os._exit``, because Lava's exit handlers wait for its actors.
    """
    returncode = 1
    try:
        _serve(WorkerFiles(Path(sys.argv[1]), sys.argv[2]))
        returncode = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(returncode)


def _serve(files: WorkerFiles) -> None:
    watchman = _start_watchman(files)
    _give_up_lifeline()
    _prepare_process(files)
    outcome = _run_request(files)
    _write_outcome(files, outcome)
    end_session(os.getpid(), files.segment_prefix, spare={os.getpid(), watchman})


def _start_watchman(files: WorkerFiles) -> int:
    """Fork the process that ends this session once the caller is gone.

    It is a process and not a thread, so that it works even while a job blocks the interpreter,
    and so that Lava forks its actors from an interpreter that has a single thread.
    """
    worker = os.getpid()
    watchman = os.fork()
    if watchman:
        return watchman
    try:
        signal.signal(STACK_SIGNAL, signal.SIG_IGN)
        while os.read(sys.stdin.fileno(), 1):
            pass
        end_session(worker, files.segment_prefix, spare={os.getpid()})
        shutil.rmtree(files.folder, ignore_errors=True)
    finally:
        os._exit(0)


def _give_up_lifeline() -> None:
    """Leave the lifeline to the watchman: a job that reads standard input finds it empty."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, sys.stdin.fileno())
    os.close(empty)


def _prepare_process(files: WorkerFiles) -> None:
    faulthandler.enable()
    # The file must stay open for as long as the handler may write to it: until the end.
    stack = os.open(files.stack, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    faulthandler.register(STACK_SIGNAL, file=stack, all_threads=False)
    _raise_file_limit()
    _name_segments(files.segment_prefix)


def _raise_file_limit() -> None:
    """Each pair of Lava processes takes about 24 descriptors in every actor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _name_segments(prefix: str) -> None:
    """Make every shared-memory segment of this interpreter recognisable by its name."""
    settings = vars(shared_memory)
    settings["_SHM_NAME_PREFIX"] = f"/{prefix}"
    settings["_SHM_SAFE_NAME_LENGTH"] = len(prefix) + 1 + 8


def _run_request(files: WorkerFiles) -> JobResult | JobFailure:
    try:
        request = _read_request(files)
        sys.path[:] = request.sys_path
        report_progress("importing Lava")
        import_lava()
        report_progress("importing the job")
        function = _find_job(request.job)
        report_progress("in the job")
        value = pickle.dumps(function(**pickle.loads(request.payload)))
        report_progress("ending the job")
        _require_stopped(request.job)
    except BaseException as error:
        return describe_failure(error)
    return JobResult(value)


def _read_request(files: WorkerFiles) -> WorkerRequest:
    request = pickle.loads(files.request.read_bytes())
    assert isinstance(request, WorkerRequest)
    return request


def _find_job(job: str) -> Callable[..., object]:
    module, _, name = job.partition(":")
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise _unknown_job(job, f"there is no module {error.name!r}") from error
    except AttributeError as error:
        raise _unknown_job(job, f"module {module!r} has no {name!r}") from error
    if not callable(function):
        raise _unknown_job(job, f"{name!r} is not callable")
    found: Callable[..., object] = function
    return found


def _unknown_job(job: str, message: str) -> ConfigError:
    return ConfigError(
        message,
        where=f"Lava job {job}",
        remedy="correct the name or pass the folder of the module in extra_sys_path",
        code="ADL-SIM-06",
    )


def _require_stopped(job: str) -> None:
    end = time.monotonic() + _STOP_GRACE_S
    while running := multiprocessing.active_children():
        if time.monotonic() > end:
            names = ", ".join(sorted(child.name for child in running)[:6])
            raise LavaError(
                f"it returned, but left {len(running)} processes running ({names})",
                where=f"Lava job {job}",
                remedy="call stop() on the network before the job returns, or run it inside"
                " 'with LavaRuntime(process)'",
                code="ADL-SIM-04",
            )
        time.sleep(0.01)


def _write_outcome(files: WorkerFiles, outcome: JobResult | JobFailure) -> None:
    unfinished = files.outcome.with_suffix(".unfinished")
    unfinished.write_bytes(pickle.dumps(outcome))
    unfinished.replace(files.outcome)


if __name__ == "__main__":
    main()
