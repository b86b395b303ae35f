"""Kernels on the GPU that is current, or on Numba's simulator of one."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from mapping.errors import SimulationError
from simulators.kernels.cuda.arrays import SIMULATED, DeviceArray
from simulators.kernels.cuda.compile import KERNELS, kernel_binary

Grid = tuple[int, int, int]


class _Arguments(threading.local):
    """Room for a kernel's arguments in each thread, and where each of them lies in it."""

    def __init__(self) -> None:
        numbers = (ctypes.c_int64 * MOST_ARGUMENTS)()
        first = ctypes.addressof(numbers)
        self._places = (ctypes.c_void_p * MOST_ARGUMENTS)(
            *range(first, first + 8 * MOST_ARGUMENTS, 8)
        )
        self.room = numbers, ctypes.addressof(self._places)


MOST_ARGUMENTS = 16
_ARGUMENTS = _Arguments()


class Device:
    """A GPU, and the kernels that were loaded there.

    Args:
        number: the driver's; its context is current.

    Attributes:
        processors: multiprocessors, each of which runs several blocks.
    """

    def __init__(self, number: int) -> None:
        from cuda.bindings import driver
        from cuda.bindings.driver import CUdevice_attribute as Attribute

        self._driver = driver
        self.processors = _attribute(number, Attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        self._capability = (
            _attribute(number, Attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            _attribute(number, Attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )
        self._functions: dict[tuple[str, str], tuple[Any, Any]] = {}

    def launch(
        self,
        name: str,
        grid: Grid,
        arrays: Sequence[DeviceArray | None],
        integers: Sequence[int],
        stream: int = 0,
    ) -> None:
        """Have a kernel run once what is on the stream before it is done.

        Args:
            name: one of :data:`.compile.KERNELS`.
            grid: blocks along each axis.
            arrays: what the kernel's pointers point to; None is what it does not read.
            integers: its further arguments.
            stream: the driver's handle, 0 for the default one.

        Raises:
            SimulationError: ``ADL-GPU-03`` when the driver refuses.
        """
        _, threads, pointers, _ = KERNELS[name]
        function = self._function(name, pointers, arrays)
        addresses = [0 if array is None else array.address for array in arrays]
        arguments, places = _ARGUMENTS.room
        arguments[: len(addresses) + len(integers)] = [*addresses, *integers]
        answer = self._driver.cuLaunchKernel(function, *grid, threads, 1, 1, 0, stream, places, 0)
        checked(answer, name)

    def _function(self, name: str, pointers: str, arrays: Sequence[DeviceArray | None]) -> Any:
        """The driver's handle of a kernel, loaded when it is first needed."""
        generic = arrays[0] if pointers[0] == "?" else None
        dtype = "" if generic is None else generic.dtype
        if (name, dtype) not in self._functions:
            driver = self._driver
            entry, binary = kernel_binary(name, dtype, self._capability)
            (module,) = checked(driver.cuModuleLoadData(binary), name)
            (function,) = checked(driver.cuModuleGetFunction(module, entry.encode()), name)
            # The module is kept with its function, which is gone when the module is.
            self._functions[name, dtype] = module, function
        return self._functions[name, dtype][1]


class SimulatedDevice:
    """Numba's simulator, which runs every thread of a kernel in Python, one block at a time.

    Attributes:
        processors: as of a :class:`Device`.
    """

    processors = 4

    def launch(
        self,
        name: str,
        grid: Grid,
        arrays: Sequence[DeviceArray | None],
        integers: Sequence[int],
        stream: int = 0,
    ) -> None:
        """See :meth:`Device.launch`."""
        kernel, threads, _, _ = KERNELS[name]
        memories = [None if array is None else SimulatedMemory(array) for array in arrays]
        cuda.jit(kernel)[grid, threads](*memories, *integers)


class SimulatedMemory:
    """What a pointer is to a kernel, which may not read or write beside the array.

    Args:
        array: in the host's memory.
    """

    def __init__(self, array: DeviceArray) -> None:
        self._low, high = array.extent
        kind = np.ctypeslib.as_ctypes_type(np.dtype(array.dtype)) * max(high - self._low, 1)
        memory = kind.from_address(array.address + self._low * array.itemsize)
        self._numbers = np.ctypeslib.as_array(memory)

    def __getitem__(self, place: int) -> Any:
        """The number that lies ``place`` elements from the first."""
        return self._numbers[self._inside(place)]

    def __setitem__(self, place: int, value: Any) -> None:
        """Write to the place that lies ``place`` elements from the first."""
        self._numbers[self._inside(place)] = value

    def _inside(self, place: int) -> int:
        inside = int(place) - self._low
        if not 0 <= inside < len(self._numbers):
            raise IndexError(f"a kernel reaches for place {place} of {len(self._numbers)}")
        return inside


def current_device() -> Device | SimulatedDevice:
    """The GPU whose context is current in this thread: the first, if none is."""
    if SIMULATED:
        return SimulatedDevice()
    from cuda.bindings import driver

    status, number = driver.cuCtxGetDevice()
    if status != driver.CUresult.CUDA_SUCCESS:
        cuda.current_context()
        status, number = driver.cuCtxGetDevice()
    return _device(int(number))


@cache
def _device(number: int) -> Device:
    return Device(number)


def _attribute(number: int, attribute: Any) -> int:
    """One of the driver's figures of a GPU."""
    from cuda.bindings import driver

    (value,) = checked(driver.cuDeviceGetAttribute(attribute, number), attribute.name)
    return int(value)


def checked(answer: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """What the driver answers beside its status.

    Raises:
        SimulationError: ``ADL-GPU-03`` when that is an error.
    """
    if answer[0]:
        raise SimulationError(
            f"the driver answers {answer[0].name}",
            where=f"CUDA, {name}",
            remedy="read what this status means in the CUDA driver's manual; with too little "
            "memory make the batch smaller",
            code="ADL-GPU-03",
        )
    return answer[1:]
