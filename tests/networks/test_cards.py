from __future__ import annotations

import dataclasses
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbrook.errors import ModelError
from cellbrook.networks.cards import (
    FAMILY_SPECS,
    ModelCard,
    ModelFileRef,
    TrainingData,
    card_from_dict,
    dump_card,
    known_cards,
    read_card,
    read_cards,
    shipped_cards,
    update_cards,
    weights_dir,
    write_card,
)
from cellbrook.networks.store import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
refs = st.builds(
    ModelFileRef,
    filename=st.from_regex(r"\A[a-zé]{1,8}\.bin\Z"),
    sha256=st.none() | st.from_regex(r"\A[0-9a-f]{64}\Z"),
    bytes=st.none() | st.integers(0, 2**40),
    url=st.none() | words,
)
cards = st.builds(
    ModelCard,
    name=words,
    family=st.just("cp3"),
    spec=st.builds(
        lambda d, r: dataclasses.replace(FAMILY_SPECS["cp3"], object_diameter_px=d, channel_roles=r),
        st.none() | st.floats(0.5, 500),
        st.just(()) | st.just(("cell", "nucleus")),
    ),
    licence=words,
    description=words,
    aliases=st.lists(words, max_size=2).map(tuple),
    training_data=st.lists(st.builds(TrainingData, name=words, licence=words), max_size=2).map(tuple),
    citation=words,
    origin=words,
    files=st.dictionaries(st.sampled_from(["onnx", "onnx_int8", "safetensors", "checkpoint", "size"]), refs),
    config=st.dictionaries(st.just("widths"), st.lists(st.integers(1, 512))),
    known_issues=st.lists(words, max_size=2).map(tuple),
)


@given(cards)
def test_a_card_survives_toml(card: ModelCard) -> None:
    assert card_from_dict(tomllib.loads(dump_card(card)), "a test") == card
    listed = tomllib.loads(dump_card(card, "model") + dump_card(card, "model"))
    assert [card_from_dict(entry, "a test") for entry in listed["model"]] == [card, card]


def example(name: str = "cp3.mine") -> ModelCard:
    return ModelCard(
        name=name,
        family="cp3",
        spec=FAMILY_SPECS["cp3"],
        licence="CC0",
        description="a test",
        files={"checkpoint": ModelFileRef("a.pth", "0" * 64, 12)},
    )


def test_cards_are_written_and_replaced_in_place(tmp_path: Path) -> None:
    path = tmp_path / "ä" / "CARDS.toml"
    for name in ("cp3.a", "cp3.b", "cp3.a"):
        update_cards(path, dataclasses.replace(example(name), description=f"a test of {name}"))
    assert [c.name for c in read_cards(path)] == ["cp3.a", "cp3.b"]
    write_card(tmp_path / "card.toml", example())
    assert read_card(tmp_path / "card.toml") == example()
    assert not list(tmp_path.rglob(".*")), "temporary files are left"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("licens = 'x'", "unknown key 'licens'"),
        ("family = 'resnet'", "family must be one of"),
        ("[spec]\nchanels = 2", "unknown key 'chanels'"),
        ("[files.pickle]\nfilename = 'a'", "file kinds must be among"),
        ("[files.onnx]\nfilename = '../a'", "plain file name"),
        ("[files.onnx]\nfilename = '/etc/passwd'", "plain file name"),
        ("[files.onnx]\nfilename = 'C:\\a'", "plain file name"),
        ("[files.onnx]\nfilename = 'a'\nsha256 = 'ABC'", "64 lower-case"),
        ("[files.onnx]\nsha256 = 'ABC'", "'filename' is missing"),
        ("files = 3", "wrong type"),
        ("config = 'xy'", "config has the wrong type, 'xy'"),
        ("aliases = [5]", "aliases has the wrong type, 5"),
        ("aliases = 'cyto'", "aliases has the wrong type, 'cyto'"),
        ("citation = 5", "citation has the wrong type, 5"),
        ("family = ['cp3']", r"family has the wrong type, \['cp3'\]"),
        ("[spec]\ntile_size = 'x'", "spec: tile_size has the wrong type, 'x'"),
        ("[spec]\nchannels = true", "spec: channels has the wrong type, True"),
        ("[spec]\nstride = 0", "spec: stride must be at least 1, got 0"),
        ("[spec]\nobject_diameter_px = nan", "spec: object_diameter_px must be at least 0, got nan"),
        ("[spec]\nscore = [1, 'x']", "spec: score has the wrong type, 'x'"),
        ("[spec]\ndiameter_range_px = [1]", "spec: diameter_range_px must be two numbers"),
        ("[files.onnx]\nfilename = 5", "files.onnx: filename has the wrong type, 5"),
        ("[[training_data]]\nname = 5\nlicence = 'x'", "training_data: name has the wrong type, 5"),
        ("this is no toml", "is not TOML"),
    ],
)
def test_a_wrong_card_is_told_in_one_line(change: str, message: str, tmp_path: Path) -> None:
    lines = ["name = 'cp3.a'", "family = 'cp3'", "licence = 'CC0'", "description = 'a test'"]
    if change.startswith("family"):
        lines.pop(1)
    (tmp_path / "card.toml").write_text("\n".join([*lines, change]), encoding="utf-8")
    with pytest.raises(ModelError, match=message) as caught:
        read_card(tmp_path / "card.toml")
    assert "\n" not in str(caught.value)


def test_a_card_needs_its_licence(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text("name = 'cp3.a'\nfamily = 'cp3'\ndescription = 'x'", encoding="utf-8")
    with pytest.raises(ModelError, match="'licence' is missing"):
        read_card(tmp_path / "card.toml")


def test_two_cards_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "CARDS.toml"
    path.write_text(dump_card(example(), "model") + dump_card(example(), "model"), encoding="utf-8")
    with pytest.raises(ModelError, match="two entries are called"):
        read_cards(path)


def test_the_known_models_are_complete() -> None:
    known = known_cards()
    names = [n for card in known for n in card.names]
    assert {"cyto3", "nuclei", "cyto2", "cyto", "cpsam", "cpsam_v2"} <= set(names)
    assert not set(names) & {n for card in shipped_cards() for n in card.names}
    for card in known:
        assert card.name.split(".")[0] == card.family
        assert card.licence
        assert card.training_data
        assert all(ref.url is not None and ref.url.startswith("https://") for ref in card.files.values())


def test_the_shipped_models_have_their_files() -> None:
    for card in shipped_cards():
        assert card.licence
        assert card.training_data, f"{card.name} does not say what it learnt from"
        for ref in card.files.values():
            path = weights_dir() / ref.filename
            assert path.stat().st_size == ref.bytes
            assert sha256_of(path) == ref.sha256
