"""The samplers as rows: what each is for, its defaults at the budgets people have, and why those."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from blocks.architecture import Component
from blocks.options import options_of
from nas.report.components import Row, section, written
from nas.space import SAMPLERS
from nas.space.samplers import settled

TRIALS = (60, 200, 500)


def sampler_rows(trials: Sequence[int] = TRIALS) -> list[Row]:
    """One row per sampler: its options with their defaults, what is derived from the number of trials, and why.

    Args:
        trials: budgets to show the derived defaults for. [count]
    """
    rows: list[Row] = []
    for name, kind in SAMPLERS.items():
        text = inspect.getdoc(kind) or ""
        plain = {option.name: option.normal(option.default) for option in options_of(kind).values()}
        budgets = [dict(settled(Component.of(name, plain), count).options) for count in trials]
        derived = [option for option in plain if any(found[option] != plain[option] for found in budgets)]
        fixed = ", ".join(f"{option}={written(value)}" for option, value in plain.items() if option not in derived)
        rows.append(
            {
                "sampler": name,
                "summary": text.partition("\n")[0],
                **{
                    f"{count} trials": ", ".join(f"{option}={written(found[option])}" for option in derived)
                    for count, found in zip(trials, budgets, strict=True)
                },
                "always": fixed,
                "why": " ".join(section(text, "Why").split()),
            }
        )
    return rows
