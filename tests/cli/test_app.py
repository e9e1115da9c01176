"""The command line as a whole: exit codes, one line an error, what it imports, how fast it is there."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cellbrook.cli import app as cli
from cellbrook.errors import Cancelled, EngineError, ImageError, UnknownModelError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

RUN = [sys.executable, "-m", "cellbrook.cli.app"]


@pytest.fixture(autouse=True)
def _leave_logging_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli._console, "configure_logging", lambda: None)
    monkeypatch.delenv("CELLBROOK_DEBUG", raising=False)


@pytest.fixture
def fail_with(monkeypatch: pytest.MonkeyPatch) -> object:
    def setup(error: BaseException) -> None:
        def run(_: list[str]) -> int:
            raise error

        monkeypatch.setattr(cli, "_run", run)

    return setup


def test_help_tells_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"])
    told = capsys.readouterr().out.partition("Exit codes: ")[2]
    codes = (cli.DONE, cli.FAILED, cli.USAGE, cli.INTERRUPTED, cli.BROKEN_PIPE)
    assert all(f"{code} " in told for code in codes)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ImageError("cells.tif is truncated: copy it again"), 1, "cells.tif is truncated: copy it again"),
        (EngineError("no torch: pip install 'cellbrook[torch]'"), 1, "pip install 'cellbrook[torch]'"),
        (UnknownModelError("no model 'cyto9'"), 1, "error: no model 'cyto9'"),
        (UsageError("--z and --volume exclude each other"), 2, "--z and --volume exclude each other"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Cancelled(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "/out"), 1, "Permission denied: /out"),
        (MemoryError(), 1, "not enough memory"),
        (ZeroDivisionError("division\nby zero"), 1, "unexpected ZeroDivisionError: division by zero"),
    ],
)
def test_every_error_is_one_line_and_a_code(
    fail_with: object, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    fail_with(error)  # type: ignore[operator]
    assert cli.main([]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_debug_gives_the_traceback(fail_with: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLBROOK_DEBUG", "1")
    fail_with(ImageError("x"))  # type: ignore[operator]
    with pytest.raises(ImageError):
        cli.main([])


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["segmnt"], "did you mean 'segment'?"),
        (["--verison"], "did you mean '--version'?"),
        (["frobnicate"], "commands are segment"),
        (["doctor", "--jsn"], "--json"),
        (["doctor", "surplus"], "surplus"),
    ],
)
def test_usage_errors_are_short_and_exit_with_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], told: str
) -> None:
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") <= 3
    assert "cellbrook" in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("--help")


def test_a_file_instead_of_a_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = tmp_path / "my cells.tif"
    image.touch()
    assert cli.main([str(image)]) == 2
    assert f"cellbrook segment '{image}'" in capsys.readouterr().err


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, line) in cli.COMMANDS.items():
        assert f"{name} " in out
        assert line in out, "the line of a command must fit into 80 columns"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_listed_command_exists_and_explains_itself(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    module, _, attribute = cli.COMMANDS[name][0].partition(":")
    assert hasattr(importlib.import_module(module), attribute)
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"cellbrook {name}" in out
    assert "--empty-" not in out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_printed_escaped() -> None:
    done = subprocess.run([*RUN, b"caf\xe9.tif"], capture_output=True)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    code = (
        "import sys\nfrom cellbrook.cli import _console\n_console.tolerate_any_text()\n"
        "print('\\udce9 \\u00b5m')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert done.stdout == b"\\udce9 \\xb5m\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("cellbrook")


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another thing there")
def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*RUN, "models", "list"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == cli.BROKEN_PIPE


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom cellbrook.cli.app import main\nmain(['--help'])\n"
        "print([m for m in ('numpy', 'torch', 'onnxruntime', 'zarr', 'tifffile', 'markdown_it') "
        "if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_help_is_there_at_once() -> None:
    # 0.12 s on a quiet machine; processor time of the child, which other processes do not stretch
    best = min(_processor_seconds([*RUN, "--help"]) for _ in range(3))
    assert best < 0.3


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_commands_explain_themselves_without_engines(name: str) -> None:
    code = (
        f"import sys\nfrom cellbrook.cli.app import main\nmain([{name!r}, '--help'])\n"
        "print([m for m in ('torch', 'onnxruntime', 'openvino', 'zarr', 'tifffile') if m in sys.modules], "
        "file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def _processor_seconds(command: list[str]) -> float:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def test_print_json_writes_what_every_reader_takes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import numpy as np

    from cellbrook.cli._common import print_json

    document = {"a": np.float32(1.5), "b": np.arange(2), "c": float("nan"), "d": tmp_path, "e": (True, None)}
    print_json({**document, 1: "µ"})
    text = capsys.readouterr().out
    assert "µ" in text
    expected = {"a": 1.5, "b": [0, 1], "c": None, "d": str(tmp_path), "e": [True, None], "1": "µ"}
    assert json.loads(text) == expected


def test_logging_shows_own_warnings_as_lines() -> None:
    code = (
        "import logging, warnings\nfrom cellbrook.cli._console import configure_logging\n"
        "configure_logging()\nconfigure_logging()\n"
        "logging.getLogger('cellbrook.io').warning('two\\nlines')\n"
        "logging.getLogger('cellbrook.io').info('quiet')\nlogging.getLogger('tifffile').error('odd tag')\n"
        "warnings.warn('python warning')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "cellbrook: warning: two lines\n"
