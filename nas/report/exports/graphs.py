"""A trained network as a graph that runs without this package: PyTorch's own (pt2) and ONNX; each is held to it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from blocks.errors import RunError, law
from nas.report.exports.files import unwritable
from nas.study.trained import Trained

TOLERANCE: Final = 1e-3
"""The most that logits may differ."""

_BATCHES: Final = (1, 3)  # that the written file is tried with; it was traced with two images
_TRACED: Final = 2
_ONE: Final = "one image"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and how well it does.

    Args:
        difference: the largest of any logit to the network's own, over random images.
        batch: what it takes at once: `any number of images`, or `one image`.
    """

    difference: float
    batch: str

    @property
    def words(self) -> str:
        return f"logits differ by at most {self.difference:.1e} from PyTorch's; takes {self.batch} at once"


def write_pt2(path: Path, found: Trained) -> Written:
    """Write a network by `torch.export`, load it again and compare.

    Raises:
        RunError: torch cannot export it, the file cannot be written, or what it computes differs.
    """
    program, batch = _exported(found)
    try:
        torch.export.save(program, path)
    except OSError as error:
        raise unwritable(path, error) from error
    loaded = torch.export.load(path).module()
    return _held(path, found, loaded, batch)


def write_onnx(path: Path, found: Trained) -> Written:
    """Write a network as ONNX, run it by onnxruntime and compare.

    Raises:
        RunError: the extra `onnx` is not installed, torch cannot export it, or what it computes differs.
    """
    absent = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if absent:
        remedy = "Install them: pip install 'segnas[onnx]'"
        raise RunError(law("--format onnx", "packages that are optional", {"missing": absent}, remedy))
    import onnxruntime

    program, batch = _exported(found)
    try:
        with _quiet():
            made = torch.onnx.export(
                program, dynamo=True, input_names=["image"], output_names=["logits"], verbose=False
            )
    except torch.onnx.OnnxExporterError as error:
        raise _untranslated(found, error) from error
    assert made is not None  # nothing else comes of dynamo
    try:
        made.save(path)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(image: Tensor) -> Tensor:
            (logits,) = session.run(None, {"image": image.numpy()})
            return torch.from_numpy(logits)

        return _held(path, found, run, batch)
    except RunError:
        raise
    except Exception as error:  # onnxruntime's own have no word in common
        path.unlink(missing_ok=True)
        raise _untranslated(found, error) from error


def _untranslated(found: Trained, error: Exception) -> RunError:
    got = {"trial": found.row["number"], "error": str(error).strip().splitlines()[0][:300]}
    return RunError(law("ONNX", "operations that it knows", got, "Export it as pt2, safetensors or python"))


def _exported(found: Trained) -> tuple[torch.export.ExportedProgram, str]:
    """Trace the network: for any number of images where it allows that, else for one."""
    channels, size = found.protocol.image_channels, found.protocol.size
    batch = torch.export.Dim("batch", min=1)
    attempts: tuple[tuple[int, dict[str, Any] | None, str], ...] = (
        (_TRACED, {"image": {0: batch}}, "any number of images"),
        (1, None, _ONE),
    )
    reason = ""
    for images, shapes, words in attempts:
        image = torch.rand(images, channels, *size)
        try:
            with _quiet(), torch.no_grad():
                return torch.export.export(found.network, (image,), dynamic_shapes=shapes), words
        except Exception as error:  # torch.export has no common word for what it cannot trace
            reason = str(error).splitlines()[0]
    got = {"trial": found.row["number"], "error": reason}
    remedy = "Export it as safetensors or python"
    raise RunError(law("An exported graph", "a network that torch.export can trace", got, remedy))


def _held(path: Path, found: Trained, run: Callable[[Tensor], Tensor], batch: str) -> Written:
    """Compare what was written with the network; what differs is taken away again."""
    rng = torch.Generator().manual_seed(0)
    channels, size = found.protocol.image_channels, found.protocol.size
    worst = 0.0
    with torch.no_grad():
        for images in _BATCHES if batch != _ONE else (1,):
            image = torch.rand(images, channels, *size, generator=rng)
            worst = max(worst, float((run(image) - found.network(image)).abs().max()))
    if not worst <= TOLERANCE:
        path.unlink(missing_ok=True)
        got = {"difference": worst, "tolerance": TOLERANCE}
        remedy = "Report it, and export it as safetensors or python"
        raise RunError(law("An exported graph", "the logits of the network", got, remedy))
    return Written(worst, batch)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters speak of their own inner life at length; what they cannot do comes as an exception."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx", "torch._export", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
