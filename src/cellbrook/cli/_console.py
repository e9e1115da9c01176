"""What the command line says to people: on standard error; results go to standard output."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
import traceback
from typing import IO


def one_line(text: str) -> str:
    """Return the text with every run of white space, line ends included, made one space."""
    return " ".join(text.split())


def error(text: str) -> None:
    """Print an error on standard error."""
    _say(f"cellbrook: error: {text}")


def warn(text: str) -> None:
    """Print a warning on standard error."""
    _say(f"cellbrook: warning: {one_line(text)}")


def note(text: str, *, quiet: bool = False) -> None:
    """Print a remark on standard error, unless `quiet`."""
    if not quiet:
        _say(text)


def discard_stdout() -> None:
    """Send what is still to be written on standard output to nowhere: its reader is gone."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def tolerate_any_text() -> None:
    """Let both streams write characters that their encoding lacks as escapes, instead of failing.

    A file's name may hold bytes that are no text, and a Windows console may know no Greek.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def configure_logging() -> None:
    """Show Cellbrook's own warnings (with CELLBROOK_DEBUG=1 all records) as lines on standard error.

    Other libraries' records are held back below ERROR: what tifffile thinks of a tag is of no use to a user.
    """
    debug = os.environ.get("CELLBROOK_DEBUG") == "1"
    root = logging.getLogger()
    if not any(isinstance(handler, _LineHandler) for handler in root.handlers):
        root.addHandler(_LineHandler())
    root.setLevel(logging.WARNING if debug else logging.CRITICAL)
    logging.getLogger("cellbrook").setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        import warnings

        warnings.simplefilter("ignore")


class _LineHandler(logging.Handler):
    """Writes a record as one line, after clearing a progress line that may stand there.

    Where an exception that nobody expected is logged, the line names it, and its traceback follows, once for each cause.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = f"cellbrook: {record.levelname.lower()}: {one_line(record.getMessage())}"
        cause = record.exc_info[1] if record.exc_info else None
        if cause is None:
            _say(line)
            return
        _say(f"{line}: {one_line(f'{type(cause).__name__}: {cause}')}")
        place = "".join(traceback.format_tb(cause.__traceback__)) + type(cause).__name__
        if place not in self._told:
            self._told.add(place)
            _say("".join(traceback.format_exception(cause)).rstrip())


class ConsoleProgress:
    """Progress on standard error: a line that is redrawn on a terminal, else a plain line now and then.

    Implements `cellbrook.core.progress.Progress` for the tiles of one image; `start_images` and `next_image`
    add the place in a list of images, from which the time left is estimated.

    Parameters
    ----------
    quiet : bool
        Say nothing.
    stream : file or None
        Where to write; standard error if None.
    """

    _REDRAW_S = 0.1  # a terminal need not be told more often
    _PERIOD_S = 10.0  # in a log file

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._images = 0
        self._image = 0
        self._name = ""
        self._task = ""
        self._total = 0
        self._done = 0
        self._began = time.monotonic()
        self._shown = self._began
        self._width = 0

    def start_images(self, total: int) -> None:
        """Begin a list of `total` images; the time left counts from here."""
        self._images, self._image, self._began = total, 0, time.monotonic()
        self._shown = self._began

    def next_image(self, name: str) -> None:
        """Say which image comes now."""
        self._image += 1
        self._name, self._task, self._total, self._done = name, "", 0, 0
        self._show()

    def start(self, task: str, total: int) -> None:
        """Begin a task of `total` units within the image; see `Progress.start`."""
        if not self._images:
            self._began = time.monotonic()
        self._task, self._total, self._done = task, total, 0
        self._show()

    def advance(self, count: int = 1) -> None:
        """Report finished units; see `Progress.advance`."""
        self._done += count
        self._show()

    def check_cancelled(self) -> None:
        """Do nothing: on a command line Ctrl-C raises KeyboardInterrupt by itself."""

    def clear(self) -> None:
        """Take the progress line away, before something else is printed or at the end."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0

    def line(self) -> str:
        """Return what is shown: place among the images, name, units done, time left."""
        parts = []
        if self._images > 1:
            parts.append(f"image {self._image}/{self._images}")
        if self._name:
            parts.append(self._name)
        if self._total:
            parts.append(f"{self._task} {min(self._done, self._total)}/{self._total}")
        left = self._seconds_left()
        if left is not None:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)

    def _fraction(self) -> float:
        """Return the share of the whole that is done, images counting alike."""
        within = min(self._done / self._total, 1.0) if self._total else 0.0
        if not self._images:
            return within
        return (max(self._image - 1, 0) + within) / self._images

    def _seconds_left(self) -> float | None:
        fraction, passed = self._fraction(), time.monotonic() - self._began
        if fraction <= 0 or passed < 1.0:  # a guess after less than a second is noise
            return None
        return passed * (1 - fraction) / fraction

    def _show(self) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        if self._terminal:
            if now - self._shown < self._REDRAW_S and self._done < self._total:
                return
            text = _fit(self.line())
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            if now - self._shown < self._PERIOD_S:
                return
            self._stream.write(self.line() + "\n")
        self._stream.flush()
        self._shown = now


def duration(seconds: float) -> str:
    """Return a time span for people.

    Examples
    --------
    >>> duration(8.4), duration(75), duration(7300)
    ('8 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _fit(text: str) -> str:
    """Cut to the terminal's width: a line that wraps cannot be redrawn."""
    columns = _columns()
    return text if len(text) < columns else text[: max(columns - 2, 1)] + "…"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80


def _say(text: str) -> None:
    # A note must not land behind a half-drawn progress line.
    lead = "\r\x1b[K" if sys.stderr.isatty() else ""
    if lead and os.name == "nt":  # a classic console of Windows prints the sequence
        lead = "\r" + " " * (_columns() - 1) + "\r"
    print(lead + text, file=sys.stderr)
