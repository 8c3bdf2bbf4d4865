"""The options of the recipe. No torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from blocks.options import Range, When


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The recipe as a value; these names, bounds and defaults are the `training:` section of a space.

    Args:
        epochs: passes over the training images. [count]
        batch: images per step. [count]
        optimizer: the update rule; AdamW's betas are torch's own.
        learning_rate: its peak.
        weight_decay: decoupled for AdamW, L2 for SGD; norms and biases are exempt.
        momentum: of SGD.
        schedule: of the learning rate, stepped every iteration.
        warmup: linear rise at the start. [share of all steps]
        power: of the polynomial decay.
        clip: largest gradient norm; 0 does not clip.
        ema: decay of the averaged weights that are evaluated; 0 does not average.
        precision: of the forward pass under autocast; float16 scales the loss.
        scale: random resize, relative to the training size. [low, high]
        flip: probability of a horizontal flip.
        jitter: strength of brightness, contrast and saturation jitter; 0 is none.
        class_weights: `inverse_log` weighs a class by 1 / ln(1.02 + its share of the pixels) (ENet).
        compile: let `torch.compile` make code for the network and its losses, and for evaluation. Every network pays
            for it in its first epoch (the epoch's log says how many seconds), and so does every new size of a batch;
            it needs a compiler on the machine and rounds differently.
        deterministic: add up in the same order every time, also on a GPU. Operations that torch has in no such form
            fail the trial by name: a warning would leave numbers that do not repeat. On a CPU they repeat anyway.
    """

    epochs: Annotated[int, Range(1, 100_000)] = 20
    batch: Annotated[int, Range(1, 65_536)] = 8
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Range(1e-8, 100.0)] = 3e-3
    weight_decay: Annotated[float, Range(0.0, 10.0)] = 0.01
    momentum: Annotated[float, Range(0.0, 0.9999), When("optimizer", "sgd")] = 0.9
    schedule: Literal["one_cycle", "cosine", "poly", "constant"] = "one_cycle"
    warmup: Annotated[float, Range(0.0, 0.9)] = 0.1
    power: Annotated[float, Range(0.1, 10.0), When("schedule", "poly")] = 0.9
    clip: Annotated[float, Range(0.0, 1e6)] = 1.0
    ema: Annotated[float, Range(0.0, 0.99999)] = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    scale: Annotated[tuple[float, float], Range(0.1, 10.0)] = (0.75, 1.5)
    flip: Annotated[float, Range(0.0, 1.0)] = 0.5
    jitter: Annotated[float, Range(0.0, 1.0)] = 0.2
    class_weights: Literal["none", "inverse_log"] = "none"
    compile: bool = False
    deterministic: bool = False
