// The tools in a hand of mouse, pen and fingers, on a canvas that is none.

import { beforeEach, describe, expect, it, vi } from "vitest";
import { components, Mask } from "../src/core/mask";
import type { Session } from "../src/core/session";
import type { ToolName } from "../src/core/state";
import type { Edit, Point } from "../src/core/wire";
import { Controls } from "../src/tools/controls";
import { KEYS } from "../src/tools/keys";
import { HEIGHT, opened, stroke, WIDTH, type FakeServer, type FakeWire } from "./fake";

type Kind = "mouse" | "pen" | "touch";

class Hand {
  private readonly listeners = new Map<string, (event: unknown) => void>();

  constructor(
    readonly server: FakeServer,
    readonly wire: FakeWire,
    readonly session: Session,
  ) {
    const canvas = {
      style: {},
      addEventListener: (name: string, listener: (event: unknown) => void) => this.listeners.set(name, listener),
      focus: () => undefined,
      setPointerCapture: () => undefined,
      getBoundingClientRect: () => ({ left: 0, top: 0 }),
    };
    new Controls(session, canvas as unknown as HTMLCanvasElement);
  }

  /** What the browser tells of a pointer; positions are image pixels. */
  tell(name: "down" | "move" | "up" | "cancel", pointerId: number, [clientY, clientX]: Point = [0, 0], pointerType: Kind = "touch", more = {}): void {
    this.listeners.get(`pointer${name}`)?.({ pointerId, pointerType, clientY, clientX, button: 0, buttons: 1, ...more });
  }

  click(at: Point, more = {}): void {
    this.tell("down", 1, at, "mouse", more);
    this.tell("up", 1, at, "mouse", more);
  }

  /** What the browser tells of a wheel or touchpad, milliseconds after the start; true if it zooms. */
  wheel(timeStamp: number, event: Partial<WheelEvent> & { wheelDeltaY?: number }): boolean {
    const { zoom } = this.session.view.value;
    this.listeners.get("wheel")?.({ timeStamp, deltaMode: 0, deltaX: 0, deltaY: 0, clientX: 300, clientY: 20, preventDefault: () => undefined, ...event });
    return this.session.view.value.zoom !== zoom;
  }

  drag(pointerId: number, pointerType: Kind, ...path: Point[]): void {
    this.tell("down", pointerId, path[0], pointerType);
    for (const at of path.slice(1)) this.tell("move", pointerId, at, pointerType);
    this.tell("up", pointerId, path[path.length - 1], pointerType);
  }

  /** Two fingers come down one after the other. */
  pinch(first: Point, second: Point): void {
    this.tell("down", 8, first);
    this.tell("move", 8, [first[0], first[1] + 1]);
    this.tell("down", 9, second);
    this.tell("up", 8, first);
    this.tell("up", 9, second);
  }

  /** Rows of the server's table, once it has answered. */
  async cells(): Promise<number> {
    await this.wire.deliver();
    await this.wire.settle();
    return this.server.rows.size;
  }

  get corners(): number {
    const preview = this.session.preview.value;
    return preview.kind === "polygon" ? preview.points.length : 0;
  }
}

let hand: Hand;
const press = (key: string): void => KEYS.find(({ keys }) => keys.includes(key))?.run(hand.session);

beforeEach(async () => {
  vi.stubGlobal("window", { addEventListener: () => undefined });
  vi.stubGlobal("navigator", { platform: "Linux x86_64" });
  const { server, wire, session } = await opened();
  hand = new Hand(server, wire, session);
  session.setBrushSize(5);
});

