"""Any segmentation data set of Hugging Face's `datasets` that lies on this machine already; the hub is never asked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from blocks.errors import DataError, law, nearest
from blocks.options import Range
from runners.data.contract import SPLITS, DataInfo, SplitName, UnreadableError, palette, unseen
from runners.data.decode import Coding, image_pixels, label_values, labelled, need_same_size
from runners.data.files import stamp_of
from runners.data.folder import MOST, class_names, coding_of
from runners.data.frame import Frame, Side

_SUBJECT = "Data set huggingface"
_NESTED = ("List", "LargeList", "Sequence", "Array2D")


class HuggingFace:
    """What `save_to_disk` wrote (`SPLIT/*.arrow`), or parquet files as on the hub (`data/SPLIT-*.parquet`).

    Which columns hold the image and its label is read from the features: two columns of images are these, in their
    order; one column of images goes with one of numbers in rows.

    Args:
        root: the folder that holds the splits.
        size: height and width that samples are stretched to; with `short`, of a training crop. [px]
        short: samples keep their proportions, and this is their shorter side; null stretches them. [px]
        long: their longer side at most; null is no limit. [px]
        classes: how many, or their names.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and one more). [count]
        ids: the value of each class in the labels; by default 0, 1, 2, ...
        colours: instead of ids, the (red, green, blue) of each class.
        ignore: values in the labels that neither train nor count.
        unlisted: what to do with any other value.
        train: the split to train on.
        val: the split to evaluate on; one named `test` that no search looks at need not be there.
        image: the column of images, where the features leave a doubt.
        label: the column of labels, likewise.

    Raises:
        DataError: the options contradict each other.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: str,
        *,
        size: Annotated[tuple[int, int], Range(16, 16_384)] = (512, 512),
        short: Side = None,
        long: Side = None,
        classes: Annotated[int | tuple[str, ...], Range(2, MOST)] = 2,
        channels: Literal[1, 3, 4] = 3,
        ids: Annotated[tuple[int, ...], Range(0, 65_535)] = (),
        colours: tuple[tuple[int, int, int], ...] = (),
        ignore: Annotated[tuple[int, ...], Range(0, 65_535)] = (255,),
        unlisted: Literal["error", "ignore"] = "error",
        train: str = "train",
        val: str = "validation",
        image: str = "",
        label: str = "",
    ) -> None:
        names = class_names(classes)
        self._coding = coding_of(_SUBJECT, names, ids, colours, ignore, strict=unlisted == "error")
        self._frame = Frame(_SUBJECT, size, short, long)
        self.info = DataInfo(names, colours or palette(len(names)), channels, size, varies=self._frame.varies)
        self._root = Path(root).expanduser()
        self._splits: dict[SplitName, str] = {"train": train, "val": val, "test": "test"}
        self._columns = (image, label)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.version}\n".encode())
        for split in SPLITS:
            for path in files_of(self._root, self._splits[split]):
                line = f"{path.relative_to(self._root).as_posix()}\t{path.stat().st_size}\n"
                digest.update(line.encode())
        return digest.hexdigest()[:16]

    def split(self, name: SplitName) -> Rows:
        if name == "test":
            unseen(_SUBJECT, self._splits)
        return Rows(self._root, self._splits[name], self._coding, self.info, self._columns, frame=self._frame)


def files_of(root: Path, split: str) -> list[Path]:
    """The files of a split, sorted: what `save_to_disk` wrote where there is such a folder, else parquet.

    Raises:
        DataError: there are none.
    """
    saved = sorted((root / split).glob("*.arrow"))
    if saved:
        return saved
    parquet = sorted(path for folder in (root, root / "data", root / split) for path in folder.glob("*.parquet"))
    begins = (f"{split}-", f"{split}_")
    found = [path for path in parquet if split in (path.parent.name, path.stem) or path.stem.startswith(begins)]
    if not found:
        there = sorted(p.name for p in root.iterdir())[:10] if root.is_dir() else "no such folder"
        needs = f"{split}/*.arrow or {split}-*.parquet below its root"
        remedy = "Save it with save_to_disk, or set train and val to its splits"
        raise DataError(law(_SUBJECT, needs, {"root": str(root), "found": there}, remedy))
    return found


