"""Where models are: inside the package, installed in the user's folder, or anywhere as a file.

Nothing here touches the network or needs torch. The user's folder is ``CELLBROOK_HOME`` if that is set, else
the usual place of the platform; each installed model is a folder ``models/NAME`` in it, with the original
files and a ``card.toml`` that holds their SHA-256. The files are kept byte for byte as their authors publish
them (not converted), so that their hash says what they are, on any machine and beside any other program that
uses them.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import logging
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cellbrook.errors import ChecksumError, ModelError, UnknownModelError
from cellbrook.networks import families
from cellbrook.networks.cards import (
    CARD_NAME,
    WEIGHT_KINDS,
    ModelCard,
    ModelFileRef,
    known_cards,
    read_card,
    shipped_cards,
    weights_dir,
)
from cellbrook.networks.checkpoint import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

State = Literal["shipped", "installed", "available", "file"]
_SUFFIXES = (".pth", ".pt", ".safetensors", ".onnx", ".toml")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model whose files are here and are what its card says.

    Parameters
    ----------
    name : str
        Name of the card, or the file's stem.
    card : ModelCard
        What it is; its `files` carry the hashes.
    paths : mapping of str to Path
        The files that are here, by kind: "onnx", "onnx_int8", "safetensors", "checkpoint", "size", "classes".
    sha256 : str
        Hash of the weights that name it (safetensors, else checkpoint, else graph), for provenance; of a model that tells
        classes, or has a size model, hash of that and of what tells them.
    hashes : mapping of str to str
        SHA-256 of every file of `paths`.
    """

    name: str
    card: ModelCard
    paths: Mapping[str, Path]
    sha256: str
    hashes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that is here or could be.

    Parameters
    ----------
    card : ModelCard
        What it is.
    state : {"shipped", "installed", "available", "file"}
        Inside the package, in the user's folder, only known, or elsewhere, named by its path.
    folder : Path or None
        Where its files are.
    """

    card: ModelCard
    state: State
    folder: Path | None


def home() -> Path:
    """Return the user's folder for models; it need not exist."""
    if own := os.environ.get("CELLBROOK_HOME"):
        return _expanded(own)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return _expanded(base) / "cellbrook"


