"""Take the tutorial's pictures anew: ``python docs/workspace/pictures.py [--teach]``, in a development environment.

Serves the sample project from an empty folder, goes the way of the tutorial in headless Chromium and writes the pictures
beside this file. The one of the training is taken only with ``--teach``: it trains for some minutes. Look at all of them.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--disable-dev-shm-usage"]
SESSION = "window.cellbrook.session"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teach", action="store_true", help="train, and take that picture too")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, sync_playwright() as driver:
        command = [Path(sys.executable).with_name("cellbrook"), "serve", "--sample", "--no-browser"]
        environment = {**os.environ, "CELLBROOK_HOME": home, "PYTHONUNBUFFERED": "1"}
        server = subprocess.Popen(command, env=environment, cwd=home, stdout=subprocess.PIPE, text=True)
        try:
            address = next(found[0] for line in server.stdout if (found := re.search(r"https?://\S+", line)))
            browser = driver.chromium.launch(executable_path=args.chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
            page.goto(address)
            tour(page, teach=args.teach)
            damaged(page, Path(home))
            open_image(page, "fluorescence")
            until(page, f"{SESSION}.loading.value === 0")
            server.kill()
            lost(page)
            browser.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)


def tour(page: Page, *, teach: bool) -> None:
    """Go the tutorial's way."""
    open_image(page, "fluorescence")
    tab(page, "Find")
    take(page, "start")
    find_cells(page)
    take(page, "find")
    tab(page, "View")
    low_gamma = f"{SESSION}.setChannel(0, {{ gamma: 0.7, high: {SESSION}.channels.value[0].high * 0.9 }})"
    page.evaluate(f"() => {{ {low_gamma}; }}")
    take(page, "view")
    page.evaluate(f"() => {{ {SESSION}.autoContrast(); }}")

    # a cell is cut
    tab(page, "Find")
    page.get_by_role("button", name="Cut", exact=True).click()
    page.evaluate(f"() => {{ {SESSION}.zoomBy(3.5); }}")
    x, y, reach = page.evaluate(
        f"""() => {{
          const {{ objects, view }} = {SESSION};
          const {{ centre: [cy, cx], zoom, width, height }} = view.value;
          const far = (c) => Math.hypot((c.y0 + c.y1) / 2 - cy, (c.x0 + c.x1) / 2 - cx);
          const [cell] = objects.rows().filter((c) => !c.discarded).sort((a, b) => far(a) - far(b));
          const box = document.querySelector(".picture canvas").getBoundingClientRect();
          const x = box.x + ((cell.x0 + cell.x1) / 2 - cx) * zoom + width / 2;
          return [x, box.y + ((cell.y0 + cell.y1) / 2 - cy) * zoom + height / 2, (cell.x1 - cell.x0) * zoom * 0.7];
        }}"""
    )
    cells = count(page)
    page.mouse.move(x - reach, y)
    page.mouse.down()
    page.mouse.move(x + reach, y, steps=8)
    page.mouse.up()
    until(page, f"{SESSION}.objects.counts.value[0] > {cells}")
    page.get_by_role("button", name="Undo", exact=True).hover()
    page.wait_for_timeout(1000)
    take(page, "correct", rest=False)
    page.mouse.move(600, 790)
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_role("button", name="Pick", exact=True).click()
    page.evaluate(f"() => {{ {SESSION}.zoomToFit(); }}")

    # two kinds of cells
    tab(page, "View")
    page.evaluate(
        f"""() => {{
          const session = {SESSION};
          const resting = {{ id: 1, name: "resting", color: "#e69f00" }};
          const dividing = {{ id: 2, name: "dividing", color: "#56b4e9" }};
          session.setClasses([resting, dividing]);
          session.setStyle({{ color: "class" }});
          const cells = session.objects.rows().filter((cell) => !cell.discarded);
          const small = cells.filter((cell) => cell.area < 560).map(({{ id }}) => id);
          session.setClass(2, small);
          session.setClass(1, cells.map(({{ id }}) => id).filter((id) => !small.includes(id)));
        }}"""
    )
    until(page, f"{SESSION}.unsaved.value === 0")
    take(page, "classes")
    page.evaluate(f"() => {{ {SESSION}.setStyle({{ color: 'distinct' }}); }}")

    # the large ones, by the histogram
    tab(page, "Cells")
    picture = page.locator(".histogram.brushable").first
    picture.wait_for()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 0.62 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2, steps=6)
    page.mouse.up()
    take(page, "cells")
    page.evaluate(f"() => {{ {SESSION}.select([]); }}")

    # two parts of the picture
    page.locator("summary", has_text="Regions").click()
    page.evaluate(
        f"""() => {{
          const session = {SESSION};
          const ring = (y, x, ry, rx) => Array.from({{ length: 60 }}, (_, i) => {{
            const turn = (i * Math.PI) / 30;
            const wave = 1 + 0.05 * Math.sin(5 * turn) + 0.04 * Math.cos(3 * turn);
            return [y + ry * wave * Math.sin(turn), x + rx * wave * Math.cos(turn)];
          }});
          const [height, width] = session.image.value.shape;
          for (const [name, ...at] of [["edge", 0.22, 0.25, 0.17, 0.2], ["middle", 0.6, 0.58, 0.24, 0.26]]) {{
            session.beginRegion(null);
            session.drawRegion(ring(at[0] * height, at[1] * width, at[2] * height, at[3] * width));
            session.renameRegion("Region 1", name);
          }}
        }}"""
    )
    until(page, f"{SESSION}.regions.value.every((region) => region.objects !== undefined)")
    take(page, "regions")
    page.evaluate(f"() => {{ {SESSION}.setTool('pick'); {SESSION}.setOverlays({{ regions: false }}); }}")

    page.keyboard.press("?")
    take(page, "keys")
    page.keyboard.press("Escape")
    if teach:
        taught(page)
    page.get_by_role("button", name="Light page").click()
    tab(page, "Export")
    take(page, "export")


