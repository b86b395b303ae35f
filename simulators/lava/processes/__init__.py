"""Lava Processes of our own, and their fixed-point models.

LIF compartments and synapses are Lava's own ``LIF`` and ``Dense``; only what Lava lacks is here.
Compiling a Process makes Lava import every module beside it, so this package holds nothing else.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Relay(AbstractProcess):
    """Compartments that pass their input as a graded spike in the same step.

    Args:
        threshold: ``(size,)``; ``a`` is sent where ``|a| > threshold``, else nothing.
    """

    def __init__(self, *, threshold: np.ndarray) -> None:
        super().__init__()
        self.a_in = InPort(shape=threshold.shape)
        self.s_out = OutPort(shape=threshold.shape)
        self.threshold = Var(shape=threshold.shape, init=threshold)


class Scatter(AbstractProcess):
    """Wiring: put the spikes of a slice of compartments in their place among all ``width``.

    Args:
        size: number of incoming compartments.
        first: the first of them to pass; width: number of outgoing ones.
        offset: place of the first passed one; count: how many pass.
    """

    def __init__(self, *, size: int, first: int, width: int, offset: int, count: int) -> None:
        super().__init__(first=first, width=width, offset=offset, count=count)
        self.s_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(width,))


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


@implements(proc=Relay, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRelay(PyLoihiProcessModel):
    """Fixed-point model of :class:`Relay`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def run_spk(self) -> None:
        """One step."""
        a = self.a_in.recv()
        self.s_out.send(a * (np.abs(a.astype(np.int64)) > self.threshold))


@implements(proc=Scatter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyScatter(PyLoihiProcessModel):
    """Fixed-point model of :class:`Scatter`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def run_spk(self) -> None:
        """One step."""
        first, offset, count = (self.proc_params[k] for k in ("first", "offset", "count"))
        spread = np.zeros(self.proc_params["width"], np.int32)
        spread[offset : offset + count] = self.s_in.recv()[first : first + count]
        self.s_out.send(spread)


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRecorder(PyLoihiProcessModel):
    """Fixed-point model of :class:`Recorder`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: dict[str, str]) -> None:
        super().__init__(proc_params)
        self.rows = np.lib.format.open_memmap(proc_params["path"], mode="r+")

    def run_spk(self) -> None:
        """One step."""
        self.rows[self.time_step - 1] = self.s_in.recv()
