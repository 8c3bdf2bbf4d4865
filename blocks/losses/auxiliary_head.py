"""Deep supervision: small classifiers on maps inside the network."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.errors import BlockError, law
from blocks.features import Features, Shapes
from blocks.heads.fcn import Convolutional
from blocks.layers import resize, size_of
from blocks.losses.cross_entropy import CrossEntropy
from blocks.losses.dice import Dice
from blocks.losses.named import declared, read
from blocks.losses.ohem import Ohem
from blocks.options import Range, When

_CRITERIA: dict[str, type[nn.Module]] = {"cross_entropy": CrossEntropy, "ohem": Ohem, "dice": Dice}


class AuxiliaryHead(nn.Module):
    """Classify maps inside the network, each with a small head of its own, and judge them as the logits are judged.

    One head serves PSPNet's auxiliary loss (`level_3` of a ResNet), BiSeNet's on its context path, BiSeNetV2's boosters
    (`semantic_4` to `semantic_32`) and ICNet's cascade label guidance.

    Shape:
        input:  features of the whole network; labels (N, H, W), class ids or 255
        output: scalar, the sum over the maps; 0 when no pixel is labelled

    Args:
        source: what the whole network gives.
        class_weights: (classes,), handed to the criterion.
        weight: factor of this loss in the sum.
        at: maps to supervise: `level_1` (the finest of the pyramid) and on, or names of taps.
        channels: width of the convolutions: one for all maps, or one for each. [count]
        convs: 3x3 convolutions before each classifier; with 0 there is only the classifier. [count]
        dropout: of whole channels before the classifier. [probability]
        criterion: judges the logits, at its defaults.

    Raises:
        BlockError: the network has no map of a name in `at`, there are neither one nor as many widths as maps, or
            `class_weights` does not hold one weight a class.

    Source:
        Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, sec. 3.3. arXiv:1612.01105;
        the head: mmsegmentation's FCNHead without `concat_input`

    Deviations:
        Logits are resized as the network resizes its own. Boosters are mmsegmentation's, two plain convolutions; a
        head that upsamples within, as the BiSeNetV2 paper draws it, is not offered.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 0.4,
        at: tuple[str, ...] = ("level_3",),
        channels: Annotated[tuple[int, ...], Range(1, 4096), When("convs", 1, 2, 3, 4)] = (256,),
        convs: Annotated[int, Range(0, 4)] = 1,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.1,
        criterion: Literal["cross_entropy", "ohem", "dice"] = "cross_entropy",
    ) -> None:
        super().__init__()
        self.weight = weight
        self.at = at
        self.align_corners = source.align_corners
        widths = channels * len(at) if len(channels) == 1 else channels
        if len(widths) != len(at):
            got = {"channels": channels, "at": at}
            raise BlockError(law("auxiliary_head", "one width, or one for each map", got, "Give as many as maps"))
        self.heads = nn.ModuleList(
            Convolutional(declared(source, name).channels, width, source.classes, convs=convs, dropout=dropout)
            for name, width in zip(at, widths, strict=True)
        )
        self.criterion = _CRITERIA[criterion](source.classes, class_weights)

    def forward(self, f: Features, labels: Tensor) -> Tensor:
        losses = []
        for name, head in zip(self.at, self.heads, strict=True):
            # In float32 whatever the autocast, as the network's own logits are judged.
            logits = resize(head(read(f, name)).float(), size_of(labels), self.align_corners)
            losses.append(self.criterion(logits, labels))
        return self.weight * torch.stack(losses).sum()
