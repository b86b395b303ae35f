from __future__ import annotations

import copy
import json
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from support.errors import refused

from mapping.cli import run as adlrns_map
from mapping.errors import TargetError
from mapping.processors.document import processors_page
from mapping.processors.load import load_processor, parse_processor, processor_names
from mapping.processors.spec import BYTES

DATA = tomllib.loads((resources.files("mapping.processors") / "h100.toml").read_text("utf-8"))
ROOT = Path(__file__).parents[2]


def changed(path: str, value: object = None) -> dict[str, object]:
    """The description of the H100 with one entry replaced or, if None, left out."""
    data = copy.deepcopy(DATA)
    *parents, last = path.split("/")
    table = data
    for parent in parents:
        table = table[parent]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return data


def test_the_processors_that_people_ask_for_are_there() -> None:
    wanted = {"a100", "cpu", "h100", "jetson-orin-nano", "phone-arm", "v100"}
    assert set(processor_names()) == wanted


@pytest.mark.parametrize("name", processor_names())
def test_every_figure_has_a_source_and_a_status(name: str) -> None:
    processor = load_processor(name)
    assert processor.name == name
    assert set(processor.peak_ops_per_s) <= set(BYTES)
    for path, constant in processor.constants().items():
        assert constant.source, path
        assert constant.value > 0, path
        if constant.status == "assumed":
            assert constant.factor > 1, path
    slow, fast = processor.at_bound(1), processor.at_bound(-1)
    assert fast.launch_s.value <= processor.launch_s.value <= slow.launch_s.value
    for form, peak in processor.peak_ops_per_s.items():
        assert fast.peak_ops_per_s[form].value >= peak.value >= slow.peak_ops_per_s[form].value
        assert fast.energy_per_op_j[form].value <= slow.energy_per_op_j[form].value


@pytest.mark.parametrize(("name", "power_w"), [("v100", 300), ("a100", 400), ("h100", 700)])
@pytest.mark.parametrize("form", ["fp32", "fp16", "int8"])
def test_a_card_at_full_load_takes_its_power(name: str, power_w: float, form: str) -> None:
    card = load_processor(name)
    ops_w = card.peak_ops_per_s[form].value * card.energy_per_op_j[form].value  # type: ignore[index]
    memory_w = card.bandwidth_bytes_per_s.value * card.energy_per_byte_j.value
    assert ops_w + memory_w == pytest.approx(power_w, rel=0.02)


def test_an_unknown_processor_names_the_nearest() -> None:
    with refused(TargetError, "ADL-PRC-01", where="h10", remedy="did you mean 'h100'"):
        load_processor("h10")


def test_a_users_own_processor_is_read_from_its_file(tmp_path: Path) -> None:
    text = (resources.files("mapping.processors") / "h100.toml").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(text.replace('name = "h100"', 'name = "mine"'))
    assert load_processor(tmp_path / "mine.toml").name == "mine"
    (tmp_path / "torn.toml").write_text('name = "mine')
    with refused(TargetError, "ADL-PRC-02", where="torn.toml", remedy="docs/processors.md"):
        load_processor(tmp_path / "torn.toml")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("launch_s", None, "launch_s: Field required"),
        ("launch_s/status", None, "launch_s.status: Field required"),
        ("colour", 1, "colour"),
        ("launch_s/value", -1.0, "launch_s.value"),
        ("launch_s/status", "guessed", "launch_s.status"),
        ("bandwidth_bytes_per_s/value", 0.0, "bandwidth_bytes_per_s is 0"),
        ("energy_per_op_j/int8", None, "peaks are for"),
        ("peak_ops_per_s/fp64", DATA["launch_s"], "peak_ops_per_s"),
    ],
)
def test_a_wrong_entry_is_named(path: str, value: object, message: str) -> None:
    with refused(TargetError, "ADL-PRC-03", where="mine", message=message):
        parse_processor(changed(path, value), where="mine")


def test_single_precision_is_always_there() -> None:
    data = changed("peak_ops_per_s/fp32")
    del data["energy_per_op_j"]["fp32"]  # type: ignore[attr-defined]
    with refused(TargetError, "ADL-PRC-03", message="peaks are for", remedy="fp32"):
        parse_processor(data, where="mine")


def test_the_page_is_what_the_processors_say() -> None:
    command = [sys.executable, "-m", "mapping.processors.document"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    page = (ROOT / "docs" / "processors.md").read_text("utf-8")
    assert made.stdout.decode("utf-8") == processors_page() == page, (
        "run: python -m mapping.processors.document > docs/processors.md"
    )
    for name in processor_names():
        for constant in load_processor(name).constants().values():
            assert constant.source in page


def test_processors_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert adlrns_map(["processors", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    described = [f"{name}: {load_processor(name).description}" for name in processor_names()]
    assert lines == described
    assert adlrns_map(["processors", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [f"{row['name']}: {row['description']}" for row in rows] == described


@pytest.mark.parametrize("name", processor_names())
def test_every_figure_of_a_processor_is_shown(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    processor = load_processor(name)
    assert adlrns_map(["processors", "show", name]) == 0
    text = capsys.readouterr().out
    for entry, constant in processor.constants().items():
        assert entry in text
        assert f"{constant.value:g}" in text
    assert adlrns_map(["processors", "show", name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert parse_processor(shown, where=name) == processor


def test_showing_an_unknown_processor_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert adlrns_map(["processors", "show", "h10"]) == 2
    message = capsys.readouterr().err
    assert "ADL-PRC-01" in message
    assert "adlrns-map processors list" in message
