"""Which model a name stands for in a project, and which one is active."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from cellbrook.errors import ModelError, UsageError
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


def model_of_run(project: Project, run: dict[str, Any]) -> str | None:
    """Return the name of the model that a run was made with, found by its hash; None if it is no longer there.

    Parameters
    ----------
    project : Project
        Its own models are looked at first.
    run : dict
        A recipe, as an image's ``run``.
    """
    for name in (*own_models(project), str(run["parameters"].get("model"))):
        with contextlib.suppress(ModelError, UsageError):
            if find_model(project, name).sha256 == run["model"]:
                return name
    return None


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
