"""Archives, targets and programs that are damaged, contradictory or hostile."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from support.chips import as_toml
from support.malformed import HUGE, Case, compile_of, content_of, damaged, no_files, nothing
from support.malformed_folders import VALUES, changed
from support.networks import small_network

from mapping.artifact.write import write_artifact
from mapping.ir.checkpoint import save_network
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.load import load_target


def archives() -> Iterator[Case]:
    def model(folder: Path) -> None:
        save_network(small_network(), folder / "model")

    command = compile_of("model", "--calibration", "x.npz")
    spikes = np.ones((2, 5, 12), np.int64)
    whole = io.BytesIO()
    np.savez_compressed(whole, spikes=spikes)
    yield from damaged("npz", "x.npz", whole.getvalue(), command, model)

    def saved(folder: Path, **arrays: Any) -> None:
        model(folder)
        np.savez(folder / "x.npz", **arrays)

    for name, arrays in {
        "without spikes": {"other": spikes},
        "empty": {},
        "of another shape": {"spikes": spikes[:, :, :5]},
        "without samples": {"spikes": spikes[:0]},
        "without steps": {"spikes": spikes[:, :0]},
        "of numbers": {"spikes": spikes * 1.5},
        "nan": {"spikes": spikes * np.nan},
        "out of range": {"spikes": spikes * 1000},
        "of text": {"spikes": np.array(["a"])},
        "complex": {"spikes": spikes * 1j},
        "without dimension": {"spikes": np.array(3)},
        "of dates": {"spikes": np.zeros(3, "datetime64[s]")},
        "structured": {"spikes": np.zeros(3, [("a", "i8")])},
        "of objects": {"spikes": np.array([{}, None], dtype=object)},
    }.items():
        yield Case(f"npz: {name}", partial(saved, **arrays), command)

    def zipped(members: dict[str, bytes], folder: Path, zeros: int = 0) -> None:
        model(folder)
        _zip(folder / "x.npz", members, zeros)

    def array(
        shape: str, data: bytes = b"", kind: str = "'<i8'", version: bytes = b"\1\0"
    ) -> bytes:
        text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
        text += b" " * (-(len(text) + 11) % 64) + b"\n"
        return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data

    for name, content in {
        "a promise": array(f"({HUGE},)"),
        "an overflow": array("(2**31, 2**31, 2**31)".replace("2**31", str(2**31))),
        "a negative shape": array("(-1,)", bytes(8)),
        "a shape that is none": array("'abc'"),
        "a short array": array("(2, 5, 12)", bytes(8)),
        "a long array": array("(1,)", bytes(800)),
        "a code": array("(1,)", kind="__import__('os').system('touch evil')"),
        "a pickle": array("(1,)", pickle.dumps([1]), kind="'|O'"),
        "another version": array("(1,)", bytes(8), version=b"\7\0"),
        "no magic": b"hello",
        "no bytes": b"",
    }.items():
        yield Case(f"npz: {name}", partial(zipped, {"spikes.npy": content}), command)
    bomb = {"spikes.npy": array(f"({2**28},)")}
    yield Case("npz: a bomb", partial(zipped, bomb, zeros=2**31), command)
    many = {f"a{n}.npy": array(f"({2**22},)") for n in range(32)}
    yield Case("npz: many small bombs", partial(zipped, many, zeros=2**25), command)
    for name in ("../../evil.npy", "/tmp/evil.npy", "spikes.txt", "spikes"):
        members = {name: array("(1,)", bytes(8))}
        yield Case(f"npz: the member {name}", partial(zipped, members), command)

    def flagged(folder: Path) -> None:
        zipped({"spikes.npy": array("(1,)", bytes(8))}, folder)
        path = folder / "x.npz"
        content = bytearray(path.read_bytes())
        for sign, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            content[content.index(sign) + offset] |= 1
        path.write_bytes(bytes(content))

    yield Case("npz: encrypted", flagged, command)

    def twice(folder: Path) -> None:
        model(folder)
        with zipfile.ZipFile(folder / "x.npz", "w") as archive:
            archive.writestr("spikes.npy", array("(1,)", bytes(8)))
            archive.filelist[0].filename = "spikes.npy"
            archive.NameToInfo.clear()
            archive.writestr("spikes.npy", array("(1,)", bytes(8)))

    yield Case("npz: a name twice", twice, command)

    def beside(maker: Case, folder: Path) -> None:
        model(folder)
        maker.make(folder)

    for case in no_files("npz", "x.npz", command):
        yield Case(case.name, partial(beside, case), command)


def _zip(file: Path | io.BytesIO, members: dict[str, bytes], zeros: int) -> None:
    """A compressed archive whose members are followed by so many zeros."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
                for _ in range(zeros >> 20):
                    member.write(bytes(2**20))


