"""Model cards: what a model is, whom it is from, under which licence, and the hashes of its files.

A card is a TOML table. `weights/CARDS.toml` lists the models of this package and `networks/KNOWN.toml`
official ones that can be installed, both as ``[[model]]`` entries; an installed model, or one that was
trained, has a folder with one card at the top level of its ``card.toml``. The keys are the fields of
`ModelCard`; `dump_card` shows the layout. ``[model.spec]`` needs only the fields that differ from the
family's.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellbrook.errors import ModelError, OutputError
from cellbrook.networks.base import NetworkSpec

FILE_KINDS = ("onnx", "onnx_int8", "safetensors", "checkpoint", "size", "classes")
"""What files are for: two graphs for engines, two kinds of weights for torch, cp3's size model, and what tells classes."""

WEIGHT_KINDS = ("safetensors", "checkpoint", "onnx", "onnx_int8")
"""Kinds that hold the weights, the one that names the model first."""

CARD_NAME = "card.toml"
REPORT_NAME = "report.json"
"""Beside the card of a taught model: how it was trained."""

_MAY_BE_NONE = ("object_diameter_px", "default_diameter_px")  # TOML has no null: it is written as 0
_SIZES = ("channels", "min_channels", "stride", "tile_size")
_TEXTS = ("outputs", "channel_roles", "targets")
_NUMBERS = ("diameter_range_px", "score")

FAMILY_SPECS: Mapping[str, NetworkSpec] = {
    "compact": NetworkSpec(
        family="compact",
        channels=3,
        min_channels=1,
        stride=32,
        tile_size=3072,
        fixed_tile=False,
        tile_overlap=576,  # with a margin of 256 px nothing from beyond a tile's edge is felt (tests/test_seams.py)
        object_diameter_px=34.0,
        diameter_range_px=(28.0, 50.0),
        outputs=("flow", "cellprob", "log_diameter"),
        targets=("cells", "nuclei"),
        order_free=True,
    ),
    "cp3": NetworkSpec(
        family="cp3",
        channels=2,
        min_channels=1,
        stride=8,  # three poolings
        tile_size=224,
        fixed_tile=False,
        tile_overlap=32,
        object_diameter_px=30.0,
        diameter_range_px=(22.5, 37.5),  # the scales of its training, 0.75 to 1.25
        outputs=("flow", "cellprob", "style"),
        channel_roles=("cell", "nucleus"),
    ),
    "cpsam": NetworkSpec(
        family="cpsam",
        channels=3,
        min_channels=1,
        stride=8,
        tile_size=256,
        fixed_tile=True,
        tile_overlap=32,
        object_diameter_px=30.0,
        diameter_range_px=(7.5, 120.0),
        outputs=("flow", "cellprob"),
    ),
    "cpdino": NetworkSpec(
        family="cpdino",
        channels=3,
        min_channels=1,
        stride=8,
        tile_size=384,
        fixed_tile=False,
        tile_overlap=40,
        object_diameter_px=30.0,
        diameter_range_px=(7.5, 120.0),
        outputs=("flow", "cellprob"),
    ),
}


