"""What importing a package loads, each in a fresh process outside the repository."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "mapping": ("torch", "snntorch", "lava", "numba", "matplotlib", "simulators", "adlrns_neuro"),
    "simulators": ("torch", "snntorch", "lava", "numba", "matplotlib", "adlrns_neuro"),
    "adlrns_neuro": ("torch", "snntorch", "lava", "numba", "matplotlib", "simulators"),
    "mapping.cli": ("torch", "snntorch", "lava", "numba", "matplotlib"),
}


def fresh(script: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` in a new interpreter."""
    return subprocess.run(
        [sys.executable, *flags, "-c", script],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )


def loaded_by(script: str, folder: Path) -> set[str]:
    """Names of all modules that ``script`` has loaded at its end."""
    done = fresh(f"{script}\nimport sys; print('loaded:', *sys.modules, sep='\\n')", folder)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.partition("loaded:\n")[2].split("\n"))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_importing_loads_nothing_heavy(package: str, tmp_path: Path) -> None:
    loaded = loaded_by(f"import {package}", tmp_path)
    assert package in loaded
    assert loaded.isdisjoint(FORBIDDEN[package])


def test_a_compiler_command_loads_no_training_or_plotting_library(tmp_path: Path) -> None:
    """Listing targets must not take the seconds that torch needs to load."""
    loaded = loaded_by("from mapping.cli import run\nrun(['targets', 'list'])", tmp_path)
    assert loaded.isdisjoint({"torch", "snntorch", "lava", "matplotlib"})


def test_importing_is_silent_and_warns_of_nothing(tmp_path: Path) -> None:
    done = fresh("import mapping, simulators", tmp_path, "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("package", ["mapping", "simulators", "adlrns_neuro"])
def test_no_test_folder_hides_the_package_of_its_name(package: str) -> None:
    """``tests`` lies on the path and holds a folder ``mapping``; it must come after the root."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    assert Path(found.origin).parent == ROOT / package


@pytest.mark.parametrize("package", ["mapping", "simulators", "adlrns_neuro"])
def test_everything_that_a_package_exports_is_there(package: str) -> None:
    module = import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert hasattr(module, name), name
