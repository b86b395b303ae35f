"""Folders of images, one for each class: ImageNet and whatever is laid out like it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adlrns_neuro.data.layout import Layout

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch.utils.data import Dataset

SIDE = 224
"""Width and height of what a network sees [pixels]."""
_SHORT_SIDE = 256
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, 0 to 1; networks trained on it expect them taken out."""

IMAGE_FOLDER = Layout(
    name="image-folder",
    files="train/CLASS/* and val/CLASS/*, with the same classes in both",
    source="unpack or link the images into such folders",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFolders:
    """Images that are decoded when they are asked for, as float32 of shape (3, 224, 224).

    Attributes:
        classes: names of the folders, in the order of the labels.
        train: pairs of image and label of ``train``, cropped and mirrored at random.
        train_plain: the same without chance, for what is held out of it.
        test: pairs of ``val``.
    """

    classes: tuple[str, ...]
    train: Dataset[tuple[Any, int]]
    train_plain: Dataset[tuple[Any, int]]
    test: Dataset[tuple[Any, int]]


def load_image_folder(data_dir: Path | str | None) -> ImageFolders:
    """Read two folders of images with torchvision, as ImageNet is usually trained and tested on.

    Training: a random crop of 8 to 100 % of the image, resized to 224x224 and mirrored half of the
    time (Szegedy et al., Going deeper with convolutions, CVPR, 2015). Test: the short side resized
    to 256, then the 224x224 in the middle. Chance comes from torch's random state. Reading an image
    raises ``ADL-DAT-02`` when the file is damaged.

    Args:
        data_dir: folder of ``train`` and ``val``.

    Raises:
        MissingDependencyError: ``ADL-DEP-04`` without a torchvision that fits torch.
        ConfigError: ``ADL-DAT-01`` when a folder is missing or holds no images.
        ArtifactError: ``ADL-DAT-02`` when the two folders have different classes.
    """
    folder = IMAGE_FOLDER.folder(None if data_dir is None else Path(data_dir))
    train, train_plain, test = (
        _images(folder / name, augmented=augmented)
        for name, augmented in (("train", True), ("train", False), ("val", False))
    )
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        raise IMAGE_FOLDER.damaged(folder, f"of train and val only one has the classes {odd[:5]}")
    return ImageFolders(
        classes=tuple(train.classes), train=train, train_plain=train_plain, test=test
    )


def _images(folder: Path, *, augmented: bool) -> Any:
    from adlrns_neuro.vision import import_torchvision

    vision = import_torchvision()
    transforms = vision.transforms
    framing = (
        [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip()]
        if augmented
        else [transforms.Resize(_SHORT_SIDE), transforms.CenterCrop(SIDE)]
    )
    tensor = [transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)]
    if not folder.is_dir():
        raise IMAGE_FOLDER.missing(folder)
    try:
        return vision.datasets.ImageFolder(
            str(folder), transform=transforms.Compose([*framing, *tensor]), loader=_open_image
        )
    except FileNotFoundError as error:
        raise IMAGE_FOLDER.missing(folder / "CLASS" / "*") from error


def _open_image(path: str) -> Image:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise IMAGE_FOLDER.damaged(Path(path), str(error)) from error
