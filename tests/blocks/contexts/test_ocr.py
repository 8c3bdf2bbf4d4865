"""Object-contextual representations: what is gathered from where."""

from __future__ import annotations

import torch

from blocks.contexts.ocr import ObjectAttention


def test_objects_are_averages_over_the_pixels_of_one_class_and_mixed_by_likeness():
    torch.manual_seed(0)
    block = ObjectAttention(12, 5, 7).eval()
    x, coarse = torch.randn(2, 12, 3, 5), 3 * torch.randn(2, 4, 3, 5)
    given = block(x, coarse)
    for n in range(2):
        objects = []
        for logits in coarse[n]:
            weight = logits.exp() / logits.exp().sum()
            objects.append((weight * x[n]).sum(dim=(1, 2)))
        rows = torch.stack(objects)[:, :, None, None]
        keys, values = block.key(rows).flatten(1), block.value(rows).flatten(1)
        query = block.query(x[n : n + 1])[0]
        for i in range(3):
            for j in range(5):
                likeness = (keys @ query[:, i, j] / 5**0.5).softmax(dim=0)
                context = block.up((likeness @ values)[None, :, None, None])
                pixel = torch.cat([context, x[n : n + 1, :, i : i + 1, j : j + 1]], dim=1)
                torch.testing.assert_close(block.fuse(pixel)[0, :, 0, 0], given[n, :, i, j])
