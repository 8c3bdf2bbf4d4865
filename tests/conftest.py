"""What holds for all tests."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave `kill` out unless it is asked for by name: it takes a quarter of an hour."""
    if "kill" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("kill")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
