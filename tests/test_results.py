"""Writing results so that a killed run costs nothing."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cellbrook import results
from cellbrook.core.objects import ObjectTable
from cellbrook.core.result import SegmentationData
from cellbrook.errors import OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("labels", "objects", "zarr", "run")

WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from tests_results import sample
from cellbrook import results

left = int(sys.argv[2])
put = results.put
def mortal(temporary, path):
    global left
    if left == 0:
        os._exit(9)
    left -= 1
    put(temporary, path)
results.put = mortal
results.write_results(sample(2), Path(sys.argv[1]), ("labels", "objects", "zarr", "run"))
"""


def sample(value: int) -> SegmentationData:
    labels = np.zeros((20, 24), np.uint32)
    labels[4:9, 4 : 6 + value] = 1
    return SegmentationData(
        labels=labels,
        objects=ObjectTable({"label": np.array([1]), "area_px": np.array([(labels > 0).sum()])}),
        output=None,
        image=np.zeros((1, 20, 24), np.uint8),
        axes="YX",
        channel_names=("0",),
        pixel_size_um=None,
        name="cells",
        provenance={"parameters": {"threads": 1}},
    )


@pytest.mark.parametrize("earlier", [False, True], ids=["new folder", "after an earlier run"])
@pytest.mark.parametrize("survivors", range(len(KINDS)))
def test_after_a_kill_the_next_run_goes_on(tmp_path: Path, survivors: int, earlier: bool) -> None:
    (tmp_path / "tests_results.py").write_text(
        "\n".join(
            [
                "import numpy as np",
                "from cellbrook.core.objects import ObjectTable",
                "from cellbrook.core.result import SegmentationData",
                _source_of_sample(),
            ]
        )
    )
    out = tmp_path / "out"
    if earlier:
        results.write_results(sample(1), out, KINDS)
    died = subprocess.run(
        [sys.executable, "-c", WRITE_AND_DIE, str(out), str(survivors)], cwd=tmp_path, check=False
    )
    assert died.returncode == 9
    unfinished = results.read_previous_run(out, "cells")
    assert unfinished is None or survivors == 0  # nothing was touched yet: the earlier run is whole
    results.write_results(sample(3), out, KINDS)
    assert results.read_previous_run(out, "cells") is not None


def test_what_somebody_changed_is_kept_even_after_a_kill(tmp_path: Path) -> None:
    results.write_results(sample(1), tmp_path, KINDS)
    results.write_results(sample(2), tmp_path, KINDS)
    labels = tmp_path / "cells_labels.tif"
    labels.write_bytes(labels.read_bytes() + b"corrected")
    with pytest.raises(OutputError, match="was changed"):
        results.write_results(sample(3), tmp_path, KINDS)


ROIS = (*KINDS, "rois", "color")


def test_files_of_the_run_before_stay_with_its_labels_and_go_with_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results.write_results(sample(1), tmp_path, ROIS)
    results.write_results(sample(1), tmp_path, KINDS)
    run = results.read_previous_run(tmp_path, "cells")
    assert run is not None
    assert {"rois", "color"} <= set(run["files"])
    assert not caplog.records
    color = tmp_path / "cells_color.png"
    color.write_bytes(b"mine")
    results.write_results(sample(2), tmp_path, KINDS)
    assert not (tmp_path / "cells_rois.zip").exists()
    assert color.read_bytes() == b"mine"
    assert "rois.zip showed the labels before and was removed: --save rois" in caplog.text
    assert "color.png shows the labels before and stays" in caplog.text
    with pytest.raises(OutputError, match=r"color\.png"):
        results.write_results(sample(2), tmp_path, ROIS)
    color.unlink()
    results.write_results(sample(2), tmp_path, ROIS)


