"""Make lava-nc 0.10.0 importable on the Python versions that the toolchain supports.

Lava is written for Python 3.10 and for an interpreter of which it is the first user of
``multiprocessing``. Two things fail elsewhere, and both only while its modules are imported:

* ``lava.magma.compiler.var_model`` uses ``ByteEncoder()`` as the default of dataclass fields.
  Since Python 3.11 a default must be hashable, and a plain dataclass is not.
* ``multiprocessing.set_start_method("fork")`` is called unconditionally, and refuses a second
  call even if the method stays the same.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mapping.errors import MissingDependencyError, SimulationError

INSTALL_COMMAND = "pip install --ignore-requires-python --no-deps lava-nc==0.10.0"
DEPENDENCIES_COMMAND = "pip install asteval networkx numpy scikit-learn scipy"

_PATCHED_MODULES = (
    "lava.magma.compiler.var_model",
    "lava.magma.runtime.message_infrastructure.multiprocessing",
    "lava.magma.runtime.runtime",
)
_import_lock = threading.Lock()


def import_lava() -> None:
    """Import the parts of Lava that need patching; afterwards ``import lava...`` just works.

    Safe to call any number of times. What is patched for the import is restored before this
    returns, but the ``fork`` start method that Lava chooses stays: prefer
    :func:`simulators.lava.guard.run_guarded`, which keeps all of it out of this interpreter.

    Raises:
        MissingDependencyError: lava-nc or a package it needs is not installed (ADL-DEP-01).
        SimulationError: another start method than ``fork`` is already fixed (ADL-SIM-05).
    """
    with _import_lock:
        _require_fork()
        if all(name in sys.modules for name in _PATCHED_MODULES):
            return
        _require_lava()
        with _hashable_byte_encoder(), _repeatable_start_method():
            for name in _PATCHED_MODULES:
                _import_module(name)


def _require_fork() -> None:
    method = multiprocessing.get_start_method(allow_none=True)
    if method not in (None, "fork"):
        raise SimulationError(
            f"Lava needs the start method 'fork', but this interpreter is fixed to {method!r}",
            where="multiprocessing start method",
            remedy="run the network through simulators.lava.guard.run_guarded, which starts"
            " Lava in an interpreter of its own",
            code="ADL-SIM-05",
        )


def _require_lava() -> None:
    try:
        installed = importlib.util.find_spec("lava.magma") is not None
    except ImportError:
        installed = False
    if not installed:
        raise _missing("the package lava-nc is not installed")


def _import_module(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _missing(f"lava-nc cannot be imported without {error.name}") from error


def _missing(message: str) -> MissingDependencyError:
    return MissingDependencyError(
        message,
        where="backend lava",
        remedy=f"run '{DEPENDENCIES_COMMAND}' and then '{INSTALL_COMMAND}'",
        code="ADL-DEP-01",
    )


@contextmanager
def _hashable_byte_encoder() -> Iterator[None]:
    original: Callable[..., Any] = dataclasses.dataclass

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        if cls is None:
            return lambda decorated: dataclass(decorated, **options)
        if cls.__name__ == "ByteEncoder":
            options["unsafe_hash"] = True
        return original(cls, **options)

    with _replaced(dataclasses, "dataclass", dataclass):
        yield


@contextmanager
def _repeatable_start_method() -> Iterator[None]:
    original: Callable[..., None] = multiprocessing.set_start_method

    def set_start_method(method: str | None, force: bool = False) -> None:
        if multiprocessing.get_start_method(allow_none=True) != method:
            original(method, force)

    with _replaced(multiprocessing, "set_start_method", set_start_method):
        yield


@contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
