"""Jobs about the model: train a round, score it, and say which image teaches most next. They change no labels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from cellbrook.errors import UsageError
from cellbrook.project.exchange import TAUGHT
from cellbrook.project.models import model_reference
from cellbrook.project.project import choose
from cellbrook.project.second_looks import plan_second_looks
from cellbrook.project.teach import add_summary, general_start, next_model_name

if TYPE_CHECKING:
    from cellbrook.server.jobs import Job
    from cellbrook.server.runners import Runners
    from cellbrook.server.workspace import Workspace

_GALLERY = 40
"""Errors an image that are shown, the worst of each kind first."""


class Teaching:
    """The kinds of jobs about models on one workspace.

    Parameters
    ----------
    workspace : Workspace
        Whose images are learnt from.
    runners : Runners
        Reads parameters.
    threads : int or None
        For the worker.
    """

    def __init__(self, workspace: Workspace, runners: Runners, threads: int | None) -> None:
        self._workspace, self._runners, self._threads = workspace, runners, threads

    async def suggest(self, job: Job) -> dict[str, Any]:
        """Rank the images that teach most when they are corrected next."""
        count = max(1, min(int(job.params.get("count", 5)), 100))
        args = {"project": str(self._workspace.project.folder), "count": count}
        return await job.worker.call("suggest", args, progress=job.progress)

    async def evaluate(self, job: Job) -> dict[str, Any]:
        """Compare the model with what a person made of the images."""
        workspace = self._workspace
        names = job.params.get("images") or ()
        records = await workspace.read(choose, workspace.project, names, TAUGHT)
        if not records:
            raise UsageError(
                "nothing is corrected yet: correct an image, or mark one as done, then score the model"
            )
        params = {k: v for k, v in job.params.items() if k != "images"}
        args = {
            "project": str(workspace.project.folder),
            "images": [r.id for r in records],
            "keywords": await workspace.read(self._runners.keywords, params),
            "most": _GALLERY,
        }
        return await job.worker.call("evaluate", args, progress=job.progress)

    async def again(self, job: Job) -> dict[str, Any]:
        """Pick places to be labelled a second time, and add them as images."""
        workspace = self._workspace
        count = max(1, min(int(job.params.get("count", 6)), 50))
        added = await workspace.add(plan_second_looks, workspace.project, count)
        await workspace.tell_project()
        return {"images": [r.id for r in added]}

    async def agreement(self, job: Job) -> dict[str, Any]:
        """Compare first and second labels, and the model with both."""
        args = {
            "project": str(self._workspace.project.folder),
            "keywords": await self._workspace.read(self._runners.keywords, dict(job.params)),
        }
        return await job.worker.call("agreement", args, progress=job.progress)

    async def train(self, job: Job) -> dict[str, Any]:
        """Train a round in a process of its own; the model is put to use if it is better."""
        workspace = self._workspace
        project = workspace.project
        params = dict(job.params)
        names, origin = params.pop("images", None) or (), params.pop("start", None)
        activate = bool(params.pop("activate", True))
        known = _train_parameters()
        if unknown := sorted(set(params) - set(known)):
            raise UsageError(f"unknown parameter {unknown[0]!r} of a training: known are {', '.join(known)}")
        origin = await workspace.read(self._origin, origin)
        model = await workspace.read(next_model_name, project)
        live: dict[str, Any] = {}

        def partial(facts: dict[str, Any]) -> None:
            if "say" in facts:
                job.info.message = facts["say"]
            else:
                live.update(facts)
                job.info.result = live
            job.tell(job)

        with workspace.scratch() as scratch:
            args = {
                "project": str(project.folder),
                "scratch": str(scratch),
                "start": await workspace.read(model_reference, project, origin),
                "origin": origin,
                "model": model,
                "out": str(project.folder / "models" / model),
                "names": list(names),
                "params": {**params, "threads": params.get("threads") or self._threads},
            }
            facts = await job.worker.call(
                "train", args, progress=job.progress, partial=partial, stop=job.on_stop
            )
        summary = facts.pop("summary")
        number, activated = await workspace.write(add_summary, project, summary, activate=activate)
        await workspace.tell_project()
        await job.worker.end()  # gives its memory back
        return {**facts, **summary, "number": number, "activated": activated}

    def _origin(self, wanted: str | None) -> str:
        from cellbrook.server.info import choosable

        if wanted is None:
            return general_start(self._workspace.project)
        names = ["scratch", *choosable(self._workspace.project)]
        if wanted not in names:  # a page may not name files
            raise UsageError(f"there is no model {wanted!r}: there are {', '.join(names)}")
        return wanted


def _train_parameters() -> list[str]:
    from cellbrook.training.params import TrainParams

    return [f.name for f in dataclasses.fields(TrainParams) if f.name not in ("device", "channels")]
