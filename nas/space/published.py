"""What others print about a network, beside the file that describes it: the `published:` section."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from blocks.options import Range

# How far ours may be from theirs: figures that were counted from public code, by name; and figures that are printed,
# which are rounded and seldom say what they count.
COUNTED = {"params": 0.01, "macs": 0.02, "macs_conv": 0.02}
PRINTED = 0.05

_Count = Annotated[float | None, Range(1.0, 1e15)]
_Score = Annotated[float | None, Range(0.0, 1.0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Counted from public code, the network of inference alone, at the size and classes of `Published`.

    Args:
        params: parameters. [count]
        macs: multiply-accumulates of everything. [count]
        macs_conv: of convolutions and linear layers. [count]
    """

    params: _Count = None
    macs: _Count = None
    macs_conv: _Count = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One result that a paper or a model zoo prints.

    Args:
        data: the data set, and which part of it.
        miou: single scale. [share]
        miou_ms: with several scales and flips. [share]
        params: parameters. [count]
        gflops: as printed, at the size of `Published` unless `size` says otherwise. [1e9]
        counts: what the printed figure counts; `twice_macs` is additions and multiplications apart.
        size: height and width that the figure was printed for. [px]
        source: where it is printed.
    """

    data: str = ""
    miou: _Score = None
    miou_ms: _Score = None
    params: _Count = None
    gflops: Annotated[float | None, Range(1e-6, 1e9)] = None
    counts: Literal["macs", "macs_conv", "twice_macs", "unknown"] = "unknown"
    size: Annotated[tuple[int, int] | None, Range(1, 100_000)] = None
    source: str = ""

    def figure(self) -> tuple[str, float] | None:
        """The printed cost in our terms: what it counts and how much of it [count]; None where none is printed."""
        if self.gflops is None:
            return None
        return ("macs_conv" if self.counts == "macs_conv" else "macs"), self.gflops * _SCALE[self.counts]


_SCALE = {"macs": 1e9, "macs_conv": 1e9, "twice_macs": 0.5e9, "unknown": 1e9}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of ours beside one of theirs.

    Args:
        figure: `params`, `macs` or `macs_conv`.
        ours: counted by `nas`. [count]
        published: theirs. [count]
        tolerance: how far apart they may be. [share]
        kind: `measured` from public code, or `reported` in print.
        source: where theirs comes from.
    """

    figure: str
    ours: float
    published: float
    tolerance: float
    kind: Literal["measured", "reported"]
    source: str

    @property
    def difference(self) -> float:
        """Ours relative to theirs; 0.01 is one per cent more. [share]"""
        return self.ours / self.published - 1.0

    @property
    def agrees(self) -> bool:
        return abs(self.difference) <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is known of a published network.

    Args:
        follows: which of paper and code the file describes, and where they part.
        data: the data set that size and classes are those of.
        size: height and width that costs are stated for. [px]
        classes: that costs are stated for. [count]
        measured: counted from public code, where somebody has.
        reported: what is printed, one entry a result.
        differs: why ours is farther from theirs than it should be; empty where it is not.
    """

    follows: str
    data: str
    size: Annotated[tuple[int, int], Range(1, 100_000)]
    classes: Annotated[int, Range(1, 100_000)]
    measured: Measured | None = None
    reported: tuple[Reported, ...] = ()
    differs: str = ""

    def compared(self, *, params: float, macs: float, macs_conv: float) -> Iterator[Comparison]:
        """Lay ours beside theirs: first what was measured, then what is printed for the same size."""
        ours = {"params": params, "macs": macs, "macs_conv": macs_conv}
        for name, value in ours.items():
            if self.measured and (theirs := getattr(self.measured, name)) is not None:
                yield Comparison(name, value, theirs, COUNTED[name], "measured", "the public code")
        for result in self.reported:
            if result.params is not None:
                yield Comparison("params", params, result.params, PRINTED, "reported", result.source)
            if (printed := result.figure()) and result.size in (None, self.size):
                name, theirs = printed
                yield Comparison(name, ours[name], theirs, PRINTED, "reported", result.source)

    def strays(self, *, params: float, macs: float, macs_conv: float) -> list[Comparison]:
        """The comparisons that do not agree: of what was measured, or of what is printed where nothing was."""
        found = list(self.compared(params=params, macs=macs, macs_conv=macs_conv))
        kind = "measured" if self.measured else "reported"
        return [each for each in found if each.kind == kind and not each.agrees]
