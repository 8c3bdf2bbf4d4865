"""What figures are called on axes and in titles, with their unit."""

from __future__ import annotations

from typing import Final

LABELS: Final = {
    "miou": "mIoU",
    "miou_best": "best mIoU",
    "pixel_accuracy": "pixel accuracy",
    "macs": "MACs",
    "macs_conv": "MACs of convolutions and linear layers",
    "params": "parameters",
    "activation_bytes": "activations [B]",
    "peak_memory_bytes": "peak memory [B]",
    "latency_ms": "latency [ms]",
    "train_memory_bytes": "training memory [B]",
    "train_seconds": "training [s]",
}


def label(name: str) -> str:
    """The title of an axis."""
    if name.startswith("iou."):
        return f"IoU of {name.removeprefix('iou.')}"
    return LABELS.get(name, name)
