"""``cellbrook segment``."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import (
    InputFlags,
    Json,
    MaskFlags,
    ModelFlags,
    NormalizeFlags,
    Quiet,
    TileFlags,
    print_json,
)
from cellbrook.cli._settings import Settings
from cellbrook.core.params import (
    InputParams,
    MaskParams,
    ModelParams,
    NormalizeParams,
    SegmentParams,
    TileParams,
)
from cellbrook.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def segment(
    *inputs: str,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    save: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    resume: Annotated[bool, Parameter(negative="")] = False,
    share: str | None = None,
    watch: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    from_run: Path | None = None,
    settings: Settings = None,
    json: Json = False,
    quiet: Quiet = False,
    model_params: ModelFlags = ModelParams(),
    input_params: InputFlags = InputParams(),
    mask_params: MaskFlags = MaskParams(),
    normalize_params: NormalizeFlags = NormalizeParams(),
    tile_params: TileFlags = TileParams(),
) -> int:
    """Find the cells in images and write labels, overlay and table beside each image.

    Writes NAME_labels.tif, NAME_overlay.png, NAME_objects.csv and NAME_run.json for each image, and for several images
    summary.csv and all_objects.csv, in which rows of other images stay. Where these are, one image alone is put in too.

    Parameters
    ----------
    inputs
        Images, folders, or patterns such as "plate/*.tif". In folders our own results are passed over.
    out
        Folder for the results, made if needed. Without it they go beside each image.
    save
        More files to write, separated by commas: color, rois, geojson, coco, seg, flows, cellprob, zarr, ctc.
    resume
        Skip images whose results are there, made with the same parameters from the same pixels.
    share
        Only a part of the images, for jobs of a cluster: 3/10 is every tenth from the third. Parts write no summary; the
        same command with --resume in place of --share does.
    watch
        Go on with images that come into the folders, as from a microscope, until Ctrl-C. What was done before is skipped, as
        with --resume; an image that changes is done again.
    overwrite
        Replace results also where they were changed by hand.
    from_run
        A run.json: repeat that run with its parameters, on its image unless others are given.
    """
    params = SegmentParams(
        model_params=model_params,
        input_params=input_params,
        normalize_params=normalize_params,
        tile_params=tile_params,
        mask_params=mask_params,
    )
    run_before: dict[str, Any] | None = None
    if from_run is not None and settings is not None:
        raise UsageError("--from-run and --settings both say which parameters to take: give one of them")
    if from_run is not None:
        inputs, run_before = _as_before(from_run, inputs)
    if not inputs:
        raise UsageError("nothing to segment: give images or folders, such as `cellbrook segment cells.tif`")

    from cellbrook.api import Segmenter
    from cellbrook.batch import check_collisions, jobs_for, run_batch, share_of
    from cellbrook.export import DEFAULT_KINDS, check_kinds
    from cellbrook.export.table import check_tables, has_tables
    from cellbrook.io.files import find_images

    kinds = check_kinds((*DEFAULT_KINDS, *(k for item in save for k in item.split(",") if k)))
    if watch and (share is not None or not _may_grow(inputs)):
        raise UsageError(
            "--watch looks into folders, or at a pattern such as 'plate/*.tif', and takes no --share"
        )
    found = find_images(inputs, out, required=not watch)
    if found.skipped:
        _console.note(found.summary(), quiet=quiet)
    jobs = jobs_for(found.images, out, params.input_params.scene)
    check_collisions(jobs, kinds)
    tables: Path | None = None
    alone = len(jobs) == 1 and not (_is_folder(inputs) or watch)
    if share is not None:
        jobs = share_of(jobs, share)
    elif not alone or has_tables(jobs[0].folder):
        tables = _common_folder(jobs, out, inputs)
        if tables is None:
            _console.note("no summary.csv, as results go to several folders: give --out for one", quiet=quiet)
        else:
            check_tables(tables, overwrite=overwrite)
    keywords = params.to_keywords()
    fixed = {n: keywords.pop(n) for n in ("model", "device", "engine", "precision")}
    segmenter = Segmenter(**fixed, threads=keywords.pop("threads"))
    _check_model(run_before, segmenter)
    progress = _console.ConsoleProgress(quiet=quiet)
    progress.start_images(0 if watch else len(jobs))
    _console.note(segmenter.engine_info.why, quiet=quiet)

    began = time.perf_counter()
    report = _Report(
        json=json, quiet=quiet, tables=tables, alone=alone, overwrite=overwrite, run_before=run_before
    )
    scene = params.input_params.scene
    try:
        for outcome in run_batch(
            _coming(inputs, out, scene, report, quiet=quiet) if watch else jobs,
            segmenter,
            keywords,
            kinds,
            resume=resume or watch,
            overwrite=overwrite,
            progress=progress,
            started=lambda job: progress.next_image(job.stem),
        ):
            progress.clear()
            report.add(outcome)
    finally:
        progress.clear()
        written = report.finish(time.perf_counter() - began)
    return 1 if report.failed or not written else 0


def _may_grow(inputs: tuple[str, ...]) -> bool:
    return _is_folder(inputs) or any(has_magic(i) and not Path(i).exists() for i in inputs)


def _coming(
    inputs: tuple[str, ...], out: Path | None, scene: str | None, report: _Report, *, quiet: bool
) -> Iterator[Any]:
    """Yield jobs as images come, until Ctrl-C while nothing is being done."""
    from cellbrook.batch import arriving, jobs_for
    from cellbrook.errors import ImageError
    from cellbrook.io.files import FoundImage, find_images

    told = gone = False

    def find() -> list[FoundImage]:
        nonlocal gone
        try:
            images = find_images(inputs, out, required=False).images
        except ImageError as error:  # a share of the network may come back
            if not gone:
                _console.warn(f"{error}: looking again until it is there")
            gone = True
            return []
        gone = False
        return images

    try:
        for images in arriving(find):
            yield from jobs_for(images, out, scene)
            if not images:
                report.rest()
            if not images and not told and not gone:
                _console.note(f"waiting for images in {', '.join(inputs)}; Ctrl-C ends", quiet=quiet)
                told = True
    except KeyboardInterrupt:
        return


def _as_before(path: Path, inputs: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the run that is repeated, and its image if none is given; its parameters are in the flags already."""
    from cellbrook.provenance import read_run

    run = read_run(path)
    if not inputs:
        image = run["image"]["path"]
        if image is None:
            raise UsageError(f"{path} was made from an array in memory: give the image to segment")
        if not Path(image).exists():
            beside = path.absolute().parent / Path(image).name
            if not beside.exists():
                raise UsageError(f"the image of {path} is no longer at {image}: give where it is now")
            image = str(beside)
        inputs = (image,)
    return inputs, run


