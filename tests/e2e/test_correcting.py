"""Every tool, by mouse and key; after each of them the page shows what the server keeps."""

import pytest

# Pixels of all tiles that the page holds, merged and deleted ids resolved, against what the server has; table and screen.
DIFFER = """async () => {
  const session = window.cellbrook.session;
  for (let i = 0; i < 600 && session.unsaved.value > 0; i++) await new Promise((wake) => setTimeout(wake, 50));
  await new Promise((wake) => setTimeout(wake, 300));
  const document = session.picture.value.document;
  const image = `api/images/${session.imageId.value}`;
  const found = [];
  for (const [tile, data] of document.tiles.resident()) {
    const place = `${tile.level}/${session.plane.value}/${tile.ty}/${tile.tx}`;
    const answer = await fetch(`${image}/labels/${place}`, { cache: "no-store" });
    const truth = answer.status === 204 ? new Uint32Array(512 * 512) : new Uint32Array(await answer.arrayBuffer());
    const wrong = truth.reduce((sum, id, i) => sum + ((data ? document.remap.resolve(data[i]) : 0) === id ? 0 : 1), 0);
    if (wrong) found.push(`${wrong} pixels of tile ${tile.ty}, ${tile.tx} at level ${tile.level}`);
  }
  const rows = await (await fetch(`${image}/objects?plane=${session.plane.value}`, { cache: "no-store" })).json();
  rows.id.forEach((id, i) => {
    const cell = session.objects.peek(id);
    if (!cell || cell.area !== rows.area[i] || cell.y0 !== rows.y0[i] || cell.x1 !== rows.x1[i]) found.push(`object ${id}`);
  });
  if (rows.id.length !== session.objects.rows().length) found.push("the number of objects");
  // What is on the screen was drawn bit by bit: it must be what one whole frame is.
  await new Promise((wake) => requestAnimationFrame(() => requestAnimationFrame(wake)));
  const { stage } = window.cellbrook;
  const read = () => {
    const { gl } = stage;
    const { drawingBufferWidth: width, drawingBufferHeight: height } = gl;
    const pixels = new Uint32Array(width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(pixels.buffer));
    return pixels;
  };
  const shown = read();
  stage.draw();
  const old = read().reduce((sum, value, i) => sum + Number(value !== shown[i]), 0);
  if (old) found.push(`${old} pixels of the screen are out of date`);
  return { found, cells: rows.id.length - rows.discarded.filter((gone) => gone).length };
}"""

READY = """() => {
  const session = window.cellbrook?.session;
  return Boolean(session?.picture.value && session.loading.value === 0 && session.objects.version.value > 1
    && session.view.value.width > 1);
}"""

ON_SCREEN = """([y, x]) => {
  const { width, height, centre, zoom } = window.cellbrook.session.view.value;
  const box = window.cellbrook.stage.canvas.getBoundingClientRect();
  return [box.left + width / 2 + (x - centre[1]) * zoom, box.top + height / 2 + (y - centre[0]) * zoom];
}"""


CORNER = 150


def wait(page, condition):
    """Wait until a condition holds. (The page forbids the `eval` that Playwright's own waiting needs.)"""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"did not become true: {condition}")


class Hand:
    """A person at the page; places are image pixels from a corner that no panel covers."""

    def __init__(self, page):
        self.page = page
        page.locator(".scalebar").wait_for()
        wait(page, READY)
        page.evaluate(
            "window.cellbrook.session.delete(window.cellbrook.session.objects.rows().map((cell) => cell.id))"
        )
        page.evaluate("window.cellbrook.stage.canvas.focus()")
        self.page.keyboard.press("Home")

    def at(self, y, x):
        return self.page.evaluate(ON_SCREEN, [y + CORNER, x + CORNER])

    def key(self, key):
        self.page.keyboard.press(key)

    def click(self, y, x, **options):
        self.page.mouse.click(*self.at(y, x), **options)

    def stroke(self, *points):
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=4)
        self.page.mouse.up()

    def cells(self):
        """Return how many there are, once page and server have agreed."""
        told = self.page.evaluate(DIFFER)
        assert told["found"] == []
        return told["cells"]

    def rows(self):
        """Return id, box and area of every object, for the message of a failure."""
        return self.page.evaluate(
            "window.cellbrook.session.objects.rows().map((c) => [c.id, c.y0, c.x0, c.y1, c.x1, c.area])"
        )

    def area(self, y, x):
        return self.page.evaluate(
            """([y, x]) => {
              const { session } = window.cellbrook;
              return session.objects.peek(session.document.labels.at(y, x))?.area ?? 0;
            }""",
            [y + CORNER, x + CORNER],
        )


