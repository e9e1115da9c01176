"""The model card as a page to read: ``MODEL_CARD.md`` beside the weights, with measured accuracy and known failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellbrook.networks.cards import WEIGHT_KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from cellbrook.networks.cards import ModelCard

DOCUMENT_NAME = "MODEL_CARD.md"

ACCURACY = "## Accuracy"
"""Heading of the section that `accuracy_section` returns."""


def model_document(card: ModelCard, folder: Path | None) -> Path | None:
    """Return the page of a model.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    folder : Path or None
        Where its files are.

    Returns
    -------
    Path or None
        None without a page, or if the page does not name these weights: figures of others would mislead.
    """
    path = None if folder is None else folder / DOCUMENT_NAME
    if path is None or not path.is_file():
        return None
    hashes = [card.files[kind].sha256 for kind in WEIGHT_KINDS if kind in card.files]
    text = path.read_text(encoding="utf-8", errors="replace")
    return path if any(known and known in text for known in hashes) else None


def accuracy_section(path: Path) -> list[str]:
    """Return the lines of the page's section on accuracy, without its heading; none if it has no such section."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if ACCURACY not in lines:
        return []
    section = lines[lines.index(ACCURACY) + 1 :]
    end = next((i for i, line in enumerate(section) if line.startswith("#")), len(section))
    return "\n".join(section[:end]).strip().splitlines()
