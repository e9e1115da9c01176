from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from cellbrook.networks.cards import FAMILY_SPECS, ModelCard, ModelFileRef, shipped_cards, weights_dir
from cellbrook.networks.document import accuracy_section, model_document

if TYPE_CHECKING:
    from pathlib import Path

SHA = "ab" * 32
CARD = ModelCard(
    "own", "compact", FAMILY_SPECS["compact"], "MIT", "", files={"onnx": ModelFileRef("own.onnx", SHA)}
)
PAGE = f"""# own

- Weights: SHA-256 `{SHA}`

## Accuracy

Means over images.

| set    | AP 0.5 |
| ------ | -----: |
| zellen |  0.912 |

## Where it fails

Small ones.
"""


def test_the_page_is_found_only_for_the_weights_it_names(tmp_path: Path) -> None:
    assert model_document(CARD, None) is None
    assert model_document(CARD, tmp_path) is None
    page = tmp_path / "MODEL_CARD.md"
    page.write_text(PAGE, encoding="utf-8")
    assert model_document(CARD, tmp_path) == page
    other = {"onnx": ModelFileRef("own.onnx", "cd" * 32)}
    assert model_document(dataclasses.replace(CARD, files=other), tmp_path) is None
    unhashed = {"onnx": ModelFileRef("own.onnx")}
    assert model_document(dataclasses.replace(CARD, files=unhashed), tmp_path) is None


def test_the_accuracy_section_ends_where_the_next_begins(tmp_path: Path) -> None:
    page = tmp_path / "MODEL_CARD.md"
    page.write_text(PAGE, encoding="utf-8")
    lines = accuracy_section(page)
    assert lines[0] == "Means over images."
    assert lines[-1] == "| zellen |  0.912 |"
    page.write_text("# own\n\nNothing measured.\n", encoding="utf-8")
    assert accuracy_section(page) == []


def test_a_shipped_page_has_its_pictures_and_its_table() -> None:
    (card,) = [card for card in shipped_cards() if card.name == "compact"]
    page = model_document(card, weights_dir())
    if page is None:
        pytest.skip("no page for these weights; a release has one (tests/packaging)")
    text = page.read_text(encoding="utf-8")
    pictures = {path.name for path in (weights_dir() / "card").glob("*.jpg")}
    assert pictures == {part.split(")")[0] for part in text.split("](card/")[1:]}
    assert sum((weights_dir() / "card" / name).stat().st_size for name in pictures) <= 300_000
    assert any("AP 0.5" in line for line in accuracy_section(page))
