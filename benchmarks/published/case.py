"""One published module and ours, set up alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Published:
    """How to build our counterpart of a published module, and what of that module is another slot's here.

    Args:
        component: the name in our catalogue.
        build: makes ours with the arguments, and for the inputs, that the reference facts state.
        recorded: makes ours for the recorded case, where one is known.
        file: name of the recorded case, where it is not that of the published module.
        call: calls a module with the recorded or stated inputs where its forward differs from the published one.
        params_elsewhere: parameters of the published module that another slot holds here. [count]
        params_added: parameters that only ours has; say why in `note`. [count]
        note: why sizes, cost or speed differ, where they do.
    """

    component: str
    build: Callable[[], nn.Module]
    recorded: Callable[[], nn.Module] | None = None
    file: str = ""
    call: Callable[..., Any] | None = None
    params_elsewhere: int = 0
    params_added: int = 0
    note: str = ""


class Called(nn.Module):
    """A module under the call that its published inputs need."""

    def __init__(self, module: nn.Module, call: Callable[..., Any] | None) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self, *inputs: Any) -> Any:
        return self.call(self.module, *inputs) if self.call else self.module(*inputs)


def classifier(channels: int, classes: int = 19) -> int:
    """Parameters of a linear classifier, of the 19 classes of Cityscapes unless said. [count]"""
    return channels * classes + classes
