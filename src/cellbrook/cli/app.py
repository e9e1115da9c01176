"""The `cellbrook` command: finds the subcommand, and turns errors into one line and an exit code.

Subcommands are named here by import path, so `--help` and each command pay only for what they use. A
subcommand is a function of its own module that takes annotated parameters, prints, and returns its exit code
(None counts as 0).
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from cellbrook.cli import _console
from cellbrook.errors import Cancelled, CellbrookError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import App, CycloptsError

DONE, FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

COMMANDS: dict[str, tuple[str, str]] = {
    "segment": ("cellbrook.cli.segment:segment", "Find the cells in images; write labels, overlay, table."),
    "measure": ("cellbrook.cli.measure:measure", "Measure existing labels on their image."),
    "export": ("cellbrook.cli.export:export", "Write existing labels as ROIs, GeoJSON, COCO, pictures."),
    "evaluate": ("cellbrook.cli.evaluate:evaluate", "Compare predicted labels with the truth."),
    "agreement": ("cellbrook.cli.agreement:agreement", "Compare two people's labels, and a model with both."),
    "tune": ("cellbrook.cli.tune:tune", "Search the thresholds that suit your images."),
    "train": ("cellbrook.cli.train:train", "Teach a model your own cells, from labelled images."),
    "project": (
        "cellbrook.cli.project:app",
        "Correct and teach in rounds: images, labels, models.",
    ),
    "serve": ("cellbrook.cli.serve:serve", "See, correct and teach in the browser."),
    "models": ("cellbrook.cli.models:app", "List, inspect, install, verify and remove models."),
    "doctor": ("cellbrook.cli.doctor:doctor", "Show what can run here, and how to mend what cannot."),
}
"""Name -> (import path, line in the list of commands), in the order of the list."""

_ROOT_FLAGS = ("-h", "--help", "--version")


def build_app(chosen: str | None = None) -> App:
    """Return the application; of its subcommands only the chosen one is imported, the others are listed."""
    from cyclopts import App, Parameter

    from cellbrook.cli._settings import from_settings

    app = App(
        name="cellbrook",
        help="Find the cells in microscopy images: an image in, one labelled region a cell out.",
        version=_version,
        # Markdown joins a docstring's lines into paragraphs, but its renderer takes a while to import.
        help_format="markdown" if chosen in COMMANDS else "plaintext",
        default_parameter=Parameter(negative_iterable=()),  # no --empty-save
        suppress_keyboard_interrupt=False,  # `main` says in a line what became of the files
        config=from_settings,
        help_epilogue="Exit codes: 0 done, 1 something failed, 2 usage, 130 interrupted, 141 the output's reader went "
        "away. CELLBROOK_DEBUG=1 adds tracebacks.",
    )
    for position, (name, (path, line)) in enumerate(COMMANDS.items()):
        if name == chosen:
            module, _, attribute = path.partition(":")
            command = getattr(importlib.import_module(module), attribute)
            app.command(command, name=None if isinstance(command, App) else name)
        else:
            app.command(_listed_only, name=name, help=line, sort_key=position)
    return app


def _listed_only() -> None:
    """Stand for a command that is not the chosen one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments without the program's name; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0 done, 1 something failed, 2 usage, 130 interrupted, 141 the output's reader went away.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # No command multiplies matrices through NumPy, whose threads for it spin for a tenth of a second from the start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    debug = os.environ.get("CELLBROOK_DEBUG") == "1"
    try:
        code = _run(arguments)
        sys.stdout.flush()  # here, where a reader that went away can still be handled
        return code
    except BrokenPipeError:
        # The interpreter flushes once more on its way out and would complain then.
        _console.discard_stdout()
        return BROKEN_PIPE
    except (KeyboardInterrupt, Cancelled):
        _console.error("interrupted; the files that were written are whole")
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return _report(error)


def _run(arguments: list[str]) -> int:
    _console.tolerate_any_text()
    _console.configure_logging()
    chosen = arguments[0] if arguments else None
    if chosen is not None:
        _check_first(chosen)
    from cyclopts import CycloptsError

    app = build_app(chosen)
    try:
        result: Any = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _console.error(f"{_usage_line(error)}\n  see: {_help_command(error)}")
        return USAGE
    return result if isinstance(result, int) else DONE


def _check_first(word: str) -> None:
    """Refuse an unknown command here: cyclopts would import every command to suggest a near one."""
    if word in COMMANDS or word in _ROOT_FLAGS:
        return
    import difflib

    near = difflib.get_close_matches(word, (*COMMANDS, *_ROOT_FLAGS), n=1)
    kind = "option" if word.startswith("-") else "command"
    hint = f"did you mean {near[0]!r}?" if near else f"commands are {', '.join(COMMANDS)}"
    if os.path.exists(word):
        import shlex

        hint = f"to segment that file: cellbrook segment {shlex.quote(word)}"
    raise UsageError(f"unknown {kind} {word!r}: {hint}\n  see: cellbrook --help")


def _report(error: Exception) -> int:
    """Print what went wrong in one line and return the exit code."""
    if isinstance(error, CellbrookError):
        _console.error(str(error))
        return USAGE if isinstance(error, UsageError) else FAILED
    detail = _console.one_line(str(error))
    if isinstance(error, MemoryError):
        _console.error(f"not enough memory ({detail or 'no details'}): try --tile-size 256 or --batch-size 1")
    elif isinstance(error, OSError) and error.strerror:
        _console.error(error.strerror + (f": {error.filename}" if error.filename else ""))
    else:
        name = type(error).__name__
        _console.error(f"unexpected {name}: {detail} (a defect of Cellbrook; CELLBROOK_DEBUG=1 shows where)")
    return FAILED


def _usage_line(error: CycloptsError) -> str:
    error.verbose = False  # the verbose form adds Python names and types, which mean nothing to a user
    return _console.one_line(str(error))


def _help_command(error: CycloptsError) -> str:
    return " ".join(["cellbrook", *(error.command_chain or ()), "--help"])


def _version() -> str:
    from importlib.metadata import version

    return version("cellbrook")


if __name__ == "__main__":
    sys.exit(main())
