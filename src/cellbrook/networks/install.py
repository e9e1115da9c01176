"""Puts models into the user's folder, checks what is there, and takes them out again.

A model is installed whole or not at all: its files are gathered in a hidden folder beside the others,
checked, and moved into place at once. Where the card of a model that has a URL states no
SHA-256, the one of the first install is recorded (``pins.json``) and held to ever after, also when the model
has been removed in between.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import shutil
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellbrook.errors import CellbrookError, ChecksumError, ModelError, OutputError, UnknownModelError
from cellbrook.networks import families, store
from cellbrook.networks.cards import (
    CARD_NAME,
    REPORT_NAME,
    WEIGHT_KINDS,
    ModelCard,
    ModelFileRef,
    known_cards,
    read_card,
    shipped_cards,
    write_card,
)
from cellbrook.networks.checkpoint import read_header
from cellbrook.networks.cp3.size import SizeModel
from cellbrook.networks.download import check_url, download
from cellbrook.networks.pins import read_pins, write_pins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cellbrook.core.progress import Progress
    from cellbrook.networks.store import ResolvedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Whether a file of a model is what its card says.

    Parameters
    ----------
    model, kind : str
        Model and kind of file.
    path : Path
        The file.
    sha256 : str or None
        What was found; None if it could not be read or has a wrong size.
    problem : str or None
        What is wrong, in one line; None if nothing is.
    """

    model: str
    kind: str
    path: Path
    sha256: str | None
    problem: str | None


def install(
    source: str | os.PathLike[str],
    *,
    name: str | None = None,
    sha256: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> list[ResolvedModel]:
    """Install models from a known name, a URL, a file or a folder.

    Parameters
    ----------
    source : str or path
        Name of a known model, which is downloaded; URL of a checkpoint; a checkpoint; or a folder: a model's
        own (with ``card.toml``), or one of several models and checkpoints, all of which are installed.
    name : str or None
        Name to give it, where it is one model without a card.
    sha256 : str or None
        What the weights must have. It also replaces what an earlier install recorded.
    offline : bool
        Never use the network (so does the environment's ``CELLBROOK_OFFLINE=1``).
    progress : Progress or None
        Told of downloaded bytes.

    Returns
    -------
    list of ResolvedModel
        The models, as installed.

    Raises
    ------
    ModelError
        If it cannot be fetched or read, is of no known family, or another model has its name.
    ChecksumError
        If a file does not have the hash of its card, of the first install or of `sha256`.
    OutputError
        If the user's folder cannot be written.
    """
    text = os.fspath(source)
    wanted = _checked_sha256(sha256)
    if "://" in text:
        return [_install_url(text, name, wanted, offline, progress)]
    known = {n: card for card in known_cards() for n in card.names}
    if isinstance(source, str) and text in known:
        return [_install_known(known[text], wanted, offline, progress)]
    path = Path(text).expanduser()
    if path.is_dir():
        return _install_folder(path, name, wanted)
    if path.is_file():
        return [_install_file(path, name, wanted)]
    try:
        model = store.find_model(text)
    except UnknownModelError as error:
        raise UnknownModelError(f"nothing to install: {error}") from error
    raise ModelError(f"model {text!r} is {model.state} already: `cellbrook models verify {text}` checks it")


def verify(name: str | None = None) -> list[FileCheck]:
    """Check the files of one model, or of all that are shipped or installed, against their cards.

    A card that cannot be read is a bad file of the model that its folder is named after.

    Raises
    ------
    ModelError
        If `name` is not here.
    """
    damaged = [(f, e) for f, e in store.damaged_models() if name in (None, f.name)]
    if name is None:
        models = [m for m in store.list_models() if m.folder is not None]
    elif damaged:
        models = []
    else:
        models = [store.find_model(name)]
        if models[0].folder is None:
            raise ModelError(store.not_installed(models[0].card, name))
    checks = []
    for model in models:
        for kind, ref in model.card.files.items():
            path = (model.folder or Path()) / ref.filename
            try:
                mend = store.mend_advice(model.state, model.card.name, model.card)
                found = store.check_file(path, ref, f"model {model.card.name!r}", mend)
                checks.append(FileCheck(model.card.name, kind, path, found, None))
            except ModelError as error:
                checks.append(FileCheck(model.card.name, kind, path, None, str(error)))
    checks += [FileCheck(f.name, "card", f / CARD_NAME, None, str(problem)) for f, problem in damaged]
    return checks


def remove(name: str) -> Path:
    """Delete an installed model, never anything outside the user's folder; return what is gone.

    One that is damaged goes by its name or that of its folder.

    Raises
    ------
    ModelError
        If it is not installed, or is part of the package.
    OutputError
        If it cannot be deleted.
    """
    folder = _own_folder(name)
    try:
        if folder.is_symlink():
            folder.unlink()  # the link is ours, what it points to is not
        else:
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"model {name!r} in {folder} cannot be removed ({error.strerror or error})"
        ) from error
    return folder


