"""WCAG 2.1 A and AA by axe, for every panel, dark and light, in its states."""

import pytest

TABS = ("View", "Find", "Cells", "Teach", "Export")
RUN = """async () => {
  const found = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]});
  const where = (node) => `${node.html.slice(0, 160)} ${node.any[0]?.message ?? ""}`;
  return found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map(where).join(" | ")}`);
}"""
REGION = "() => document.activeElement.closest('.top, .left, .rail, .stage, .right')?.className ?? ''"


def check(page):
    assert page.evaluate(RUN) == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_panel(tab, serve, axe, theme):
    served = serve("--sample")
    with tab(served.start(), color_scheme=theme) as page:
        page.get_by_role("button", name="fluorescence").first.click()
        page.locator(".scalebar").wait_for()
        page.evaluate(axe)
        for name in TABS:
            page.get_by_role("tab", name=name).click()
            check(page)
        page.get_by_role("tab", name="Find").click()
        page.get_by_role("button", name="Find cells").click()
        page.get_by_text("shown").first.wait_for()
        for name in ("Find", "Cells", "Export"):
            page.get_by_role("tab", name=name).click()
            check(page)
        page.keyboard.press("?")
        page.get_by_role("dialog").wait_for()
        check(page)


def test_an_empty_project_says_what_to_do(tab, serve, axe, tmp_path, examples):
    images = tmp_path / "images"
    images.mkdir()
    (images / "one.png").write_bytes((examples / "fluorescence.png").read_bytes())
    served = serve(images)
    with tab(served.start()) as page:
        page.locator(".images .open").hover()
        page.get_by_role("button", name="Take out of the project").click()
        question = page.get_by_role("dialog", name="Take an image out")
        question.get_by_text("your corrections are kept").wait_for()
        page.evaluate(axe)
        check(page)
        question.get_by_role("button", name="Take it out").click()
        page.get_by_text("Start with an image").wait_for()
        check(page)


def test_the_keyboard_alone_reaches_everything(tab, serve):
    served = serve("--sample")
    with tab(served.start()) as page:
        page.locator(".images .open").first.wait_for()
        seen = set()
        for _ in range(80):
            page.keyboard.press("Tab")  # in the picture, where Tab walks through cells, Escape leads out
            seen.add(
                page.evaluate(
                    "() => document.activeElement.closest('.top, .left, .rail, .stage, .right')?.className ?? ''"
                )
            )
        assert {"top", "left", "rail", "stage", "right"} <= {name.split(" ")[0] for name in seen}
