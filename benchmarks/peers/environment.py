"""Environments of the peers, made on demand under ``out/peers``, and running a peer in one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1] / "out" / "peers"


class PeerUnavailableError(Exception):
    """A peer's environment cannot be made on this machine; the message says why."""


class PeerFailedError(Exception):
    """A peer did not run to its end; the message has its last words."""


@dataclass(frozen=True)
class Peer:
    """A program of somebody else's.

    Attributes:
        name: of its requirements file, its runner and its environment.
        pythons: versions that the pinned requirements have wheels for, the favourite first.
    """

    name: str
    pythons: tuple[str, ...]

    @property
    def requirements(self) -> Path:
        """Pinned packages."""
        return HERE / f"requirements-{self.name}.txt"

    @property
    def runner(self) -> Path:
        """Script that the environment's Python executes."""
        return HERE / f"run_{self.name}.py"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("sanafe", ("3.11", "3.12", "3.13", "3.14")),
        Peer("nengo_loihi", ("3.11", "3.10")),
    )
}


def _interpreter(peer: Peer) -> str:
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if ours in peer.pythons:
        return sys.executable
    for version in peer.pythons:
        if found := shutil.which(f"python{version}"):
            return found
    raise PeerUnavailableError(
        f"{peer.name} needs Python {' or '.join(peer.pythons)}, this is {ours}: install one of them"
    )


def _build(command: list[str], peer: Peer, timeout_s: float) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.CalledProcessError as error:
        words = "\n".join((error.stdout + error.stderr).strip().splitlines()[-5:])
        raise PeerUnavailableError(f"no environment for {peer.name}:\n{words}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailableError(f"no environment for {peer.name}: {error}") from error


def peer_python(name: str, *, timeout_s: float = 600) -> Path:
    """Python of the environment of the peer called ``name``, which is made if needed.

    Raises:
        PeerUnavailableError: it cannot be made.
    """
    peer = PEERS[name]
    folder = ROOT / name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = peer.requirements.read_text()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    interpreter = _interpreter(peer)
    _build([interpreter, "-m", "venv", "--clear", str(folder)], peer, timeout_s)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _build([*install, "--requirement", str(peer.requirements)], peer, timeout_s)
    stamp.write_text(wanted)
    return python


def run_peer(
    name: str,
    given: Path,
    answer: Path,
    *arguments: str,
    runner: str | None = None,
    timeout_s: float = 600,
) -> None:
    """Let the peer called ``name`` read ``given`` and write ``answer``.

    Args:
        name: of the peer.
        given, answer: files, see :mod:`peers.exchange` and the ``runner``.
        arguments: what else the runner is told.
        runner: a script of this folder, by default the peer's own.
        timeout_s: how long it may take.

    Raises:
        PeerUnavailableError: it has no environment.
        PeerFailedError: it crashed or took longer than ``timeout_s``.
    """
    script = PEERS[name].runner if runner is None else HERE / runner
    # -E: a PYTHONPATH of ours must not reach into the peer's environment.
    command = [str(peer_python(name)), "-E", str(script), str(given), str(answer), *arguments]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.CalledProcessError as error:
        words = "\n".join((error.stdout + error.stderr).strip().splitlines()[-8:])
        raise PeerFailedError(f"{name} ended with code {error.returncode}:\n{words}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerFailedError(f"{name} took longer than {timeout_s:g} s") from error