class Rows:
    """One split: each row is decoded when it is asked for."""

    def __init__(
        self, root: Path, split: str, coding: Coding, info: DataInfo, columns: tuple[str, str], *, frame: Frame
    ) -> None:
        table, self._root, self._split = _opened(root, split), root, split
        self._image, self._label = columns_of(table.features, columns)
        _check_names(table.features[self._label], info)
        self._rows = table.select_columns([self._image, self._label])
        self._labels = table.select_columns([self._label])
        self._coding, self._info, self._frame = coding, info, frame

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._frame.fit(*self.original(index))

    def name(self, index: int) -> str:
        return f"{self._split}[{index}]"

    def stamp(self) -> str:
        return stamp_of(files_of(self._root, self._split))

    def original(self, index: int) -> tuple[Tensor, Tensor]:
        row, where = self._row(self._rows, index), self.name(index)
        image = image_pixels(row[self._image], _SUBJECT, where, channels=self._info.image_channels)
        label = self._coded(row, where)
        need_same_size(_SUBJECT, image, label, where)
        return image, label

    def label(self, index: int) -> Tensor:
        return self._coded(self._row(self._labels, index), self.name(index))

    def _coded(self, row: dict[str, Any], where: str) -> Tensor:
        return labelled(self._drawn(row[self._label], where), self._coding, subject=_SUBJECT, where=where)

    def _row(self, rows: Any, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        where = self.name(index)
        try:
            row: dict[str, Any] = rows[index]
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            got = {"sample": where, "error": str(error)}
            raise UnreadableError(law(_SUBJECT, "images that can be read", got, "Remove the row")) from error
        for column, value in row.items():
            if value is None:
                got = {"sample": where, "column": column}
                raise DataError(law(_SUBJECT, "an image and a label in each row", got, "Remove the row"))
        return row

    def _drawn(self, value: Any, where: str) -> NDArray[Any]:
        if isinstance(value, Image.Image):
            return label_values(value, _SUBJECT, where, self._coding)
        try:
            return np.array(value, np.int64)
        except (TypeError, ValueError) as error:
            got = {"sample": where, "error": str(error)}
            raise DataError(law(_SUBJECT, "rows of whole numbers, all as long", got, "Remove the row")) from error


def columns_of(features: Any, chosen: tuple[str, str]) -> tuple[str, str]:
    """Tell which columns hold the image and its label.

    Args:
        features: of the table, by column.
        chosen: what the person says; an empty name leaves it to the features.

    Raises:
        DataError: there is no such column, or more than one could be meant.
    """
    for option, name in zip(("image", "label"), chosen, strict=True):
        if name and name not in features:
            raise DataError(law(f"{_SUBJECT}.{option}", "a column", {option: name}, nearest(name, features)))
    image, label = chosen
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image" and name not in chosen]
    maps = [name for name, kind in kinds.items() if kind in _NESTED and name not in chosen and _is_map(features[name])]
    if not image and not label and len(images) == 2:
        return images[0], images[1]
    image = image or _only(images, kinds)
    return image, label or _only([name for name in images if name != image] or maps, kinds)


def _only(names: list[str], kinds: dict[str, str]) -> str:
    if len(names) != 1:
        needs = "one column of images and one of labels"
        raise DataError(law(_SUBJECT, needs, {"columns": kinds}, "Set image and label to their names"))
    return names[0]


def _is_map(feature: Any) -> bool:
    """Whether a column holds rows of numbers rather than one row."""
    return hasattr(feature, "shape") or type(getattr(feature, "feature", None)).__name__ in _NESTED


def _check_names(feature: Any, info: DataInfo) -> None:
    """Hold the classes to those that the features name, where they do."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    named = getattr(feature, "names", None)
    if named and len(named) != info.classes:
        got = {"classes": info.classes, "features": list(named)[:10]}
        raise DataError(law(_SUBJECT, f"the {len(named)} classes that its features name", got, "Change classes"))


def _opened(root: Path, split: str) -> Any:
    files = files_of(root, split)
    try:
        import datasets
    except ImportError as error:
        got = {"root": str(root)}
        raise DataError(law(_SUBJECT, "the package datasets", got, "pip install 'segnas[huggingface]'")) from error
    try:
        if files[0].suffix == ".arrow":
            return datasets.load_from_disk(str(root / split))
        return datasets.Dataset.from_parquet([str(path) for path in files])
    except (OSError, ValueError, TypeError, KeyError, datasets.exceptions.DatasetsError) as error:
        got = {"file": str(files[0]), "error": str(error)}
        raise DataError(law(_SUBJECT, "files that can be read", got, "Save it once more")) from error
