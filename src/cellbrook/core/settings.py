"""Settings files: parameters of a segmentation as TOML, for `segment --settings` and to hand to a colleague."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.core.params import SegmentParams
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

MACHINE = ("threads", "device", "engine", "precision", "batch_size")
"""Parameters that belong to a machine rather than to the images; they are not written."""


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    r"""Read a settings file.

    Parameters
    ----------
    path : path
        A TOML file of flat keys, each a parameter of `cellbrook.core.params`, such as ``min_size = 30``.

    Returns
    -------
    dict
        Keywords that `cellbrook.segment` takes.

    Raises
    ------
    UsageError
        If it cannot be read, a key is unknown, or a value is of the wrong type.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "best.toml")
    ...     _ = file.write_text("diameter = 24.5\nflow_threshold = 1")
    ...     read_settings(file)
    {'diameter': '24.5', 'flow_threshold': 1.0}
    """
    path = Path(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"settings {path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"settings {path} are no TOML: {' '.join(str(error).split())}") from error
    try:
        SegmentParams.from_keywords(**found)  # names what is unknown
        kinds = _kinds()
        return {name: _as_kind(name, value, kinds[name]) for name, value in found.items()}
    except UsageError as error:
        raise UsageError(f"settings {path}: {error}") from error


def settings_text(settings: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """Return settings as the text of a TOML file; see `read_settings`.

    Parameters
    ----------
    settings : mapping of str to value
        Keywords; those that are None are left out, as TOML has no such value.
    comments : sequence of str
        Lines in front.
    """
    lines = [f"# {' '.join(line.split())}" for line in comments]
    lines += [f"{name} = {_toml(value)}" for name, value in settings.items() if value is not None]
    return "\n".join(lines) + "\n"


def differing(params: SegmentParams) -> dict[str, Any]:
    """Return the parameters that are not at their defaults and do not belong to a machine."""
    defaults = SegmentParams().to_keywords()
    return {n: v for n, v in params.to_keywords().items() if v != defaults[n] and n not in MACHINE}


def _kinds() -> dict[str, Any]:
    kinds: dict[str, Any] = {}
    for group in dataclasses.fields(SegmentParams):
        kinds |= typing.get_type_hints(typing.cast("Any", group.default_factory))
    return kinds


def _as_kind(name: str, value: Any, kind: Any) -> Any:
    """Return a value as one of the types that an annotation allows."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            if value in typing.get_args(option):
                return value
        elif option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        elif option is str and isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)  # a diameter or a channel is naturally written as a number
        elif type(value) is option:
            return value
    wanted = " or ".join(_name(option) for option in options if option is not types.NoneType)
    raise UsageError(f"{name} must be {wanted}, got {value!r}")


def _name(option: Any) -> str:
    if typing.get_origin(option) is typing.Literal:
        return ", ".join(repr(a) for a in typing.get_args(option))
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(
        option, str(option)
    )


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in text) + '"'
