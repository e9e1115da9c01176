"""Object tables as CSV: one file an image, and one row or many an image over a folder."""

from __future__ import annotations

import codecs
import csv
import heapq
import io
import itertools
import os
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import OVERWRITE, ImageError, OutputError
from cellbrook.io.atomic import alone
from cellbrook.io.files import OUTPUT_ENDINGS, image_name, image_of_run, natural_key
from cellbrook.io.writers import atomic

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable

SUMMARY, ALL_OBJECTS = "summary.csv", "all_objects.csv"
"""Names of the tables of a folder."""

# Digits that no microscope's pixel exceeds, and that keep a table readable.
_SIGNIFICANT = 7


def objects_csv(path: Path, objects: ObjectTable) -> Path:
    """Write an object table.

    Parameters
    ----------
    path : Path
        Replaced whole if it exists.
    objects : ObjectTable
        One row an object. Discarded candidates are not written.

    Returns
    -------
    Path
        `path`.
    """
    names = _in_order(objects)
    _write(path, names, zip(*(format_column(objects[name]) for name in names), strict=True))
    return path


def read_csv(path: Path) -> dict[str, NDArray[Any]]:
    """Read a table that Cellbrook wrote, also if a spreadsheet saved it since.

    Parameters
    ----------
    path : Path
        As for `read_text`; where cells are not separated by commas, these may be decimal ones.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        int64, float64 (empty is NaN), bool or str, whichever holds all values of a column. ``class`` is always str.

    Raises
    ------
    ImageError
        If it is no such table, such as one that was cut off.
    """
    (header, *rows), delimiter = _read(path)
    point = "." if delimiter == "," else ","
    return {name: _parse([row[k].strip() for row in rows], name, point) for k, name in enumerate(header)}


def read_text(path: Path) -> dict[str, list[str]]:
    """Read a table that a person wrote, or saved with a spreadsheet.

    Parameters
    ----------
    path : Path
        With a header; cells are separated by commas, semicolons or tabs. UTF-8, UTF-16 with its mark, or Windows-1252.

    Returns
    -------
    dict of str to list of str
        The columns by their names in lower case, blanks around cells left out. Empty rows are passed over.

    Raises
    ------
    ImageError
        If it is no such table.
    """
    (header, *rows), _ = _read(path)
    return {name.strip().lower(): [row[k].strip() for row in rows] for k, name in enumerate(header)}


