from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.data_files import picture
from support.errors import refused
from torch.utils.data import DataLoader

from adlrns_neuro import vision
from adlrns_neuro.data import load_image_folder
from mapping.errors import ArtifactError, ConfigError, MissingDependencyError

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, with three images for training and two for test each."""
    for part, number in (("train", 3), ("val", 2)):
        for name, colour in COLOURS.items():
            (tmp_path / part / name).mkdir(parents=True)
            for take in range(number):
                file = picture((300, 280 + take), colour, "PNG")
                (tmp_path / part / name / f"{take}.png").write_bytes(file)
    return tmp_path


def test_images_are_read_by_class_as_a_network_takes_them(folder: Path) -> None:
    found = load_image_folder(str(folder))
    assert found.classes == ("blue", "red")
    for part, number in ((found.train, 6), (found.train_plain, 6), (found.test, 4)):
        (images, labels), *more = DataLoader(part, batch_size=8)
        assert not more
        assert images.shape == (number, 3, 224, 224)
        assert images.dtype == torch.float32
        assert labels.tolist() == [0] * (number // 2) + [1] * (number // 2)
        for image, label in zip(images, labels, strict=True):
            wanted = torch.tensor(COLOURS[found.classes[label]]) / 255
            colour = image[:, 100, 100] * DEVIATION + MEAN
            torch.testing.assert_close(colour, wanted, atol=1e-5, rtol=0)


def test_chance_is_torchs_and_only_in_training(folder: Path) -> None:
    half = Image.new("RGB", (300, 300))
    half.paste((255, 255, 255), (0, 0, 150, 300))
    half.save(folder / "train" / "red" / "0.png")
    found = load_image_folder(folder)

    def red(part: Any, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return part[3][0]

    torch.testing.assert_close(red(found.train, 1), red(found.train, 1))
    assert not torch.equal(red(found.train, 1), red(found.train, 2))
    torch.testing.assert_close(red(found.train_plain, 1), red(found.train_plain, 2))


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_missing_part_is_named(part: str, folder: Path) -> None:
    (folder / part).rename(folder / "elsewhere")
    with refused(ConfigError, "ADL-DAT-01", where=str(folder), message=f"{part} is not there"):
        load_image_folder(folder)


def test_a_missing_folder_or_none_is_refused(tmp_path: Path) -> None:
    with refused(ConfigError, "ADL-DAT-01", where="image-folder", remedy="--data-dir"):
        load_image_folder(None)
    with refused(ConfigError, "ADL-DAT-01", where="nowhere", message="train/CLASS"):
        load_image_folder(tmp_path / "nowhere")


def test_a_class_without_images_is_refused(folder: Path) -> None:
    (folder / "val" / "green").mkdir()
    with refused(ConfigError, "ADL-DAT-01", message="CLASS"):
        load_image_folder(folder)


def test_classes_must_be_the_same_in_both_parts(folder: Path) -> None:
    (folder / "val" / "red").rename(folder / "val" / "green")
    with refused(ArtifactError, "ADL-DAT-02", where=str(folder), message="['green', 'red']"):
        load_image_folder(folder)


@pytest.mark.parametrize("length", [0, 30, 200])
def test_a_damaged_image_is_named_when_it_is_read(length: int, folder: Path) -> None:
    path = folder / "val" / "red" / "1.png"
    path.write_bytes(path.read_bytes()[:length])
    found = load_image_folder(folder)
    with refused(ArtifactError, "ADL-DAT-02", where=str(path)):
        found.test[3]


def test_without_torchvision_the_command_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vision, "find_spec", lambda name: None)
    with refused(
        MissingDependencyError, "ADL-DEP-04", where="torchvision", remedy="adlrns[vision]"
    ):
        load_image_folder(folder)


def test_a_torchvision_for_another_torch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator x::y does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    kept = {name: module for name, module in sys.modules.items() if name[:11] == "torchvision"}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)
    with refused(MissingDependencyError, "ADL-DEP-04", message=f"torch {torch.__version__}"):
        vision.import_torchvision()


def test_models_are_there_and_operators_that_did_not_load_say_so() -> None:
    torchvision = vision.import_torchvision()
    assert torchvision is vision.import_torchvision()
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    assert sum(p.numel() for p in model.parameters()) == 25_557_032
    if not torchvision.extension._has_ops():
        with pytest.raises(RuntimeError, match="Couldn't load custom C"):
            torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