def _own_folder(name: str) -> Path:
    """Return the folder of an installed model; one whose card does not read goes by the folder's name."""
    try:
        model = store.find_model(name)
    except ModelError:
        folder = store.models_dir() / name
        if name.startswith(".") or folder.parent != store.models_dir() or not folder.is_dir():
            raise
        return folder
    if model.state == "shipped":
        raise ModelError(f"model {name!r} is part of the package and cannot be removed")
    if model.folder is None:
        left = store.models_dir() / model.card.name
        if left.is_dir():
            return left
        raise ModelError(f"model {name!r} is not installed: there is nothing to remove")
    if model.folder.parent != store.models_dir():
        raise ModelError(f"model {name!r} lies outside {store.models_dir()}: it is not removed")
    return model.folder


def _install_known(
    card: ModelCard, sha256: str | None, offline: bool, progress: Progress | None
) -> ResolvedModel:
    if (existing := _installed(card.name)) is not None:
        if sha256 is None:
            return _completed(card, existing, offline, progress)
        raise ModelError(
            f"model {card.name!r} is installed already: `cellbrook models remove {card.name}` first"
        )
    _check_names(card)
    files = _fetched(card, tuple(card.files), offline, progress)
    return _place(_with_files(card, files), files, sha256=sha256, move=True)


def _fetched(
    card: ModelCard, kinds: Sequence[str], offline: bool, progress: Progress | None
) -> dict[str, Path]:
    """Download files of a known model; what is no weights may be missing."""
    files: dict[str, Path] = {}
    for kind in kinds:
        ref = card.files[kind]
        if ref.url is None:
            raise ModelError(
                f"model {card.name!r} has no URL: get its file and run `cellbrook models install FILE`"
            )
        try:
            with _writing():
                files[kind] = download(
                    ref.url,
                    _downloads(),
                    offline=offline,
                    max_bytes=ref.bytes,
                    progress=progress,
                )
        except ModelError as error:
            if kind in WEIGHT_KINDS:
                raise
            logger.warning(
                "%s: installed without its %s model (%s); `cellbrook models install %s` tries again",
                card.name,
                kind,
                error,
                card.name,
            )
    return files


def _completed(
    card: ModelCard, existing: ResolvedModel, offline: bool, progress: Progress | None
) -> ResolvedModel:
    """Add to an installed model what could not be fetched with it."""
    missing = [k for k in card.files if k not in existing.paths and k not in WEIGHT_KINDS]
    files = _fetched(card, missing, offline, progress)
    if not files:
        return existing
    folder = next(iter(existing.paths.values())).parent
    with _writing(), _staging() as stage:
        for kind, path in files.items():
            os.replace(path, stage / card.files[kind].filename)
        more = _checked(_with_files(card, files), files, stage, None, "").files
        whole = dataclasses.replace(existing.card, files={**existing.card.files, **more})
        write_pins(whole)
        for ref in more.values():
            os.replace(stage / ref.filename, folder / ref.filename)
        write_card(folder / CARD_NAME, whole)
    return store.resolve_model(card.name)


def _install_url(
    url: str, name: str | None, sha256: str | None, offline: bool, progress: Progress | None
) -> ResolvedModel:
    check_url(url)
    filename = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    if not filename:
        raise ModelError(f"expected the URL of a file, got {url!r}")
    card = _official(filename) if name is None else None
    with _writing():
        file = download(url, _downloads(), offline=offline, progress=progress)
    if card is None:
        card = dataclasses.replace(_card_of(file, filename, name), origin=url)
        card = dataclasses.replace(card, files={k: ModelFileRef(filename, url=url) for k in card.files})
    kind = next(iter(card.files))
    return _place(_with_files(card, {kind: file}), {kind: file}, sha256=sha256, move=True)


