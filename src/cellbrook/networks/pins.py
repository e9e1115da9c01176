"""The record of what models had when they were first installed; it outlives their removal."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from cellbrook.errors import ModelError
from cellbrook.networks.store import home

if TYPE_CHECKING:
    from cellbrook.networks.cards import ModelCard


def read_pins() -> dict[str, dict[str, str]]:
    """Return the recorded SHA-256 by model and file name.

    Raises
    ------
    ModelError
        If the record cannot be read.
    """
    path = home() / "pins.json"
    try:
        pins = json.loads(path.read_text(encoding="utf-8"))
        return {str(m): {str(f): str(h) for f, h in files.items()} for m, files in pins.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path}, the record of hashes, cannot be read ({error}): mend or remove it"
        ) from error


def write_pins(card: ModelCard) -> None:
    """Record the SHA-256 of those files of a model that have a URL, atomically; of others it keeps what it has."""
    pins = read_pins()
    recorded = pins.get(card.name, {})
    own = recorded | {ref.filename: ref.sha256 for ref in card.files.values() if ref.sha256 and ref.url}
    if own == recorded:
        return
    pins[card.name] = own
    path = home() / "pins.json"
    temporary = path.with_name(f".pins-{os.getpid()}.json")
    temporary.write_text(
        json.dumps(pins, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )
    os.replace(temporary, path)
