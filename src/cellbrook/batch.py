"""Many images: one after the other, each by itself, so that one bad file costs one file."""

from __future__ import annotations

import logging
import shlex
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import Cancelled, CellbrookError, ImageError, OutputError, UsageError
from cellbrook.export.table import TableRow, of_scene, read_csv, summarise, write_tables
from cellbrook.io.files import identity, image_name, output_folder, output_paths
from cellbrook.io.hashing import sha256_of, sha256_of_image
from cellbrook.io.open import meant_scenes
from cellbrook.provenance import recipe_of
from cellbrook.results import check_place, read_previous_run, write_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from cellbrook.api import Segmentation, Segmenter
    from cellbrook.core.progress import Progress
    from cellbrook.io.files import FoundImage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One image, or one scene of it, and where its results go.

    Parameters
    ----------
    path : Path
        The image.
    folder : Path
        Of the results.
    stem : str
        Of their names.
    scene : str or None
        Which scene, by its number.
    scene_name : str or None
        What the file calls it.
    """

    path: Path
    folder: Path
    stem: str
    scene: str | None = None
    scene_name: str | None = None

    @property
    def name(self) -> str:
        """What people call it: the image, and which scene where it has several."""
        return image_name(self.path, self.scene)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Parameters
    ----------
    job : Job
        Which one.
    status : {"done", "skipped", "failed"}
        "skipped": results of the very same run were there.
    run : dict
        Content of its ``run.json``; empty if it failed.
    files : dict of str to Path
        What was written, or was there.
    seconds : float
        Wall time.
    error : str
        Why it failed, one line.
    result : Segmentation or None
        Only while the caller handles it; batches do not keep pixels.
    left_alone : bool
        It failed since its results may not be replaced, or the options do not fit it: those of an earlier run are as
        they were.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    run: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    result: Segmentation | None = None
    left_alone: bool = False


def jobs_for(images: Sequence[FoundImage], out: Path | None, scene: str | None) -> list[Job]:
    """Return a job for each image, or for each scene of each image with ``scene="all"``.

    An image whose scenes cannot be listed is a job too: it fails when its turn comes, like any unreadable one. A scene is
    called by its number, whichever way it was given.
    """
    jobs = []
    for image in images:
        wanted = _wanted(image.path, scene)
        for number, name in wanted:
            stem = f"{image.stem}_s{number}" if len(wanted) > 1 else image.stem
            jobs.append(Job(image.path, output_folder(image, out), stem, number, name))
    return jobs


def _wanted(path: Path, wish: str | None) -> list[tuple[str | None, str | None]]:
    """Return number and name of each scene that is meant."""
    try:
        return meant_scenes(path, wish)
    except CellbrookError:
        return [(None if wish == "all" else wish, None)]


def check_collisions(jobs: Sequence[Job], kinds: Iterable[str] = ("labels",)) -> None:
    """Make sure that no result would overwrite another's, or an input.

    Parameters
    ----------
    jobs : sequence of Job
        All that are to be done.
    kinds : iterable of str
        What is to be written.

    Raises
    ------
    OutputError
        Names the two inputs, or the input that would be overwritten.
    """
    kinds = list(kinds)
    writers: dict[str, Job] = {}
    inputs = {identity(job.path): job.path for job in jobs}
    for job in jobs:
        for path in output_paths(job.folder, job.stem, kinds).values():
            name = identity(path)
            if name in inputs:
                raise OutputError(
                    f"{inputs[name]}: a result would overwrite this input: give another folder (--out)"
                )
            if (other := writers.setdefault(name, job)) != job:
                raise OutputError(
                    f"{other.path} and {job.path} would both write {path}: rename one, or run them into two folders "
                    "(--out)"
                )


def arriving(
    find: Callable[[], Sequence[FoundImage]],
    *,
    every_s: float = 2.0,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[list[FoundImage]]:
    """Yield images as they come into a folder, each once it is at rest, and again when it has changed since.

    Parameters
    ----------
    find : callable
        Returns the images that are there.
    every_s : float
        Seconds between two looks. An image is at rest if it is the same at both: what is still being copied grows.
    wait : callable
        Waits for so many seconds.

    Yields
    ------
    list of FoundImage
        What is new; empty if nothing is. Without end.
    """
    before: dict[Path, Any] = {}
    given: dict[Path, Any] = {}
    while True:
        images = list(find())
        now = {image.path: _state(image.path) for image in images}
        rested = [
            image
            for image in images
            if (state := now[image.path]) is not None
            and state == before.get(image.path)
            and state != given.get(image.path)
        ]
        given |= {image.path: now[image.path] for image in rested}
        before = now
        yield rested
        wait(every_s)


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what changes while an image is written: number and sizes of its files, and when they were last changed."""
    try:
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        told = [p.stat() for p in files]
    except OSError:
        return None
    return len(told), sum(s.st_size for s in told), max((s.st_mtime_ns for s in told), default=0)


def share_of(jobs: Sequence[Job], share: str) -> list[Job]:
    """Return one of several equal shares of the jobs, for machines that divide the work among them.

    Parameters
    ----------
    jobs : sequence of Job
        The same on every machine.
    share : str
        Which one: "3/10" is every tenth job from the third.

    Raises
    ------
    UsageError
        If that is no share.

    Examples
    --------
    >>> share_of(["a", "b", "c", "d", "e"], "2/3")
    ['b', 'e']
    """
    number, slash, shares = share.partition("/")
    if not (slash and number.isdecimal() and shares.isdecimal() and 1 <= int(number) <= int(shares)):
        raise UsageError(f"a share is I/N with I from 1 to N, such as 3/10, got {share!r}")
    return list(jobs[int(number) - 1 :: int(shares)])


