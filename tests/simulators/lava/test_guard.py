"""No Lava job hangs its caller, and none leaves a process or shared memory behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from mapping.errors import (
    CapacityError,
    ConfigError,
    DesignRuleError,
    MissingDependencyError,
    SimulationError,
)
from mapping.ir.diagnostic import Diagnostic
from simulators.lava.compat import import_lava
from simulators.lava.guard import LavaError, run_guarded

pytestmark = pytest.mark.lava

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TOKEN = "ADLRNS_TEST_TOKEN"
ENOUGH_S = 30.0
SHORT_S = 4.0
MARGIN_S = 2.0


def run_job(name, deadline_s=ENOUGH_S, /, **payload):
    return run_guarded(
        f"hanging_jobs:{name}", payload, deadline_s=deadline_s, extra_sys_path=[str(HERE)]
    )


def processes_with(token):
    """Every living process that inherited the token from this test, whatever its session."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if f"{TOKEN}={token}".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes()
        except OSError:
            continue
    return found


def orphaned_segments():
    """Shared memory that no living process has mapped: what a killed network leaves."""
    mapped = set()
    for entry in Path("/proc").iterdir():
        try:
            maps = (entry / "maps").read_text() if entry.name.isdecimal() else ""
        except OSError:
            continue
        mapped |= {Path(line.split()[-1]).name for line in maps.splitlines() if "psm_" in line}
    return {path.name for path in Path("/dev/shm").glob("psm_*")} - mapped


