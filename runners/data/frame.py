"""The size that samples are brought to: one for all, or the proportions that each has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from blocks.errors import DataError, law
from blocks.options import Range
from runners.data.decode import resized

Side = Annotated[int | None, Range(16, 16_384)]
"""The length of a side, as an option of a data set; null leaves it open. [px]"""


@dataclass(frozen=True, slots=True)
class Frame:
    """What samples are resized to.

    With `short`, the shorter side gets this length, up or down, and the other follows; where that would make the longer
    side longer than `long`, it gets that length instead. This is what tool boxes write as a scale of (long, short) with
    the ratio kept. Samples then differ in size, and `size` is that of a training crop and of an evaluation's window.

    Args:
        subject: who is speaking in an error, e.g. `Data set camvid`.
        size: height and width of every sample, or of a training crop. [px]
        short: the shorter side; None stretches samples to `size`. [px]
        long: the longer side at most; None is no limit. [px]

    Raises:
        DataError: `long` is below `short`, or there is no `short` that it could limit.
    """

    subject: str
    size: tuple[int, int]
    short: int | None = None
    long: int | None = None

    def __post_init__(self) -> None:
        if self.long is None:
            return
        got = {"short": self.short, "long": self.long}
        if self.short is None:
            remedy = "Write short, the length of the shorter side, too"
            raise DataError(law(f"{self.subject}.long", "a shorter side", got, remedy))
        if self.long < self.short:
            raise DataError(law(f"{self.subject}.long", "at least the shorter side", got, "Raise it"))

    @property
    def varies(self) -> bool:
        """Whether samples may differ in size."""
        return self.short is not None

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the sample that an image of this size becomes. [px]"""
        if self.short is None:
            return self.size
        ratio = self.short / min(height, width)
        if self.long is not None:
            ratio = min(ratio, self.long / max(height, width))
        return max(1, int(height * ratio + 0.5)), max(1, int(width * ratio + 0.5))

    def fit(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Bring an image, (C, H, W), and its label, (H, W), to their size."""
        height, width = label.shape
        return resized(image, label, self.of(height, width))