@pytest.fixture
def hand(serve, tab):
    with tab(serve("--sample").start()) as page:
        yield Hand(page)


def test_every_tool_leaves_page_and_server_alike(hand):
    assert hand.cells() == 0
    hand.key("b")
    hand.page.evaluate("window.cellbrook.session.setBrushSize(20)")
    hand.stroke((60, 60), (60, 100))
    hand.stroke((110, 60), (110, 100))
    assert hand.cells() == 2
    hand.stroke((60, 100), (60, 140))  # begins on the cell: the same one grows
    assert hand.cells() == 2

    hand.key("Control+z")
    hand.key("Control+z")
    assert hand.cells() == 1
    hand.key("Control+y")
    assert hand.cells() == 2

    hand.key("e")
    before = hand.area(60, 80)
    hand.stroke((50, 60), (50, 100))
    assert hand.cells() == 2
    assert 0 < hand.area(65, 80) < before, (before, hand.rows())

    hand.key("m")
    hand.stroke((65, 80), (110, 80))
    assert hand.cells() == 1
    hand.key("Control+z")
    assert hand.cells() == 2

    hand.key("c")
    hand.stroke((95, 80), (125, 80))
    assert hand.cells() == 3

    for key, sign in (("g", 1), ("h", -1)):
        before = hand.area(110, 65)
        hand.key(key)
        hand.click(110, 65)
        hand.cells()
        assert (hand.area(110, 65) - before) * sign > 0
    hand.key("t")
    hand.click(110, 65)
    assert hand.cells() == 3

    hand.key("o")
    hand.stroke((150, 60), (150, 120), (190, 120), (190, 60))
    assert hand.cells() == 4
    assert hand.area(170, 90) == pytest.approx(60 * 40, rel=0.05)

    hand.key("p")
    for corner in ((220, 60), (220, 120), (260, 120), (260, 60)):
        hand.click(*corner)
    hand.key("Enter")
    assert hand.cells() == 5
    before = hand.area(240, 90)
    hand.click(240, 90)  # its outline becomes vertices
    wait(hand.page, "window.cellbrook.session.preview.value.kind === 'polygon'")
    corner = hand.page.evaluate(
        "window.cellbrook.session.preview.value.points.reduce((a, b) => (b[0] + b[1] > a[0] + a[1] ? b : a))"
    )
    y, x = corner[0] - CORNER, corner[1] - CORNER
    hand.stroke((y, x), (y + 20, x + 20))
    hand.key("Enter")
    assert hand.cells() == 5
    assert hand.area(240, 90) > before

    hand.key("q")
    hand.stroke((145, 50), (200, 130))
    assert hand.cells() == 4


def test_the_habits_of_cellpose(hand):
    hand.click(60, 60, button="right")
    for place in ((60, 110), (110, 110), (110, 60), (75, 60)):
        hand.page.mouse.move(*hand.at(*place), steps=6)
    hand.click(70, 60, button="right")
    assert hand.cells() == 1
    hand.key("b")
    hand.stroke((160, 60), (160, 100))
    assert hand.cells() == 2
    hand.key("v")
    hand.click(85, 85)
    hand.page.keyboard.down("Alt")
    hand.click(160, 80)
    hand.page.keyboard.up("Alt")
    assert hand.cells() == 1
    hand.page.keyboard.down("Control")
    hand.click(160, 80)
    hand.page.keyboard.up("Control")
    assert hand.cells() == 0


class Tablet:
    """A pen and fingers on the screen, as the operating system tells the browser of them."""

    def __init__(self, hand):
        self.hand, self.devtools = hand, hand.page.context.new_cdp_session(hand.page)
        self.fingers = {}

    def pen(self, kind, point):
        """Tell of the pen: "Pressed", "Moved" or "Released"."""
        x, y = self.hand.at(*point)
        self.devtools.send(
            "Input.dispatchMouseEvent",
            {
                "type": f"mouse{kind}", "x": x, "y": y, "pointerType": "pen", "force": 0.5, "clickCount": 1,
                "button": "none" if kind == "Moved" else "left", "buttons": 0 if kind == "Released" else 1,
            },
        )  # fmt: skip

    def draw(self, *points):
        """Draw a line with the pen."""
        self.pen("Pressed", points[0])
        for point in points[1:]:
            self.pen("Moved", point)
        self.pen("Released", points[-1])

    def touch(self, finger, *path):
        """Put a finger down, or move the one that is."""
        for point in path:
            kind = "touchMove" if finger in self.fingers else "touchStart"
            x, y = self.hand.at(*point)
            self.fingers[finger] = {"x": x, "y": y, "id": finger}
            self.devtools.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [*self.fingers.values()]}
            )

    def lift(self):
        """Lift all fingers."""
        self.fingers = {}
        self.devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


