"""Regions in the page: drawn by hand, named, counted, taken away as files, brought in again, and undone."""

from __future__ import annotations

import json

from .test_correcting import Hand, wait

NAMES = "() => window.cellbrook.session.regions.value.map(({ name, objects }) => [name, objects ?? -1])"


def test_a_region_is_drawn_named_counted_and_brought_in_again(tab, serve, axe, tmp_path):
    served = serve("--sample")
    with tab(served.start()) as page:
        hand = Hand(page)
        for y, x in ((20, 20), (20, 60), (90, 40), (90, 140)):
            hand.page.keyboard.press("b")
            hand.stroke((y, x), (y, x + 6))
        page.get_by_role("tab", name="Cells").click()
        page.locator("summary", has_text="Regions").click()
        page.get_by_role("button", name="Draw a region").click()
        hand.stroke((0, 0), (0, 110), (55, 110), (55, 0))
        wait(page, f"() => JSON.stringify(({NAMES})()) === '[[\"Region 1\",2]]'")
        name = page.get_by_label("Name of region 1")
        name.fill("tumour µ")
        name.press("Enter")
        page.get_by_role("button", name="Draw a region").click()
        for corner in ((70, 0), (70, 110), (110, 110), (110, 0)):
            hand.click(*corner)
        page.keyboard.press("Enter")
        wait(page, f'() => JSON.stringify(({NAMES})()) === \'[["tumour µ",2],["Region 1",1]]\'')
        page.get_by_text("1 cell ·").wait_for()
        wait(page, "() => document.querySelectorAll('.over .region').length === 2")
        chosen = "() => window.cellbrook.session.selection.value.size"
        page.get_by_role("button", name="Select the cells in tumour µ").click()
        wait(page, f"() => ({chosen})() === 2")
        page.get_by_role("button", name="Select cells outside").click()
        wait(page, f"() => ({chosen})() === 1")
        page.get_by_role("columnheader", name="Region").wait_for()  # of each cell in the table
        page.evaluate(axe)
        assert (
            page.evaluate(
                "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa']}).then((r) => r.violations.map((v) => v.help))"
            )
            == []
        )

        with page.expect_download() as coming:
            page.get_by_role("button", name="Outlines").click()
        outlines = tmp_path / "outlines.geojson"
        coming.value.save_as(outlines)
        assert [f["properties"]["name"] for f in json.loads(outlines.read_text("utf-8"))["features"]] == [
            "tumour µ",
            "Region 1",
        ]
        with page.expect_download() as coming:
            page.get_by_role("button", name="Table").click()
        assert coming.value.suggested_filename.endswith("_regions.csv")

        page.get_by_role("button", name="Take tumour µ away").click()
        page.get_by_role("button", name="Take Region 1 away").click()
        wait(page, "() => document.querySelectorAll('.over .region').length === 0")
        page.get_by_label("File with regions").set_input_files(outlines)
        page.get_by_text("came in from outlines.geojson").wait_for()
        wait(page, f'() => JSON.stringify(({NAMES})()) === \'[["tumour µ",2],["Region 1",1]]\'')
        page.evaluate("window.cellbrook.stage.canvas.focus()")
        page.keyboard.press("Control+z")
        wait(page, f"() => ({NAMES})().length === 0")
        page.keyboard.press("Control+y")
        wait(page, f"() => ({NAMES})().length === 2")
        page.reload()
        page.locator(".scalebar").wait_for()
        wait(page, f'() => JSON.stringify(({NAMES})()) === \'[["tumour µ",2],["Region 1",1]]\'')