def test_a_kill_before_the_first_file_leaves_nothing_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.write_results(sample(1), tmp_path, ROIS)
    with monkeypatch.context() as patched:
        patched.setattr(results, "put", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            results.write_results(sample(2), tmp_path, KINDS)
    results.write_results(sample(3), tmp_path, ROIS)


def test_without_labels_among_the_files_nothing_goes(tmp_path: Path) -> None:
    """As a project is exported, one kind after the other."""
    results.write_results(sample(1), tmp_path, ("labels", "run"))
    results.write_results(sample(1), tmp_path, ("rois", "run"))
    results.write_results(sample(2), tmp_path, ("labels", "run"))
    assert not (tmp_path / "cells_rois.zip").exists()


def entries_in(folder: Path) -> dict[str, dict[str, str]]:
    run = results.read_previous_run(folder, "cells")
    assert run is not None
    files: dict[str, dict[str, str]] = run["files"]
    return files


def test_files_that_are_saved_without_a_run_are_put_down_in_the_one_that_is_there(tmp_path: Path) -> None:
    results.write_results(sample(1), tmp_path, ROIS)
    results.write_results(sample(2), tmp_path, ("labels",))
    assert set(entries_in(tmp_path)) == {"labels"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells_labels.tif", "cells_run.json"]
    results.write_results(sample(2), tmp_path, ("rois",))
    results.write_results(sample(3), tmp_path, ("color",))
    results.write_results(sample(2), tmp_path, KINDS)
    assert set(entries_in(tmp_path)) == {"labels", "objects", "zarr", "rois"}
    assert not (tmp_path / "cells_color.png").exists()  # of the third's labels
    results.write_results(sample(3), tmp_path, KINDS)
    assert not (tmp_path / "cells_rois.zip").exists()


def of_image(**image: str | None) -> SegmentationData:
    return dataclasses.replace(sample(1), provenance={"image": image, "parameters": {"threads": 1}})


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            {"path": "/day2/cells.tif", "sha256": "b", "scene": None},
            r"another image, /day1/cells.tif: give another folder \(--out\)",
        ),
        ({"path": "/day1/cells.tif", "sha256": "a", "scene": "1"}, "scene 0 of this file: --scene all"),
        ({"path": "/moved/cells.tif", "sha256": "a", "scene": "0"}, None),
        ({"path": "/day1/cells.tif", "sha256": "b", "scene": "0"}, None),
    ],
)
def test_results_of_another_image_of_the_same_name_are_kept(
    tmp_path: Path, image: dict[str, str | None], words: str | None
) -> None:
    results.write_results(of_image(path="/day1/cells.tif", sha256="a", scene="0"), tmp_path, KINDS)
    if words is not None:
        with pytest.raises(OutputError, match=words):
            results.write_results(of_image(**image), tmp_path, KINDS)
    results.write_results(of_image(**image), tmp_path, KINDS, overwrite=words is not None)


def test_arrays_are_told_apart_by_their_pixels(tmp_path: Path) -> None:
    results.write_results(of_image(path=None, sha256="a", scene=None), tmp_path, KINDS)
    corrected = dataclasses.replace(of_image(path=None, sha256="a", scene=None), labels=sample(2).labels)
    results.write_results(corrected, tmp_path, KINDS)
    other = of_image(path=None, sha256="b", scene=None)
    with pytest.raises(OutputError, match=r"another image, an array: give another folder \(--out\) or name"):
        results.write_results(other, tmp_path, KINDS)
    results.write_results(of_image(path="/day1/cells.tif", sha256="a", scene=None), tmp_path, KINDS)
    with pytest.raises(OutputError, match=r"another image, /day1/cells\.tif"):
        results.write_results(other, tmp_path, KINDS)


def test_a_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no folder, got 'plate/1'"):
        results.write_results(dataclasses.replace(sample(1), name="plate/1"), tmp_path, KINDS)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write_results(sample(1), tmp_path, KINDS)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.export, "save", full)
    with pytest.raises(OutputError, match="disk is full"):
        results.write_results(sample(2), tmp_path, KINDS)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir()) == before


def _source_of_sample() -> str:
    import inspect

    return inspect.getsource(sample)
