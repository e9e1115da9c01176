"""`--settings FILE` and `--from-run FILE`: their values stand for flags that were not given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from cyclopts import App

Settings = Annotated[
    Path | None,
    Parameter(
        name="--settings",
        help="A TOML file of parameters, such as `cellbrook tune` writes. Flags win over it.",
    ),
]


def from_settings(app: App, commands: tuple[str, ...], arguments: Any) -> None:
    """Fill in what a settings file or an earlier run says and no flag does; cyclopts calls this before it converts."""
    from cyclopts.config import Dict

    for flag, read in (("--settings", _settings_of), ("--from-run", _parameters_of)):
        chosen = next((a for a in arguments if a.name == flag and a.tokens), None)
        if chosen is not None:
            path = chosen.tokens[-1].value
            found = {name.replace("_", "-"): value for name, value in read(Path(path)).items()}
            Dict(found, source=path, use_commands_as_keys=False)(app, commands, arguments)


def _settings_of(path: Path) -> dict[str, Any]:
    from cellbrook.core.settings import read_settings

    return read_settings(path)


def _parameters_of(path: Path) -> dict[str, Any]:
    from cellbrook.provenance import read_run

    run = read_run(path)
    found = {**run["parameters"], "scene": run["image"].get("scene")}
    return {name: value for name, value in found.items() if value is not None}
