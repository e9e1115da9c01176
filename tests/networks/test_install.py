from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cellbrook import networks
from cellbrook.errors import ChecksumError, ModelError, OutputError, UnknownModelError
from cellbrook.networks import cards, install, store
from cellbrook.networks.cards import CARD_NAME, ModelCard, ModelFileRef
from cellbrook.networks.cp3.model import Cp3Net

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("home")

Checkpoint = Callable[..., Path]


def tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def known(monkeypatch: pytest.MonkeyPatch, url: str, **files: ModelFileRef) -> None:
    """Make the list of known models one of this test's own."""
    card = ModelCard(
        name="cpsam.known",
        aliases=("known",),
        family="cpsam",
        spec=cards.FAMILY_SPECS["cpsam"],
        licence="CC0",
        description="a test",
        files={"checkpoint": ModelFileRef("known", url=f"{url}/known"), **files},
    )
    for module in (store, install):
        monkeypatch.setattr(module, "known_cards", lambda: (card,))


def test_a_file_is_installed_whole_with_its_hash(
    checkpoint: Checkpoint, home: Path, no_network: None
) -> None:
    path = checkpoint()
    (model,) = install.install(path)
    assert model == networks.resolve_model("mein modèle")
    assert model.paths["checkpoint"].read_bytes() == path.read_bytes(), "the original bytes are kept"
    assert model.card.files["checkpoint"].sha256 == model.sha256 == store.sha256_of(path)
    assert model.card.spec.tile_size == 8
    assert tree(home / "models") == ["mein modèle", "mein modèle/card.toml", "mein modèle/mein modèle.pth"]
    path.unlink()
    assert networks.load("mein modèle").spec == model.card.spec


def test_installing_twice_is_once(checkpoint: Checkpoint) -> None:
    first, second = install.install(checkpoint()), install.install(checkpoint())
    assert first == second
    with pytest.raises(ModelError, match="another model is installed"):
        install.install(checkpoint(seed=1))
    (other,) = install.install(checkpoint(seed=1), name="zwei")
    assert other.sha256 != first[0].sha256
    assert networks.resolve_model("mein modèle").sha256 == first[0].sha256


@pytest.mark.parametrize(
    ("filename", "name"), [("wt_lr0.05", "wt_lr0.05"), ("wt_lr0.1.pth", "wt_lr0.1"), ("A.PT", "A")]
)
def test_only_the_ending_of_a_format_is_no_part_of_the_name(
    filename: str, name: str, checkpoint: Checkpoint
) -> None:
    path = checkpoint(filename)
    assert store.resolve_model(path).name == name
    assert install.install(path)[0].name == name


def test_a_damaged_file_leaves_nothing(checkpoint: Checkpoint, home: Path) -> None:
    path = checkpoint()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        install.install(path)
    assert not (home / "models").exists() or tree(home / "models") == []


def test_the_given_hash_is_held(checkpoint: Checkpoint, home: Path) -> None:
    path = checkpoint()
    right = store.sha256_of(path)
    with pytest.raises(ChecksumError, match=f"expected SHA-256 {'0' * 64}, got {right}"):
        install.install(path, sha256="0" * 64)
    assert tree(home / "models") == []
    assert install.install(path, sha256=f"sha256:{right.upper()}")[0].sha256 == right
    with pytest.raises(ModelError, match="64 hexadecimal digits"):
        install.install(path, sha256="abc")


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "a\\b", "x" * 200, "ends.", "C:"])
def test_names_that_leave_the_folder_are_refused(name: str, checkpoint: Checkpoint, home: Path) -> None:
    with pytest.raises(ModelError, match="a model's name must"):
        install.install(checkpoint(), name=name)
    assert not home.exists()