@dataclass(frozen=True, slots=True)
class ModelFileRef:
    """One file of a model.

    Parameters
    ----------
    filename : str
        Name in the model's folder; never a path.
    sha256 : str or None
        Its hash in lower-case hexadecimal. None: not published; recorded at the first install and held to
        ever after.
    bytes : int or None
        Its size.
    url : str or None
        Where it comes from. Read by nothing but ``cellbrook models install``.
    """

    filename: str
    sha256: str | None = None
    bytes: int | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if not self.filename or self.filename in (".", "..") or any(c in self.filename for c in "/\\:\0"):
            raise ModelError(f"a model card's filename must be a plain file name, got {self.filename!r}")
        if self.sha256 is not None and (len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef")):
            raise ModelError(
                f"a model card's sha256 must be 64 lower-case hexadecimal digits, got {self.sha256!r}"
            )


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A collection of images that a model learnt from, and its licence."""

    name: str
    licence: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is.

    Parameters
    ----------
    name : str
        Name in the style ``family.tag``.
    family : {"compact", "cp3", "cpsam", "cpdino"}
        Architecture.
    spec : NetworkSpec
        What the pipeline must know of the network.
    licence : str
        Licence of the weights, as their authors state it.
    description : str
        One line.
    aliases : tuple of str
        Other names it answers to.
    training_data : tuple of TrainingData
        What it learnt from.
    citation : str
        What to cite.
    origin : str
        URL of the project or page it comes from.
    files : mapping of str to ModelFileRef
        By kind (see `FILE_KINDS`).
    config : mapping of str to object
        Arguments of the network's class, where they differ from its defaults.
    known_issues : tuple of str
        What to know before relying on it, a line each.
    """

    name: str
    family: str
    spec: NetworkSpec
    licence: str
    description: str
    aliases: tuple[str, ...] = ()
    training_data: tuple[TrainingData, ...] = ()
    citation: str = ""
    origin: str = ""
    files: Mapping[str, ModelFileRef] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    known_issues: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.family not in FAMILY_SPECS:
            raise ModelError(
                f"model card {self.name!r}: family must be one of {', '.join(FAMILY_SPECS)},"
                f" got {self.family!r}"
            )
        if unknown := sorted(set(self.files) - set(FILE_KINDS)):
            raise ModelError(
                f"model card {self.name!r}: file kinds must be among {', '.join(FILE_KINDS)},"
                f" got {', '.join(unknown)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it answers to."""
        return (self.name, *self.aliases)


def shipped_cards() -> tuple[ModelCard, ...]:
    """Return the cards of the models inside this package."""
    return read_cards(weights_dir() / "CARDS.toml")


def known_cards() -> tuple[ModelCard, ...]:
    """Return the cards of official models that this package knows but does not carry."""
    return read_cards(Path(__file__).with_name("KNOWN.toml"))


def weights_dir() -> Path:
    """Return the folder of the shipped weights."""
    return Path(__file__).parents[1] / "weights"


def read_cards(path: Path) -> tuple[ModelCard, ...]:
    """Read a file of ``[[model]]`` entries; none if the file does not exist.

    Raises
    ------
    ModelError
        If it is not TOML, has unknown or missing keys, or two entries share a name.
    """
    if not path.is_file():
        return ()
    table = _load_toml(path)
    if unknown := sorted(set(table) - {"model"}):
        raise ModelError(f"{path}: expected [[model]] entries, got {', '.join(unknown)}")
    cards = tuple(card_from_dict(entry, str(path)) for entry in table.get("model", []))
    taken: set[str] = set()
    for name in (n for card in cards for n in card.names):
        if name in taken:
            raise ModelError(f"{path}: two entries are called {name!r}")
        taken.add(name)
    return cards


def read_card(path: Path) -> ModelCard:
    """Read a file that holds one card.

    Raises
    ------
    ModelError
        If it cannot be read, is not TOML, or has unknown or missing keys.
    """
    return card_from_dict(_load_toml(path), str(path))


def write_card(path: Path, card: ModelCard) -> None:
    """Write one card to a file of its own, atomically.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    _write_text(path, dump_card(card))


def update_cards(path: Path, card: ModelCard) -> None:
    """Put a card into a file of ``[[model]]`` entries, in the place of the one of its name or at the end.

    Raises
    ------
    ModelError
        If what is there is no list of cards.
    OutputError
        If it cannot be written.
    """
    cards = list(read_cards(path))
    places = [i for i, old in enumerate(cards) if old.name == card.name]
    if places:
        cards[places[0]] = card
    else:
        cards.append(card)
    _write_text(path, "\n".join(dump_card(each, "model") for each in cards))


def card_from_dict(table: Mapping[str, Any], where: str) -> ModelCard:
    """Build a card from a parsed TOML table.

    Parameters
    ----------
    table : mapping
        The fields of `ModelCard`; ``spec`` may be left out, in whole or in part.
    where : str
        File it comes from, for messages.

    Raises
    ------
    ModelError
        If keys are unknown or missing, or values of a wrong type.
    """
    label = f"{where}: card {table.get('name', '?')!r}"
    _check_keys(table, ModelCard, ("name", "family", "licence", "description"), label)
    _check_values(table, ("name", "family", "licence", "description", "citation", "origin"), str, label)
    _check_values(table, ("spec", "files", "config"), dict, label)
    _check_lists(table, ("aliases", "known_issues"), str, label)
    family = table["family"]
    if family not in FAMILY_SPECS:
        raise ModelError(f"{label}: family must be one of {', '.join(FAMILY_SPECS)}, got {family!r}")
    try:
        changes = dict(table.get("spec", {}))
        _check_keys(changes, NetworkSpec, (), f"{label}, spec")
        _check_spec(changes, f"{label}, spec")
        for name in (*_TEXTS, *_NUMBERS):
            if name in changes:
                changes[name] = tuple(changes[name])
        for name in _MAY_BE_NONE:
            if changes.get(name) == 0:
                changes[name] = None
        files: dict[str, ModelFileRef] = {}
        for kind, entry in table.get("files", {}).items():
            _check_keys(entry, ModelFileRef, ("filename",), f"{label}, files.{kind}")
            _check_values(entry, ("filename", "sha256", "url"), str, f"{label}, files.{kind}")
            _check_values(entry, ("bytes",), int, f"{label}, files.{kind}")
            files[kind] = ModelFileRef(**entry)
        data = []
        for entry in table.get("training_data", []):
            _check_keys(entry, TrainingData, ("name", "licence"), f"{label}, training_data")
            _check_values(entry, ("name", "licence"), str, f"{label}, training_data")
            data.append(TrainingData(**entry))
        plain = {key: table[key] for key in ("licence", "description", "citation", "origin") if key in table}
        return ModelCard(
            name=table["name"],
            family=family,
            spec=dataclasses.replace(FAMILY_SPECS[family], **changes),
            aliases=tuple(table.get("aliases", ())),
            training_data=tuple(data),
            files=files,
            config=dict(table.get("config", {})),
            known_issues=tuple(table.get("known_issues", ())),
            **plain,
        )
    except (TypeError, AttributeError) as error:
        raise ModelError(f"{label}: a value has the wrong type ({error})") from error


def card_to_dict(card: ModelCard) -> dict[str, Any]:
    """Return the card as plain dicts, lists, strings and numbers, for JSON and TOML."""
    out = dataclasses.asdict(card)
    for name in _MAY_BE_NONE:
        out["spec"][name] = out["spec"][name] or 0.0
    out["files"] = {
        kind: {k: v for k, v in entry.items() if v is not None} for kind, entry in out["files"].items()
    }
    return out


def dump_card(card: ModelCard, entry: str = "") -> str:
    """Return the card as TOML, at the top level, or as one ``[[entry]]``."""
    table = card_to_dict(card)
    prefix = f"{entry}." if entry else ""
    lines = [f"[[{entry}]]"] if entry else []
    lines += _pairs({k: table[k] for k in ("name", "aliases", "family", "description", "licence")})
    lines += _pairs({k: table[k] for k in ("citation", "origin", "known_issues") if table[k]})
    for part in ("config", "spec"):
        if table[part]:
            lines += ["", f"[{prefix}{part}]", *_pairs(table[part])]
    for source in table["training_data"]:
        lines += ["", f"[[{prefix}training_data]]", *_pairs(source)]
    for kind, ref in table["files"].items():
        lines += ["", f"[{prefix}files.{kind}]", *_pairs(ref)]
    return "\n".join(lines) + "\n"


def _pairs(table: Mapping[str, Any]) -> Iterable[str]:
    return [f"{key} = {_toml_value(value)}" for key, value in table.items()]


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    raise ModelError(f"a model card holds strings, numbers, booleans and lists, got {type(value).__name__}")


def _check_keys(table: Any, kind: type[Any], required: tuple[str, ...], label: str) -> None:
    if not isinstance(table, Mapping):
        raise ModelError(f"{label}: expected a table, got {type(table).__name__}")
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(table) - known):
        raise ModelError(f"{label}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if missing := [name for name in required if name not in table]:
        raise ModelError(f"{label}: the key {missing[0]!r} is missing")


def _check_spec(spec: Mapping[str, Any], label: str) -> None:
    _check_values(spec, ("family",), str, label)
    _check_values(spec, (*_SIZES, "tile_overlap"), int, label)
    _check_values(spec, ("fixed_tile", "order_free"), bool, label)
    _check_values(spec, _MAY_BE_NONE, (int, float), label)
    _check_lists(spec, _TEXTS, str, label)
    _check_lists(spec, _NUMBERS, (int, float), label)
    for name in (*_SIZES, "tile_overlap", *_MAY_BE_NONE):
        least = 1 if name in _SIZES else 0
        if not spec.get(name, least) >= least:
            raise ModelError(f"{label}: {name} must be at least {least}, got {spec[name]}")
    if len(spec.get("diameter_range_px", "ab")) != 2:
        raise ModelError(f"{label}: diameter_range_px must be two numbers, got {spec['diameter_range_px']}")


def _check_lists(
    table: Mapping[str, Any], names: Iterable[str], kind: type[Any] | tuple[type[Any], ...], label: str
) -> None:
    for name in names:
        _check_values(table, (name,), list, label)
        for value in table.get(name, ()):
            _check_values({name: value}, (name,), kind, label)


def _check_values(
    table: Mapping[str, Any], names: Iterable[str], kind: type[Any] | tuple[type[Any], ...], label: str
) -> None:
    """Refuse values that are not of a kind; to Python a boolean is a number too."""
    for name in names:
        value = table.get(name)
        if name in table and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ModelError(f"{label}: {name} has the wrong type, {value!r}")


def _load_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"model card {path} cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"model card {path} is not TOML ({error})") from error


def _write_text(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise OutputError(f"model card {path} cannot be written ({error.strerror or error})") from error
