"""A Lava Process of your own, alone in its package: Lava executes every module beside it."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Tally(AbstractProcess):
    """Counts the spikes of each of ``size`` compartments."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.s_in = InPort(shape=(size,))
        self.count = Var(shape=(size,), init=0)


@implements(proc=Tally, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyTally(PyLoihiProcessModel):
    """What a :class:`Tally` does in each step."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    count: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def run_spk(self) -> None:
        """One step."""
        self.count += self.s_in.recv() != 0