describe("pens and fingers", () => {
  it("a palm neither draws beside a pen nor ends its stroke, and then a finger moves the picture", async () => {
    const { session } = hand;
    session.setTool("brush");
    hand.tell("down", 5, [30, 300]); // the palm, before the pen
    hand.tell("down", 2, [10, 100], "pen");
    hand.tell("cancel", 5);
    hand.tell("down", 6, [30, 320]); // and while it draws
    hand.tell("move", 6, [30, 340]);
    hand.tell("cancel", 6);
    hand.tell("move", 2, [10, 160], "pen");
    hand.tell("up", 2, [10, 160], "pen");
    expect(await hand.cells()).toBe(1);
    expect([...hand.server.rows.values()][0]).toMatchObject({ x0: 98, x1: 162 });

    const { centre } = session.view.value;
    hand.drag(7, "touch", [10, 300], [10, 330]);
    expect(await hand.cells()).toBe(1);
    expect(session.view.value.centre).not.toEqual(centre);
  });

  it("corners that are set stay when two fingers move the picture, or a palm is taken back", () => {
    hand.session.setTool("polygon");
    hand.click([10, 100]);
    hand.click([10, 140]);
    hand.click([30, 140]);
    hand.pinch([20, 200], [20, 260]);
    expect(hand.corners).toBe(3);
    hand.tell("down", 5, [30, 300]);
    hand.tell("cancel", 5);
    expect(hand.corners).toBe(3);
    hand.pinch([10, 100], [20, 260]); // the first finger on the first corner
    expect(hand.corners).toBe(3);
  });

  it.each<ToolName>(["grow", "shrink", "smooth", "fill", "polygon", "pick"])("the first of two fingers does nothing with %s", async (tool) => {
    const { session } = hand;
    const id = session.draw(stroke(20, 100, 140, 21));
    session.document?.paint(0, stroke(20, 105, 105, 4), "inside", [id]); // a hole, so that every tool has something to do
    await hand.wire.settle();
    session.select([]);
    session.activeClass.value = 2;
    session.paintClass.value = true;
    session.setTool(tool);
    const { rev } = hand.server;
    hand.pinch([20, 120], [20, 200]);
    await hand.cells();
    expect([hand.server.rev, hand.corners]).toEqual([rev, 0]);
  });

  it("a stroke gives the class to all that it meets, in one edit", async () => {
    const { session } = hand;
    const ids = [100, 160, 220].map((x) => session.draw(stroke(20, x, x + 20, 9)));
    await hand.wire.settle();
    session.activeClass.value = 2;
    session.paintClass.value = true;
    hand.drag(1, "mouse", [20, 110], [20, 170]);
    expect(session.unsaved.value).toBe(1);
    expect(ids.map((id) => session.objects.peek(id)?.class)).toEqual([2, 2, 0]);
  });

  it("without a class chosen, a click selects though clicks were to give one", async () => {
    const { session } = hand;
    const id = session.draw(stroke(20, 100, 140, 9));
    session.setClass(3, [id]);
    await hand.wire.settle();
    session.select([]);
    session.paintClass.value = true;
    hand.click([20, 120]);
    expect([session.objects.peek(id)?.class, [...session.selection.value]]).toEqual([3, [id]]);
  });
});

describe("cells of a hidden class", () => {
  let hidden: number;
  let seen: number;

  beforeEach(async () => {
    const { session } = hand;
    hidden = session.draw(stroke(20, 100, 140, 9));
    session.setClass(3, [hidden]);
    seen = session.draw(stroke(20, 160, 200, 9));
    await hand.wire.settle();
    session.select([hidden, seen]);
    session.toggleClass(3);
  });

  it("are no longer selected, and no box selects them", () => {
    const { session } = hand;
    expect([...session.selection.value]).toEqual([seen]);
    session.select([]);
    session.setPrefs({ drag: "tool" });
    hand.drag(1, "mouse", [5, 90], [35, 210]);
    expect([...session.selection.value]).toEqual([seen]);
  });

  it.each<ToolName>(["brush", "eraser", "outline", "cut", "merge", "grow", "shrink", "smooth", "fill", "polygon", "delete_box"])("are left alone by %s", async (tool) => {
    const { server, session } = hand;
    const before = structuredClone(server.rows.get(hidden));
    session.setMode(tool === "outline" ? "overwrite" : "keep");
    session.select([]);
    session.setTool(tool);
    hand.click([20, 120]);
    hand.drag(1, "mouse", [20, 110], [12, 115], [12, 205], [28, 205], [28, 110]);
    await hand.cells();
    expect(server.rows.get(hidden)).toEqual(before);
    expect(session.selection.value.has(hidden)).toBe(false);
  });
});

