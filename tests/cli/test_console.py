"""Progress: redrawn on a terminal, now and then a line elsewhere, never when it should be quiet."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import pytest

from cellbrook.cli import _console
from cellbrook.cli._console import ConsoleProgress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(_console.time, "monotonic", lambda: now[0])
    return now


def test_the_line_says_images_tiles_and_time_left(clock: list[float]) -> None:
    progress = ConsoleProgress(stream=Terminal())
    progress.start_images(4)
    progress.next_image("a.tif")
    progress.start("tiles", 10)
    assert progress.line() == "image 1/4  a.tif  tiles 0/10"
    clock[0] += 20
    progress.advance(10)
    assert progress.line() == "image 1/4  a.tif  tiles 10/10  1 min 0 s left"
    progress.next_image("b.tif")
    progress.start("tiles", 10)
    clock[0] += 10
    progress.advance(5)
    assert progress.line() == "image 2/4  b.tif  tiles 5/10  50 s left"


def test_one_image_alone(clock: list[float]) -> None:
    progress = ConsoleProgress(stream=Terminal())
    progress.start("tiles", 4)
    clock[0] += 3
    progress.advance(1)
    assert progress.line() == "tiles 1/4  9 s left"


def test_no_guess_in_the_first_second(clock: list[float]) -> None:
    progress = ConsoleProgress(stream=Terminal())
    progress.start("tiles", 4)
    clock[0] += 0.5
    progress.advance(2)
    assert "left" not in progress.line()


def test_a_terminal_is_redrawn_on_one_line_and_cleared(clock: list[float]) -> None:
    stream = Terminal()
    progress = ConsoleProgress(stream=stream)
    progress.start_images(2)
    clock[0] += 1
    progress.next_image("a_long_name.tif")
    clock[0] += 1
    progress.start("tiles", 2)
    for _ in range(2):
        clock[0] += 1
        progress.advance()
    progress.clear()
    text = stream.getvalue()
    assert "\n" not in text
    assert "tiles 2/2" in text
    last = text.rstrip("\r").rpartition("\r")[2]
    assert last.strip() == ""
    assert len(last) >= len(text.rpartition("tiles 2/2")[0].rpartition("\r")[2])


def test_a_terminal_is_not_flooded(clock: list[float]) -> None:
    stream = Terminal()
    progress = ConsoleProgress(stream=stream)
    progress.start("tiles", 10_000)
    for _ in range(9_999):
        clock[0] += 0.001
        progress.advance()
    assert 50 < stream.getvalue().count("\r") < 150


def test_a_file_gets_a_line_now_and_then(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(stream=stream)
    progress.start("tiles", 60)
    for _ in range(60):
        clock[0] += 1
        progress.advance()
    lines = stream.getvalue().splitlines()
    assert 5 <= len(lines) <= 6
    assert "\r" not in stream.getvalue()


def test_quiet_says_nothing(clock: list[float]) -> None:
    stream = Terminal()
    progress = ConsoleProgress(quiet=True, stream=stream)
    progress.start_images(2)
    progress.next_image("a")
    progress.start("tiles", 1)
    clock[0] += 100
    progress.advance()
    progress.clear()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("system", "lead"), [("posix", "\r\x1b[K"), ("nt", "\r" + " " * 39 + "\r")])
def test_a_note_takes_the_line_away_as_the_terminal_can(
    monkeypatch: pytest.MonkeyPatch, system: str, lead: str
) -> None:
    stream = Terminal()
    monkeypatch.setattr(_console.sys, "stderr", stream)
    monkeypatch.setattr(_console, "_columns", lambda: 40)
    monkeypatch.setattr(_console, "os", SimpleNamespace(name=system))
    _console.note("done")
    assert stream.getvalue() == f"{lead}done\n"


def test_a_failure_names_its_cause_and_shows_where_once(capsys: pytest.CaptureFixture[str]) -> None:
    handler = _console._LineHandler()

    def fail(text: str) -> None:
        try:
            raise ValueError(text)
        except ValueError as error:
            info = (type(error), error, error.__traceback__)
            handler.handle(
                logging.LogRecord("cellbrook", logging.ERROR, "", 0, "a connection ended", None, info)
            )

    for text in ("first\nline", "second"):
        fail(text)
    said = capsys.readouterr().err
    assert "cellbrook: error: a connection ended: ValueError: first line\n" in said
    assert "cellbrook: error: a connection ended: ValueError: second\n" in said
    assert said.count("Traceback") == 1
    assert "in fail" in said
