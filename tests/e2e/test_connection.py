"""The server dies while somebody draws: the page says so, nothing is lost, and it goes on by itself."""

import re
import signal

SESSION = "window.cellbrook.session"


def wait(page, condition):
    for _ in range(900):
        if page.evaluate(f"() => Boolean({condition})"):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"did not become true: {condition}")


def draw(page, x, y):
    box = page.locator(".picture canvas").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.down()
    page.mouse.move(box["x"] + x + 30, box["y"] + y + 10, steps=5)
    page.mouse.up()


def test_what_is_drawn_without_a_server_is_saved_when_it_is_back(tab, serve):
    served = serve("--sample")
    expected = re.compile("ERR_CONNECTION|WebSocket|Failed to load resource")
    with tab(served.start()) as page:
        page.locator(".images .open").first.click()
        wait(page, f"{SESSION}.picture.value !== null && {SESSION}.objects.rows() !== null")
        page.get_by_role("button", name="Brush", exact=True).click()
        draw(page, 200, 300)
        page.get_by_text("All changes saved").wait_for()
        served.end(signal.SIGKILL)
        page.get_by_text("Connection lost").wait_for()
        draw(page, 300, 420)
        page.get_by_text("1 change will be sent").wait_for()
        served.start()
        page.get_by_text("Connection lost").wait_for(state="hidden")
        page.get_by_text("All changes saved").wait_for()
        page.reload()
        wait(page, f"{SESSION}.objects.rows().length === 2")
        page.problems[:] = [p for p in page.problems if not expected.search(p)]