def _expanded(path: str) -> Path:
    """Expand "~"; of a user without a home, as in a container, to a folder where no model is and none can be put."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path("/nonexistent", path)


def models_dir() -> Path:
    """Return the folder that holds a folder for each installed model; it need not exist."""
    return home() / "models"


def list_models() -> list[ListedModel]:
    """Return shipped, installed and available models, in this order. A damaged card is logged."""
    listed = [ListedModel(card, "shipped", weights_dir()) for card in shipped_cards()]
    here: set[str] = set()
    for folder in _installed_folders():
        try:
            card = read_card(folder / CARD_NAME)
        except ModelError as error:
            logger.warning("%s", error)
            continue
        listed.append(ListedModel(card, "installed", folder))
        here.add(card.name)
    listed += [ListedModel(card, "available", None) for card in known_cards() if card.name not in here]
    return listed


def damaged_models() -> list[tuple[Path, ModelError]]:
    """Return the folders of installed models whose card does not read, and what is wrong with it."""
    damaged = []
    for folder in _installed_folders():
        try:
            read_card(folder / CARD_NAME)
        except ModelError as error:
            mend = mend_advice("installed", folder.name)
            damaged.append((folder, ModelError(f"{error}: {mend}")))
    return damaged


def find_model(name: str) -> ListedModel:
    """Return the model of a name, or else of an alias.

    Raises
    ------
    UnknownModelError
        If there is none; the message names the nearest.
    """
    models = list_models()
    if named := [model for model in models if name in model.card.names]:
        return min(named, key=lambda model: model.card.name != name)
    for folder, error in damaged_models():
        if folder.name == name:
            raise error
    names = [n for model in models for n in model.card.names]
    by_lower = {n.lower(): n for n in reversed(names)}
    near = [by_lower[n] for n in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}? All" if near else "all"
    raise UnknownModelError(
        f"there is no model {name!r} and no such file: {hint} names are in `cellbrook models list`"
    )


def resolve_model(name_or_path: str | os.PathLike[str]) -> ResolvedModel:
    """Find a model and check its files.

    Parameters
    ----------
    name_or_path : str or path
        Name or alias of a shipped or installed model; a folder with a ``card.toml``; or a checkpoint (torch
        file, ``.safetensors``, or ``.onnx`` with its card ``STEM.card.toml`` or ``card.toml`` beside it). A
        name wins over a file of that name in the working directory: write ``./NAME`` for the file.

    Returns
    -------
    ResolvedModel
        Whose files exist and have the card's hashes.

    Raises
    ------
    UnknownModelError
        If there is no such model or file.
    ModelError
        If it is known but not installed, or a file is missing, damaged or of an unknown family.
    ChecksumError
        If a file's hash is not the card's.
    """
    if (model := _named(name_or_path)) is not None:
        if model.folder is None:
            raise ModelError(not_installed(model.card, os.fspath(name_or_path)))
        return _resolved(model.card, model.folder, model.state)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        if not (path / CARD_NAME).is_file():
            raise ModelError(
                f"{path} is a folder without {CARD_NAME}: give a model's name, its folder or its file"
            )
        return _resolved(read_card(path / CARD_NAME), path, "file")
    if not path.exists():
        raise UnknownModelError(
            f"there is no model file {path}: check the path, or see `cellbrook models list`"
        )
    return _resolve_file(path)


def reference_of(name_or_path: str | os.PathLike[str]) -> str:
    """Return what finds a model in any working directory: its name as it was given, or the absolute path.

    Raises
    ------
    UnknownModelError
        If there is no such model or file.
    """
    if _named(name_or_path) is not None:
        return os.fspath(name_or_path)
    return str(Path(name_or_path).expanduser().absolute())


def _named(name_or_path: str | os.PathLike[str]) -> ListedModel | None:
    """Return the model of a name; None for what is a path, or a file's name that no model has."""
    text = os.fspath(name_or_path)
    if not isinstance(name_or_path, str) or _looks_like_path(text):
        return None
    try:
        return find_model(text)
    except UnknownModelError:
        if not Path(text).expanduser().exists():
            raise
        return None


def card_of_file(path: Path, name: str | None = None) -> ModelCard:
    """Make a card for a lone checkpoint: its family and numbers are read from its tensors.

    Raises
    ------
    ModelError
        If it is damaged, or of no known family.
    """
    if path.suffix.lower() == ".onnx":
        raise ModelError(
            f"{path}: an .onnx file needs its card {path.stem}.card.toml or {CARD_NAME} beside it"
        )
    header = read_header(path)
    family, spec, config = families.recognise(header, f"model file {path}")
    kind = "safetensors" if header.format == "safetensors" else "checkpoint"
    return ModelCard(
        name=name or stem_of(path.name),
        family=family,
        spec=spec,
        config=config,
        licence="not stated",
        description=f"{family} network from the file {path.name}",
        files={kind: ModelFileRef(path.name)},
    )


def stem_of(filename: str) -> str:
    """Return the name of a weights file without the ending of its format; any other dot belongs to the name (``lr0.05``)."""
    path = Path(filename)
    return path.stem if path.suffix.lower() in _SUFFIXES else filename


def companion_card(path: Path) -> Path | None:
    """Return the card beside a weights file: ``STEM.card.toml``, or a ``card.toml`` that lists the file."""
    own = path.with_name(f"{stem_of(path.name)}.{CARD_NAME}")
    if own.is_file():
        return own
    shared = path.with_name(CARD_NAME)
    if shared.is_file() and any(ref.filename == path.name for ref in read_card(shared).files.values()):
        return shared
    return None


def companion_size_model(path: Path) -> Path | None:
    """Return cp3's size model beside a checkpoint, under the names that Cellpose gives it."""
    for name in (f"size_{path.name}.npy", f"{path.name}_size.npy"):
        if path.with_name(name).is_file():
            return path.with_name(name)
    return None