describe("drawing that can write nowhere", () => {
  const said = (): string[] => hand.session.notices.value.flatMap(({ message, hint }) => [message, hint]);
  let id: number;

  beforeEach(async () => {
    id = hand.session.draw(stroke(20, 100, 180, 25));
    await hand.cells();
  });

  it.each<ToolName>(["outline", "polygon"])("in another cell is said, and leaves nothing selected that is not there (%s)", async (tool) => {
    const { session } = hand;
    session.setTool(tool);
    for (const [mode, hint] of [["keep", "choose Over others (J)"], ["inside", "choose Keep others (J)"]] as const) {
      session.notices.value = [];
      session.setMode(mode);
      const x = mode === "keep" ? 120 : 300; // in the cell, or beside the selected one
      const corners: Point[] = [[15, x], [15, x + 40], [25, x + 40], [25, x]];
      if (tool === "outline") hand.drag(1, "mouse", ...corners);
      else if (mode === "keep") session.draw(stroke(20, x, x + 40, 9)); // a polygon's first click would edit the cell
      else for (const at of corners) hand.click(at);
      session.finish();
      expect(session.unsaved.value).toBe(1);
      expect(await hand.cells()).toBe(1);
      expect([said()[1], session.objects.rows().length, session.selection.value.size]).toEqual([hint, 1, 0]);
      session.select([id]);
    }
  });

  it("is not selected either where the server refuses it", async () => {
    const { session, server } = hand;
    const heard = vi.spyOn(server, "handle");
    const drawn = session.draw(stroke(20, 300, 340, 9));
    const { op_id } = heard.mock.lastCall![0] as Edit;
    session.receive({ type: "reject", op_id, image: "i", rev: server.rev, tiles: [], reason: "no" });
    expect(session.selection.value.has(drawn)).toBe(false);
  });

  it.each<ToolName>(["brush", "eraser", "outline", "polygon", "fill"])("for want of a selected cell is said at the press (%s)", async (tool) => {
    const { session, server } = hand;
    session.select([]);
    session.setMode("inside");
    session.setTool(tool);
    session.document?.paint(0, stroke(20, 120, 122, 4), "overwrite"); // a hole
    session.document?.paint(session.freshId(), stroke(20, 121, 121, 1), "overwrite"); // with two cells around it
    await hand.cells();
    const { rev } = server;
    hand.drag(1, "mouse", tool === "fill" ? [19, 120] : [5, 300], [30, 340], [30, 300]);
    session.finish();
    await hand.cells();
    expect(said()).toEqual([`Select the cells to ${tool === "eraser" ? "erase" : "draw"} in first`, "or choose Keep others (J)"]);
    expect([server.rev, session.preview.value.kind, session.selection.value.size]).toEqual([rev, "none", 0]);
  });

  it("because it lies outside the image selects nothing", () => {
    const { session } = hand;
    session.setTool("brush");
    hand.click([-50, 300]);
    expect([session.unsaved.value, [...session.selection.value]]).toEqual([0, [id]]);
  });
});

describe("a click with Ctrl or Cmd", () => {
  it.each([
    ["Linux x86_64", "ctrlKey", "deletes"], ["Win32", "ctrlKey", "deletes"],
    ["MacIntel", "metaKey", "deletes"], ["MacIntel", "ctrlKey", "begins an outline, as its right button does"],
  ])("on %s with %s %s", async (platform, key, does) => {
    vi.stubGlobal("navigator", { platform });
    hand = new Hand(hand.server, hand.wire, hand.session);
    hand.session.draw(stroke(20, 100, 140, 9));
    await hand.cells();
    hand.click([20, 120], { [key]: true });
    expect([await hand.cells(), hand.session.preview.value.kind]).toEqual(does === "deletes" ? [0, "none"] : [1, "path"]);
  });
});

