"""Lava Processes of our own, and their fixed-point models.

LIF compartments and synapses are Lava's own ``LIF``, ``Dense`` and ``Sparse``; only what Lava lacks
is here.
Compiling a Process makes Lava import every module beside it, so this package holds nothing else.
"""

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Relay(AbstractProcess):
    """Graded compartments: a value, let through or held back by gates, sent when it is large.

    Args:
        threshold: ``(size,)``; nothing of a magnitude up to it is sent.
        needed: ``(size,)`` control inputs, less those taken back, that must have arrived.
        bias: ``(size,)`` added to the signal in every step.
        rectified: negative values count as 0.
        sigma: the signal is summed over the steps.
        delta: what is sent is the change since what has been sent before.
    """

    def __init__(
        self,
        *,
        threshold: np.ndarray,
        needed: np.ndarray,
        bias: np.ndarray,
        rectified: bool,
        sigma: bool,
        delta: bool,
    ) -> None:
        shape = threshold.shape
        super().__init__(rectified=rectified, sigma=sigma, delta=delta)
        self.a_in = InPort(shape=shape)
        self.control_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.threshold = Var(shape=shape, init=threshold)
        self.needed = Var(shape=shape, init=needed)
        self.bias = Var(shape=shape, init=bias)
        self.z = Var(shape=shape, init=0)
        self.gates_on = Var(shape=shape, init=0)
        self.held = Var(shape=shape, init=0)


class Gate(AbstractProcess):
    """Threshold compartments that tell of every change, and change only when their trace moves.

    Args:
        threshold: ``(size,)``; a gate is on while its gain exceeds it.
        gain_decay, trace_decay: parts of 4096 that gain and trace lose per step.
        trace_threshold: by how much the trace must have moved; 0 for no such condition.
    """

    def __init__(
        self, *, threshold: np.ndarray, gain_decay: int, trace_decay: int, trace_threshold: int
    ) -> None:
        shape = threshold.shape
        super().__init__(
            gain_decay=gain_decay, trace_decay=trace_decay, trace_threshold=trace_threshold
        )
        self.a_in = InPort(shape=shape)
        self.control_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.threshold = Var(shape=shape, init=threshold)
        self.gain = Var(shape=shape, init=0)
        self.trace = Var(shape=shape, init=0)
        self.seen = Var(shape=shape, init=0)
        self.on = Var(shape=shape, init=0)


class Valve(AbstractProcess):
    """Wiring at the host: let spikes through while gates are on, as they were a step before.

    Lava delivers a spike in the step in which it is sent, so the events of a step open or close
    the valve from the next step on.

    Args:
        size: number of spike sources.
        gates: number of gates that report.
        needed: how many of them, from the first on, must all be on.
        delta: spikes are changes; an opening valve passes on what they add up to, and a closing
            one takes it back.
    """

    def __init__(self, *, size: int, gates: int, needed: int, delta: bool) -> None:
        super().__init__(needed=needed, delta=delta)
        self.s_in = InPort(shape=(size,))
        self.control_in = InPort(shape=(gates,))
        self.s_out = OutPort(shape=(size,))
        self.on = Var(shape=(gates,), init=0)
        self.total = Var(shape=(size,), init=0)
        self.told = Var(shape=(size,), init=0)


class Scatter(AbstractProcess):
    """Wiring: put the spikes of some compartments in their places among all ``width``.

    Args:
        size: number of incoming compartments.
        passed: which of them pass, rising.
        width: number of outgoing compartments; places: where each passed one goes.
    """

    def __init__(self, *, size: int, passed: np.ndarray, width: int, places: np.ndarray) -> None:
        super().__init__(passed=passed, width=width, places=places)
        self.s_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(width,))


class Bus(AbstractProcess):
    """Wiring: pass on what arrives, from however many ports, as one vector of ``size``."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.s_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(size,))


class DelayLine(AbstractProcess):
    """Axons of different length: what source ``c`` sends comes out ``delays[c]`` steps later.

    Args:
        delays: ``(size,)`` steps.

    ``age`` counts the steps since a sample began; set to 0, it silences what is under way.
    """

    def __init__(self, *, delays: np.ndarray) -> None:
        super().__init__(delays=delays)
        self.s_in = InPort(shape=delays.shape)
        self.s_out = OutPort(shape=delays.shape)
        self.age = Var(shape=(1,), init=0)


class Recorder(AbstractProcess):
    """Write what arrives into row ``step - 1`` of an ``.npy`` file.

    Lava hands the content of a Var to its owner element by element; a file is much faster.

    Args:
        shape: shape of one step.
        path: an existing ``.npy`` file of int32, ``(steps, *shape)``.
    """

    def __init__(self, *, shape: tuple[int, ...], path: str) -> None:
        super().__init__(path=path)
        self.s_in = InPort(shape=shape)


class StateRecorder(AbstractProcess):
    """Write a Var, as it is after each step, into row ``step - 1`` of an ``.npy`` file.

    Args:
        var: what to read; path: as of :class:`Recorder`.
    """

    def __init__(self, *, var: Var, path: str) -> None:
        super().__init__(path=path)
        self.state = RefPort(shape=var.shape)
        self.state.connect_var(var)


@implements(proc=Relay, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRelay(PyLoihiProcessModel):
    """Fixed-point model of :class:`Relay`: 32-bit integers that wrap."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    control_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    needed: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    z: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)
    gates_on: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)
    held: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)

    def run_spk(self) -> None:
        """One step."""
        signal = self.a_in.recv().astype(np.int32) + self.bias
        self.gates_on = self.gates_on + self.control_in.recv().astype(np.int32)
        self.z = self.z + signal if self.proc_params["sigma"] else signal
        wanted = np.clip(self.z, 0, None) if self.proc_params["rectified"] else self.z
        wanted = np.where(self.gates_on < self.needed, np.int32(0), wanted)
        change = wanted - self.held
        small = np.abs(change.astype(np.int64)) <= self.threshold
        change[small] = 0
        if self.proc_params["delta"]:
            self.held = self.held + change
        self.s_out.send(change)


