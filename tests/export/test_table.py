"""Tables: exact numbers, whole files, and reading back."""

import os
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import ImageError, OutputError
from cellbrook.export.table import (
    TableRow,
    all_objects_csv,
    check_tables,
    objects_csv,
    read_csv,
    summarise,
    summary_csv,
    write_tables,
)
from cellbrook.io.lock import FileLock
from cellbrook.measure import measure


def some_objects():
    labels = np.zeros((20, 20), int)
    labels[2:6, 3:9], labels[10:20, 12:15] = 1, 2
    image = np.random.default_rng(0).normal(1e-4, 1e-5, (2, 20, 20))
    image[0, 10:, :] = np.nan
    return measure(labels, image, channel_names=["α-tubulin", "DAPI"], pixel_size_um=0.325)


def test_round_trip(tmp_path):
    table = some_objects()
    back = read_csv(objects_csv(tmp_path / "x_objects.csv", table))
    assert list(back) == list(table)
    for name in table:
        if table[name].dtype.kind == "f":
            assert_allclose(back[name], table[name], rtol=1e-6, err_msg=name)
        else:
            assert_array_equal(back[name], table[name], err_msg=name)
    assert back["touches_border"].dtype == bool


def test_file_is_plain_utf8_with_decimal_points(tmp_path):
    path = objects_csv(tmp_path / "x_objects.csv", some_objects())
    raw = path.read_bytes()
    assert "α-tubulin" in raw.decode("utf-8")
    assert b"\r" not in raw
    assert b";" not in raw
    assert [p.name for p in tmp_path.iterdir()] == ["x_objects.csv"]
    back = read_csv(path)
    assert np.isnan(back["mean_α-tubulin"][1])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5), st.data())
def test_whole_numbers_are_exact_and_others_have_seven_digits(tmp_path_factory, numbers, data):
    floats = data.draw(st.lists(st.floats(width=64), min_size=len(numbers), max_size=len(numbers)))
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    back = read_csv(objects_csv(path, ObjectTable({"label": np.array(numbers), "value": np.array(floats)})))
    assert_array_equal(back["label"], numbers)
    assert_allclose(back["value"].astype(float), floats, rtol=1e-6)


def test_text_with_separators_survives(tmp_path):
    table = ObjectTable({"label": np.array([1, 2]), "class": np.array(['a, "b"', "c\nd"])})
    assert read_csv(objects_csv(tmp_path / "x.csv", table))["class"].tolist() == ['a, "b"', "c\nd"]


def test_classes_that_look_like_numbers_stay_as_they_are(tmp_path):
    names = ["01", "1_2", "1.10", "2E3", "nan", "True", ""]
    table = ObjectTable({"label": np.arange(7), "class": np.array([f"{name} " for name in names])})
    back = read_csv(objects_csv(tmp_path / "x.csv", table))
    assert back["class"].tolist() == names
    assert back["label"].dtype == np.int64


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("label;area_px;touches_border;name\n1;20,5;WAHR;1,5 mm\n2;;FALSCH;b\n;;;\n", "cp1252"),
        ("label\tarea_px\ttouches_border\tname\r\n1\t20,5\tTRUE\tä\r\n2\t\tFALSE\tb\r\n", "utf-16"),
        ("label,area_px,touches_border,name\n1,20.5,TRUE,a\n2,,FALSE,b\n", "utf-8-sig"),
    ],
)
def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path, text, encoding):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode(encoding))
    back = read_csv(path)
    assert_array_equal(back["label"], [1, 2])
    assert_array_equal(back["area_px"], [20.5, np.nan])
    assert back["touches_border"].tolist() in ([True, False], ["WAHR", "FALSCH"])
    assert back["name"].dtype.kind == "U"


def test_an_empty_table_keeps_its_columns(tmp_path):
    table = measure(np.zeros((3, 3), int))
    assert list(read_csv(objects_csv(tmp_path / "x.csv", table))) == list(table)


@pytest.mark.parametrize("content", [b"", b"label,area\n1,2\n3", b"\xff\xfe\x00", None])
def test_a_table_that_was_cut_off_is_an_error(tmp_path, content):
    path = tmp_path / "x.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"x\.csv"):
        read_csv(path)