def _check_model(run: dict[str, Any] | None, segmenter: Any) -> None:
    if run is None:
        return
    here = segmenter.recipe("")["model"]
    if here != run["model"]["sha256"]:
        raise ModelError(
            f"the run was made with {run['model']['name']} of SHA-256 {run['model']['sha256'][:12]}, here it is "
            f"{here[:12]}: install that model, or leave --from-run away and give its parameters"
        )


def _is_folder(inputs: tuple[str, ...]) -> bool:
    return any(Path(i).is_dir() and not Path(i).name.endswith(".zarr") for i in inputs)


def _common_folder(jobs: list[Any], out: Path | None, inputs: tuple[str, ...]) -> Path | None:
    """Return where tables of all images go: the output folder, or a folder that is an input or holds all the results."""
    import os

    if out is not None:
        return out
    if not jobs:  # of a folder that is watched
        return Path(inputs[0]) if len(inputs) == 1 and Path(inputs[0]).is_dir() else None
    folders = {str(job.folder.absolute()) for job in jobs}
    try:
        common = os.path.commonpath(folders)
    except ValueError:  # on different drives
        return None
    given = {str(Path(i).absolute()) for i in inputs}
    return Path(common) if len(folders) == 1 or common in given else None


class _Report:
    """Says what became of each image, and collects what the summary needs."""

    def __init__(
        self,
        *,
        json: bool,
        quiet: bool,
        tables: Path | None,
        alone: bool,
        overwrite: bool,
        run_before: dict[str, Any] | None,
    ) -> None:
        self.json, self.quiet, self.tables, self.overwrite = json, quiet, tables, overwrite
        self.alone, self.run_before = alone, run_before
        self.outcomes: list[Any] = []
        self._in_tables = 0  # of the outcomes

    @property
    def failed(self) -> int:
        return sum(o.status == "failed" for o in self.outcomes)

    def add(self, outcome: Any) -> None:
        """Report one image; its pixels are let go."""
        result = outcome.result
        self.outcomes.append(dataclasses.replace(outcome, result=None))
        job = outcome.job
        if outcome.status == "failed":
            named = job.scene is None and job.path.name in outcome.error
            _console.error(outcome.error if named else f"{job.name}: {outcome.error}")
            return
        if self.run_before is not None:
            self._compare(outcome, result)
        if self.json or self.quiet:
            return
        if outcome.status == "skipped":
            print(f"{job.name}: done before, {outcome.run['result']['objects']} objects")
            return
        assert result is not None
        print(_line(outcome))
        for note in dict.fromkeys(outcome.run["result"]["notes"]):
            _console.note(f"  note: {note}")

    def _compare(self, outcome: Any, result: Any) -> None:
        """Say whether the run that is repeated gave the same."""
        from cellbrook.provenance import arithmetic_of, hash_of_array

        before, now = self.run_before, outcome.run
        assert before is not None
        if now["image"]["sha256"] != before["image"]["sha256"]:
            _console.warn(f"{outcome.job.name} has other pixels than the image of the run that is repeated")
        elif result is None or "labels_sha256" not in before:
            return
        elif hash_of_array(result.labels) == before["labels_sha256"]:
            _console.note("  the labels are those of the run that was repeated, to the bit", quiet=self.quiet)
        else:
            counts = f"{now['result']['objects']} objects"
            if "result" in before:
                counts += f", {before['result']['objects']} then"
            ways = arithmetic_of(now), arithmetic_of(before)
            how = f"now {ways[0]}, then {ways[1]}" if ways[0] != ways[1] else f"both {ways[0]}"
            _console.warn(
                f"{outcome.job.name}: other labels than in the run that is repeated: {counts} ({how})"
            )

    def _tell_mixed(self) -> None:
        """Say which results were computed in another way, as after an update or on other machines of a cluster."""
        from cellbrook.provenance import arithmetic_of

        ways = Counter(arithmetic_of(o.run) for o in self.outcomes if o.run)
        if len(ways) > 1:
            counts = ", ".join(f"{n} {way}" for way, n in ways.most_common())
            _console.warn(
                f"the results were computed in different ways, which differ by a cell here and there: {counts}. "
                "Without --resume all are made in one; on machines that differ give --precision fp32."
            )

    def rest(self) -> None:
        """Put what came since into the tables: nobody knows when the next image comes."""
        new, self._in_tables = self.outcomes[self._in_tables :], len(self.outcomes)
        if self.tables is not None and new:
            self._put(self.tables, new)

    def finish(self, seconds: float) -> bool:
        """Write the tables and say where everything is; return False if they could not be written."""
        self._tell_mixed()
        written = self._write_tables(seconds)
        if self.json:
            print_json(
                {"images": [_entry(o) for o in self.outcomes], "failed": self.failed, "seconds": seconds}
            )
        elif not self.quiet and len(self.outcomes) == 1 and self.tables is None:
            for path in self.outcomes[0].files.values():
                print(f"  {path}")
        return written

    def _write_tables(self, seconds: float) -> bool:
        # an image alone that failed leaves its results as they were, and so their rows
        if self.tables is None or not self.outcomes or (self.alone and self.failed):
            return True
        summary = self._put(self.tables, self.outcomes)
        if summary is None:
            return False
        if not (self.json or self.quiet):
            n, took = len(self.outcomes), _console.duration(seconds)
            print(f"{summary}: {n} image{'s' * (n != 1)} in {took}, {self.failed} failed")
        return True

    def _put(self, folder: Path, outcomes: list[Any]) -> Path | None:
        """Write the last outcome of each job into the tables (an image that is watched may change); None if that failed."""
        from cellbrook.batch import write_summaries

        latest = {(o.job.path, o.job.scene): o for o in outcomes}
        try:
            return write_summaries(folder, list(latest.values()), overwrite=self.overwrite)
        except (OSError, MemoryError) as error:
            _console.error(f"no summary was written: {error}")
            return None