describe("a wheel", () => {
  beforeEach(() => void vi.stubGlobal("WheelEvent", { DOM_DELTA_PIXEL: 0 }));

  it.each([
    ["of Windows, also where the screen is scaled", { deltaY: 100 / 1.5, wheelDeltaY: -120 }],
    ["that turns slowly on a Mac", { deltaY: 4.000244140625, wheelDeltaY: -120 }],
    ["of Firefox", { deltaMode: 1, deltaY: 3 }],
    ["that is not counted", { deltaY: 53 }],
  ])("%s zooms, and notch by notch so that it is seen", (_, event) => {
    const { zoom } = hand.session.view.value;
    for (const time of [0, 40, 2000]) expect(hand.wheel(time, event)).toBe(true);
    expect(zoom / hand.session.view.value.zoom).toBeGreaterThan(1.2);
  });

  it("is none where fingers sweep over a touchpad, however fast they get, until they rest", () => {
    const sweep = [0.5, 3, 41, 80, 120, 160.5, 64, 7];
    sweep.forEach((deltaY, i) => expect(hand.wheel(16 * i, { deltaY, deltaX: i % 2, wheelDeltaY: -3 * deltaY })).toBe(false));
    expect(hand.wheel(500, { deltaX: 3, deltaY: 120, wheelDeltaY: -360 })).toBe(false);
    expect(hand.wheel(1000, { deltaY: 100, wheelDeltaY: -120 })).toBe(true);
  });
});

it("a cut goes through the pixels under it: to the server, a pixel's centre is a whole number", async () => {
  const { session, server } = hand;
  const id = session.draw(stroke(20, 100, 140, 9));
  await hand.wire.settle();
  session.setTool("cut");
  const heard = vi.spyOn(server, "handle");
  hand.drag(1, "mouse", [10.5, 120.5], [30.5, 120.5]);
  expect(heard).toHaveBeenCalledWith(expect.objectContaining({ kind: "split", ids: [id], line: [[10, 120], [30, 120]] }));
});