def _install_file(path: Path, name: str | None, sha256: str | None) -> ResolvedModel:
    beside = store.companion_card(path)
    if beside is not None:
        card = read_card(beside)
        files = {kind: path.parent / ref.filename for kind, ref in card.files.items()}
    else:
        card = (_official(path.name) if name is None else None) or _card_of(path, path.name, name)
        files = {next(k for k in card.files if k in WEIGHT_KINDS): path}
        if card.family == "cp3" and (size := store.companion_size_model(path)):
            files["size"] = size
        card = _with_files(card, files)
    if name is not None:
        card = dataclasses.replace(card, name=name, aliases=())
    return _place(card, files, sha256=sha256)


def _install_folder(folder: Path, name: str | None, sha256: str | None) -> list[ResolvedModel]:
    own = folder / CARD_NAME
    if own.is_file():
        card = read_card(own)
        if name is not None:
            card = dataclasses.replace(card, name=name, aliases=())
        return [_place(card, {k: folder / ref.filename for k, ref in card.files.items()}, sha256=sha256)]
    if name is not None or sha256 is not None:
        raise ModelError(
            f"{folder} has no {CARD_NAME}, so it may hold several models: give a name or hash to one file"
        )
    installed, reasons = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() in (".npy", ".toml", ".txt", ".md", ".json"):
            continue
        try:
            if path.is_dir():
                if (path / CARD_NAME).is_file():
                    installed += _install_folder(path, None, None)
            else:
                installed.append(_install_file(path, None, None))
        except OutputError:
            raise
        except CellbrookError as error:
            reasons.append(str(error))
            logger.warning("%s is not installed: %s", path.name, error)
    if not installed:
        raise ModelError(f"no model in {folder}{f': {reasons[0]}' if reasons else ''}")
    return installed


def _place(
    card: ModelCard, files: Mapping[str, Path], *, sha256: str | None, move: bool = False
) -> ResolvedModel:
    """Check the files of a model and move them into the user's folder at once."""
    _check_names(card)
    weights = next((kind for kind in WEIGHT_KINDS if kind in files), None)
    if weights is None:
        raise ModelError(f"model {card.name!r} has no weights: expected one of {', '.join(WEIGHT_KINDS)}")
    with _writing(), _staging() as stage:
        for kind, path in files.items():
            target = stage / card.files[kind].filename
            if not path.is_file():
                raise ModelError(f"model {card.name!r}: its file {path} is missing")
            if move:
                os.replace(path, target)
            else:
                shutil.copyfile(path, target)
        card = _checked(card, files, stage, sha256, weights)
        if (existing := _same(card)) is not None:
            return existing
        write_card(stage / CARD_NAME, card)
        for beside in {path.with_name(REPORT_NAME) for path in files.values()}:
            if beside.is_file():  # how a taught model came about
                shutil.copyfile(beside, stage / REPORT_NAME)
        write_pins(card)
        os.chmod(stage, 0o755)
        folder = store.models_dir() / card.name
        try:
            os.replace(stage, folder)
        except OSError:
            if not folder.exists():
                raise
            if (existing := _same(card)) is not None:  # another process was faster
                return existing
            raise ModelError(
                f"{folder} is in the way, and is no model with this name: `cellbrook models remove {card.name}` first"
            ) from None
    return store.resolve_model(card.name)


def _same(card: ModelCard) -> ResolvedModel | None:
    """Return the installed model of that name if it has the same files; another one is an error."""
    existing = _installed(card.name)
    if existing is None or dict(existing.hashes) == {k: r.sha256 for k, r in card.files.items()}:
        return existing
    raise ModelError(
        f"another model is installed as {card.name!r}: `cellbrook models remove {card.name}`"
        " first, or give a name with --name"
    )