VIEW = "[...window.cellbrook.session.view.value.centre, window.cellbrook.session.view.value.zoom]"


def test_a_finger_draws_and_two_move_the_picture(serve, tab):
    with tab(serve("--sample").start(), has_touch=True) as page:
        hand = Hand(page)
        tablet = Tablet(hand)
        hand.key("b")
        tablet.touch(0, (60, 60), (60, 80), (60, 100))
        tablet.lift()
        assert hand.cells() == 1

        # The first of two fingers draws nothing, though it comes first and moves.
        before = page.evaluate(VIEW)
        tablet.touch(0, (120, 60), (122, 64))
        tablet.touch(1, (120, 120), (120, 180))
        tablet.lift()
        assert hand.cells() == 1
        assert page.evaluate(VIEW)[2] > 1.5 * before[2]
        hand.key("Home")

        # Corners that are set stay when two fingers move the picture meanwhile.
        hand.key("p")
        for corner in ((160, 60), (160, 120), (200, 120)):
            tablet.touch(0, corner)
            tablet.lift()
        tablet.touch(0, (180, 90))
        tablet.touch(1, (180, 130), (180, 140))
        tablet.lift()
        assert page.evaluate("window.cellbrook.session.preview.value.points.length") == 3


def test_a_hand_that_holds_a_pen_does_not_draw(serve, tab):
    with tab(serve("--sample").start(), has_touch=True) as page:
        hand = Hand(page)
        tablet = Tablet(hand)
        hand.key("b")
        tablet.touch(0, (140, 140))  # the hand, before the pen
        tablet.draw((60, 60), (60, 80), (60, 100))
        tablet.lift()
        assert hand.cells() == 1
        assert hand.area(60, 80) > 0

        tablet.pen("Pressed", (110, 60))
        tablet.touch(0, (180, 140), (180, 144))  # and while it draws
        tablet.pen("Moved", (110, 100))
        tablet.lift()
        tablet.pen("Moved", (110, 120))
        tablet.pen("Released", (110, 120))
        assert hand.cells() == 2
        assert hand.area(110, 60) == hand.area(110, 115) > 0

        # Then a finger moves the picture.
        hand.key("+")
        before = page.evaluate(VIEW)
        tablet.touch(0, (60, 140), (70, 150), (80, 160))
        tablet.lift()
        assert hand.cells() == 2
        assert page.evaluate(VIEW) != before


def test_choosing_hiding_merging_and_deleting_touch_no_pixels(hand):
    hand.key("b")
    for y in (60, 110, 160):
        hand.stroke((y, 60), (y, 100))
    assert hand.cells() == 3
    tiles = "window.cellbrook.stage.sent.tiles"
    tables = "window.cellbrook.stage.sent.tables"
    before, asked = hand.page.evaluate(tiles), hand.page.evaluate(tables)
    hand.page.evaluate(
        """() => {
          const { session } = window.cellbrook;
          const ids = session.objects.rows().map((cell) => cell.id);
          session.select([ids[0]]);
          session.setThresholds({ min_size: 10000 });
          session.merge([ids[0], ids[1]]);
          session.delete([ids[2]]);
        }"""
    )
    assert hand.page.evaluate(tiles) == before
    assert hand.page.evaluate(tables) > asked
    assert hand.cells() == 1
    assert hand.page.evaluate(tiles) == before
    assert hand.page.evaluate("window.cellbrook.stage.gl.getError()") == 0


def test_a_stroke_is_small_on_the_wire(serve, tab):
    address = serve("--sample").start()
    sent = []
    with tab("about:blank") as page:
        page.on("websocket", lambda socket: socket.on("framesent", lambda data: sent.append(data)))
        page.goto(address)
        hand = Hand(page)
        hand.cells()
        hand.key("b")
        page.evaluate("window.cellbrook.session.setBrushSize(25)")
        sent.clear()
        hand.stroke((60, 60), (100, 140), (160, 100))
        assert hand.cells() == 1
        edits = [len(data) for data in sent if len(data) > 64]
        assert len(edits) == 1
        assert edits[0] < 1024
