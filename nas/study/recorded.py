"""Values as the store keeps them, read back."""

from __future__ import annotations

import json
from typing import Any

from blocks.architecture import Component, freeze
from blocks.errors import StoreError, law
from runners.protocol import Protocol

_LOSSES = ("main", "coarse", "auxiliary")


def protocol_of(text: str) -> Protocol:
    """Read `Protocol.canonical()` back.

    Raises:
        StoreError: the text is not a protocol of this version.
    """
    try:
        plain: dict[str, Any] = json.loads(text)
        losses: dict[str, Any] = {n: tuple(Component.from_plain(c) for c in plain.pop(n, ())) for n in _LOSSES}
        data = Component.from_plain(plain.pop("data"))
        # Sorted by name, as the proposer makes it: the one spelling is of sorted keys anyway.
        training = tuple((name, freeze(value)) for name, value in plain.pop("training").items())
        size = tuple(plain.pop("size"))
        return Protocol(data=data, training=training, size=size, **losses, **plain)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        got = {"text": text[:80]}
        raise StoreError(law("A protocol", "the fields of this version", got, "Train the network anew")) from error
