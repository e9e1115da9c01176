"""A real server in a process of its own, and a real Chromium: what a person would use."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src" / "cellbrook" / "server" / "static"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# WebGL in software, so that pictures are the same on machines with and without a graphics card.
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--disable-dev-shm-usage"]
# Whose installation serves; tests/packaging names the one of the wheel.
PYTHON = os.environ.get("CELLBROOK_E2E_PYTHON", sys.executable)
WAIT_MS = 60_000  # shared builders are slow; nothing here judges speed by the clock


def missing(what):
    """Without a browser these tests are skipped on a developer's machine, and fail on a shared build."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser(static):
    try:
        from playwright import sync_api as playwright
    except ImportError:
        missing("playwright is not installed: pip install playwright")
    program = os.environ.get("CELLBROOK_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        missing("no Chromium found: install it, or name it in CELLBROOK_CHROMIUM")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


class Served:
    """A server on a project; can be ended and started again at the same address."""

    def __init__(self, home: Path, arguments: list[str]) -> None:
        self.home, self.arguments = home, arguments
        self.port: str | None = None
        self.process: subprocess.Popen[str] | None = None
        self.output: list[str] = []

    def start(self) -> str:
        """Start, and return the address with its token."""
        command = [
            PYTHON, "-c", "import sys; from cellbrook.cli.app import main; sys.exit(main())", "serve",
            "--no-browser", "--threads", "1", "--token-file", str(self.home / "token"), *self.arguments,
        ]  # fmt: skip
        if self.port is not None:
            command += ["--port", self.port]
        environment = {**os.environ, "CELLBROOK_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            found = re.search(r"https?://\S+", line)
            if found:
                self.port = re.search(r":(\d+)/", found[0])[1]
                threading.Thread(target=self._drain, daemon=True).start()
                return found[0]
        raise AssertionError("the server did not start:\n" + "".join(self.output))

    def _drain(self) -> None:
        with self.process.stdout as stream:
            self.output.extend(stream)

    def end(self, how: int = signal.SIGINT) -> None:
        """End it as Ctrl-C does, or as asked."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(15)


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """The sample project, made once: every test gets a copy."""
    from cellbrook.server.sample import sample_project

    return sample_project(tmp_path_factory.mktemp("home") / "sample.project")


@contextmanager
def servers(home, sample):
    """Give a function that starts servers with their data in a folder; all are ended after."""
    started = []

    def start(*arguments):
        if "--sample" in arguments:
            shutil.copytree(sample, home / sample.name)
        served = Served(home, [str(a) for a in arguments])
        started.append(served)
        return served

    try:
        yield start
    finally:
        for served in started:
            served.end()


@pytest.fixture
def serve(tmp_path, sample):
    """Start servers for one test."""
    with servers(tmp_path, sample) as start:
        yield start


@pytest.fixture(scope="module")
def shared_sample(tmp_path_factory, sample):
    """Address of a server on the sample project that the tests of a file share."""
    with servers(tmp_path_factory.mktemp("shared"), sample) as start:
        yield start("--sample").start()


@pytest.fixture
def tab(browser):
    """Open a browser tab on an address; whatever goes wrong in the page fails the test."""

    @contextmanager
    def opened(address, **options):
        context = browser.new_context(
            viewport={"width": 1280, "height": 800}, accept_downloads=True, **options
        )
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        problems = []

        def listen(message):
            # the answer that sets the cookie is no page, and has no icon
            if message.type == "error" and "favicon" not in message.location["url"]:
                problems.append(f"{message.text} {message.location}")

        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", listen)
        page.problems = problems
        try:
            page.goto(address)
            yield page
        finally:
            context.close()
        assert not problems, problems

    return opened


@pytest.fixture(scope="session")
def static():
    """Folder of the built page."""
    if not (STATIC / "index.html").is_file():
        missing("the page is not built: make page")
    return STATIC


@pytest.fixture(scope="session")
def axe():
    """Source of axe-core, which looks for barriers in a page."""
    source = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        missing("axe-core is not installed: make page")
    return source.read_text()
