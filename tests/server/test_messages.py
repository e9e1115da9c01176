"""The two halves of the wire say the same."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from cellbrook.inference import LARGEST_WHOLE_PX
from cellbrook.server import messages as m

WIRE = Path(__file__).parents[2] / "frontend" / "src" / "core" / "wire.ts"
pytestmark = pytest.mark.skipif(not WIRE.exists(), reason="the page's source is not in this tree")


def fields(struct):
    return {f.encode_name for f in msgspec.structs.fields(struct)}


def interfaces():
    """Names and fields of the TypeScript interfaces."""
    text = re.sub(r"//.*|/\*.*?\*/", "", WIRE.read_text(encoding="utf-8"))
    found = {}
    for name, body in re.findall(r"export interface (\w+) \{(.*?)\n\}", text, re.S):
        found[name] = set(re.findall(r"^\s*(\w+)\??:", body, re.M))
    return found


def union(name):
    """Fields of each message of a TypeScript union, by its type."""
    text = re.sub(r"//.*", "", WIRE.read_text(encoding="utf-8"))
    body = re.search(rf"export type {name} =(.*?);\n(?:\n|$)", text, re.S)[1]
    found = {}
    for part in re.findall(r"\{(.*?)\}", body.replace("Record<string, unknown>", "object"), re.S):
        kind = re.search(r'type: "(\w+)"', part)[1]
        found[kind] = {w for w in re.findall(r"(\w+)\??:", part) if w != "type"}
    return found


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("ChannelInfo", m.ChannelInfo), ("ImageInfo", m.ImageInfo), ("Project", m.ProjectInfo), ("Round", m.Round),
        ("ClassInfo", m.ClassInfo), ("ModelInfo", m.ModelInfo), ("Job", m.JobInfo), ("EditPart", m.EditPart),
        ("DrawnRegion", m.RegionShape),
    ],
)  # fmt: skip
def test_plain_values_have_the_same_fields(name, struct):
    assert fields(struct) == interfaces()[name]


def test_edits_and_objects_have_the_same_fields():
    assert fields(m.Edit) | {"type"} == interfaces()["Edit"]
    assert {*m.OBJECT_COLUMNS, "gone"} == interfaces()["ObjectRow"]


@pytest.mark.parametrize(("name", "base"), [("ToServer", m.ToServer), ("FromServer", m.FromServer)])
def test_messages_have_the_same_types_and_fields(name, base):
    ours = {s.__struct_config__.tag: fields(s) for s in base.__subclasses__()}
    theirs = union(name)
    if name == "ToServer":
        theirs["edit"] = interfaces()["Edit"] - {"type"}
    assert ours == theirs


def test_numbers_that_both_need_are_equal():
    text = WIRE.read_text(encoding="utf-8")
    assert f"PROTOCOL = {m.PROTOCOL};" in text
    assert f"TILE = {m.TILE};" in text
    assert f'FOLDER = "{m.FOLDER}";' in text
    assert LARGEST_WHOLE_PX == 2**26
    assert "LARGEST_WHOLE_PX = 2 ** 26;" in text