def targets() -> Iterator[Case]:
    command = ("targets", "validate", "x.toml")
    whole = as_toml(load_target("loihi2"))
    yield from damaged("toml", "x.toml", whole.encode(), command, nothing)

    def text(content: bytes, folder: Path) -> None:
        (folder / "x.toml").write_bytes(content)

    for name, content in {
        "deep lists": b"a = " + b"[" * 100_000,
        "deep tables": b"a = " + b"{b = " * 5_000,
        "a long key": b"a" + b".a" * 50_000 + b" = 1",
        "not UTF-8": b'name = "\xff"',
        "its own base": b'base = "x.toml"',
        "a base elsewhere": b'base = "../../../../etc/passwd.toml"',
        "a base that is none": b"base = 3",
        "a base of nobody": b'base = "loihi9"',
        "a nan": b'base = "loihi2"\n[core.compartments]\nvalue = nan\nstatus = "x"\nsource = "y"',
        "a huge number": b'base = "loihi2"\n[core]\ncompartments = ' + b"9" * 5_000,
        "an unknown entry": b'base = "loihi2"\nfoo = 1',
        "a date": b"name = 1979-05-27",
    }.items():
        yield Case(f"toml: {name}", partial(text, content), command)
    yield from no_files("toml", "x.toml", command)


def programs() -> Iterator[Case]:
    made = compile_network(small_network(), load_target("loihi2"), CompileOptions())

    def write(folder: Path) -> None:
        write_artifact(made.artifact, made.report, folder / "program")

    command = ("check", "program")
    for file in ("manifest.json", "cores.npz", "routes.npz"):
        content = content_of(lambda path: write(path.parent.parent), f"program/{file}")
        yield from damaged(f"program: {file}", f"program/{file}", content, command, write)
    whole = json.loads(content_of(lambda path: write(path.parent.parent), "program/manifest.json"))

    def described(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
        write(folder)
        path = folder / "program" / "manifest.json"
        description = json.loads(path.read_text())
        change(description)
        path.write_text(json.dumps(description))

    for key in whole:
        for name, value in VALUES.items():
            free = key in ("name", "dt_s") and name in ("a path", "negative")
            change = partial(changed, (key,), value)
            yield Case(f"program: {key} {name}", partial(described, change), command, free)

    def swapped(content: bytes, folder: Path) -> None:
        described(partial(changed, ("files", "cores.npz"), sha256(content).hexdigest()), folder)
        (folder / "program" / "cores.npz").write_bytes(content)

    bomb, head = io.BytesIO(), io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (2**31,)}
    np.lib.format.write_array_header_1_0(head, about)
    _zip(bomb, {"population/hidden/bias_mantissa.npy": head.getvalue()}, 2**31)
    yield Case("program: a bomb with a good checksum", partial(swapped, bomb.getvalue()), command)
    yield Case("program: no archive with a good checksum", partial(swapped, b"hello"), command)
    for name, file in (("missing", "cores.npz"), ("gone", "manifest.json")):

        def without(file: str, folder: Path) -> None:
            write(folder)
            (folder / "program" / file).unlink()

        yield Case(f"program: {file} {name}", partial(without, file), command)
    yield from no_files("program", "program", command)
