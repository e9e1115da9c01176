"""Classes between models and a project: what a model's names mean in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook.project.settings import with_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.project.project import Project


def class_ids(project: Project, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the project's ids of classes, after giving the project those that it lacks.

    Parameters
    ----------
    project : Project
        Open for writing.
    names : sequence of str
        Empty: no class, id 0.

    Raises
    ------
    UsageError
        If the project would have more than 255 classes.
    """
    classes = with_classes(project.settings.classes, (n for n in names if n))
    if classes != project.settings.classes:
        project.save_settings(classes=classes)
    ids = {"": 0, **{c.name: c.id for c in classes}}
    return np.array([ids[name] for name in names], np.int64)


def with_class_ids(project: Project, objects: ObjectTable) -> ObjectTable:
    """Return a run's table with the project's ids in place of the names of classes that a model told."""
    if "class" not in objects or objects["class"].dtype.kind in "iu":
        return objects
    return objects.with_columns(**{"class": class_ids(project, [str(n) for n in objects["class"].tolist()])})
