"""`cellbrook models`: which models are here, where they are from, and getting more of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from cellbrook.cli._common import Json, print_json

if TYPE_CHECKING:
    from cellbrook.networks.cards import ModelCard
    from cellbrook.networks.store import ListedModel

app = App(name="models", help="List, install, check and remove models.")


@app.command(name="list")
def list_(*, json_: Json = False) -> int:
    """List the models that are shipped, installed, or known and can be installed."""
    from cellbrook.networks.store import list_models, models_dir

    models = list_models()
    if json_:
        print_json([_summary(model) for model in models])
        return 0
    rows = [("NAME", "ALSO", "STATE", "FAMILY", "LICENCE", "DESCRIPTION")]
    for model in models:
        card = model.card
        rows.append(
            (card.name, ", ".join(card.aliases), model.state, card.family, card.licence, card.description)
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        print("  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[5]]))
    print(f"\nInstalled models are in {models_dir()}. More of one: cellbrook models info NAME")
    return 0


@app.command
def info(name: str, *, json_: Json = False) -> int:
    """Show a model's licence, training data, size, origin, known issues, and how good it is on which images.

    Parameters
    ----------
    name : str
        A model's name or alias, or the path of a checkpoint.
    """
    from cellbrook.errors import UnknownModelError
    from cellbrook.networks.cards import card_to_dict
    from cellbrook.networks.document import accuracy_section, model_document
    from cellbrook.networks.store import ListedModel, find_model, resolve_model

    try:
        model = find_model(name)
    except UnknownModelError:
        resolved = resolve_model(name)
        folder = next(iter(resolved.paths.values())).parent
        model = ListedModel(resolved.card, "file", folder)
    document = model_document(model.card, model.folder)
    if json_:
        where = None if document is None else str(document)
        print_json({**card_to_dict(model.card), **_summary(model), "model_card": where})
        return 0
    for label, value in _describe(model.card, model):
        print(f"{label:<15} {value}".rstrip())
    if document is not None:
        print(f"{'model card':<15} {document}\n")
        print("\n".join(accuracy_section(document)))
    return 0


@app.command
def install(
    source: str,
    *,
    name: str | None = None,
    sha256: str | None = None,
    offline: Annotated[bool, Parameter(negative="")] = False,
    json_: Json = False,
) -> int:
    """Install a model: by the name of a known one, or from a URL, a file or a folder.

    Names and URLs are downloaded, over verified TLS; an interrupted download goes on when the command is run
    again. Nothing else in Cellbrook uses the network.

    Parameters
    ----------
    source : str
        Known name, https URL, checkpoint, or folder with models.
    name : str or None
        Name to give it, if it is one model without a card.
    sha256 : str or None
        Hash that the weights must have.
    offline : bool
        Never use the network. The environment's CELLBROOK_OFFLINE=1 says the same.
    """
    from cellbrook.networks.install import install as install_models

    progress = None if json_ or not sys.stderr.isatty() else _ByteProgress()
    models = install_models(source, name=name, sha256=sha256, offline=offline, progress=progress)
    if json_:
        print_json(
            [
                {"name": m.name, "sha256": m.sha256, "files": {k: str(p) for k, p in m.paths.items()}}
                for m in models
            ]
        )
        return 0
    for model in models:
        print(f"{model.name}: installed in {next(iter(model.paths.values())).parent}")
        for kind, file in model.paths.items():
            print(f"  sha256   {model.hashes[kind]}  {file.name}")
        print(f"  licence  {model.card.licence}")
    return 0


@app.command
def verify(name: str | None = None, *, json_: Json = False) -> int:
    """Check the files of a model, or of all models, against their recorded SHA-256.

    Parameters
    ----------
    name : str or None
        A model's name or alias; all that are shipped or installed if left out.
    """
    from cellbrook.networks.install import verify as verify_models

    checks = verify_models(name)
    good = all(check.problem is None for check in checks)
    if json_:
        print_json(
            {
                "ok": good,
                "files": [
                    {
                        "model": c.model,
                        "kind": c.kind,
                        "path": str(c.path),
                        "sha256": c.sha256,
                        "problem": c.problem,
                    }
                    for c in checks
                ],
            }
        )
    else:
        for check in checks:
            print(f"{'ok' if check.problem is None else 'BAD'}  {check.model}  {check.path}")
            if check.problem is not None:
                print(f"     {check.problem}")
        if not checks:
            print("no model is shipped or installed")
    return 0 if good else 1


@app.command
def path(name: str, *, json_: Json = False) -> int:
    """Print where the files of a model are.

    Parameters
    ----------
    name : str
        A model's name or alias, or the path of a checkpoint.
    """
    from cellbrook.networks.store import resolve_model

    model = resolve_model(name)
    if json_:
        print_json({"name": model.name, "files": {kind: str(p) for kind, p in model.paths.items()}})
    else:
        for file in model.paths.values():
            print(file)
    return 0


@app.command
def remove(name: str, *, json_: Json = False) -> int:
    """Delete an installed model.

    Parameters
    ----------
    name : str
        Its name or alias.
    """
    from cellbrook.networks.install import remove as remove_model

    folder = remove_model(name)
    if json_:
        print_json({"removed": str(folder)})
    else:
        print(f"removed {folder}")
    return 0


def _summary(model: ListedModel) -> dict[str, Any]:
    card = model.card
    return {
        "name": card.name,
        "aliases": list(card.aliases),
        "state": model.state,
        "family": card.family,
        "licence": card.licence,
        "description": card.description,
        "folder": None if model.folder is None else str(model.folder),
    }


def _describe(card: ModelCard, model: ListedModel) -> list[tuple[str, str]]:
    spec = card.spec
    low, high = spec.diameter_range_px
    roles = f" ({', '.join(spec.channel_roles)})" if spec.channel_roles else ""
    lines = [
        ("name", ", ".join(card.names)),
        ("description", card.description),
        ("state", model.state if model.folder is None else f"{model.state}, in {model.folder}"),
        ("family", card.family),
        ("licence", card.licence),
    ]
    lines += [("training data", f"{data.name}: {data.licence}") for data in card.training_data] or [
        ("training data", "not stated")
    ]
    lines += [
        ("channels", f"{spec.min_channels} to {spec.channels}{roles}"),
        ("objects", f"{low:g} to {high:g} px across"),
        ("outputs", ", ".join(spec.outputs)),
    ]
    for kind, ref in card.files.items():
        size = f", {ref.bytes / 1e6:.1f} MB" if ref.bytes is not None else ""
        lines.append((f"file {kind}"[:15], f"{ref.filename}{size}"))
        lines.append(("  sha256", ref.sha256 or "recorded at the first install"))
        if ref.url is not None:
            lines.append(("  from", ref.url))
    lines += [("cite", card.citation)] if card.citation else []
    lines += [("origin", card.origin)] if card.origin else []
    lines += [("known issue", issue) for issue in card.known_issues]
    if model.state == "available":
        lines.append(
            ("install", f"cellbrook models install {card.aliases[0] if card.aliases else card.name}")
        )
    return lines


class _ByteProgress:
    """Shows how much of a download is here, on the terminal."""

    def __init__(self) -> None:
        self._task, self._total, self._done = "", 0, 0

    def start(self, task: str, total: int) -> None:
        """Begin a file of `total` bytes; 0 if that is not known."""
        self._task, self._total, self._done = task, total, 0

    def advance(self, count: int = 1) -> None:
        """Report more bytes."""
        self._done += count
        of = f" of {self._total / 1e6:.1f} MB ({100 * self._done // self._total} %)" if self._total else " MB"
        end = "\n" if self._total and self._done >= self._total else ""
        print(f"\r{self._task}: {self._done / 1e6:.1f}{of}", end=end, file=sys.stderr, flush=True)

    def check_cancelled(self) -> None:
        """Do nothing: Ctrl-C ends the command, and the partial file stays for the next."""