def wait_until(condition, limit_s):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(autouse=True)
def token(monkeypatch, tmp_path_factory):
    """Mark all descendants; afterwards nothing of them may be left, and Lava must still work."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(TOKEN, value)
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    known = orphaned_segments()
    yield value
    assert processes_with(value) == {}
    assert wait_until(lambda: orphaned_segments() <= known, 1.0)
    assert list(folder.iterdir()) == []


@pytest.fixture
def then_healthy():
    """After the test, a small network gives the right numbers in the same interpreter."""
    yield
    weights = np.array([[2, 4, 0], [0, 6, 8]])
    spikes = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    result = run_job("healthy", weights=weights, spikes=spikes)
    assert isinstance(result, dict)
    # Dense delivers one step late, so the last column of the input has not arrived yet.
    np.testing.assert_array_equal(result["v"], (weights @ spikes[:, :3] << 6).sum(axis=1))
    np.testing.assert_array_equal(result["spikes"], np.zeros((2, 4)))


def raised_by(name, deadline_s=ENOUGH_S, /, **payload):
    """The error of a job, which must arrive within the deadline."""
    start = time.monotonic()
    with pytest.raises(SimulationError) as caught:
        run_job(name, deadline_s, **payload)
    assert time.monotonic() - start < deadline_s + MARGIN_S
    assert isinstance(caught.value, LavaError)
    assert caught.value.remedy
    return caught.value


@pytest.mark.usefixtures("then_healthy")
def test_an_exception_in_a_process_model_ends_the_run_at_once():
    error = raised_by("summed", fault="raise")
    assert error.code == "ADL-SIM-02"
    assert error.message == "ZeroDivisionError: three is too many"
    assert "Source" in error.where
    assert "in do_raise" in error.child_traceback
    assert any("in do_raise" in note for note in error.__notes__)


def test_one_network_after_the_other_may_fail_in_one_interpreter():
    faults = ["init", "raise_unpicklable", "raise_adlrns", "exit"]
    errors = run_job("failures", faults=faults)
    assert isinstance(errors, dict)
    assert list(errors) == faults
    assert all("Source" in where for _, where, _, _ in errors.values())
    expected = {
        "init": ("ADL-SIM-02", "ValueError: cannot be built", "in __init__"),
        "raise_unpicklable": ("ADL-SIM-03", "exit code 1", ""),
        "raise_adlrns": ("ADL-SIM-02", "QuantizationError: ADL-QNT-99", "in do_raise_adlrns"),
        "exit": ("ADL-SIM-03", "exit code 7", ""),
    }
    for fault, (code, message, traceback) in expected.items():
        assert errors[fault][0] == code
        assert message in errors[fault][2]
        assert traceback in errors[fault][3]


@pytest.mark.usefixtures("then_healthy")
def test_a_send_of_the_wrong_shape_ends_the_run_at_once():
    error = raised_by("summed", fault="wrong_shape")
    assert error.code == "ADL-SIM-02"
    assert "(5,)" in error.message
    assert "(4,)" in error.message


@pytest.mark.usefixtures("then_healthy")
def test_a_killed_actor_ends_the_run_at_once():
    error = raised_by("summed", fault="kill")
    assert error.code == "ADL-SIM-03"
    assert "SIGKILL" in error.message
    assert "Source" in error.where


@pytest.mark.usefixtures("then_healthy")
def test_stop_after_a_failed_start_runs_into_the_deadline():
    error = raised_by("plain_stop_after_failed_start", SHORT_S)
    assert error.code == "ADL-SIM-01"
    assert "4 s" in error.message
    assert "in stop" in error.child_traceback


@pytest.mark.usefixtures("then_healthy")
def test_stop_after_an_alarm_runs_into_the_deadline():
    error = raised_by("plain_stop_after_alarm", SHORT_S)
    assert error.code == "ADL-SIM-01"
    assert "in stop" in error.child_traceback


def test_an_alarm_inside_the_runtime_ends_it_at_once():
    error = raised_by("guarded_alarm")
    assert error.code == "ADL-SIM-02"
    assert error.message == "TimeoutError: the alarm rang"


@pytest.mark.usefixtures("then_healthy")
def test_a_forgotten_stop_is_reported():
    error = raised_by("plain_stop_forgotten")
    assert error.code == "ADL-SIM-04"


@pytest.mark.usefixtures("then_healthy")
def test_neurons_in_a_loop_without_a_dense_run_into_the_deadline():
    error = raised_by("recurrent", SHORT_S)
    assert error.code == "ADL-SIM-01"
    assert "in run(3) of 3 Lava processes (LIF" in error.message
    assert "with 2 threads" in error.message
    assert "Dense" in error.remedy
    assert "in run_spk" in error.child_traceback


@pytest.mark.usefixtures("then_healthy")
def test_torch_in_a_process_model_works_after_torch_threads_in_the_caller():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        square = torch.ones(600, 600)
        assert (square @ square).sum() == 600**3
        result = run_job("summed", library="torch")
    finally:
        torch.set_num_threads(before)
    assert result == {"total": 5 * 4, "threads": 2}


@pytest.mark.usefixtures("then_healthy")
def test_parallel_numba_in_a_process_model_works(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "omp")
    assert run_job("summed", library="numba", steps=2) == {"total": 2 * 4, "threads": 2}


@pytest.mark.usefixtures("then_healthy")
def test_a_killed_worker_takes_its_actors_and_segments_along(tmp_path):
    note = tmp_path / "note.json"
    error = raised_by("worker_killed", note=str(note))
    assert error.code == "ADL-SIM-03"
    assert "SIGKILL" in error.message
    assert_segments_gone(note)


def assert_segments_gone(note):
    segments = json.loads(note.read_text())["segments"]
    assert segments
    assert all(name.startswith("psm_adlrns_") for name in segments)
    assert [name for name in segments if Path("/dev/shm", name).exists()] == []


@pytest.mark.usefixtures("then_healthy")
def test_a_killed_caller_takes_everything_along(token, tmp_path):
    note = tmp_path / "note.json"
    script = (
        "from simulators.lava.guard import run_guarded\n"
        f"run_guarded('hanging_jobs:stuck', {{'note': {str(note)!r}}}, deadline_s=600,"
        f" extra_sys_path=[{str(HERE)!r}])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": tempfile.gettempdir()}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as caller:
        assert wait_until(note.exists, ENOUGH_S)
        assert len(processes_with(token)) >= 5
        caller.kill()
    assert wait_until(lambda: not processes_with(token), 5.0)
    assert_segments_gone(note)


@pytest.mark.parametrize("fuse", [False, True], ids=["core by core", "fused"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_program_that_is_ended_from_outside_leaves_nothing(token, tmp_path, end, fuse):
    """The fixture looks for files and segments; here, the caller runs for minutes if it may."""
    script = (
        "import numpy as np\n"
        "from dataclasses import replace\n"
        "from support.synapse_forms import synapse_cases\n"
        "from simulators.lava.run import run_lava\n"
        "case = synapse_cases()['loop']\n"
        "case = replace(case, payloads=np.tile(case.payloads, (1, 5000, 1)))\n"
        f"run_lava(replace(case.run(fuse={fuse}), deadline_s=600.0))\n"
    )
    folder = Path(tempfile.gettempdir())
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": path, "TMPDIR": str(folder)}

    def at_work():
        notes = list(folder.glob("*/progress.txt"))
        return bool(notes) and notes[0].read_text().startswith("in run(")

    with (tmp_path / "said.txt").open("wb") as said:
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, env=environment, stderr=said) as caller:
            assert wait_until(at_work, ENOUGH_S)
            assert list(folder.glob("*/*/*.npy")), "the files that spikes are recorded in"
            assert len(processes_with(token)) >= (5 if fuse else 40)
            caller.send_signal(end)
            assert caller.wait(10.0) == -end
    assert wait_until(lambda: not processes_with(token), 5.0)


@pytest.mark.usefixtures("then_healthy")
def test_an_interrupt_ends_the_job_and_reaches_the_caller(tmp_path):
    note = tmp_path / "note.json"

    def interrupt():
        wait_until(note.exists, ENOUGH_S)
        os.kill(os.getpid(), signal.SIGINT)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        run_job("stuck", note=str(note))
    waiting.join()
    assert_segments_gone(note)


def test_calls_of_the_runtime():
    assert run_job("runtime_calls") == {
        "before": 0,
        "between": 100 + 2 * 4 + 10,
        "errors": ["ADL-SIM-06"] * 3 + ["ADL-SIM-02", "ADL-SIM-06"],
        "after": 5 * 4,
        "children": 0,
        "dataclass": "dataclasses",
        "set_start_method": multiprocessing.set_start_method.__module__,
    }


def test_a_process_model_may_ask_for_a_pause_or_a_stop():
    assert run_job("requested_ends") == {"paused": 2 * 4, "total": 5 * 4, "after": "ADL-SIM-06"}


def test_sockets_fit_into_their_folder_even_if_the_temporary_folder_has_a_long_name(
    monkeypatch, tmp_path
):
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert run_job("summed") == {"total": 5 * 4, "threads": 0}


def test_a_network_that_needs_too_many_files_is_reported():
    error = raised_by("with_few_files")
    assert error.code == "ADL-SIM-02"
    assert "40 open files" in error.message


def test_errors_of_the_family_arrive_unchanged():
    with pytest.raises(CapacityError) as caught:
        run_job("raise_capacity_error")
    assert caught.value.as_dict() == {
        "code": "ADL-CAP-02",
        "severity": "error",
        "where": "core 3",
        "message": "17 > 16 axons",
        "remedy": "split it",
        "fixes": [],
    }
    assert any("in raise_capacity_error" in note for note in caught.value.__notes__)


def test_additional_fields_of_an_error_arrive_too():
    diagnostic = Diagnostic(
        code="ADL-DRC-01", severity="error", where="core 1", message="full", remedy="split it"
    )
    with pytest.raises(DesignRuleError) as caught:
        run_job("raise_design_rule_error", diagnostics=(diagnostic, diagnostic))
    assert caught.value.diagnostics == (diagnostic, diagnostic)


def test_an_error_class_that_is_unknown_here_arrives_as_its_base_class():
    with pytest.raises(CapacityError) as caught:
        run_job("raise_unlike_any_other")
    assert caught.value.code == "ADL-CAP-01"


def test_an_exception_of_the_job_comes_with_its_output():
    error = raised_by("raise_value_error")
    assert error.code == "ADL-SIM-02"
    assert error.message == "ValueError: not this value"
    assert "in raise_value_error" in error.child_traceback
    assert any("said before the end" in note for note in error.__notes__)


def test_a_worker_that_exits_is_reported():
    error = raised_by("leave", code=3)
    assert error.code == "ADL-SIM-03"
    assert "exit code 3" in error.message


def test_a_result_that_cannot_be_pickled_is_reported():
    assert raised_by("unreadable_result").code == "ADL-SIM-02"


def test_lava_is_missing(tmp_path):
    namesake = tmp_path / "elsewhere" / "lava"
    namesake.mkdir(parents=True)
    (namesake / "__init__.py").touch()
    with pytest.raises(MissingDependencyError) as caught:
        run_guarded(
            "hanging_jobs:healthy",
            {},
            deadline_s=ENOUGH_S,
            extra_sys_path=[str(namesake.parent), str(HERE)],
        )
    assert caught.value.code == "ADL-DEP-01"
    assert caught.value.where == "backend lava"
    assert "--ignore-requires-python --no-deps lava-nc==0.10.0" in caught.value.remedy


def test_another_start_method_is_refused(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: "spawn")
    with pytest.raises(SimulationError) as caught:
        import_lava()
    assert caught.value.code == "ADL-SIM-05"


@pytest.mark.parametrize("name", ["nowhere", "healthy.v"])
def test_a_job_that_does_not_exist_is_a_configuration_error(name):
    with pytest.raises(ConfigError) as caught:
        run_job(name)
    assert caught.value.code == "ADL-SIM-06"
    assert "extra_sys_path" in caught.value.remedy


@pytest.mark.parametrize(
    ("job", "payload", "deadline_s"),
    [
        ("hanging_jobs", {}, 1.0),
        ("__main__:job", {}, 1.0),
        ("hanging_jobs:healthy", {}, 0.0),
        ("hanging_jobs:healthy", {}, float("nan")),
        ("hanging_jobs:healthy", {"function": lambda: None}, 1.0),
    ],
)
def test_wrong_arguments_are_configuration_errors(job, payload, deadline_s):
    with pytest.raises(ConfigError) as caught:
        run_guarded(job, payload, deadline_s=deadline_s)
    assert caught.value.code == "ADL-SIM-06"


def test_the_guard_imports_neither_lava_nor_torch():
    script = (
        "import sys, simulators.lava.guard; sys.exit(bool({'lava', 'torch'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def test_other_platforms_are_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SimulationError, match=r"ADL-SIM-07 · backend lava: .*darwin"):
        run_guarded("hanging_jobs:add", {}, deadline_s=5.0)
