"""What a trained network predicts, beside the image and its label, as one picture."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from nas.report.datasets import sample_name
from nas.report.samples import legend, overlay, pixels_of, save, stacked, tile
from nas.study.trained import Trained
from runners.data import IGNORE, DataSet, SplitName
from runners.data.contract import opened
from runners.evaluate import scores_of
from runners.inference import Inference, classified


def write_predictions(
    path: Path, found: Trained, data: DataSet, split: SplitName, *, images: int = 4, seed: int = 0
) -> None:
    """Draw samples as three panels each: the image, its label, the prediction; below them the classes that occur.

    Args:
        path: the PNG file to write.
        found: the network.
        data: what to draw from.
        split: of the data set.
        images: samples at most, drawn at random. [count]
        seed: of the draw.

    Raises:
        DataError: the data set does not have the split, or a sample that was drawn is wrong.
        RunError: the file cannot be written.
    """
    samples, info = opened(data, split, f"Data set {found.protocol.data.name}"), data.info
    device = next(found.network.parameters()).device
    tiles, seen = [], set[int]()
    for index in sorted(random.Random(seed).sample(range(len(samples)), min(images, len(samples)))):
        image, label = samples[index]
        inputs = image.to(device).float().div_(255)
        to = (label.shape[0], label.shape[1])
        shape = to if info.varies else None
        guess = classified(found.network, inputs, size=info.size, to=to, how=Inference(), shape=shape).cpu()
        pixels, truth, guessed = pixels_of(image), label.numpy(), guess.numpy().astype(np.uint8)
        panels = [pixels, overlay(pixels, truth, info), overlay(pixels, guessed, info)]
        miou = scores_of(guess, label.long(), info.classes).miou
        caption = f"{split}: {sample_name(samples, index)}   image, label, prediction (mIoU {miou:.3f})"
        tiles.append(tile(panels, caption))
        seen |= set(np.unique(truth).tolist()) | set(np.unique(guessed).tolist())
    shown = sorted(seen - {IGNORE}) + sorted(seen & {IGNORE})
    save(stacked([*tiles, legend(shown, info, width=max(tile.width for tile in tiles))]), path)
