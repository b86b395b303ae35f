"""Jobs for ``run_guarded``: healthy ones, and ones that hang, break or forget something."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from hanging.processes import Source, Sum
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF

from mapping.errors import AdlrnsError, CapacityError, DesignRuleError, SimulationError
from simulators.lava.guard import LavaError
from simulators.lava.runtime import LavaRuntime


def healthy(weights, spikes):
    """Spikes -> Dense -> LIF -> sink: what arrived, and the state left in the neurons."""
    steps = spikes.shape[1]
    source, dense = RingBuffer(data=spikes), Dense(weights=weights)
    lif = LIF(shape=weights.shape[:1], du=4095, dv=0, vth=100)
    sink = Sink(shape=weights.shape[:1], buffer=steps)
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    lif.s_out.connect(sink.a_in)
    with LavaRuntime(sink) as network:
        network.run(steps)
        return {"v": network.read(lif.v), "spikes": network.read(sink.data)}


def summed(fault="", library="numpy", steps=5, at=3):
    """A source, faulty or not, and a neighbour that waits for it and adds up."""
    source, total = Source(fault=fault, at=at), Sum(library=library)
    source.s_out.connect(total.a_in)
    with LavaRuntime(total) as network:
        network.run(steps)
        return {
            "total": int(network.read(total.total)[0]),
            "threads": int(network.read(total.threads)[0]),
        }


def failures(faults):
    """The errors of several networks that fail one after the other in one interpreter."""
    errors = {}
    for fault in faults:
        try:
            summed(fault=fault)
        except LavaError as error:
            errors[fault] = [error.code, error.where, error.message, error.child_traceback]
    return errors


def stuck(note):
    """Tell the test which processes and segments there are, then hang."""
    source, total = Source(fault="sleep", at=1), Sum()
    source.s_out.connect(total.a_in)
    with LavaRuntime(total) as network:
        actors = [child.pid for child in multiprocessing.active_children()]
        write_note(note, {"pids": [os.getpid(), *actors], "segments": mapped_segments()})
        network.run(1)


def write_note(path, content):
    unfinished = Path(f"{path}.unfinished")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(path)


def mapped_segments():
    """Shared memory of this process; semaphores appear as deleted and do not count."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in lines if "/dev/shm/" in line}
    return sorted(Path(path).name for path in paths if not path.endswith("(deleted)"))


def worker_killed(note):
    """The job's own interpreter dies while its actors wait."""
    source, total = Source(), Sum()
    source.s_out.connect(total.a_in)
    with LavaRuntime(total):
        write_note(note, {"segments": mapped_segments()})
        os.kill(os.getpid(), signal.SIGKILL)


def recurrent():
    """Two LIF that both receive before they send; the interpreter that forks them has threads."""
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    first, second = LIF(shape=(4,)), LIF(shape=(4,))
    first.s_out.connect(second.a_in)
    second.s_out.connect(first.a_in)
    with LavaRuntime(first) as network:
        network.run(3)


def plain_stop_after_failed_start():
    total = plain_network(fault="init")
    try:
        total.run(condition=RunSteps(num_steps=3), run_cfg=plain_config())
    finally:
        total.stop()


def plain_stop_after_alarm():
    total = plain_network(fault="sleep")
    with alarm(0.5):
        try:
            total.run(condition=RunSteps(num_steps=3), run_cfg=plain_config())
        finally:
            total.stop()


def guarded_alarm():
    source, total = Source(fault="sleep"), Sum()
    source.s_out.connect(total.a_in)
    with LavaRuntime(total) as network, alarm(0.5):
        network.run(3)


def plain_stop_forgotten(keep=[]):  # noqa: B006
    total = plain_network(fault="")
    total.run(condition=RunSteps(num_steps=3), run_cfg=plain_config())
    keep.append(total)
    return "done"


def plain_network(fault):
    source, total = Source(fault=fault), Sum()
    source.s_out.connect(total.a_in)
    return total


def plain_config():
    return Loihi2SimCfg(select_tag="fixed_pt")


class alarm:  # noqa: N801
    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        def ring(number, frame):
            raise TimeoutError("the alarm rang")

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)


def runtime_calls():
    """Read and write before and between runs, wrong calls, and a network after a failed one."""
    source, total = Source(fault="raise", at=4), Sum()
    source.s_out.connect(total.a_in)
    errors = []
    try:
        with LavaRuntime(total) as network:
            before = int(network.read(total.total)[0])
            network.write(total.total, np.array([100]))
            network.run(2)
            network.write(source.value, np.array([1, 2, 3, 4]))
            network.run(1)
            between = int(network.read(total.total)[0])
            errors += [
                code_of(lambda: network.run(0)),
                code_of(lambda: network.write(total.total, np.zeros(2))),
                code_of(lambda: network.read(Sum().total)),
            ]
            network.run(1)
    except SimulationError as error:
        errors.append(error.code)
    errors.append(code_of(lambda: network.run(1)))
    return {
        "before": before,
        "between": between,
        "errors": errors,
        "after": summed()["total"],
        "children": len(multiprocessing.active_children()),
        "dataclass": dataclasses.dataclass.__module__,
        "set_start_method": multiprocessing.set_start_method.__module__,
    }


def code_of(call):
    try:
        call()
    except AdlrnsError as error:
        return error.code
    return "no error"


def requested_ends():
    """Networks in which a process model asks for a pause, and for a stop."""
    source, total = Source(fault="pause", at=2), Sum()
    source.s_out.connect(total.a_in)
    with LavaRuntime(total) as network:
        network.run(5)
        paused = int(network.read(total.total)[0])
        network.run(3)
        resumed = int(network.read(total.total)[0])
    source, total = Source(fault="stop", at=2), Sum()
    source.s_out.connect(total.a_in)
    with LavaRuntime(total) as network:
        network.run(5)
        after = code_of(lambda: network.run(1))
    return {"paused": paused, "total": resumed, "after": after}


def with_few_files():
    """Fewer files than a network needs, but enough to get into the middle of its start."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    return summed()


def raise_capacity_error():
    raise CapacityError("17 > 16 axons", where="core 3", remedy="split it", code="ADL-CAP-02")


def raise_design_rule_error(diagnostics):
    raise DesignRuleError(diagnostics)


def raise_unlike_any_other():
    class LocalError(CapacityError):
        pass

    error = LocalError("local", where="here", remedy="none", code="ADL-CAP-01")
    error.handle = lambda: None
    raise error


def raise_value_error():
    sys.stdout.write("said before the end")
    raise ValueError("not this value")


def leave(code):
    os._exit(code)


def unreadable_result():
    return lambda: None