@implements(proc=Gate, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyGate(PyLoihiProcessModel):
    """Fixed-point model of :class:`Gate`: a gain that saturates, a trace that wraps."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    control_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    gain: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    trace: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)
    seen: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)
    on: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=1)

    def run_spk(self) -> None:
        """One step."""
        limit = 2**23 - 1
        gain = _leak(self.gain, self.proc_params["gain_decay"])
        gain = (gain + self.a_in.recv().astype(np.int64)).astype(np.int32)
        self.gain = np.clip(gain, -limit, limit)
        trace = _leak(self.trace, self.proc_params["trace_decay"])
        self.trace = (trace + self.control_in.recv().astype(np.int64)).astype(np.int32)
        due = np.ones(self.on.shape, bool)
        if self.proc_params["trace_threshold"]:
            moved = np.abs(self.trace.astype(np.int64) - self.seen)
            due = moved > self.proc_params["trace_threshold"]
        self.seen = np.where(due, self.trace, self.seen)
        before = self.on
        self.on = np.where(due, self.gain > self.threshold, before).astype(np.int32)
        self.s_out.send(self.on - before)


def _leak(values: np.ndarray, parts: int) -> np.ndarray:
    """What is left of ``values`` after ``parts`` of 4096 are gone, rounded towards zero."""
    wide = values.astype(np.int64)
    return np.asarray(np.sign(wide) * (np.abs(wide) * (4096 - parts) // 4096))


@implements(proc=Valve, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyValve(PyLoihiProcessModel):
    """Fixed-point model of :class:`Valve`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    control_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    on: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=1)
    total: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)
    told: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)

    def run_spk(self) -> None:
        """One step."""
        spikes = self.s_in.recv().astype(np.int32)
        self.total = self.total + spikes if self.proc_params["delta"] else spikes
        let_through = self.on[: self.proc_params["needed"]].all()
        wanted = self.total if let_through else np.zeros_like(spikes)
        self.s_out.send(wanted - self.told)
        if self.proc_params["delta"]:
            self.told = wanted
        self.on = self.on + self.control_in.recv().astype(np.int32)


@implements(proc=Scatter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyScatter(PyLoihiProcessModel):
    """Fixed-point model of :class:`Scatter`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def run_spk(self) -> None:
        """One step."""
        spread = np.zeros(self.proc_params["width"], np.int32)
        spread[self.proc_params["places"]] = self.s_in.recv()[self.proc_params["passed"]]
        self.s_out.send(spread)


@implements(proc=Bus, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBus(PyLoihiProcessModel):
    """Fixed-point model of :class:`Bus`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def run_spk(self) -> None:
        """One step."""
        self.s_out.send(self.s_in.recv())


@implements(proc=DelayLine, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyDelayLine(PyLoihiProcessModel):
    """Fixed-point model of :class:`DelayLine`: a ring with one place for each step under way."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    age: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.delays = np.asarray(proc_params["delays"])
        self.ring = np.zeros((self.delays.max() + 1, self.delays.size), np.int32)

    def run_spk(self) -> None:
        """One step."""
        age = int(self.age[0])
        self.ring[(age + self.delays) % len(self.ring), np.arange(self.delays.size)] = (
            self.s_in.recv()
        )
        self.s_out.send(np.where(self.delays <= age, self.ring[age % len(self.ring)], 0))
        self.age[0] = age + 1


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRecorder(PyLoihiProcessModel):
    """Fixed-point model of :class:`Recorder`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.lib.format.open_memmap(proc_params["path"], mode="r+")

    def run_spk(self) -> None:
        """One step."""
        self.rows[self.time_step - 1] = self.s_in.recv()


@implements(proc=StateRecorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyStateRecorder(PyLoihiProcessModel):
    """Fixed-point model of :class:`StateRecorder`: reads after all have spiked."""

    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.lib.format.open_memmap(proc_params["path"], mode="r+")

    def post_guard(self) -> bool:
        """Ask for the phase in which other Processes can be read."""
        return True

    def run_post_mgmt(self) -> None:
        """One step."""
        self.rows[self.time_step - 1] = self.state.read()