def test_summary_counts_what_was_found_and_discarded():
    gone = ObjectTable({"label": np.arange(3), "reason": np.array(["too_small", "flow_error", "too_small"])})
    table = some_objects()
    row = summarise(ObjectTable(table.columns, gone))
    assert (row["objects"], row["discarded"], row["discarded_too_small"], row["touching_border"]) == (
        2,
        3,
        2,
        1,
    )
    assert row["median_area_px"] == pytest.approx(27)
    assert row["mean_mean_α-tubulin"] == pytest.approx(table["mean_α-tubulin"][0])
    assert np.isnan(summarise(measure(np.zeros((3, 3), int)))["mean_area_px"])


def test_tables_of_many_images_have_all_columns(tmp_path):
    table = some_objects()
    rows = [
        TableRow("a/ä.tif", summarise(table), table),
        TableRow("b.tif", {"objects": 0, "error": "truncated"}),
        TableRow("c.tif", {"objects": 1}, {"label": np.array([4]), "extra": np.array([1.5])}),
    ]
    summary = read_csv(summary_csv(tmp_path / "summary.csv", rows))
    assert summary["image"].tolist() == ["a/ä.tif", "b.tif", "c.tif"]
    assert summary["objects"].tolist() == [2, 0, 1]
    assert summary["error"].tolist() == ["", "truncated", ""]
    objects = read_csv(all_objects_csv(tmp_path / "all_objects.csv", rows))
    assert next(iter(objects)) == "image"
    assert objects["image"].tolist() == ["a/ä.tif", "a/ä.tif", "c.tif"]
    assert objects["label"].tolist() == [1, 2, 4]
    assert_array_equal(objects["extra"], [np.nan, np.nan, 1.5])


def row(path, count, **more):
    path.touch()
    return TableRow(
        str(path), {"objects": count, **more}, {"label": np.arange(count), "area_px": np.ones(count)}
    )


def images(table):
    return [name.rsplit("/")[-1] for name in read_csv(table)["image"].tolist()]


def test_the_place_in_a_stack_comes_behind_the_label(tmp_path):
    plane = {"label": np.array([1]), "area_px": np.array([5])}
    stack = {**plane, "z": np.array([2]), "t": np.array([3])}
    objects_csv(tmp_path / "s_objects.csv", ObjectTable(stack))
    all_objects_csv(tmp_path / "all_objects.csv", [TableRow("a", {}, plane), TableRow("s", {}, stack)])
    for name in ("s_objects.csv", "all_objects.csv"):
        header = list(read_csv(tmp_path / name))
        assert header[header.index("label") :] == ["label", "t", "z", "area_px"]


def test_rows_of_other_images_stay_while_these_are_there(tmp_path):
    first = [row(tmp_path / name, 2, status="done") for name in ("b10.tif", "gone.tif", "b9.tif")]
    summary = write_tables(tmp_path, [*first, TableRow(f"{tmp_path / 'b9.tif'} scene 1", {"objects": None})])
    assert images(summary) == ["b10.tif", "gone.tif", "b9.tif", "b9.tif scene 1"]
    (tmp_path / "gone.tif").unlink()
    write_tables(tmp_path, [row(tmp_path / "a.tif", 1), row(tmp_path / "b10.tif", 3)])
    assert images(summary) == ["a.tif", "b9.tif", "b9.tif scene 1", "b10.tif"]
    assert_array_equal(read_csv(summary)["objects"], [1, 2, np.nan, 3])
    assert read_csv(summary)["status"].tolist() == ["", "done", "", ""]
    assert images(tmp_path / "all_objects.csv") == ["a.tif"] + ["b9.tif"] * 2 + ["b10.tif"] * 3
    # and so on, however often
    before = summary.read_bytes(), (tmp_path / "all_objects.csv").read_bytes()
    write_tables(tmp_path, [row(tmp_path / "b10.tif", 3)])
    assert (summary.read_bytes(), (tmp_path / "all_objects.csv").read_bytes()) == before


