"""`cellbrook serve`: what is opened, what is said, what is refused."""

from __future__ import annotations

import os
import socket
import stat

import numpy as np
import pytest

from cellbrook.cli import serve as command
from cellbrook.cli.app import main
from cellbrook.errors import ImageError, ProjectError, UsageError
from cellbrook.io import write_png
from cellbrook.project.project import Project
from cellbrook.server import launch


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLBROOK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_CONNECTION", raising=False)


@pytest.fixture
def folder(tmp_path):
    """A folder with two images and a result, which is no image."""
    path = tmp_path / "Zellen µ 1"
    path.mkdir()
    for i, name in enumerate(("a.png", "b.png")):
        write_png(path / name, np.full((40, 50), i * 20 + 5, np.uint8))
    write_png(path / "a_masks.png", np.zeros((40, 50), np.uint8))
    return path


@pytest.fixture
def served(monkeypatch):
    """Run the command without serving; gives what would be served."""
    seen = {}

    def run_server(opened, access, place, limits, ready):
        seen.update(opened=opened, access=access, port=place.port, limits=limits)
        ready()
        opened.project.close()
        place.listening.close()

    monkeypatch.setattr(launch, "run_server", run_server)
    return seen


def test_a_folder_becomes_a_project_beside_its_images(folder, served, capsys):
    assert main(["serve", str(folder), "--no-browser", "--port", "0"]) == 0
    said = capsys.readouterr()
    assert "made a project of 2 images in" in said.err
    assert f"http://127.0.0.1:{served['port']}/?token={served['access'].token}" in said.out
    project = folder / "Zellen µ 1.project"
    assert served["opened"].project.folder == project
    assert sorted(p.name for p in folder.iterdir()) == ["Zellen µ 1.project", "a.png", "a_masks.png", "b.png"]

    write_png(folder / "c.png", np.full((40, 50), 99, np.uint8))
    (project / "cache" / "x").mkdir(parents=True)  # what a project keeps is no new image
    write_png(project / "cache" / "x" / "thumb.png", np.full((9, 9), 3, np.uint8))
    np.save(project / "cache" / "x" / "cellprob.npy", np.zeros((1, 40, 50), np.float32))
    assert main(["serve", str(folder), "--no-browser", "--port", "0"]) == 0  # the same one, with what is new
    said = capsys.readouterr()
    assert "added 1 new images" in said.err
    assert "made a project" not in said.err
    with Project.open(project) as opened:
        assert [r.name for r in opened.images()] == ["a", "b", "c"]


def test_files_a_project_and_the_current_folder_are_taken(folder, served, monkeypatch, tmp_path):
    assert main(["serve", str(folder / "b.png"), "--no-browser", "--port", "0"]) == 0
    with Project.open(folder / "Zellen µ 1.project") as opened:
        assert [r.name for r in opened.images()] == ["b"]
    assert main(["serve", str(folder / "Zellen µ 1.project"), "--no-browser", "--port", "0"]) == 0
    monkeypatch.chdir(folder)
    assert main(["serve", "--no-browser", "--port", "0"]) == 0
    assert served["opened"].project.folder == folder / "Zellen µ 1.project"
    other = tmp_path / "elsewhere.project"
    (folder / "Zellen µ 1.project" / "cache").mkdir(exist_ok=True)
    write_png(folder / "Zellen µ 1.project" / "cache" / "thumb.png", np.full((9, 9), 3, np.uint8))
    assert main(["serve", str(folder), "--project", str(other), "--no-browser", "--port", "0"]) == 0
    with Project.open(other) as opened:
        assert [r.name for r in opened.images()] == ["a", "b"]