def check_file(path: Path, ref: ModelFileRef, what: str, mend: str) -> str:
    """Return the SHA-256 of a file, or say in what it differs from the card.

    Parameters
    ----------
    path : Path
        The file.
    ref : ModelFileRef
        What the card says of it.
    what, mend : str
        What it belongs to and what to do about it, for messages.

    Raises
    ------
    ModelError
        If it is missing or cannot be read.
    ChecksumError
        If its size or hash differs.
    """
    try:
        size = path.stat().st_size
        if ref.bytes is not None and size != ref.bytes:
            raise ChecksumError(f"{what}: {path} should have {ref.bytes} bytes, it has {size}: {mend}")
        found = sha256_of(path)
    except OSError as error:
        raise ModelError(f"{what}: {path} cannot be read ({error.strerror or error}): {mend}") from error
    if ref.sha256 is not None and found != ref.sha256:
        raise ChecksumError(f"{what}: {path} should have SHA-256 {ref.sha256}, it has {found}: {mend}")
    return found


def not_installed(card: ModelCard, name: str) -> str:
    """Return what to say of a known model that is not here; Cellpose's own folder is looked into."""
    line = f"model {name!r} is known but not installed: `cellbrook models install {name}`"
    folder = _expanded(os.environ.get("CELLPOSE_LOCAL_MODELS_PATH") or "~/.cellpose/models")
    file = folder / card.files["checkpoint"].filename if "checkpoint" in card.files else folder
    if os.path.isfile(file):  # the home may be another's, which Path.is_file() does not forgive
        return (
            f"{line}, or `cellbrook models install {shlex.quote(str(file))}`, which Cellpose has downloaded"
        )
    return line


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mend_advice(state: str, name: str, card: ModelCard | None = None) -> str:
    """Return what to do about a model with a wrong file; a card that does not read is None."""
    if state == "shipped":
        return "install Cellbrook again as you did"
    if state != "installed":
        return "copy it again"
    remove = f"`cellbrook models remove {shlex.quote(name)}`"
    source = next((ref.url for ref in card.files.values() if ref.url), None) if card else None
    if any(name in known.names for known in known_cards()):
        source = name
    if source is None:  # of a model of one's own there may be no other copy
        return f"if you have its file or folder elsewhere, {remove} and install it from there"
    return f"{remove} and `cellbrook models install {shlex.quote(source)}`"


def _resolved(card: ModelCard, folder: Path, state: str) -> ResolvedModel:
    paths: dict[str, Path] = {}
    hashes: dict[str, str] = {}
    for kind, ref in card.files.items():
        paths[kind] = folder / ref.filename
        hashes[kind] = check_file(
            paths[kind], ref, f"model {card.name!r}", mend_advice(state, card.name, card)
        )
    weights = [hashes[kind] for kind in WEIGHT_KINDS if kind in hashes]
    if not weights:
        raise ModelError(
            f"model {card.name!r}: its card in {folder} lists no weights: {mend_advice(state, card.name, card)}"
        )
    identity = weights[0]
    for kind in ("classes", "size"):  # the same weights with others of these give other results
        if kind in hashes:
            identity = hashlib.sha256(f"{identity} {hashes[kind]}".encode()).hexdigest()
    return ResolvedModel(card.name, card, paths, identity, hashes)


def _resolve_file(path: Path) -> ResolvedModel:
    if path.suffix.lower() == ".toml":
        return _resolved(read_card(path), path.parent, "file")
    if beside := companion_card(path):
        return _resolved(read_card(beside), path.parent, "file")
    card = card_of_file(path)
    if card.family == "cp3" and (size := companion_size_model(path)):
        card = dataclasses.replace(card, files={**card.files, "size": ModelFileRef(size.name)})
    return _resolved(card, path.parent, "file")


def _looks_like_path(text: str) -> bool:
    separators = [os.sep] + ([os.altsep] if os.altsep else [])
    return (
        text.startswith(("~", ".")) or any(s in text for s in separators) or text.lower().endswith(_SUFFIXES)
    )


def _installed_folders() -> list[Path]:
    try:
        return sorted(
            f for f in models_dir().iterdir() if not f.name.startswith(".") and (f / CARD_NAME).is_file()
        )
    except OSError:
        return []