def damaged(page: Page, home: Path) -> None:
    """Open an image whose file was overwritten with a part of it."""
    image = (HERE.parents[1] / "examples" / "fluorescence.png").read_bytes()
    page.evaluate(
        f"""(text) => {{
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          void {SESSION}.addImages([new File([bytes], "day_2.png")]);
        }}""",
        base64.b64encode(image + b" ").decode(),  # not the sample's own bytes, which are there already
    )
    page.locator(".images .open").filter(has_text="day_2").wait_for()
    (file,) = home.rglob("*day_2*.png")
    file.write_bytes(image[:2000])
    page.locator(".images .open").filter(has_text="day_2").click()
    page.get_by_text("cannot be read").first.wait_for()
    take(page, "damaged")


def lost(page: Page) -> None:
    """Draw on while the server does not answer."""
    page.get_by_text("Connection lost").wait_for()
    page.get_by_role("button", name="Brush", exact=True).click()
    box = page.locator(".picture canvas").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.52 * box["width"], box["y"] + 0.52 * box["height"], steps=5)
    page.mouse.up()
    take(page, "lost", rest=False)


def taught(page: Page) -> None:
    page.get_by_role("button", name="Mark as done").click()
    open_image(page, "stained_tissue")
    tab(page, "Find")
    find_cells(page)
    page.get_by_role("button", name="Mark as done").click()
    open_image(page, "fluorescence")
    tab(page, "Teach")
    page.get_by_role("button", name="Train a round").click()
    until(page, f"({SESSION}.jobs.value.at(-1).result?.validation_ap?.length ?? 0) > 6", 1800)
    take(page, "teach")


def take(page: Page, name: str, *, rest: bool = True) -> None:
    if rest:
        page.mouse.move(600, 790)
    until(page, f"{SESSION}.loading.value === 0")
    page.wait_for_timeout(800)
    page.screenshot(path=HERE / f"{name}.png")


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def count(page: Page) -> int:
    return page.evaluate(f"{SESSION}.objects.counts.value[0]")


def until(page: Page, condition: str, seconds: float = 120) -> None:
    for _ in range(int(10 * seconds)):
        if page.evaluate(f"() => Boolean({condition})"):
            return
        page.wait_for_timeout(100)
    raise SystemExit(f"did not come true: {condition}")


def open_image(page: Page, name: str) -> None:
    page.locator(".images .open").filter(has_text=name).click()
    until(page, f"{SESSION}.image.value?.name.startsWith('{name}') && {SESSION}.picture.value")
    page.locator(".scalebar").wait_for()


def find_cells(page: Page) -> None:
    jobs = page.evaluate(f"{SESSION}.jobs.value.length")
    page.get_by_role("button", name="Find cells", exact=True).click()
    until(
        page,
        f"{SESSION}.jobs.value.length > {jobs} && {SESSION}.jobs.value.every((job) => job.state === 'done')",
    )
    until(
        page,
        f"{SESSION}.objects.counts.value[0] > 10 && {SESSION}.objects.counts.value.slice(1).some((n) => n > 0)",
    )


if __name__ == "__main__":
    main()