def _read(path: Path) -> tuple[list[list[str]], str]:
    """Return the header and the rows of a table, empty ones left out, and what separates cells."""
    try:
        text = _decoded(path.read_bytes())
        delimiter = max(",;\t", key=text[: text.find("\n")].count)
        rows = list(csv.reader(io.StringIO(text, ""), delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"cannot read the table {path}: {error}") from error
    header, *rows = [row for row in rows if any(map(str.strip, row))] or [[]]
    uneven = [row for row in rows if len(row) != len(header)]
    if not header or uneven:
        found = f"{len(uneven[0])} in another: {', '.join(uneven[0])}" if uneven else "nothing"
        raise ImageError(f"{path} is no whole table: {len(header)} cells in its header, {found}")
    return [header, *rows], delimiter


def _decoded(raw: bytes) -> str:
    """Return the text of a file as spreadsheets save it."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252")


@dataclass(frozen=True, slots=True)
class TableRow:
    """What a folder's tables say of one image.

    Parameters
    ----------
    image : str
        Its `cellbrook.io.files.image_name`, of the absolute path, so that its row is known again in any working directory.
    summary : mapping of str to value
        One value a column of ``summary.csv``, such as `summarise` gives. Has ``objects``, by which the table is known
        again; None where they could not be counted. ``labels``, where it is there, is the label file that was measured:
        its rows, and those of the image that it was segmented from, are of one image.
    objects : mapping of str to ndarray of shape (n,), or None
        Columns of the object table for ``all_objects.csv``; an `ObjectTable` does, as does what `read_csv`
        gives.
    gives_way : bool
        Where tables have counted objects of this image already, those rows stay.
    """

    image: str
    summary: Mapping[str, Any]
    objects: ObjectTable | Mapping[str, NDArray[Any]] | None = None
    gives_way: bool = False


def of_scene(row: TableRow, name: str | None) -> TableRow:
    """Return a row with the name of its scene as a column of both tables; as it was where a file has but one (None)."""
    if name is None:
        return row
    objects = row.objects
    if objects is not None:
        named = np.full(len(objects["label"]), name)
        objects = {"scene_name": named, **{column: objects[column] for column in objects}}
    return replace(row, summary={"scene_name": name, **row.summary}, objects=objects)


def summarise(objects: ObjectTable) -> dict[str, Any]:
    """Return one row for ``summary.csv``: counts, and the median and mean of sizes and intensities.

    Parameters
    ----------
    objects : ObjectTable
        The measured objects of one image.

    Returns
    -------
    dict of str to value
        ``objects``, ``discarded`` and ``discarded_<reason>``, ``touching_border``, then ``median_*`` and
        ``mean_*``.
    """
    row: dict[str, Any] = {"objects": len(objects)}
    if objects.discarded is not None:
        row["discarded"] = len(objects.discarded)
        row |= {f"discarded_{reason}": count for reason, count in objects.discard_counts().items()}
    if "touches_border" in objects:
        row["touching_border"] = int(np.count_nonzero(objects["touches_border"]))
    sizes = ("area_px", "area_um2", "volume_px", "volume_um3", "diameter_px", "diameter_um")
    shapes = ("eccentricity", "solidity", "circularity", "score")
    for name in (*sizes, *shapes, *(n for n in objects if n.startswith("mean_"))):
        if name in objects:
            values = np.asarray(objects[name], np.float64)
            values = values[np.isfinite(values)]
            row[f"median_{name}"] = float(np.median(values)) if values.size else float("nan")
            row[f"mean_{name}"] = float(values.mean()) if values.size else float("nan")
    return row


def has_tables(folder: Path) -> bool:
    """Tell whether tables that Cellbrook wrote are in a folder, and none of another program's has the name of one."""
    try:
        check_tables(folder)
    except OutputError:
        return False
    return (folder / SUMMARY).exists()


def check_tables(folder: Path, *, overwrite: bool = False) -> None:
    """Make sure that the tables of a folder can be written; see `write_tables`.

    Parameters
    ----------
    folder : Path
        May not exist yet.
    overwrite : bool
        Replace also what Cellbrook did not write.

    Raises
    ------
    OutputError
        If a file of such a name is there and is no table of Cellbrook's, such as the Summary.csv of another program.
    """
    if not overwrite:
        for name in (SUMMARY, ALL_OBJECTS):
            with closing(_rows(folder / name)) as rows:
                next(rows, None)  # the header tells


def write_tables(folder: Path, rows: Sequence[TableRow], *, overwrite: bool = False) -> Path:
    """Write ``summary.csv`` and ``all_objects.csv`` of a folder.

    Parameters
    ----------
    folder : Path
        Made if it does not exist. Rows of other images that its tables have are kept while those images are where
        they say, or this is not known, as of a relative path.
    rows : sequence of TableRow
        In the order they are written, but in natural order if others were kept.
    overwrite : bool
        Replace also what Cellbrook did not write.

    Returns
    -------
    Path
        The summary.

    Raises
    ------
    OutputError
        As from `check_tables`, and if a table cannot be written.
    """
    with alone(folder, SUMMARY):
        kept, with_objects = _kept(folder, rows, overwrite)
        there = set().union(*(_places(row.image, row.summary) for row in kept))
        rows = [row for row in rows if not row.gives_way or there.isdisjoint(_places(row.image, row.summary))]
        if kept:
            rows = sorted(rows, key=lambda row: natural_key(row.image))
        all_objects_csv(folder / ALL_OBJECTS, rows, with_objects)
        rows = sorted((*rows, *kept), key=lambda row: natural_key(row.image)) if kept else rows
        return summary_csv(folder / SUMMARY, rows)


def _kept(folder: Path, rows: Sequence[TableRow], overwrite: bool) -> tuple[list[TableRow], set[str]]:
    """Return rows of images that are none of these rows' and are not known to be gone, and which of them have objects."""
    summary: list[str] = []
    images: list[list[str]] = []
    counted: set[str] = set()
    forgiving = suppress(OutputError) if overwrite else nullcontext()
    with forgiving:
        summary, *images = list(_rows(folder / SUMMARY)) or [[]]
    with forgiving:
        counted = {row[0] for row in itertools.islice(_rows(folder / ALL_OBJECTS), 1, None)}
    new, weak = (
        set().union(*(_places(row.image, row.summary) for row in rows if row.gives_way == gives_way))
        for gives_way in (False, True)
    )
    # a row of the whole file, such as of a failure to open it, gives way to those of its scenes
    new |= {(path, "") for path, _ in new}
    told = {row[0]: dict(zip(summary, row, strict=True)) for row in images}
    kept = []
    for image in told.keys() | counted:
        facts = {name: text for name, text in told.get(image, {}).items() if name != "image"}
        gone = os.path.isabs(image) and not os.path.exists(_place(image)[0])
        places = _places(image, facts)
        worth = weak.isdisjoint(places) or image in counted or facts.get("objects")
        if new.isdisjoint(places) and worth and not gone:
            kept.append(TableRow(image, facts))
    return kept, counted & {row.image for row in kept}


def _places(image: str, facts: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return what rows of one image may be named by: the image, its label file, the image of the label file's run."""
    names = [image]
    if labels := str(facts.get("labels") or ""):
        names.append(labels)
        segmented = image_of_run(Path(labels.removesuffix(OUTPUT_ENDINGS["labels"]) + OUTPUT_ENDINGS["run"]))
        if path := segmented.get(
            "path"
        ):  # none of another program's labels, or of pixels that came from no file
            names.append(image_name(path, segmented.get("scene")))
    return {_place(name) for name in names}


def _place(image: str) -> tuple[str, str]:
    """Return the path and the scene of an image from its `cellbrook.io.files.image_name`."""
    path, _, scene = image.rpartition(" scene ")
    return (
        (os.path.abspath(image), "") if not path or os.path.exists(image) else (os.path.abspath(path), scene)
    )


def _rows(path: Path) -> Generator[list[str]]:
    """Yield header and rows of a folder's table one by one, since it may be larger than memory; nothing if there is none."""
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            rows = (row for row in csv.reader(map(_decoded, file)) if any(map(str.strip, row)))
            header = next(rows, [])
            ours = "objects" in header if path.name == SUMMARY else header[1:2] == ["label"]
            if header[:1] != ["image"] or not ours:
                raise ImageError("another header")
            yield header
            for row in rows:
                if len(row) != len(header):
                    raise ImageError("it was cut off")
                yield row
    except (ImageError, OSError, UnicodeDecodeError, csv.Error) as error:
        raise OutputError(
            f"{path} is there already and is no table as Cellbrook writes it: "
            f"give {OVERWRITE} to replace it, or another folder (--out)"
        ) from error


def summary_csv(path: Path, rows: Iterable[TableRow]) -> Path:
    """Write ``summary.csv``: one row an image, the image first.

    Parameters
    ----------
    path : Path
        Replaced whole if it exists.
    rows : iterable of TableRow
        In the order they are written. Columns that an image lacks stay empty.
    """
    rows = list(rows)
    names = _union(list(row.summary) for row in rows)
    cells = ([row.image, *(_text(row.summary.get(name)) for name in names)] for row in rows)
    _write(path, ["image", *names], cells)
    return path


def all_objects_csv(path: Path, rows: Iterable[TableRow], stay: Collection[str] = ()) -> Path:
    """Write ``all_objects.csv``: one row an object of every image, the image first.

    Parameters
    ----------
    path : Path
        Replaced whole if it exists.
    rows : iterable of TableRow
        Those without objects are left out. Columns that an image lacks stay empty.
    stay : collection of str
        Images whose rows in the file that is there are kept as they are, in their order; `rows` go between them in natural
        order.
    """
    tables = [(row.image, row.objects) for row in rows if row.objects is not None]
    with closing(_rows(path)) as there:
        before = next(there, []) if stay else []
        names = _in_order(_union([["label"], before[1:], *(list(table) for _, table in tables)]))
        at = [before.index(name) if name in before else None for name in names]
        kept = (
            (image, ([image, *("" if k is None else row[k] for k in at)] for row in group))
            for image, group in itertools.groupby(there if stay else (), key=itemgetter(0))
            if image in stay
        )
        new = ((image, _lines(image, table, names)) for image, table in tables)
        parts = heapq.merge(kept, new, key=lambda part: natural_key(part[0]))
        _write(path, ["image", *names], (line for _, lines in parts for line in lines))
    return path


def _lines(
    image: str, table: ObjectTable | Mapping[str, NDArray[Any]], names: Sequence[str]
) -> Iterator[list[str]]:
    count = len(table["label"])
    columns = [format_column(table[name]) if name in table else [""] * count for name in names]
    return ([image, *cells] for cells in zip(*columns, strict=True))


def format_column(values: NDArray[Any]) -> list[str]:
    """Return values as text: whole numbers in full, others with seven digits, NaN as nothing.

    Examples
    --------
    >>> format_column(np.array([1.5, 1 / 3, np.nan, 1e6])), format_column(np.array([123456789]))
    (['1.5', '0.3333333', '', '1000000'], ['123456789'])
    """
    values = np.asarray(values)
    if values.dtype.kind == "f":
        return [_number(v) for v in values.tolist()]
    return [str(v) for v in values.tolist()]


def _number(value: float) -> str:
    if value != value:
        return ""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.{_SIGNIFICANT}g}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return _number(float(value))
    return str(value)


def _parse(cells: list[str], name: str, point: str) -> NDArray[Any]:
    if name in ("class", "region"):  # a name, though it may look like a number: 01, 1.10
        return np.array(cells, np.str_)
    filled = [c for c in cells if c != ""]
    if filled and all(c.title() in ("True", "False") for c in cells):  # spreadsheets shout
        return np.array([c.title() == "True" for c in cells])
    for kind in (np.int64, np.float64):
        try:
            if kind is np.int64:
                return np.array([int(c) for c in cells], np.int64)
            return np.array([float(c.replace(point, ".")) if c else np.nan for c in cells])
        except ValueError:
            continue
    return np.array(cells)


def _in_order(names: Iterable[str]) -> list[str]:
    """Return names of columns with those first that say which object a row is of."""
    names = list(names)
    first = [name for name in ("label", "t", "z", "parent") if name in names]
    return [*first, *(name for name in names if name not in first)]


def _union(names: Iterable[list[str]]) -> list[str]:
    """Return all names, each once, in the order of first sight."""
    return list(dict.fromkeys(name for group in names for name in group))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with (
        atomic(path) as target,
        target.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
