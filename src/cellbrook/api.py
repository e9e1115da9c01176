"""The whole public surface: what `import cellbrook` gives."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellbrook.core.params import SegmentParams
from cellbrook.core.result import SegmentationData
from cellbrook.errors import UsageError
from cellbrook.export import DEFAULT_KINDS, check_kinds
from cellbrook.io import Source, open_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cellbrook.core.objects import ObjectTable
    from cellbrook.core.plan import SegmentPlan
    from cellbrook.core.progress import Progress
    from cellbrook.core.result import NetworkOutput
    from cellbrook.engines.base import EngineInfo
    from cellbrook.evaluation.tuning import Tuning
    from cellbrook.networks.cards import ModelCard
    from cellbrook.project import Project
    from cellbrook.training.dataset import Dataset
    from cellbrook.training.report import TrainReport

__all__ = ["Segmentation", "Segmenter", "open_image", "open_project", "segment", "train", "tune"]

ImageLike = str | os.PathLike[str] | NDArray[Any] | Source

_OF_THE_SEGMENTER = frozenset({"model", "device", "engine", "precision", "threads"})
"""Parameters that are settled when the model is loaded."""

_Told = TypeVar("_Told", bound="Callable[..., Any]")


def _with_parameters(told: _Told) -> _Told:
    """Put the parameters of `cellbrook.core.params` into the signature and docstring of what takes them as keywords."""
    groups: list[Any] = [group.default_factory for group in dataclasses.fields(SegmentParams)]
    shown: Any = told
    signature = inspect.signature(told)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    more = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
        for group in groups
        for f in dataclasses.fields(group)
        if f.name not in signature.parameters
    ]
    shown.__signature__ = signature.replace(parameters=[*own, *more])
    if told.__doc__:  # python -OO leaves none
        texts = [inspect.cleandoc(group.__doc__).partition("----------\n")[2] for group in groups]
        # sections, of which the second has the parameters
        first, own_text, *rest = re.split(r"\n\n(?=\w+\n-+\n)", inspect.cleandoc(told.__doc__))
        shown.__doc__ = "\n\n".join([first, "\n".join([own_text, *texts]), *rest])
    return told


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Segmentation(SegmentationData):
    """The result for one image: `labels`, `objects`, `output`, and how to save them.

    See `cellbrook.core.result.SegmentationData` for the fields.
    """

    def save(
        self,
        out: str | os.PathLike[str],
        *,
        kinds: str | Iterable[str] = DEFAULT_KINDS,
        overwrite: bool = False,
    ) -> dict[str, Path]:
        """Write the same files as the command line.

        Parameters
        ----------
        out : path
            Folder; made if it does not exist.
        kinds : str or iterable of str
            Of "labels", "overlay", "objects", "run", "color", "rois", "geojson", "coco", "seg", "flows", "cellprob",
            "zarr"; a str is split at commas.
        overwrite : bool
            Replace files that are there, also where they were changed since Cellbrook wrote them.

        Returns
        -------
        dict of str to Path
            The files, by kind.

        Raises
        ------
        OutputError
            If the folder cannot be written, or a file is there that this would lose.
        UsageError
            If a kind is not known, or the name has a folder in it.
        """
        from cellbrook.results import write_results

        return write_results(self, Path(out), check_kinds(kinds), overwrite=overwrite)

    def in_regions(self, path: str | os.PathLike[str]) -> tuple[ObjectTable, list[dict[str, Any]]]:
        """Count the objects in regions that a person drew and named.

        Parameters
        ----------
        path : path
            GeoJSON (QuPath), ImageJ ROIs (``.zip``, ``.roi``), or an image whose pixels hold the region's number.

        Returns
        -------
        objects : ObjectTable
            `objects` with a column ``region``: where at least half of an object lies, "" outside of all.
        regions : list of dict
            For each region, of stacks and films plane by plane: ``region``, ``objects``, ``area_px``, ``covered`` and,
            where the size of a pixel is known, ``area_um2`` and ``objects_per_mm2``.

        Raises
        ------
        ImageError
            If the file cannot be read, does not fit the image, or holds no region inside it.
        """
        from cellbrook.export.regions import in_each, read_regions, with_regions

        height, width = self.labels.shape[-2:]
        regions = read_regions(Path(path), (height, width))
        objects = with_regions(self.objects, self.labels, regions)
        size = self.pixel_size_um
        return objects, in_each(objects, self.labels, regions, axes=self.axes, pixel_size_um=size)


@_with_parameters
class Segmenter:
    """A loaded model that segments many images. Several threads may use one, each for an image of its own.

    Parameters
    ----------
    **keywords
        Any parameter of `cellbrook.core.params`; they follow here. All but `model`, `device`, `engine`, `precision` and
        `threads` are defaults for every image.

    Examples
    --------
    >>> import numpy as np, cellbrook
    >>> segmenter = cellbrook.Segmenter(threads=1)
    >>> blank = segmenter.segment(np.zeros((64, 64), np.uint8))
    >>> len(blank.objects), blank.labels.shape
    (0, (64, 64))
    """

    def __init__(
        self,
        model: str = "compact",
        device: str = "auto",
        threads: int | None = None,
        engine: str = "auto",
        **keywords: Any,
    ) -> None:
        from cellbrook import engines
        from cellbrook.networks.store import reference_of, resolve_model

        own = {"model": model, "device": device, "threads": threads, "engine": engine}
        self._keywords = _plain({**own, **keywords})
        wishes = self._params().model_params
        self._model = resolve_model(wishes.model)
        self._keywords["model"] = reference_of(wishes.model)  # as run.json is read in any working directory
        self._engine = engines.create(
            self._model,
            engine=wishes.engine,
            device=wishes.device,
            precision=wishes.precision,
            threads=wishes.threads,
        )

    @property
    def card(self) -> ModelCard:
        """What the model says of itself."""
        return self._model.card

    @property
    def engine_info(self) -> EngineInfo:
        """What runs the network, where, and why."""
        return self._engine.info

    def segment(
        self,
        image: ImageLike,
        *,
        name: str | None = None,
        keep_output: bool = True,
        progress: Progress | None = None,
        **keywords: Any,
    ) -> Segmentation:
        """Segment one image.

        Parameters
        ----------
        image : str, path, array or Source
            Any file that `open_image` reads, pixels (of NumPy, or what NumPy takes for an array: tensors of torch, arrays
            of zarr, images of Pillow), or what `open_image` gave.
        name : str, optional
            Stem for the names of saved files. None: the file's, or "image".
        keep_output : bool
            Keep flows and cellprob in the result.
        progress : Progress, optional
            Told of every tile; may cancel.
        **keywords
            Parameters of `cellbrook.core.params`, such as ``diameter=30, axes="CYX", channels="0,2"``.

        Returns
        -------
        Segmentation

        Raises
        ------
        UsageError
            If the parameters do not fit the image.
        ImageError
            If the image cannot be read.
        """
        from cellbrook import pipeline, provenance
        from cellbrook.core.report import Report
        from cellbrook.io.hashing import sha256_of_image

        report = Report()
        with report.timed("open"):
            pixels, source, plan, scene_name = self._open(image, keywords)
        path = pixels if isinstance(pixels, Path) else None
        with report.timed("hash"):
            if isinstance(pixels, Path):
                digest = sha256_of_image(pixels, plan.params.input_params.scene)
            else:
                array = pixels if isinstance(pixels, np.ndarray) else pixels.read()
                digest = provenance.hash_of_array(array)
        data = pipeline.run(
            source,
            plan,
            self._model,
            self._engine,
            name=name or (_stem(path) if path else "image"),
            keep_output=keep_output,
            progress=progress,
            report=report,
        )
        run = provenance.describe_run(
            path=path,
            scene_name=scene_name,
            image_sha256=digest,
            plan=plan,
            model=self._model,
            engine=self._engine.info,
            data=data,
            report=report,
        )
        fields = {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}
        return Segmentation(**{**fields, "provenance": run})

    def plan(self, image: ImageLike, **keywords: Any) -> SegmentPlan:
        """Return what `segment` would do to an image, which is opened and not read; raises what `segment` would."""
        return self._open(image, keywords)[2]

    def _open(
        self, image: ImageLike, keywords: dict[str, Any]
    ) -> tuple[Path | NDArray[Any] | Source, Source, SegmentPlan, str | None]:
        from cellbrook import pipeline
        from cellbrook.io.open import settle_scene

        fixed = _OF_THE_SEGMENTER & set(keywords)
        if fixed:
            raise UsageError(f"{', '.join(sorted(fixed))} belong to the Segmenter: make another one")
        params = self._params(**keywords)
        wishes = params.input_params
        if wishes.scene == "all":
            raise UsageError('scene="all" gives several results: use segment_many, or name one scene')
        pixels = _image(image)
        if not isinstance(pixels, Path) and wishes.scene not in (None, "0"):
            raise UsageError(
                f"scene {wishes.scene!r} is one of a file's, and this image is no file: leave it out"
            )
        name: str | None = None
        if isinstance(pixels, Path):
            scene, name = settle_scene(pixels, wishes.scene)
            wishes = dataclasses.replace(wishes, scene=scene)
        source = open_image(pixels, axes=wishes.axes, pixel_size=wishes.pixel_size, scene=wishes.scene)
        params = dataclasses.replace(params, input_params=wishes)
        return pixels, source, pipeline.resolve(source, self._model, params), name

    def recipe(self, image_sha256: str, **keywords: Any) -> dict[str, Any]:
        """Return what decides the labels of an image: equal recipes give equal results."""
        from cellbrook import pipeline
        from cellbrook.provenance import recipe_of

        params = self._params(**keywords)
        return recipe_of(
            {
                "image": {"sha256": image_sha256, "scene": params.input_params.scene},
                "model": {"sha256": self._model.sha256},
                "parameters": pipeline.settled_params(params, self._model).to_keywords(),
            }
        )

    def segment_many(
        self, images: str | os.PathLike[str] | Iterable[ImageLike], **keywords: Any
    ) -> Iterator[Segmentation]:
        """Segment images one after the other; with ``scene="all"`` each scene of each file.

        A path is a folder or a pattern, as for ``cellbrook segment``. The first image that cannot be read raises, where
        the command reports it and goes on.
        """
        from cellbrook.io import find_images, scenes

        if isinstance(images, (str, os.PathLike)):
            images = [found.path for found in find_images(os.fspath(images)).images]
        every = {**self._keywords, **keywords}.get("scene") == "all"
        for image in images:
            if not every:
                yield self.segment(image, **keywords)
                continue
            path = _image(image)
            if not isinstance(path, Path):
                yield self.segment(image, **{**keywords, "scene": None})
                continue
            for number in range(len(scenes(path))):
                name = f"{_stem(path)}_s{number}"
                yield self.segment(path, **{**keywords, "scene": str(number), "name": name})

    def _params(self, **keywords: Any) -> SegmentParams:
        return SegmentParams.from_keywords(**{**self._keywords, **_plain(keywords)})


@_with_parameters
def segment(
    image: ImageLike,
    *,
    name: str | None = None,
    keep_output: bool = True,
    progress: Progress | None = None,
    **keywords: Any,
) -> Segmentation:
    """Segment one image; for many, `Segmenter` loads the model once.

    Parameters
    ----------
    image : str, path, array or Source
        Any file that `open_image` reads, pixels, or what `open_image` gave.
    name : str, optional
        Stem for the names of saved files. None: the file's, or "image".
    keep_output : bool
        Keep flows and cellprob in the result.
    progress : Progress, optional
        Told of every tile; may cancel.
    **keywords
        Any parameter of `cellbrook.core.params`; they follow here.

    Returns
    -------
    Segmentation

    Examples
    --------
    >>> import cellbrook
    >>> from cellbrook.testing.samples import sample_image
    >>> seg = cellbrook.segment(sample_image(), threads=1)
    >>> seg.labels.ndim, len(seg.objects) > 3
    (2, True)
    """
    names = [f.name for f in dataclasses.fields(SegmentParams().model_params) if f.name != "diameter"]
    model = {n: keywords.pop(n) for n in names if n in keywords}
    segmenter = Segmenter(**model)
    return segmenter.segment(image, name=name, keep_output=keep_output, progress=progress, **keywords)


def open_project(path: str | os.PathLike[str], *, read_only: bool = False) -> Project:
    """Open a project: images, their labels, every edit, and the models taught from them, in one folder.

    Parameters
    ----------
    path : path
        Its folder; `cellbrook.project.Project.create` or ``cellbrook project create`` makes a new one.
    read_only : bool
        Look only; works while another program has it open.

    Returns
    -------
    Project
        To be closed, or used as a context manager.

    Raises
    ------
    ProjectError
        If it is none, damaged, of a later version, or open elsewhere.
    """
    from cellbrook.project import Project

    return Project.open(path, read_only=read_only)


def train(
    data: str | os.PathLike[str] | Dataset,
    out: str | os.PathLike[str],
    *,
    start: str | os.PathLike[str] = "compact",
    progress: Progress | None = None,
    overwrite: bool = False,
    **keywords: Any,
) -> TrainReport:
    """Teach a model your own cells; needs PyTorch.

    Parameters
    ----------
    data : path or Dataset
        Folder of labelled images, as for ``cellbrook train``; or `cellbrook.training.dataset.from_arrays`.
    out : path
        Folder for the model; it is then a ``model`` for `segment`.
    start : str or path
        Model to start from, or "scratch".
    progress : Progress, optional
        Told of every step; cancelling keeps the best weights so far.
    overwrite : bool
        Replace a finished model in `out`.
    **keywords
        Any parameter of `cellbrook.training.params.TrainParams`, such as ``steps=300, train="last"``.

    Returns
    -------
    TrainReport
        Scores before and after, curves, and what to know in words.

    Raises
    ------
    UsageError
        If the data or the parameters make no sense.
    """
    from cellbrook.training.finetune import finetune
    from cellbrook.training.params import TrainParams

    return finetune(
        data if not isinstance(data, (str, os.PathLike)) else Path(data),
        Path(out),
        start=str(start),
        params=TrainParams.from_keywords(**_plain(keywords)),
        progress=progress,
        overwrite=overwrite,
    )


def tune(
    folder: str | os.PathLike[str],
    *,
    search_diameter: bool = True,
    iou: float = 0.5,
    seed: int = 0,
    progress: Progress | None = None,
    **keywords: Any,
) -> Tuning:
    """Search the thresholds and the diameter that suit your images; see `cellbrook.evaluation.tuning.tune`.

    Parameters
    ----------
    folder : path
        Images with their true labels beside them (``x_img.png`` and ``x_masks.png`` ...).
    search_diameter, iou, seed
        What is tried, what counts as found, and the seed of the folds.
    progress : Progress, optional
        Told of every image; may cancel.
    **keywords
        Where the search starts: any parameter of `cellbrook.core.params`.

    Returns
    -------
    Tuning
        Its ``settings()`` are keywords for `segment`.

    Raises
    ------
    UsageError
        If no image has labels, or a parameter makes no sense.
    """
    from dataclasses import replace

    from cellbrook.evaluation import tuning
    from cellbrook.io.pairs import find_labelled
    from cellbrook.networks.store import reference_of

    found = find_labelled(Path(folder))
    params = SegmentParams.from_keywords(**_plain(keywords))
    if params.input_params.volume:
        raise UsageError("tune searches what suits planes: leave out volume")
    segmenter = Segmenter(**params.to_keywords())
    model = reference_of(params.model_params.model)  # as the settings are read in any working directory
    params = replace(params, model_params=replace(params.model_params, model=model))

    def infer(image: Path, diameter: str) -> NetworkOutput:
        output = segmenter.segment(image, diameter=diameter).output
        assert output is not None
        return output

    result = tuning.tune(
        found.pairs,
        infer,
        params=params,
        search_diameter=search_diameter,
        iou=iou,
        seed=seed,
        score_weights=segmenter.card.spec.score,
        threads=params.model_params.threads,
        progress=progress,
    )
    return replace(result, only_images=found.only_images, only_labels=found.only_labels)


def _plain(keywords: dict[str, Any]) -> dict[str, Any]:
    """Accept what people naturally write: None for a diameter, a path for a model, lists of channels."""
    plain = dict(keywords)
    if "diameter" in plain and plain["diameter"] is None:
        plain["diameter"] = "auto"
    if isinstance(plain.get("model"), os.PathLike):
        plain["model"] = os.fspath(plain["model"])
    channels = plain.get("channels")
    if isinstance(channels, np.ndarray):
        channels = channels.tolist()
    if isinstance(channels, (list, tuple, range)):
        plain["channels"] = ",".join(str(c) for c in channels)
    return plain


def _image(image: Any) -> Path | NDArray[Any] | Source:
    """Return what was given as a path, an array of NumPy, or an image that is open already."""
    if isinstance(image, (str, os.PathLike)):
        return Path(image)
    if isinstance(image, (np.ndarray, Source)):
        return image
    if hasattr(image, "__array__") or hasattr(image, "__array_interface__"):  # Pillow has the latter only
        try:
            return np.asarray(image)
        except Exception as error:  # what is on a graphics card, say
            reason = " ".join(str(error).split())
            raise UsageError(
                f"NumPy cannot make an array of this {type(image).__name__}: {reason}"
            ) from error
    raise UsageError(
        f"expected a path, an array (of NumPy, torch, zarr, Pillow) or what open_image gives, got {type(image).__name__}"
    )


def _stem(path: Path) -> str:
    from cellbrook.io.files import stem_of

    return stem_of(path)
