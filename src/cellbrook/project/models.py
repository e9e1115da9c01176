"""Which model a name stands for in a project, and which one is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellbrook.errors import UsageError
from cellbrook.networks.cards import CARD_NAME
from cellbrook.networks.store import resolve_model

if TYPE_CHECKING:
    from cellbrook.networks.store import ResolvedModel
    from cellbrook.project.project import Project


def own_models(project: Project) -> list[str]:
    """Return the names of the models that were taught in the project and are better than what they started from."""
    return sorted(p.parent.name for p in (project.folder / "models").glob(f"*/{CARD_NAME}"))


def model_reference(project: Project, name: str | None = None) -> str:
    """Return what `cellbrook segment --model` takes for a model of the project: a folder in it, or the name itself.

    Parameters
    ----------
    project : Project
        Where it is looked for first; a model that is no better than its start is found too, though it is not listed.
    name : str or None
        None: the active model.
    """
    name = name or project.settings.model
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        return name
    folder = project.folder / "models" / name
    if (folder / CARD_NAME).is_file():
        return str(folder)
    inside = [p.parent for p in folder.glob(f"[!.]*/{CARD_NAME}")] if folder.is_dir() else []
    return str(inside[0]) if len(inside) == 1 else name


def find_model(project: Project, name: str | None = None) -> ResolvedModel:
    """Return a model by its name in the project, else as `cellbrook.networks.store.resolve_model` does.

    Raises
    ------
    ModelError
        If there is none, or its files are damaged.
    """
    return resolve_model(model_reference(project, name))


def activate_model(project: Project, name: str) -> str:
    """Make a model the one that predicts; returns the one that was active before.

    Raises
    ------
    ModelError
        If there is none, or its files are damaged: then nothing is changed.
    UsageError
        If it cannot segment.
    """
    model = find_model(project, name)
    if "flow" not in model.card.spec.outputs:
        raise UsageError(
            f"{name} gives no flows, so it cannot segment: choose one of `cellbrook models list`"
        )
    before = project.settings.model
    project.save_settings(model=name)
    return before