def _line(outcome: Any) -> str:
    """Return one line for a finished image: what was read, what was found, what was discarded and why."""
    from cellbrook.io.pixel_size import side_of_pixel

    run = outcome.run
    plan, found = run["plan"], run["result"]
    shape = "x".join(str(n) for n in plan["shape"])
    size = side_of_pixel(plan["pixel_size_um"])
    sides = dict.fromkeys(f"{plan['pixel_size_um'][a]:g}" for a in "YX") if size else {}
    read = f"{plan['axes']} {shape} {plan['dtype']}" + (f", {' x '.join(sides)} um/px" if size else "")
    if len(plan["channel_names"]) > 1 or "C" in plan["axes"]:
        read += f", channels {', '.join(plan['channel_names'])}"
    each = plan["stack_axes"]
    if plan["anisotropy"] is not None:
        read += f", objects through Z in planes {plan['anisotropy']:.3g} px apart"
        each = each.replace("Z", "")
    if run["parameters"]["track"]:
        read += ", followed through T"
        each = each.replace("T", "")
    if each:
        read += f", each {' and '.join(each)} plane by itself"
    if plan["target"] != "either":
        other = "; --target nuclei for the nuclei" if run["parameters"]["target"] == "auto" else ""
        read += f", looking for {plan['target']}{other}"
    parts = [f"{found['objects']} objects" + (f" in {found['tracks']} tracks" if "tracks" in found else "")]
    if found["diameter_px"]:
        parts.append(
            f"diameter {found['diameter_px']:.0f} px"
            + (f" ({found['diameter_px'] * size:.1f} um)" if size else "")
        )
    if found["discarded"]:
        count = sum(found["discarded"].values())
        reasons = ", ".join(
            f"{n} {reason.replace('_', ' ')}" for reason, n in sorted(found["discarded"].items())
        )
        parts.append(f"{count} discarded: {reasons}")
    return f"{outcome.job.name} ({read}): {'; '.join(parts)} [{outcome.seconds:.1f} s]"


def _entry(outcome: Any) -> dict[str, Any]:
    return {
        "image": str(outcome.job.path),
        "scene": outcome.job.scene,
        "scene_name": outcome.job.scene_name,
        "status": outcome.status,
        "error": outcome.error or None,
        "seconds": outcome.seconds,
        "files": {kind: str(path) for kind, path in outcome.files.items()},
        **({"result": outcome.run["result"]} if outcome.run else {}),
    }
