"""Two Lava processes that can be told to go wrong in every way that is known to hang Lava.

Compiling a Lava process executes every module beside it, so this module stands alone.
"""

from __future__ import annotations

import os
import signal
import time

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

from mapping.errors import QuantizationError


class Source(AbstractProcess):
    """Sends ``value`` in every step; in step ``at`` it does what ``fault`` names."""

    def __init__(self, fault: str = "", at: int = 3) -> None:
        super().__init__(fault=fault, at=at)
        self.s_out = OutPort(shape=(4,))
        self.value = Var(shape=(4,), init=1)


@implements(proc=Source, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySource(PyLoihiProcessModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    value: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.fault = proc_params["fault"]
        self.at = proc_params["at"]
        if self.fault == "init":
            raise ValueError("cannot be built")

    def run_spk(self) -> None:
        if self.time_step == self.at and self.fault:
            getattr(self, f"do_{self.fault}")()
        self.s_out.send(self.value)

    def do_raise(self) -> None:
        raise ZeroDivisionError("three is too many")

    def do_raise_unpicklable(self) -> None:
        class LocalError(Exception):
            pass

        raise LocalError("nobody else knows this class")

    def do_raise_adlrns(self) -> None:
        raise QuantizationError("too small", where="here", remedy="enlarge it", code="ADL-QNT-99")

    def do_wrong_shape(self) -> None:
        self.s_out.send(np.ones(5, np.int32))

    def do_kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def do_exit(self) -> None:
        raise SystemExit(7)

    def do_pause(self) -> None:
        self._req_pause = True

    def do_stop(self) -> None:
        self._req_stop = True

    def do_sleep(self) -> None:
        time.sleep(3600)


class Sum(AbstractProcess):
    """Adds up what it receives in ``total``, by means of the library that ``library`` names."""

    def __init__(self, library: str = "numpy") -> None:
        super().__init__(library=library)
        self.a_in = InPort(shape=(4,))
        self.total = Var(shape=(1,), init=0)
        self.threads = Var(shape=(1,), init=0)


@implements(proc=Sum, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySum(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    total: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    threads: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.library = proc_params["library"]

    def run_spk(self) -> None:
        self.total[:] += getattr(self, f"sum_with_{self.library}")(self.a_in.recv())

    def sum_with_numpy(self, values: np.ndarray) -> int:
        return int(values.sum())

    def sum_with_torch(self, values: np.ndarray) -> int:
        import torch

        torch.set_num_threads(2)
        square = torch.full((400, 400), float(values[0]))
        self.threads[:] = torch.get_num_threads()
        return int((square @ square).sum().item()) // 400**3 * len(values)

    def sum_with_numba(self, values: np.ndarray) -> int:
        import numba

        @numba.njit(parallel=True)
        def add(array):
            total = 0
            for index in numba.prange(array.size):
                total += array[index]
            return total

        if not hasattr(self, "add"):
            self.add = add
        result = self.add(np.repeat(values, 1000))
        assert numba.threading_layer() == "omp"
        self.threads[:] = numba.get_num_threads()
        return int(result) // 1000
