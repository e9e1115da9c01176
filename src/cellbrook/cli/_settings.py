"""`--settings FILE`: its values stand for flags that were not given."""

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
    """Fill in what a settings file says and no flag does; cyclopts calls this before it converts arguments."""
    from cyclopts.config import Dict

    chosen = next((a for a in arguments if a.name == "--settings" and a.tokens), None)
    if chosen is None:
        return
    from cellbrook.core.settings import read_settings

    path = chosen.tokens[-1].value
    found = {name.replace("_", "-"): value for name, value in read_settings(path).items()}
    Dict(found, source=path, use_commands_as_keys=False)(app, commands, arguments)