def test_runs_that_end_at_one_time_in_one_folder_lose_no_rows(tmp_path, monkeypatch):
    images = [tmp_path / f"{n}.tif" for n in range(8)]
    for image in images:
        image.touch()
    start = threading.Barrier(len(images))

    def end(image):
        start.wait()
        write_tables(tmp_path / "out", [TableRow(str(image), {"objects": 1}, {"label": np.array([1])})])

    with ThreadPoolExecutor(len(images)) as runs:
        list(runs.map(end, images))
    assert read_csv(tmp_path / "out" / "summary.csv")["image"].tolist() == [str(i) for i in images]
    assert len(read_csv(tmp_path / "out" / "all_objects.csv")["label"]) == len(images)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["all_objects.csv", "summary.csv"]
    monkeypatch.setattr(sys.modules["cellbrook.io.atomic"], "_PATIENCE_S", 0)
    held = FileLock(tmp_path / "out" / ".summary.csv.lock")
    with pytest.raises(OutputError, match=rf"another program writes there \(.*process {os.getpid()} on"):
        write_tables(tmp_path / "out", [])
    held.release()


def test_a_large_table_is_looked_at_by_its_header_and_never_held_whole(tmp_path):
    (tmp_path / "b.tif").touch()
    numbers = np.random.default_rng(0).random(20_000)
    columns = {"label": np.arange(len(numbers)), **{f"mean_{n}": numbers for n in range(20)}}
    write_tables(tmp_path, [TableRow(str(tmp_path / "b.tif"), {"objects": len(numbers)}, columns)])
    table = tmp_path / "all_objects.csv"
    before = table.read_text().splitlines()
    tracemalloc.start()
    write_tables(tmp_path, [row(tmp_path / "a.tif", 1)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < table.stat().st_size / 2
    after = table.read_text().splitlines()
    assert [line.removesuffix(",") for line in after if "b.tif" in line] == before[1:]
    with table.open("a") as file:
        file.write("cut o")
    check_tables(tmp_path)
    with pytest.raises(OutputError, match=r"all_objects\.csv is there already and is no table"):
        write_tables(tmp_path, [row(tmp_path / "a.tif", 1)])
    assert table.read_text().endswith("cut o")


def test_a_row_of_which_nobody_knows_where_its_image_is_stays(tmp_path):
    summary = write_tables(tmp_path, [TableRow("plate/b.tif", {"objects": 1})])
    write_tables(tmp_path, [row(tmp_path / "a.tif", 1)])
    assert images(summary) == ["a.tif", "b.tif"]


def test_scenes_take_the_place_of_the_whole_file(tmp_path):
    summary = write_tables(tmp_path, [row(tmp_path / "a.lif", 0, error="2 scenes")])
    write_tables(tmp_path, [TableRow(f"{tmp_path / 'a.lif'} scene {n}", {"objects": 1}) for n in "01"])
    assert images(summary) == ["a.lif scene 0", "a.lif scene 1"]


def test_tables_without_any_object_are_known_again(tmp_path):
    failed = TableRow(str(tmp_path / "a.tif"), {"objects": None, "error": "truncated"})
    write_tables(tmp_path, [failed])
    check_tables(tmp_path)
    assert images(write_tables(tmp_path, [failed])) == ["a.tif"]


@pytest.mark.parametrize("name", ["summary.csv", "all_objects.csv"])
@pytest.mark.parametrize(
    "content", ["Slice,Count\na.tif,3\n", "image;objects\na;1\n", "", "image,note\na,b\n"]
)
def test_tables_of_others_are_not_replaced_unasked(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    for refused in (
        lambda: check_tables(tmp_path),
        lambda: write_tables(tmp_path, [row(tmp_path / "a.tif", 1)]),
    ):
        with pytest.raises(OutputError, match=rf"{name} is there already .*--overwrite .*--out"):
            refused()
    assert (tmp_path / name).read_text() == content
    check_tables(tmp_path, overwrite=True)
    assert images(write_tables(tmp_path, [row(tmp_path / "a.tif", 1)], overwrite=True)) == ["a.tif"]
