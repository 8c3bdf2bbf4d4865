"""The options of the recipe. No torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from blocks.options import Range, When


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The recipe as a value; these names, bounds and defaults are the `training:` section of a space.

    Args:
        epochs: passes over the training images, each ended by an evaluation; with `iterations`, rounds of steps, each
            ended by an evaluation: these are what rungs, reports and checkpoints call an epoch then. [count]
        iterations: steps of the optimiser in all, spread evenly over `epochs`: one stream of shuffled passes, in which
            no image is dropped. 0 trains for `epochs` passes, of each the last incomplete batch dropped. [count]
        subset: share of the training images that is used, chosen once and the same for every trial; a smaller share is
            part of a larger one. `class_weights` still count all.
        batch: images that go through the network at once. [count]
        accumulate: batches whose gradients are added up for one step: the optimiser sees `batch` x `accumulate` images,
            every one of the same weight, and batch norms see `batch`. A step of several batches is one iteration.
            [count]
        optimizer: the update rule; AdamW's betas are torch's own.
        learning_rate: its peak.
        backbone_rate: factor of the learning rate in the backbone.
        head_rate: factor of the learning rate behind the backbone: context, align, refine, head and losses.
        layer_decay: factor of the learning rate from each layer of the backbone to the one before it; the last one has
            it once, what comes behind the backbone not at all. Layers are those that timm groups a model into; of other
            encoders, the levels of their pyramid: a weight belongs to the finest level that it takes part in.
        weight_decay: decoupled for AdamW, L2 for SGD.
        decay: what decays: `weights` exempts norms and biases (all that has one dimension), `all` nothing.
        momentum: of SGD.
        schedule: of the learning rate, stepped every iteration.
        warmup: linear rise at the start. [share of all steps]
        power: of the polynomial decay.
        floor: where the descent ends, as a share of the peak; `one_cycle` ends at 1/10000 at the lowest.
        clip: largest gradient norm; 0 does not clip.
        ema: decay of the averaged weights that are evaluated; 0 does not average.
        norms: `frozen` holds the batch norms of the backbone as they are, statistics, weights and biases, which makes
            sense for pretrained ones; `synced` lets the processes that train one network share the statistics of all
            batch norms, and is `batch` where there is one process.
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
    iterations: Annotated[int, Range(0, 100_000_000)] = 0
    subset: Annotated[float, Range(1e-4, 1.0)] = 1.0
    batch: Annotated[int, Range(1, 65_536)] = 8
    accumulate: Annotated[int, Range(1, 4096)] = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Range(1e-8, 100.0)] = 3e-3
    backbone_rate: Annotated[float, Range(0.0, 1000.0)] = 1.0
    head_rate: Annotated[float, Range(0.0, 1000.0)] = 1.0
    layer_decay: Annotated[float, Range(0.01, 1.0)] = 1.0
    weight_decay: Annotated[float, Range(0.0, 10.0)] = 0.01
    decay: Literal["weights", "all"] = "weights"
    momentum: Annotated[float, Range(0.0, 0.9999), When("optimizer", "sgd")] = 0.9
    schedule: Literal["one_cycle", "cosine", "poly", "constant"] = "one_cycle"
    warmup: Annotated[float, Range(0.0, 0.9)] = 0.1
    power: Annotated[float, Range(0.1, 10.0), When("schedule", "poly")] = 0.9
    floor: Annotated[float, Range(0.0, 1.0), When("schedule", "one_cycle", "cosine", "poly")] = 0.0
    clip: Annotated[float, Range(0.0, 1e6)] = 1.0
    ema: Annotated[float, Range(0.0, 0.99999)] = 0.0
    norms: Literal["batch", "frozen", "synced"] = "batch"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    scale: Annotated[tuple[float, float], Range(0.1, 10.0)] = (0.75, 1.5)
    flip: Annotated[float, Range(0.0, 1.0)] = 0.5
    jitter: Annotated[float, Range(0.0, 1.0)] = 0.2
    class_weights: Literal["none", "inverse_log"] = "none"
    compile: bool = False
    deterministic: bool = False
