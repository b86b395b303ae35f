"""The table of what is read: on the command line, in the manual and of one file."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from support.net_files import dense, write_net
from support.networks import small_network

from mapping.cli import run
from mapping.ir.checkpoint import save_network
from mapping.netx import LAYERS, NEURONS
from mapping.nir.support import NODES
from mapping.support import type_rows

DOCS = Path(__file__).parents[2] / "docs"


def _told(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run(["support", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_types_are_listed_with_status_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["type"]: row for row in _told(capsys)["types"]}
    assert set(rows) == {*NODES, *LAYERS, *NEURONS}
    for row in rows.values():
        assert row["status"] in ("read", "read if", "refused")
        assert row["becomes"] if row["status"] != "refused" else row["reason"]
        assert bool(row["reason"]) == bool(row["remedy"]) == (row["status"] != "read")
    assert rows["Threshold"]["status"] == rows["SDNN"]["status"] == "refused"
    assert run(["support"]) == 0
    assert "Threshold" in capsys.readouterr().out


@pytest.mark.parametrize(("page", "kinds"), [("nir.md", NODES), ("lava-dl.md", LAYERS | NEURONS)])
def test_the_manual_says_the_same(page: str, kinds: Any) -> None:
    lines = (DOCS / page).read_text().splitlines()
    for kind, status, becomes, reason, _ in type_rows():
        if kind in kinds:
            assert f"| `{kind}` | {status} | {becomes} | {reason} |" in lines


def _write(path: Path, **changed: nir.NIRNode) -> Path:
    ones = np.ones(3)
    nodes = {
        "input": nir.Input(np.array([4])),
        "w": nir.Linear(np.ones((3, 4))),
        "lif": nir.LIF(tau=1e-3 * ones, r=ones, v_leak=0 * ones, v_threshold=ones),
        "w2": nir.Linear(np.ones((3, 3))),
        "end": nir.LI(tau=1e-3 * ones, r=ones, v_leak=0 * ones),
        "output": nir.Output(np.array([3])),
    } | changed
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False))
    return path


def test_every_node_of_a_file_that_is_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = _told(capsys, _write(tmp_path / "x.nir"))
    assert found["supported"]
    by_name = {row["name"]: row for row in found["nodes"]}
    assert by_name["lif"]["kind"] == "LIF"
    assert by_name["lif"]["reason"] == NODES["LIF"].becomes
    assert run(["support", str(tmp_path / "x.nir")]) == 0
    assert "6 in all, 0 refused." in capsys.readouterr().out


def test_everything_that_is_refused_is_told_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ones = np.ones(3)
    path = _write(
        tmp_path / "x.nir",
        lif=nir.LI(tau=ones, r=ones, v_leak=ones),
        w2=nir.Delay(np.full(3, 1.5e-4)),
        end=nir.LIF(tau=np.arange(1, 4.0), r=ones, v_leak=ones, v_threshold=ones),
    )
    found = _told(capsys, path)
    assert not found["supported"]
    refused = {row["name"]: row for row in found["nodes"] if row["refused"]}
    assert set(refused) == {"lif", "w2", "end"}
    assert "spikes, not voltages" in refused["lif"]["reason"]
    assert "1.5 steps" in refused["w2"]["reason"]
    assert "one decay" in refused["end"]["reason"]
    assert all(row["remedy"] for row in refused.values())
    assert {"w2"} == _refused(capsys, path, "--integration", "exp") - {"lif", "end"}
    assert "w2" not in _refused(capsys, path, "--dt", 0.5e-4)


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> set[str]:
    return {row["name"] for row in _told(capsys, *arguments)["nodes"] if row["refused"]}


def test_what_shows_in_the_whole_alone_has_a_row(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = _write(tmp_path / "x.nir")
    with h5py.File(path, "r+") as file:
        file.copy("node/nodes/input", "node/nodes/more")
    rows = [row for row in _told(capsys, path)["nodes"] if row["refused"]]
    assert [(row["name"], row["kind"]) for row in rows] == [("more", "Input"), ("", "NIRGraph")]
    assert "2 Input nodes" in rows[-1]["reason"]
    assert run(["support", str(path)]) == 0
    assert "(whole)" in capsys.readouterr().out


def test_the_layers_of_a_lava_dl_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    layers = [dense(np.ones((3, 4))), {"type": "concat"}, dense(np.ones((3, 3)))]
    path = write_net(tmp_path / "x.net", layers)
    found = _told(capsys, path)
    assert [(row["name"], row["refused"]) for row in found["nodes"]] == [("0", False), ("1", True)]
    assert "chains" in found["nodes"][1]["reason"]
    assert _told(capsys, write_net(tmp_path / "y.net", layers[:1]))["supported"]


def test_a_checkpoint_is_read_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_network(small_network(), tmp_path / "model")
    kinds = [row["kind"] for row in _told(capsys, tmp_path / "model")["nodes"]]
    assert kinds == ["Input", "Lif", "Lif", "LowRank", "Dense"]


def test_a_file_that_is_none_ends_with_two(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("x.nir", "x.net", "folder"):
        assert run(["support", str(tmp_path / name)]) == 2
        assert "ADL-" in capsys.readouterr().err
