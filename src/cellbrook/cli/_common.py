"""Parameters and helpers that several subcommands share."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from cellbrook.cli._console import error
from cellbrook.core.params import InputParams, MaskParams, ModelParams, NormalizeParams, TileParams
from cellbrook.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Flat = Parameter(name="*")
"""Put on a parameter dataclass of `cellbrook.core.params`: each of its fields becomes a flag of its own."""

ModelFlags = Annotated[ModelParams, Parameter(name="*", group=Group("Network", sort_key=1))]
InputFlags = Annotated[InputParams, Parameter(name="*", group=Group("Image", sort_key=2))]
NormalizeFlags = Annotated[NormalizeParams, Parameter(name="*", group=Group("Intensities", sort_key=4))]
TileFlags = Annotated[TileParams, Parameter(name="*", group=Group("Tiles", sort_key=5))]
MaskFlags = Annotated[MaskParams, Parameter(name="*", group=Group("Cells", sort_key=3))]

Json = Annotated[
    bool, Parameter(name="--json", negative="", help="Print one JSON document on standard output.")
]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Say nothing but errors.")]


def print_json(document: Any) -> None:
    """Print one JSON document on standard output, and nothing else.

    NaN and infinities become null, which every reader of JSON takes; NumPy numbers and paths are converted.
    """
    json.dump(_plain(document), sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def answer(lines: Iterable[str], document: Any, *, json: bool) -> None:
    """Print what a command found: lines for people, or one JSON document.

    Parameters
    ----------
    lines : iterable of str
        Made only if they are printed.
    document : Any
        As for `print_json`.
    json : bool
        The document is wanted.
    """
    if json:
        print_json(document)
    else:
        for line in lines:
            print(line)


def attempted(write: Callable[[], object]) -> bool:
    """Write files at the end of a long computation; where that is not possible it is told, and nothing else is lost."""
    try:
        write()
    except OutputError as problem:
        error(str(problem))
        return False
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)
