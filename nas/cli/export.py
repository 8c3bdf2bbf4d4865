"""`nas export`."""

from nas.cli.listings import StoreOption


def export(*, store: StoreOption = None) -> None:
    """Write."""