def test_without_anything_the_sample_is_opened(served, monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert main(["serve", "--no-browser", "--port", "0"]) == 0
    assert served["opened"].sample
    assert not list(empty.iterdir())
    assert main(["serve", "--sample", "--no-browser", "--port", "0"]) == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_that_cannot_be_written_to_has_its_project_elsewhere(folder, served, capsys):
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert main(["serve", str(folder), "--no-browser", "--port", "0"]) == 0
    finally:
        folder.chmod(stat.S_IRWXU)
    assert "cannot be written to, so the project lies in" in capsys.readouterr().err


def test_a_folder_of_which_the_system_says_so_has_its_project_elsewhere(folder, monkeypatch, tmp_path):
    create = Project.create

    def refuse(path, **keywords):
        if folder in path.parents:
            raise ProjectError("cannot be made: Read-only file system")
        return create(path, **keywords)

    monkeypatch.setattr(launch.Project, "create", refuse)
    monkeypatch.setattr(launch.os, "access", lambda path, mode: False)
    for _ in range(2):  # and is found again
        opened = launch.open_workspace([str(folder)])
        assert opened.project.folder.parent == tmp_path / "home" / "projects"
        assert len(opened.project.images()) == 2
        opened.project.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--expose"),
        (["--host", "192.0.2.1"], "--expose"),
        (["--certificate", "x.pem"], "belong together"),
        (["--base-url", "/a/../b"], "base address"),
        (["--sample", "x"], "without images"),
        (["--port", "99999"], "cannot listen"),
        (["--host", "192.0.2.1", "--expose"], "cannot listen"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(arguments, words, served, capsys):
    assert main(["serve", "--no-browser", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not served


def test_exposing_says_what_others_can_do(folder, served, capsys):
    assert main(["serve", str(folder), "--host", "0.0.0.0", "--expose", "--port", "0"]) == 0
    said = capsys.readouterr()
    assert "can see and change the project" in said.err
    assert "not encrypted" in said.err
    assert socket.gethostname() in said.out
    assert served["access"].knows_host(f"{socket.gethostname().lower()}:8765")


def test_a_taken_port_is_passed_over_unless_it_was_named(folder, served):
    with launch.bind("127.0.0.1", None) as first:
        port = first.getsockname()[1]
        with launch.bind("127.0.0.1", None) as second:
            assert second.getsockname()[1] != port
        with pytest.raises(UsageError, match="cannot listen at"):
            launch.bind("127.0.0.1", port)


def test_the_token_file_keeps_the_address(folder, served, tmp_path):
    token = tmp_path / "token"
    addresses = set()
    for _ in range(2):
        assert main(["serve", str(folder), "--no-browser", "--token-file", str(token), "--port", "0"]) == 0
        addresses.add(served["access"].token)
    assert len(addresses) == 1


def test_the_browser_gets_a_ticket_that_works_once(folder, served, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(command, "_has_screen", lambda: True)
    monkeypatch.setattr(command, "_open_browser", opened.append)
    assert main(["serve", str(folder), "--port", "0"]) == 0
    ticket = opened[0].partition("token=")[2]
    assert ticket != served["access"].token
    assert served["access"].takes_ticket(ticket)
    assert not served["access"].takes_ticket(ticket)


def test_errors_are_lines(tmp_path, served, capsys):
    assert main(["serve", str(tmp_path / "nothing"), "--no-browser"]) == 1
    assert "no such file or folder" in capsys.readouterr().err
    (tmp_path / "x.project").mkdir()
    with pytest.raises((ProjectError, ImageError)):
        launch.open_workspace([str(tmp_path / "x.project")])
    for name in ("one", "two"):
        Project.create(tmp_path / f"{name}.project").close()
    write_png(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(UsageError, match="several projects"):
        launch.open_workspace([str(tmp_path)])


def test_a_project_that_is_open_elsewhere_says_so(folder, served, capsys):
    with Project.create(folder / "own.project"):
        assert main(["serve", str(folder / "own.project"), "--no-browser"]) == 1
        assert "is open in another program" in capsys.readouterr().err
        assert main(["serve", str(folder / "own.project"), "--read-only", "--no-browser", "--port", "0"]) == 0
        assert "it is open for looking only" in capsys.readouterr().err
