"""Settings files: parameters of a segmentation as TOML, for `segment --settings` and to hand to a colleague."""

from __future__ import annotations

import tomllib
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
        If it cannot be read, a key is unknown, or a value is of the wrong type or makes no sense.

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
        known = SegmentParams.from_keywords(**found).to_keywords()
    except UsageError as error:
        raise UsageError(f"settings {path}: {error}") from error
    return {name: known[name] for name in found}


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


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in text) + '"'
