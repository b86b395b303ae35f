"""Many Processes as one: their own models, one after the other in one operating-system process."""

from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from lava.magma.compiler.builders.py_builder import PyProcessBuilder
from lava.magma.compiler.utils import PortInitializer, VarInitializer
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import Dense
from lava.proc.lif.models import PyLifModelBitAcc
from lava.proc.lif.process import LIF
from lava.proc.sparse.models import PySparseModelBitAcc
from lava.proc.sparse.process import Sparse

from simulators.lava.processes import (
    Bus,
    DelayLine,
    Gate,
    PyBus,
    PyDelayLine,
    PyGate,
    PyRecorder,
    PyRelay,
    PyScatter,
    PyStateRecorder,
    PyValve,
    Recorder,
    Relay,
    Scatter,
    StateRecorder,
    Valve,
)

SYNAPSES = (Dense, Sparse)
MODELS: dict[type, type] = {
    LIF: PyLifModelBitAcc,
    Dense: PyDenseModelBitAcc,
    Sparse: PySparseModelBitAcc,
    Relay: PyRelay,
    Gate: PyGate,
    Valve: PyValve,
    Scatter: PyScatter,
    DelayLine: PyDelayLine,
    Bus: PyBus,
    Recorder: PyRecorder,
    StateRecorder: PyStateRecorder,
}
"""What ``Loihi2SimCfg(select_tag="fixed_pt")`` chooses for each Process."""


class FusedCores(AbstractProcess):
    """All Processes that are connected to ``inlet``; what arrives at ``s_in`` is sent to it.

    They are never compiled by themselves. Their models are Lava's own or ours, built by Lava's own
    builder, and only the channels between them are others: arrays that are handed over.

    Args:
        inlet: Process whose port ``s_in`` is fed from outside.
        outlets: ports of the Processes; ``s_out`` sends what they send, side by side.
        states: Vars of the Processes that are zero when a sample begins.

    ``age`` counts the steps since a sample began; set to 0, it clears ``states``.
    """

    def __init__(
        self, *, inlet: AbstractProcess, outlets: list[OutPort], states: list[Var]
    ) -> None:
        super().__init__(inlet=inlet, outlets=outlets, states=states)
        self.s_in = InPort(shape=inlet.s_in.shape)
        self.s_out = OutPort(shape=(sum(port.shape[0] for port in outlets),))
        self.age = Var(shape=(1,), init=0)


@implements(proc=FusedCores, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFusedCores(PyLoihiProcessModel):
    """Steps the models in an order in which every spike arrives in the step in which it is sent.

    Synapses are what makes that possible in a loop: they send first what they added up in the step
    before, and receive last.
    """

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    age: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        inlet = proc_params["inlet"]
        processes = _connected(inlet)
        channels = {
            port: _Channel(port.shape, _lava_type(process, port.name).d_type)
            for process in processes
            for port in process.out_ports
        }
        # Nobody inside sends to the inlet; its own port stands for who does outside.
        self.entrance = channels[inlet.s_in] = _Channel(inlet.s_in.shape, np.int32)
        models = {process.id: _built(process, channels) for process in processes}
        for process in processes:
            for port in process.ref_ports:
                (var,) = port.get_dst_vars()
                setattr(models[process.id], port.name, _View(models[var.process.id], var.name))
        self.synapses = [models[p.id] for p in processes if isinstance(p, SYNAPSES)]
        self.others = [models[number] for number in _in_order(processes)]
        self.outlets = [channels[port] for port in proc_params["outlets"]]
        self.states = [(models[var.process.id], var.name) for var in proc_params["states"]]

    def run_spk(self) -> None:
        """One step."""
        if self.age[0] == 0:
            for model, name in self.states:
                setattr(model, name, np.zeros_like(getattr(model, name)))
        self.age[0] += 1
        self.entrance.send(self.s_in.recv())
        for model in self.synapses:
            # What they are about to send themselves, too late for the others.
            model.a_out.send(model.a_buff)
        for model in (*self.others, *self.synapses):
            model.time_step += 1
            model.run_spk()
        for model in self.others:
            if model.post_guard():
                model.run_post_mgmt()
        self.s_out.send(np.concatenate([channel.recv() for channel in self.outlets]))


class _Channel:
    """Stands for the channels of one port: what was sent last can be received."""

    def __init__(self, shape: tuple[int, ...], d_type: type) -> None:
        self._content: np.ndarray = np.zeros(shape, d_type)

    def send(self, data: np.ndarray) -> None:
        # As into the shared memory of a channel of Lava: cast without a check, and copied.
        assert data.shape == self._content.shape, f"{data.shape} sent, not {self._content.shape}"
        self._content = data.astype(self._content.dtype)

    def recv(self) -> np.ndarray:
        return self._content


class _View:
    """Stands for a RefPort: reads a Var of another model."""

    def __init__(self, model: Any, name: str) -> None:
        self._model, self._name = model, name

    def read(self) -> np.ndarray:
        return np.asarray(getattr(self._model, self._name))


def _connected(process: Any) -> list[Any]:
    """All Processes that can be reached from ``process``, itself included."""
    found, ahead = {process.id: process}, [process]
    while ahead:
        for neighbour in _neighbours(ahead.pop()):
            if neighbour.id not in found:
                found[neighbour.id] = neighbour
                ahead.append(neighbour)
    return list(found.values())


def _neighbours(process: Any) -> Iterator[Any]:
    for ports in (process.in_ports, process.out_ports, process.ref_ports, process.var_ports):
        for port in ports:
            for other in (*port.get_src_ports(), *port.get_dst_ports()):
                yield other.process


def _in_order(processes: list[Any]) -> list[int]:
    """Ids of all Processes but synapses, each after those that it hears."""
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for process in processes:
        if not isinstance(process, SYNAPSES):
            heard = [source.process for port in process.in_ports for source in port.get_src_ports()]
            sorter.add(process.id, *(p.id for p in heard if not isinstance(p, SYNAPSES)))
    return list(sorter.static_order())


def _built(process: Any, channels: dict[Any, _Channel]) -> Any:
    builder = PyProcessBuilder(_model_of(process), process.id, process.proc_params)
    builder.set_variables([VarInitializer(v.name, v.shape, v.init, v.id) for v in process.vars])
    for ports in (process.in_ports, process.out_ports):
        builder.set_py_ports(
            [
                PortInitializer(
                    port.name,
                    port.shape,
                    _lava_type(process, port.name).d_type,
                    type(port).__name__,
                    1,
                )
                for port in ports
            ]
        )
    for port in process.out_ports:
        builder.csp_ports[port.name] = [channels[port]]
    for port in process.in_ports:
        heard = (*port.get_src_ports(), port)
        builder.csp_ports[port.name] = [channels[source] for source in heard if source in channels]
    return builder.build()


def _lava_type(process: Any, name: str) -> Any:
    return getattr(_model_of(process), name)


def _model_of(process: Any) -> Any:
    if type(process) not in MODELS:
        raise TypeError(
            f"a {type(process).__name__} is connected to a Process that runs fused with others;"
            " connect it to s_in or output() of the program"
        )
    return MODELS[type(process)]
