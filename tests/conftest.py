"""What every test shares: how the suite is spread over processes."""

from __future__ import annotations

import os

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    # One process a core: more threads than that would only wait for each other.
    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that start a Ray in one process, and leave out those that kill it twenty times.

    Two Rays at once would share what each takes for its own.
    """
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
    if "kill" not in config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("kill")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