describe("a polygon", () => {
  it("closes where it began", async () => {
    hand.session.setTool("polygon");
    for (const at of [[10, 100], [10, 140], [30, 140], [30, 100], [11, 101]] as Point[]) hand.click(at);
    expect(await hand.cells()).toBe(1);
    expect([...hand.server.rows.values()][0].area).toBe(20 * 40);
  });

  it("gives its corners back one by one, then what was drawn before; redoing leaves it alone", async () => {
    const { session } = hand;
    const id = session.draw(stroke(20, 300, 340, 9));
    await hand.cells();
    session.setTool("polygon");
    for (const at of [[10, 100], [10, 140], [30, 140]] as Point[]) hand.click(at);
    hand.drag(1, "mouse", [10, 140], [10, 160]);
    const points = (): Point[] => (session.preview.value as { points?: Point[] }).points ?? [];
    session.redo();
    expect(points()).toEqual([[10, 100], [10, 160], [30, 140]]);
    session.undo();
    expect(points()).toEqual([[10, 100], [10, 140], [30, 140]]);
    press("Delete");
    expect(points()).toEqual([[10, 100], [10, 140]]);
    session.undo();
    session.undo();
    expect([points(), await hand.cells()]).toEqual([[], 1]);
    session.undo();
    expect(await hand.cells()).toBe(0);
    session.redo();
    expect(await hand.cells()).toBe(1);
    session.select([id]);
    press("Backspace");
    expect(await hand.cells()).toBe(0);
  });

  it("of a cell is taken back to its outline, and left before the cell is deleted", async () => {
    const { session } = hand;
    session.draw(stroke(20, 100, 140, 21));
    await hand.wire.settle();
    session.setTool("polygon");
    hand.click([20, 120]);
    await hand.cells();
    const { points } = session.preview.value as { points: Point[] };
    hand.drag(1, "mouse", points[0], [points[0][0] - 4, points[0][1] - 4]);
    expect(session.preview.value).not.toMatchObject({ points });
    press("Delete");
    expect(session.preview.value).toMatchObject({ points });
    press("Delete");
    expect([hand.corners, await hand.cells()]).toEqual([0, 1]);
    press("Delete");
    expect(await hand.cells()).toBe(0);
  });

  it("changes a cell only where a corner was moved: holes and other pieces stay", async () => {
    const { session, server } = hand;
    const id = session.draw(stroke(20, 100, 140, 21));
    session.document?.paint(id, stroke(20, 180, 190, 5), "keep");
    session.document?.paint(0, stroke(20, 120, 122, 4), "inside", [id]);
    await hand.cells();
    const pieces = (inside: boolean): number => {
      const mask = new Mask(0, 0, HEIGHT, WIDTH, Uint8Array.from(server.labels, (label) => ((label === id) === inside ? 1 : 0)));
      return components(mask).length;
    };
    session.setTool("polygon");

    const { rev } = server;
    hand.click([20, 105]);
    await hand.cells();
    session.finish();
    expect(session.unsaved.value).toBe(0);
    await hand.cells();
    expect(server.rev).toBe(rev);

    for (const [by, sign] of [[12, 1], [-6, -1]] as const) {
      const before = server.rows.get(id)?.area ?? 0;
      hand.click([20, 105]);
      await hand.cells();
      const { points } = session.preview.value as { points: Point[] };
      const [y, x] = points.reduce((a, b) => (b[0] + b[1] > a[0] + a[1] ? b : a));
      hand.drag(1, "mouse", [y, x], [y + by / 2, x + by]);
      session.finish();
      await hand.cells();
      expect(((server.rows.get(id)?.area ?? 0) - before) * sign).toBeGreaterThan(10);
      expect([pieces(true), pieces(false)]).toEqual([2, 2]);
    }
  });

  it("is not begun on a cell that was left meanwhile", async () => {
    const { session } = hand;
    const id = session.draw(stroke(20, 100, 140, 21));
    await hand.wire.settle();
    session.setTool("polygon");
    hand.click([20, 120]);
    session.cancel();
    session.select([]);
    await hand.cells();
    expect([hand.corners, session.selection.value.size]).toEqual([0, 0]);
    hand.click([20, 120]);
    await hand.cells();
    expect(hand.corners).toBeGreaterThan(3);
    expect([...session.selection.value]).toEqual([id]);
  });
});

describe("a region", () => {
  beforeEach(() => hand.session.setTool("region"));
  const drawn = (): Point[][] => hand.session.regions.value.flatMap(({ parts }) => parts.map(({ polygons }) => polygons[0][0]));

  it("is drawn around, or corner by corner until the first one, and changes no cell", async () => {
    hand.drag(1, "mouse", [5, 100], [5, 200], [30, 200], [30, 100]);
    expect(drawn()).toEqual([[[5, 100], [5, 200], [30, 200], [30, 100]]]);
    for (const at of [[5, 300], [5, 400], [30, 350], [6, 302]] as Point[]) hand.click(at);
    expect(drawn()[1]).toEqual([[5, 300], [5, 400], [30, 350]]);
    expect(hand.session.preview.value.kind).toBe("none");
    expect(await hand.cells()).toBe(0);
    expect(hand.server.regions.map(({ name }) => name)).toEqual(["Region 1", "Region 2"]);
  });

  it("is closed by Enter or a double click, goes back by corners, and is left with Esc", () => {
    const corners: Point[] = [[5, 300], [5, 400], [30, 350]];
    for (const at of [...corners, [35, 320]] as Point[]) hand.click(at);
    hand.session.undo(); // a corner, not what was done before
    expect(hand.corners).toBe(3);
    hand.click(corners[2]); // of a double click
    hand.session.finish();
    expect(drawn()).toEqual([corners]);
    for (const at of corners) hand.click(at);
    hand.session.cancel();
    hand.session.finish();
    for (const at of corners.slice(1)) hand.click(at);
    hand.session.finish(); // two corners enclose nothing
    expect(drawn()).toEqual([corners]);
  });

  it("is not begun by the first of two fingers", () => {
    hand.pinch([5, 300], [30, 350]);
    expect([drawn(), hand.session.preview.value.kind]).toEqual([[], "none"]);
  });
});