def _checked(
    card: ModelCard, files: Mapping[str, Path], stage: Path, sha256: str | None, weights: str
) -> ModelCard:
    """Return the card with the staged files' hashes, sizes and numbers, if they are what they must be."""
    pins = read_pins().get(card.name, {})
    refs: dict[str, ModelFileRef] = {}
    for kind, source in files.items():
        ref = card.files[kind]
        staged = stage / ref.filename
        what = f"model {card.name!r}, from {source}"
        found = store.check_file(staged, ref, what, "nothing is installed; get the file again")
        if kind == weights and sha256 is not None:
            if found != sha256:
                raise ChecksumError(f"{what}: expected SHA-256 {sha256}, got {found}: nothing is installed")
        elif ref.url is not None and ref.sha256 is None and pins.get(ref.filename, found) != found:
            raise ChecksumError(
                f"{what}: the file had SHA-256 {pins[ref.filename]} when it was first installed,"
                f" now it has {found}: nothing is installed; if its authors say that it is right,"
                f" give --sha256 {found}"
            )
        refs[kind] = dataclasses.replace(ref, sha256=found, bytes=staged.stat().st_size)
        if kind == "size":
            SizeModel.load(staged)
        if kind in ("safetensors", "checkpoint"):
            family, spec, config = families.recognise(read_header(staged), what)
            if family != card.family:
                raise ModelError(
                    f"{what}: expected a {card.family} network, got {family}: nothing is installed"
                )
            if family in families.OFFICIAL:
                if family == "cp3" and "diam_mean" not in read_header(staged).scalars:
                    spec = dataclasses.replace(
                        spec,
                        object_diameter_px=card.spec.object_diameter_px,
                        diameter_range_px=card.spec.diameter_range_px,
                    )
                card = dataclasses.replace(
                    card, spec=dataclasses.replace(spec, channel_roles=card.spec.channel_roles), config=config
                )
    return dataclasses.replace(card, files=refs)


def _card_of(path: Path, filename: str, name: str | None) -> ModelCard:
    """Make the card of a lone checkpoint that is, or will be, called `filename`."""
    card = store.card_of_file(path, name or store.stem_of(filename))
    return dataclasses.replace(
        card,
        description=f"{card.family} network from the file {filename}",
        files={kind: ModelFileRef(filename) for kind in card.files},
    )


def _official(filename: str) -> ModelCard | None:
    """Return the card of the known model whose checkpoint has this file name."""
    for card in known_cards():
        if card.files["checkpoint"].filename == filename:
            return card
    return None


def _with_files(card: ModelCard, files: Mapping[str, Path]) -> ModelCard:
    """Return the card with exactly these kinds of files; what it did not list gets the file's own name."""
    return dataclasses.replace(
        card, files={k: card.files.get(k, ModelFileRef(p.name)) for k, p in files.items()}
    )


def _installed(name: str) -> ResolvedModel | None:
    for model in store.list_models():
        if model.state == "installed" and model.card.name == name:
            return store.resolve_model(name)
    return None


def _check_names(card: ModelCard) -> None:
    """Refuse a name that is none, and any that another model answers to: one would silently stand for the other."""
    _check_name(card.name)
    taken = {n for shipped in shipped_cards() for n in shipped.names}
    if clash := sorted(taken & set(card.names)):
        raise ModelError(f"{clash[0]!r} is the name of a shipped model: give another with --name")
    for model in store.list_models():
        other = model.card
        itself = other.name == card.name and (model.state == "installed" or other.aliases == card.aliases)
        clash = sorted(set(card.names) & set(other.names))
        if model.state == "shipped" or itself or not clash:
            continue
        if model.state == "installed":
            raise ModelError(
                f"{clash[0]!r} is a name of the installed model {other.name!r}: `cellbrook models remove"
                f" {other.name}` first, or give another with --name"
            )
        raise ModelError(
            f"{clash[0]!r} is a name of the known model {other.name!r}: give another with --name"
        )


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w.+ -]{0,99}", name) or name.endswith((".", " ")):
        raise ModelError(
            "a model's name must begin with a letter or digit and hold only letters, digits, space and"
            f" . _ + -, got {name!r}: give another with --name"
        )


def _checked_sha256(text: str | None) -> str | None:
    if text is None:
        return None
    lowered = text.strip().lower().removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]{64}", lowered):
        raise ModelError(f"--sha256 must be 64 hexadecimal digits, got {text!r}")
    return lowered


def _downloads() -> Path:
    """Return the folder for downloads: among the models, which may be a link, since files only move within a file system."""
    return store.models_dir() / ".downloads"


@contextlib.contextmanager
def _staging() -> Iterator[Path]:
    """Give a hidden folder beside the models, and take away what is left of it."""
    store.models_dir().mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".staging-", dir=store.models_dir()))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Turn what the file system says into one line about the user's folder."""
    try:
        yield
    except CellbrookError:
        raise
    except OSError as error:
        raise OutputError(
            f"the folder for models {store.home()} cannot be written ({error.strerror or error}):"
            " set CELLBROOK_HOME to one that can"
        ) from error