def run_batch(
    jobs: Iterable[Job],
    segmenter: Segmenter,
    keywords: dict[str, Any],
    kinds: Sequence[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    started: Callable[[Job], None] = lambda job: None,
) -> Iterator[Outcome]:
    """Segment and save each job, and go on after those that fail.

    Parameters
    ----------
    jobs : iterable of Job
        What to do; asked for the next when one is done.
    segmenter : Segmenter
        Loaded once for all.
    keywords : dict
        Parameters that `Segmenter.segment` takes.
    kinds : sequence of str
        Files to write.
    resume : bool
        Skip jobs whose results are there and were made with the same image, model and parameters.
    overwrite : bool
        Replace results that others changed.
    progress : Progress, optional
        Told of every tile.
    started : callable
        Called before each job.

    Yields
    ------
    Outcome

    Raises
    ------
    Cancelled
        If `progress` says so; what is written by then is whole.
    """
    needs_output = bool({"flows", "cellprob", "seg"} & set(kinds))
    for job in jobs:
        started(job)
        began = time.perf_counter()
        try:
            if resume and (before := _done_before(job, segmenter, keywords, kinds)) is not None:
                files = {k: job.folder / entry["name"] for k, entry in before["files"].items()}
                before = _as_in_table(job, before, files)
                yield Outcome(job, "skipped", before, files, time.perf_counter() - began)
                continue
            if not overwrite:
                check_place(job.path, job.scene, job.folder, job.stem, kinds)
            wishes = {**keywords, "scene": job.scene}
            if {"seg", "ctc"} & set(kinds):
                stack = segmenter.plan(job.path, **wishes).stack_axes
                if "seg" in kinds and stack == "TZ":
                    raise UsageError(
                        f"{job.path} has time points and z-planes, a _seg.npy one of them: leave seg out of --save, "
                        "or give --z"
                    )
                if "ctc" in kinds and "T" not in stack:
                    raise UsageError(
                        f"{job.path} has no time points, whose tracks ctc would hold: leave ctc out of --save"
                    )
            result = segmenter.segment(
                job.path, name=job.stem, keep_output=needs_output, progress=progress, **wishes
            )
            files = write_results(result, job.folder, kinds, overwrite=overwrite)
        except Cancelled:
            raise
        except Exception as error:
            if not isinstance(error, (CellbrookError, OSError, MemoryError)):
                log.exception("%s: a defect of Cellbrook, which costs this image only", job.path)
            yield Outcome(
                job,
                "failed",
                seconds=time.perf_counter() - began,
                error=_one_line(error),
                left_alone=isinstance(error, (OutputError, UsageError)),
            )
            continue
        yield Outcome(job, "done", result.provenance, files, time.perf_counter() - began, result=result)


def write_summaries(folder: Path, outcomes: Sequence[Outcome], *, overwrite: bool = False) -> Path:
    """Write ``summary.csv``, one row an image, and ``all_objects.csv``, one row an object, and return the first.

    Raises
    ------
    OutputError
        As from `cellbrook.export.table.write_tables`.
    """
    rows = [of_scene(_row(outcome), outcome.job.scene_name) for outcome in outcomes]
    return write_tables(folder, rows, overwrite=overwrite)


def _row(outcome: Outcome) -> TableRow:
    job = outcome.job
    image = image_name(job.path.absolute(), job.scene)
    facts: dict[str, Any] = {
        "status": outcome.status,
        "error": outcome.error,
        "seconds": round(outcome.seconds, 3),
        "objects": None,
    }
    if outcome.status == "failed":
        return TableRow(image, facts, gives_way=outcome.left_alone)
    found = outcome.run["result"]
    facts |= {"diameter_estimate_px": found["diameter_px"], "discarded": sum(found["discarded"].values())}
    try:
        columns = read_csv(outcome.files["objects"])
        return TableRow(image, facts | summarise(ObjectTable(columns)), columns)
    except ValueError as error:  # cut off, say, or changed by hand
        log.warning("%s is left out of the counts, for its table cannot be read: %s", image, error)
        return TableRow(image, facts)


def _done_before(
    job: Job, segmenter: Segmenter, keywords: dict[str, Any], kinds: Sequence[str]
) -> dict[str, Any] | None:
    run = read_previous_run(job.folder, job.stem)
    if run is None or not set(kinds) - {"run"} <= set(run["files"]):
        return None
    try:
        wishes = {**keywords, "scene": job.scene}
        recipes = recipe_of(run), segmenter.recipe(sha256_of_image(job.path, job.scene), **wishes)
        for recipe in recipes:
            recipe["parameters"].pop("model", None)  # its hash says which it is, whatever it was called
        return run if recipes[0] == recipes[1] else None
    except (ImageError, OSError, KeyError):
        return None


def _as_in_table(job: Job, run: dict[str, Any], files: dict[str, Path]) -> dict[str, Any]:
    """Return a run with the number of objects that its table has now, and say so where that is no longer the labels'."""
    if "objects" not in files:
        return run
    labels, table = files.get("labels"), files["objects"]
    if (
        labels is not None
        and labels.stat().st_mtime > table.stat().st_mtime
        and sha256_of(labels) != run["files"]["labels"]["sha256"]
    ):
        log.warning(
            "%s was changed since its objects were measured: cellbrook measure %s --overwrite",
            labels,
            shlex.join([str(labels), str(job.path)]),
        )
    try:
        return {**run, "result": {**run["result"], "objects": len(read_csv(table)["label"])}}
    except (ImageError, KeyError):  # the summary says it
        return run


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory ({error})" if str(error) else "not enough memory"
    text = " ".join(str(error).split())
    told = text and isinstance(error, (CellbrookError, OSError))
    return text if told else f"{type(error).__name__} {text}".strip()