def test_a_shipped_models_name_is_taken(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = ModelCard(
        "compact.x", "compact", cards.FAMILY_SPECS["compact"], "CC0", "a test", aliases=("compact",)
    )
    monkeypatch.setattr(install, "shipped_cards", lambda: (shipped,))
    with pytest.raises(ModelError, match="name of a shipped model"):
        install.install(checkpoint(), name="compact")


@pytest.mark.parametrize("name", ["known", "cpsam.known"])
def test_a_known_models_name_is_taken(
    name: str, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, "https://example.org")
    with pytest.raises(ModelError, match=r"is a name of the known model 'cpsam\.known'"):
        install.install(checkpoint(), name=name)


def test_a_known_model_does_not_take_the_name_of_an_installed_one(
    server, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine,) = install.install(checkpoint("known.pth"))
    known(monkeypatch, server.url)
    with pytest.raises(ModelError, match="name of the installed model 'known'"):
        install.install("known")
    assert server.requests == [], "nothing is fetched in vain"
    assert networks.resolve_model("known") == mine, "a name wins over the alias of another model"


def test_a_folder_of_models_is_installed_offline(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setenv("CELLBROOK_OFFLINE", "1")
    checkpoint("stick/one.pth")
    checkpoint("stick/zwei", seed=1)
    (tmp_path / "stick" / "readme.txt").write_text("hello")
    (tmp_path / "stick" / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (third,) = install.install(checkpoint("three.pth", seed=2))
    shutil.copytree(third.paths["checkpoint"].parent, tmp_path / "stick" / "three")
    install.remove("three")
    assert [m.name for m in install.install(tmp_path / "stick")] == ["one", "three", "zwei"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no model in"):
        install.install(tmp_path / "empty")


def test_a_known_file_name_brings_its_card(tmp_path: Path) -> None:
    torch.save(Cp3Net().state_dict(), tmp_path / "cyto3")
    (model,) = install.install(tmp_path / "cyto3")
    assert model.name == "cp3.cyto3"
    assert "CC-BY-NC" in model.card.licence
    assert networks.resolve_model("cyto3") == model
    assert [m.state for m in networks.list_models() if "cyto3" in m.card.names] == ["installed"]


def test_the_wrong_family_under_a_known_file_name_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match="expected a cp3 network, got cpsam"):
        install.install(checkpoint("cyto3"))


def test_what_is_not_there_is_told(home: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"did you mean .*nuclei"):
        install.install("nuclei2")


# ---- download


def test_a_known_model_is_downloaded_through_a_bad_connection(
    server, checkpoint: Checkpoint, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = checkpoint().read_bytes()
    server.drop_after = [1000]
    monkeypatch.setattr("cellbrook.networks.download.time.sleep", lambda _: None)
    known(monkeypatch, server.url)
    (model,) = install.install("known")
    assert model.name == "cpsam.known"
    assert model.paths["checkpoint"].read_bytes() == server.body
    assert server.requests == [None, "bytes=1000-"]
    assert install.install("known") == [model], "what is there is not downloaded again"
    assert len(server.requests) == 2
    assert networks.resolve_model("known") == model


def test_a_linked_folder_of_models_on_another_disk_takes_downloads(
    server, checkpoint: Checkpoint, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = checkpoint().read_bytes()
    known(monkeypatch, server.url)
    disk = tmp_path / "disk"
    disk.mkdir()
    home.mkdir()
    (home / "models").symlink_to(disk)
    replace = os.replace

    def on_one_disk(source: Path, target: Path) -> None:
        if len({Path(path).resolve().is_relative_to(disk) for path in (source, target)}) > 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(os, "replace", on_one_disk)
    assert install.install("known")[0].paths["checkpoint"].read_bytes() == server.body


def test_the_first_install_pins_the_hash(
    server, checkpoint: Checkpoint, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = checkpoint().read_bytes()
    known(monkeypatch, server.url)
    (model,) = install.install("known")
    install.remove("known")
    server.body = other = checkpoint(seed=1).read_bytes()
    with pytest.raises(ChecksumError, match=f"had SHA-256 {model.sha256} when it was first installed"):
        install.install("known")
    assert tree(home / "models") == [".downloads"], "no model, and no file of one"
    (renewed,) = install.install("known", sha256=store.sha256_of(checkpoint(seed=1)))
    assert renewed.paths["checkpoint"].read_bytes() == other
    pins = json.loads((home / "pins.json").read_text(encoding="utf-8"))
    assert pins["cpsam.known"] == {"known": renewed.sha256}


def test_a_published_hash_is_held(server, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    server.body = checkpoint().read_bytes()
    known(
        monkeypatch, server.url, checkpoint=ModelFileRef("known", sha256="1" * 64, url=f"{server.url}/known")
    )
    with pytest.raises(ChecksumError, match=f"should have SHA-256 {'1' * 64}"):
        install.install("known")


def test_a_model_is_installed_from_a_url(server, checkpoint: Checkpoint) -> None:
    server.body = checkpoint().read_bytes()
    (model,) = install.install(f"{server.url}/some/m%C3%A9lange.pth?download=1")
    assert model.name == "mélange"
    assert model.card.origin.startswith(server.url)
    assert networks.load("mélange").spec.tile_size == 8


def test_a_web_page_instead_of_a_model_is_told(server) -> None:
    server.body = b"<!DOCTYPE html><html>log in first</html>"
    with pytest.raises(ModelError, match="an HTML page"):
        install.install(f"{server.url}/a.pth")


@pytest.mark.parametrize("source", ["known", "https://example.org/a.pth", "cyto3"])
def test_offline_nothing_is_fetched(
    source: str, home: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    if source == "known":
        known(monkeypatch, "https://example.org")
    with pytest.raises(ModelError, match="offline mode is on"):
        install.install(source, offline=True)
    monkeypatch.setenv("CELLBROOK_OFFLINE", "1")
    with pytest.raises(ModelError, match="offline mode is on"):
        install.install(source)


def test_a_missing_size_model_does_not_stop_an_install(
    server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(Cp3Net().state_dict(), tmp_path / "a")
    server.body = weights = (tmp_path / "a").read_bytes()
    card = ModelCard(
        "cp3.known",
        "cp3",
        cards.FAMILY_SPECS["cp3"],
        "CC0",
        "a test",
        files={
            "checkpoint": ModelFileRef("known", url=f"{server.url}/known"),
            "size": ModelFileRef("size.npy", url="http://example.org/size.npy"),
        },
    )
    for module in (store, install):
        monkeypatch.setattr(module, "known_cards", lambda: (card,))
    (model,) = install.install("cp3.known")
    assert set(model.paths) == {"checkpoint"}
    assert "without its size model" in caplog.text
    assert install.install("cp3.known") == [model], "what is still missing stops nothing either"

    zeros = np.zeros(256)
    np.save(tmp_path / "size.npy", {"A": zeros, "smean": zeros, "ymean": 0.0, "diam_mean": 30.0})  # type: ignore[arg-type]
    server.body = (tmp_path / "size.npy").read_bytes()
    card.files["size"] = ModelFileRef("size.npy", url=f"{server.url}/size.npy")  # type: ignore[index]
    server.requests.clear()
    (whole,) = install.install("cp3.known")
    assert whole.paths == {**model.paths, "size": model.paths["checkpoint"].with_name("size.npy")}
    assert whole.paths["size"].read_bytes() == server.body
    assert networks.resolve_model("cp3.known") == whole
    assert install.install("cp3.known") == [whole]
    assert len(server.requests) == 1, "only what was missing is fetched"

    pins = (home / "pins.json").read_bytes()
    install.remove("cp3.known")
    server.body = weights
    card.files["size"] = ModelFileRef("size.npy", url="http://example.org/size.npy")  # type: ignore[index]
    assert install.install("cp3.known") == [model]
    assert (home / "pins.json").read_bytes() == pins, "its hash is held to although it is missing now"


def test_a_broken_size_model_is_refused(tmp_path: Path, home: Path) -> None:
    torch.save(Cp3Net().state_dict(), tmp_path / "mine")
    np.save(tmp_path / "mine_size.npy", np.zeros(3))
    with pytest.raises(ModelError, match="size model"):
        install.install(tmp_path / "mine")
    assert tree(home / "models") == []


# ---- verify and remove


def test_verify_tells_good_from_bad(checkpoint: Checkpoint) -> None:
    install.install(checkpoint("one.pth"))
    (two,) = install.install(checkpoint("two.pth", seed=1))
    assert [c.problem for c in install.verify("one")] == [None]
    two.paths["checkpoint"].write_bytes(b"x")
    problems = {c.model: c.problem for c in install.verify() if c.model in ("one", "two")}
    assert problems["one"] is None
    assert "should have" in str(problems["two"])
    two.paths["checkpoint"].unlink()
    assert "cannot be read" in str(install.verify("two")[0].problem)
    with pytest.raises(ModelError, match="not installed"):
        install.verify("cyto3")


def test_remove_takes_that_model_only(checkpoint: Checkpoint, home: Path, tmp_path: Path) -> None:
    install.install(checkpoint("one.pth"))
    install.install(checkpoint("two.pth", seed=1))
    before = tree(tmp_path)
    gone = install.remove("one")
    removed = set(before) - set(tree(tmp_path))
    assert gone == home / "models" / "one"
    assert removed
    assert all((tmp_path / r).is_relative_to(gone) for r in removed)
    assert networks.resolve_model("two")
    with pytest.raises(UnknownModelError):
        install.remove("one")
    with pytest.raises(ModelError, match="nothing to remove"):
        install.remove("cyto3")


def test_a_model_with_a_damaged_card_is_told_and_can_be_removed(checkpoint: Checkpoint) -> None:
    path = checkpoint("one.pth")
    (model,) = install.install(path)
    card = model.paths["checkpoint"].with_name(CARD_NAME)
    card.write_text("name = [")
    for checks in (install.verify("one"), [c for c in install.verify() if c.model == "one"]):
        (check,) = checks
        assert (check.kind, check.path, check.sha256) == ("card", card, None)
        assert "is not TOML" in str(check.problem)
    with pytest.raises(ModelError, match=r"is in the way.*`cellbrook models remove one`"):
        install.install(path)
    assert install.remove("one") == card.parent
    assert install.install(path) == [model]


def test_a_folder_without_a_card_can_be_removed(checkpoint: Checkpoint, home: Path) -> None:
    (home / "models" / "one" / "rest").mkdir(parents=True)
    with pytest.raises(ModelError, match="is in the way"):
        install.install(checkpoint("one.pth"))
    install.remove("one")
    assert not (home / "models" / "one").exists()


def test_two_processes_may_install_one_model(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write, first = checkpoint("one.pth"), install.write_pins, []

    def slowly(card: ModelCard) -> None:
        if not first:
            first.append(card)
            install.install(path)  # another process, just before this one would be done
        write(card)

    monkeypatch.setattr(install, "write_pins", slowly)
    (model,) = install.install(path)
    assert first
    assert model == networks.resolve_model("one")


@pytest.mark.parametrize("name", ["../precious", "..", ".", "/etc", "one/../../precious"])
def test_remove_never_leaves_the_folder(name: str, home: Path, checkpoint: Checkpoint) -> None:
    install.install(checkpoint("one.pth"))
    precious = home / "precious"
    precious.mkdir()
    (precious / CARD_NAME).write_text(cards.dump_card(networks.resolve_model("one").card), encoding="utf-8")
    with pytest.raises(ModelError):
        install.remove(name)
    assert (precious / CARD_NAME).exists()
    assert networks.resolve_model("one")


@pytest.mark.skipif(os.name == "nt", reason="links need privileges there")
def test_remove_deletes_a_link_not_what_it_points_to(
    home: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    (model,) = install.install(checkpoint("one.pth"))
    elsewhere = tmp_path / "elsewhere"
    shutil.move(home / "models" / "one", elsewhere)
    (home / "models" / "one").symlink_to(elsewhere, target_is_directory=True)
    assert networks.resolve_model("one").sha256 == model.sha256
    install.remove("one")
    assert tree(elsewhere) == ["card.toml", "one.pth"]
    assert not (home / "models" / "one").is_symlink()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that bind this user")
def test_a_read_only_folder_is_told_and_can_be_listed(home: Path, checkpoint: Checkpoint) -> None:
    path = checkpoint()
    home.mkdir()
    home.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="set CELLBROOK_HOME"):
            install.install(path)
        assert networks.list_models()
    finally:
        home.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_told(home: Path, checkpoint: Checkpoint) -> None:
    path = checkpoint()
    home.write_text("a file is in the way")
    with pytest.raises(OutputError, match="set CELLBROOK_HOME"):
        install.install(path)
    assert networks.list_models()
