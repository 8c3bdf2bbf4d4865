"""Data sets by name. Parameters before a constructor's `*` say where the data lie; the others enter the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.architecture import Component
from blocks.errors import DataError, law, nearest
from blocks.options import complete, supplied
from runners.data.ade20k import ADE20K
from runners.data.camvid import CamVid
from runners.data.cityscapes import Cityscapes
from runners.data.coco_stuff import CocoStuff10k, CocoStuff164k
from runners.data.contract import IGNORE, DataInfo, DataSet, Facts, FromFiles, Split, SplitName
from runners.data.folder import Folder
from runners.data.huggingface import HuggingFace
from runners.data.pascal_context import PascalContext
from runners.data.shapes import Shapes
from runners.data.voc2012 import VOC2012

DATASETS: dict[str, type] = {
    "ade20k": ADE20K,
    "camvid": CamVid,
    "cityscapes": Cityscapes,
    "coco_stuff10k": CocoStuff10k,
    "coco_stuff164k": CocoStuff164k,
    "folder": Folder,
    "huggingface": HuggingFace,
    "pascal_context": PascalContext,
    "shapes": Shapes,
    "voc2012": VOC2012,
}


def dataset(component: Component, place: Mapping[str, str]) -> DataSet:
    """Make a data set from its value and from where it lies. No file is touched yet.

    Raises:
        DataError: unknown name, a place that is not given, or options that contradict each other.
        BlockError: options that its constructor does not take.
    """
    if component.name not in DATASETS:
        raise DataError(law("A data set", "a known name", {"data": component.name}, nearest(component.name, DATASETS)))
    kind: Any = DATASETS[component.name]
    needed = supplied(kind)
    for name in needed:
        if not place.get(name):
            remedy = f"Set data.{component.name}.{name} to where it lies"
            raise DataError(law(f"Data set {component.name}", f"its {name}", {name: place.get(name)}, remedy))
    options = complete(kind, dict(component.options), subject=f"data {component.name}")
    made: DataSet = kind(*(place[name] for name in needed), **options)
    return made


__all__ = [
    "DATASETS",
    "IGNORE",
    "DataInfo",
    "DataSet",
    "Facts",
    "Folder",
    "FromFiles",
    "Shapes",
    "Split",
    "SplitName",
    "dataset",
]
