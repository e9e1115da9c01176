"""Classes of objects, read from tables as people and spreadsheets write them."""

import logging

import pytest

from cellbrook.export.classes import classes_by_frame, of_frame, read_classes

PLAIN = "label,class\n1,live\n2,\n3,größer\n"


@pytest.fixture
def table(tmp_path):
    return tmp_path / "x_objects.csv"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8"),
        (PLAIN, "utf-8-sig"),
        (PLAIN, "cp1252"),
        (PLAIN.replace("\n", "\r\n"), "utf-16"),
        (PLAIN.replace("\n", "\r"), "utf-8"),
        (PLAIN.replace(",", ";"), "cp1252"),
        (PLAIN.replace(",", "\t"), "utf-16"),
        (PLAIN.replace("label,class", "Label,CLASS"), "utf-8"),
        ("Label;area_px;Class\n1;20,5;live\n2;3,25;\n3;1;größer\n;;\n", "cp1252"),
        ("label,class\n1.0,live\n3.0,größer\n\n", "utf-8"),
    ],
)
def test_tables_that_spreadsheets_saved_are_read(table, text, encoding):
    table.write_bytes(text.encode(encoding))
    assert read_classes(table.with_name("x_labels.tif")) == {1: "live", 3: "größer"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"label,class\n1,live\n2", "2 cells in its header, 1 in another: 2"),
        (b"", "0 cells in its header"),
        (b"\xff\xfe\x00", "cannot read"),
        (b"class\nlive\n", "no column label"),
        (b"label,class\none,live\n", "expected a whole number as label, got 'one'"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(table, caplog, content, said):
    table.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert read_classes(table.with_name("x_labels.tif")) is None
    assert said in caplog.text
    assert str(table) in caplog.text


def test_classes_that_look_like_numbers_stay_as_they_are(table):
    names = ["01", "1_2", "12", "1.10", "1.1", "2E3", "nan", "live"]
    rows = [f"{k},{name} " for k, name in enumerate(names, 1)]
    table.write_text("\n".join(["label,class", *rows]))
    assert read_classes(table.with_name("x_labels.tif")) == dict(enumerate(names, 1))


def test_an_object_of_a_time_series_may_have_a_class_in_each_frame(table):
    table.write_text("label,t,class\n1,0,live\n1,1.0,dead\n2,1,\n")
    frames = classes_by_frame(table.with_name("x_labels.tif"))
    assert [of_frame(frames, t) for t in (0, 1, 2)] == [{1: "live"}, {1: "dead"}, {}]
    table.write_text("label,class\n1,live\n")
    frames = classes_by_frame(table.with_name("x_labels.tif"))
    assert of_frame(frames, 0) == of_frame(frames, None) == {1: "live"}


def test_a_table_without_classes_is_passed_over_in_silence(table, caplog):
    table.write_text("label,area_px\n1,20\n")
    assert read_classes(table.with_name("x_labels.tif")) is None
    assert caplog.text == ""
