"""Strict comparison of a checkpoint with the committed list of a network's keys and shapes.

A list (``keys.json``) has

- ``symbols``: name -> [tensor, axis]: numbers that are read off the checkpoint, such as the channels it
  takes;
- ``count``: name -> pattern of a tensor's name, such as ``encoder.blocks.{i}.norm1.weight``: how many there
  are;
- ``groups``: each with ``for`` (columns of equal length, or ``{"i": "depth"}``) and ``tensors`` (name ->
  shape); a dimension is a number, a symbol, a product such as "3*dim", or "*" for any;
- ``optional``: like ``tensors``, may be missing; ``ignored``: name -> why a tensor of that name is not used.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from cellbrook.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Shape = tuple[int | None, ...]


@cache
def read_layout(package: str) -> dict[str, Any]:
    """Return the parsed ``keys.json`` of a network's package."""
    layout: dict[str, Any] = json.loads((resources.files(package) / "keys.json").read_text(encoding="utf-8"))
    return layout


def measure(layout: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, int]:
    """Read the symbols off a checkpoint.

    Raises
    ------
    ModelError
        If a tensor that a symbol is read from is missing or has too few axes.
    """
    values = {}
    for symbol, (name, axis) in layout.get("symbols", {}).items():
        if name not in shapes or len(shapes[name]) <= axis:
            raise ModelError(f"{where} does not fit {layout['network']}: no usable {name!r}")
        values[symbol] = shapes[name][axis]
    for symbol, pattern in layout.get("count", {}).items():
        values[symbol] = next(i for i in range(len(shapes) + 1) if pattern.format(i=i) not in shapes)
    return values


def expand(layout: Mapping[str, Any], values: Mapping[str, int]) -> dict[str, Shape]:
    """Return the names and shapes that a checkpoint must have; None in a shape stands for any size."""
    out: dict[str, Shape] = {}
    for group in layout["groups"]:
        columns = group.get("for", {"_": [0]})
        rows = {k: list(range(values[v])) if isinstance(v, str) else v for k, v in columns.items()}
        for row in zip(*rows.values(), strict=True):
            local = dict(zip(rows, row, strict=True))
            for name, shape in group["tensors"].items():
                out[name.format(**local)] = tuple(_dimension(d, {**values, **local}) for d in shape)
    return out


def check(layout: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, int]:
    """Compare a checkpoint with the list, both ways.

    Parameters
    ----------
    layout : mapping
        From `read_layout`.
    shapes : mapping of str to tuple of int
        Of the checkpoint.
    where : str
        What to call it in the message.

    Returns
    -------
    dict of str to int
        The symbols' values.

    Raises
    ------
    ModelError
        Naming the first missing, unexpected and wrongly shaped tensors, and how many there are.
    """
    values = measure(layout, shapes, where)
    expected = expand(layout, values)
    optional = {
        name: tuple(_dimension(d, values) for d in shape)
        for name, shape in layout.get("optional", {}).items()
    }
    known = {**expected, **optional}
    missing = [name for name in expected if name not in shapes]
    unexpected = [name for name in shapes if name not in known and name not in layout.get("ignored", {})]
    wrong = [
        f"{name} ({_show(known[name])}, got {_show(shapes[name])})"
        for name in known
        if name in shapes and not _fits(shapes[name], known[name])
    ]
    parts = [
        f"{len(names)} {what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of a wrong shape", wrong))
        if names
    ]
    if parts:
        raise ModelError(f"{where} does not fit {layout['network']}; {'; '.join(parts)}")
    return values


def _dimension(dimension: int | str, values: Mapping[str, Any]) -> int | None:
    if isinstance(dimension, int):
        return dimension
    if dimension == "*":
        return None
    factors: Iterable[Any] = (values[part] if part in values else int(part) for part in dimension.split("*"))
    return math.prod(f if isinstance(f, int) else values[f] for f in factors)


def _fits(shape: tuple[int, ...], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(
        e is None or e == s for s, e in zip(shape, expected, strict=True)
    )


def _show(shape: Shape) -> str:
    return "x".join("any" if n is None else str(n) for n in shape) or "one value"
