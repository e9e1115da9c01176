"""Measure the page of `cellbrook serve` in headless Chromium, on an image of 4096 x 4096 with some 11,000 cells.

    python benchmarks/page.py [--size 4096] [--busy] [--chromium PATH]

Server and browser run on this machine and share its cores; WebGL is drawn in software, so frames are slower than with a
graphics card. Prints one line a figure with its bar. --busy adds the page's round trip while the image is segmented and
a model is trained.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile

from cellbrook.core.objects import ObjectTable
from cellbrook.project import Project, Replace
from images import fluorescence
from processes import machine
from scenes import packed_ellipses

FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--disable-dev-shm-usage"]
SESSION, STAGE = "window.cellbrook.session", "window.cellbrook.stage"

# Notes when the picture was last drawn and what went to the card; times of the page's own clock.
PROBES = """
() => {
  const { session, stage } = window.cellbrook;
  window.probe = { drawn: 0, pongs: [], sent: [], pings: 0 };
  const draw = stage.draw.bind(stage);
  const one = new Uint8Array(4);
  stage.draw = (boxes) => {
    draw(boxes);
    stage.gl.readPixels(0, 0, 1, 1, stage.gl.RGBA, stage.gl.UNSIGNED_BYTE, one); // waits until it is there
    probe.drawn = performance.now();
  };
  const receive = session.receive.bind(session);
  session.receive = (message) => {
    if (message.type === "pong") probe.pongs.push(performance.now() - message.t);
    receive(message);
  };
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    probe.sent.push(data.byteLength ?? data.length);
    return send.call(this, data);
  };
}
"""

FRAMES = """
() => Array.from({ length: 20 }, () => {
  const start = performance.now();
  window.cellbrook.stage.draw();
  return performance.now() - start;
})
"""

LISTEN = """
() => {
  probe.points = [];
  const note = (event) => probe.points.push(event.timeStamp);
  document.querySelector(".picture canvas").addEventListener("pointermove", note, true);
}
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument(
        "--busy", action="store_true", help="also while the image is segmented and a model trained"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    print(machine())
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        folder = project_of(Path(temporary), args.size)
        browser = driver.chromium.launch(executable_path=args.chromium, args=FLAGS)
        with served(folder) as address:
            page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            page.goto(address)
            page.locator(".images .open").first.wait_for()
            page.evaluate(PROBES)
            missed = [*quiet(page, args.repeats), *(busy(page) if args.busy else ())]
        browser.close()
    print("every bar is reached" if not missed else f"below the bar: {', '.join(missed)}")
    return 1 if missed else 0


def project_of(folder: Path, size: int) -> Path:
    """Make a project of three images of which the first has cells."""
    labels = packed_ellipses(size)
    pixels = fluorescence(labels)
    names = ("cells", "other", "third")
    for name in names:
        part = pixels if name == "cells" else pixels[:512, :512]
        tifffile.imwrite(folder / f"{name}.tif", part if name != "third" else part[::-1].copy())
    path = folder / "bench.project"
    with Project.create(path, images=[folder / f"{name}.tif" for name in names]) as project:
        for name in names:
            image = project.find(name)
            own = labels if name == "cells" else labels[:512, :512][:: 1 if name == "other" else -1]
            ids, dense = np.unique(own, return_inverse=True)
            table = ObjectTable({"label": np.arange(1, len(ids)), "score": np.full(len(ids) - 1, 0.9)})
            project.log(image.id).apply(
                Replace(
                    dense.reshape(own.shape).astype(np.uint32),
                    table,
                    origin="auto" if name == "cells" else "manual",
                )
            )
        for name in names[1:]:
            project.set_state(project.find(name).id, "done")
    return path


@contextmanager
def served(project: Path):
    """Serve a project; give its address."""
    command = Path(sys.executable).with_name("cellbrook")
    environment = {**os.environ, "CELLBROOK_HOME": str(project.parent), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [command, "serve", "--no-browser", project], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        for line in process.stdout:
            if found := re.search(r"https?://\S+", line):
                yield found[0]
                break
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def settled(page, pause: float = 0.4, limit: float = 60) -> None:
    """Wait until nothing was drawn for a while."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if page.evaluate("performance.now() - probe.drawn") > 1000 * pause:
            return
        page.wait_for_timeout(50)


def until(page, condition: str, limit: float = 120) -> None:
    end = time.monotonic() + limit
    while not page.evaluate(f"() => Boolean({condition})"):
        if time.monotonic() > end:
            raise SystemExit(f"did not come true: {condition}")
        page.wait_for_timeout(20)


def quiet(page, repeats: int) -> list[str]:
    """Measure opening, drawing, undo and what a change sends; return what is below its bar."""
    missed: list[str] = []

    def report(what: str, values: list[float], bar: float, unit: str = "ms") -> None:
        worst, middle = max(values), statistics.median(values)
        print(f"{what:<44}{middle:9.1f} {unit:<8}worst {worst:9.1f}   bar {bar:g}")
        if middle > bar:
            missed.append(what)

    names = page.evaluate(f"{SESSION}.images.value.map(({{ id, name }}) => [name, id])")
    ids = dict(names)
    opened = []
    for _ in range(repeats):
        page.evaluate(f"{SESSION}.openImage('{ids['other']}')")
        until(page, f"{SESSION}.imageId.value === '{ids['other']}' && {SESSION}.picture.value")
        settled(page)
        start = page.evaluate(
            f"() => {{ const t = performance.now(); {SESSION}.openImage('{ids['cells']}'); return t; }}"
        )
        until(page, f"{SESSION}.picture.value && {SESSION}.objects.counts.value[0] > 1000")
        settled(page)
        opened.append(page.evaluate("probe.drawn") - start)
    print(f"{page.evaluate(f'{SESSION}.objects.counts.value[0]')} cells")
    report("image with its cells is drawn", opened, 1500)

    frames = page.evaluate(FRAMES)
    frame = statistics.median(frames)
    report("one frame", frames, 1000)

    # what must not touch pixels
    row = page.evaluate(f"{SESSION}.objects.rows().slice(0, 40).map(({{ id }}) => id)")
    tiles = page.evaluate(f"{STAGE}.sent.tiles")
    for action in (
        f"{SESSION}.select([{row[0]}, {row[1]}])",
        f"{SESSION}.setThresholds({{ score: 0.95 }})",
        f"{SESSION}.setThresholds({{ score: 0 }})",
        f"{SESSION}.select([])",
    ):
        page.evaluate(f"() => {{ {action}; }}")
        settled(page, 0.2)
    changed = page.evaluate(f"{STAGE}.sent.tiles") - tiles
    report("texels sent by select and limits", [changed], 0, "texels")

    # a stroke, point by point, through the page's own event handlers
    until(page, f"{SESSION}.picture.value?.document")
    page.evaluate(f"() => {{ {SESSION}.tool.value = 'brush'; {SESSION}.zoomBy(8); }}")
    settled(page)
    box = page.locator(".picture canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.evaluate(LISTEN)
    delays, strokes = [], []
    for stroke in range(repeats):
        page.mouse.move(x + 12 * stroke, y)
        page.mouse.down()
        sent = page.evaluate("probe.sent.length")
        for step in range(8):
            page.evaluate("() => { probe.points.length = 0; }")
            page.mouse.move(x + 12 * stroke + 3 * step, y + 5 * step)
            settled(page, 0.05, 2)
            delays.append(page.evaluate("probe.points.length ? probe.drawn - probe.points.at(-1) : 0"))
        page.mouse.up()
        settled(page, 0.2)
        strokes.append(float(max(page.evaluate(f"probe.sent.slice({sent})"), default=0)))
    report("brush point to picture", [d for d in delays if d > 0], frame + 60)
    report("bytes that a stroke sends", strokes, 1000, "bytes")

    undone = []
    until(page, f"{SESSION}.unsaved.value === 0")
    for _ in range(repeats):
        before = page.evaluate(f"{SESSION}.document.rev")
        start = page.evaluate(f"() => {{ const t = performance.now(); {SESSION}.undo(); return t; }}")
        until(page, f"{SESSION}.document.rev > {before}")
        settled(page, 0.1)
        undone.append(page.evaluate("probe.drawn") - start)
    report("undo, there and back, drawn", undone, 100)
    report("round trip", pings(page, 100), 100)
    return missed


def pings(page, count: int, pause_ms: int = 20) -> list[float]:
    """Return round trips of messages through the page's own connection, sorted, the worst hundredth as their last."""
    page.evaluate("() => { probe.pongs = []; }")
    for _ in range(count):
        page.evaluate(f"() => {SESSION}.transport.send({{ type: 'ping', t: performance.now() }})")
        page.wait_for_timeout(pause_ms)
    until(page, f"probe.pongs.length >= {count}")
    return sorted(page.evaluate("probe.pongs"))


def busy(page) -> list[str]:
    """Measure the round trip while the image is segmented and a model trained."""
    page.evaluate(f"() => {SESSION}.train({{ steps: 200 }})")
    page.evaluate(f"() => {SESSION}.submit('segment', {SESSION}.imageId.value, {{}})")
    until(page, f"{SESSION}.jobs.value.filter((job) => job.state === 'running').length === 2")
    values = pings(page, 400, 50)
    running = page.evaluate(f"{SESSION}.jobs.value.map(({{ kind, state }}) => kind + ' ' + state)")
    p99 = values[int(0.99 * len(values))]
    what = "round trip, 99th percentile, busy"
    print(f"{what:<44}{p99:9.1f} ms      worst {values[-1]:9.1f}   bar 100   ({json.dumps(running)})")
    for job in page.evaluate(f"{SESSION}.jobs.value.map(({{ id }}) => id)"):
        page.evaluate(f"() => {SESSION}.cancelJob('{job}')")
    return ["round trip while busy"] if p99 > 100 else []


if __name__ == "__main__":
    sys.exit(main())
