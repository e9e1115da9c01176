// Mouse, pen, fingers and keys: turned into what tools and the session understand.

import { effect } from "@preact/signals-core";
import type { Document } from "../core/document";
import type { Session } from "../core/session";
import { Fate, type ToolName } from "../core/state";
import { panned } from "../core/viewing";
import type { Point } from "../core/wire";
import { DeleteBox, Measure, Prompt } from "./boxes";
import { Brush } from "./brush";
import { Keyboard } from "./keyboard";
import { Cut, Join, Outline } from "./lines";
import { Pick } from "./pick";
import { Polygon } from "./polygon";
import { DrawRegion } from "./region";
import { Fill, grow, shrink, smooth } from "./shapes";
import type { Bench, Modifiers, Tool } from "./tool";

const CLICK_MOVES = 4; // CSS pixels that a click may wander
const WHEEL_STEP = 0.0016; // of a factor e, a unit of the wheel
const LEAST_NOTCH = 40; // units: a Mac counts the notches of a wheel that turns slowly for next to nothing
const SAME_TURN_MS = 200; // between events of one turn of a wheel, or one sweep over a touchpad
const PEN_ERASER = 32; // among PointerEvent.buttons

type Grip =
  | { kind: "tool"; tool: Tool }
  | { kind: "pan"; x: number; y: number; moved: boolean; right: boolean }
  | { kind: "done" }; // what the press meant is done

type Place = { x: number; y: number; pen: boolean };

export class Controls implements Bench {
  private readonly tools: Record<ToolName, Tool>;
  private readonly outline: Outline;
  private readonly keyboard: Keyboard;
  private readonly pointers = new Map<number, Place>();
  private grip: Grip | null = null;
  private penUsed = false; // then a finger moves the picture, and draws nothing
  private readonly mac = /Mac|iP(hone|ad)/.test(navigator.platform); // there Ctrl and a click are the right button
  private wheelAt = Number.NEGATIVE_INFINITY; // when it last turned
  private notches = false; // it is a mouse's wheel that turns

  constructor(
    readonly session: Session,
    private readonly canvas: HTMLCanvasElement,
  ) {
    this.outline = new Outline(this);
    this.tools = {
      pick: new Pick(this, ([dy, dx]) => this.panImage(dy, dx)),
      brush: new Brush(this, false),
      eraser: new Brush(this, true),
      outline: this.outline,
      polygon: new Polygon(this),
      fill: new Fill(this),
      cut: new Cut(this),
      merge: new Join(this),
      grow: grow(this),
      shrink: shrink(this),
      smooth: smooth(this),
      delete_box: new DeleteBox(this),
      prompt: new Prompt(this),
      measure: new Measure(this),
      region: new DrawRegion(this),
    };
    this.keyboard = new Keyboard(session, canvas);
    session.hand = {
      cancel: () => this.cancel(),
      back: () => this.tool.back?.() ?? false,
      finish: () => this.outline.finish() || (this.tool.finish?.() ?? false),
      busy: () => this.grip !== null || session.preview.peek().kind !== "none",
    };
    effect(() => void (canvas.style.cursor = this.tools[session.tool.value].cursor));
    this.listen();
  }

  document(): Document | null {
    return this.session.document;
  }

  cellAt([y, x]: Point): number {
    const id = this.document()?.labels.at(y, x) ?? 0;
    return this.session.objects.fate(id) === Fate.filtered ? 0 : id;
  }

  objectAt(at: Point): number {
    const { session } = this;
    const [y, x] = at;
    if (this.document()?.labels.at(y, x) || !session.overlays.peek().ghosts) return this.cellAt(at);
    const candidate = session.picture.peek()?.candidateAt(at) ?? 0;
    return session.objects.peek(candidate) ? candidate : 0;
  }

  length(cssPixels: number): number {
    return cssPixels / this.session.view.peek().zoom;
  }

  private get tool(): Tool {
    return this.tools[this.session.tool.peek()];
  }

  private cancel(): boolean {
    const tool = this.grip?.kind === "tool" ? this.grip.tool : this.tool;
    const begun = [this.outline.cancel(), tool.cancel()].includes(true);
    if (begun && this.grip) this.grip = { kind: "done" };
    return begun;
  }

  /** A press was not meant for the tool; what was begun before it stays. */
  private abandon(): void {
    if (this.grip?.kind === "tool") {
      const { tool } = this.grip;
      if (tool.abandon) tool.abandon();
      else tool.cancel();
    }
    this.grip = { kind: "done" };
  }

  private listen(): void {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.lost(event));
    canvas.addEventListener("pointerleave", () => (this.session.pointer.value = null));
    canvas.addEventListener("dblclick", (event) => this.tool.twice?.(this.at(event)));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // ---- pointers

  private down(event: PointerEvent): void {
    this.canvas.focus({ preventScroll: true });
    const place = placeOf(event);
    // The hand that holds a pen lies on the screen too, before or after it.
    if (!place.pen && [...this.pointers.values()].some(({ pen }) => pen)) return;
    if (place.pen) {
      this.penUsed = true;
      this.abandon();
      this.pointers.clear();
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, place);
    if (this.pointers.size === 2) {
      // A second finger: they move and zoom the picture together.
      this.abandon();
      return;
    }
    if (this.pointers.size > 2) return;
    const right = event.button === 2 || (this.mac && event.ctrlKey && event.button === 0);
    const finger = event.pointerType === "touch" && this.penUsed && this.tool !== this.tools.pick;
    if (right || event.button === 1 || this.keyboard.spaceHeld || finger) {
      this.keyboard.spaceUsed = true;
      this.grip = { kind: "pan", x: event.clientX, y: event.clientY, moved: false, right };
    } else if (event.button === 0 || event.button === 5) {
      this.grip = this.press(event);
    }
  }

  private press(event: PointerEvent): Grip {
    const at = this.at(event);
    const modifiers: Modifiers = { shift: event.shiftKey, alt: event.altKey, mod: event.metaKey || (event.ctrlKey && !this.mac) };
    if (modifiers.mod) {
      this.deleteAt(at);
      return { kind: "done" };
    }
    if (modifiers.alt) {
      this.mergeAt(at);
      return { kind: "done" };
    }
    const tool = (event.buttons & PEN_ERASER) !== 0 ? this.tools.eraser : this.tool;
    if (tool === this.outline && this.outline.finish()) return { kind: "done" };
    tool.press(at, modifiers);
    return { kind: "tool", tool };
  }

  private move(event: PointerEvent): void {
    const before = this.pointers.get(event.pointerId);
    if (!before && this.pointers.size > 0) return;
    if (before) this.pointers.set(event.pointerId, placeOf(event));
    if (before && this.pointers.size === 2) this.pinch(event, before);
    else if (this.grip?.kind === "pan") this.pan(event, this.grip);
    else if (this.grip?.kind === "tool") {
      const events = event.getCoalescedEvents?.() ?? [];
      this.grip.tool.drag((events.length > 0 ? events : [event]).map((each) => this.at(each)));
    } else if (!this.grip) {
      this.outline.hover(this.at(event));
      this.tool.hover?.(this.at(event));
    }
    this.report(event);
  }

  private up(event: PointerEvent): void {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size > 0) return;
    const grip = this.grip;
    this.grip = null;
    if (grip?.kind === "tool") grip.tool.release();
    if (grip?.kind === "pan" && grip.right && !grip.moved) this.outline.follow(this.at(event));
  }

  private lost(event: PointerEvent): void {
    if (!this.pointers.delete(event.pointerId)) return;
    this.abandon();
    if (this.pointers.size === 0) this.grip = null;
  }

  private deleteAt(at: Point): void {
    const id = this.cellAt(at);
    if (id !== 0) this.session.delete([id]);
  }

  private mergeAt(at: Point): void {
    const id = this.cellAt(at);
    if (id !== 0) this.session.merge([...this.session.selection.value, id]);
  }

  /** What lies under the pointer, for the foot line. */
  private report(event: PointerEvent): void {
    const at = this.at(event);
    const picture = this.session.picture.peek();
    const values = this.session.channels.peek().map((_, channel) => picture?.valueAt(channel, at) ?? Number.NaN);
    this.session.pointer.value = picture ? { at, label: this.objectAt(at), values } : null;
  }

  // ---- the view

  private at(event: MouseEvent): Point {
    const { centre, zoom, width, height } = this.session.view.peek();
    const box = this.canvas.getBoundingClientRect();
    return [
      centre[0] + (event.clientY - box.top - height / 2) / zoom,
      centre[1] + (event.clientX - box.left - width / 2) / zoom,
    ];
  }

  private panImage(dy: number, dx: number): void {
    const { zoom } = this.session.view.peek();
    this.panScreen(dx * zoom, dy * zoom);
  }

  private panScreen(dx: number, dy: number): void {
    const shape = this.session.image.peek()?.shape;
    if (shape) this.session.view.value = panned(this.session.view.peek(), dx, dy, shape);
  }

  private pan(event: PointerEvent, grip: Extract<Grip, { kind: "pan" }>): void {
    const [dx, dy] = [event.clientX - grip.x, event.clientY - grip.y];
    if (!grip.moved && Math.hypot(dx, dy) < CLICK_MOVES) return;
    grip.moved = true;
    grip.x = event.clientX;
    grip.y = event.clientY;
    this.panScreen(dx, dy);
  }

  private pinch(event: PointerEvent, before: Place): void {
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return;
    const spread = (p: Place): number => Math.max(1, Math.hypot(p.x - other.x, p.y - other.y));
    const now = placeOf(event);
    const middle = { clientX: (now.x + other.x) / 2, clientY: (now.y + other.y) / 2 } as MouseEvent;
    this.panScreen((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.session.zoomBy(spread(now) / spread(before), this.at(middle));
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    if (event.timeStamp - this.wheelAt > SAME_TURN_MS) this.notches = isWheel(event);
    this.wheelAt = event.timeStamp;
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 33;
    if (event.shiftKey && !event.ctrlKey) {
      // Browsers turn Shift and the wheel into sideways.
      const turn = Math.sign(event.deltaY || event.deltaX);
      this.session.setBrushSize(this.session.brushSize.value * 1.15 ** -turn - 0.5 * turn);
    } else if (event.ctrlKey || (this.session.prefs.value.wheel === "zoom" && this.notches)) {
      // A pinch on a touchpad arrives as a wheel with Ctrl, in smaller units.
      const turn = event.ctrlKey ? 6 * event.deltaY * unit : Math.sign(event.deltaY) * Math.max(LEAST_NOTCH, Math.abs(event.deltaY * unit));
      this.session.zoomBy(Math.exp(-turn * WHEEL_STEP), this.at(event));
    } else {
      this.panScreen(-event.deltaX * unit, -event.deltaY * unit);
    }
    this.report(event as unknown as PointerEvent);
  }
}

function placeOf(event: PointerEvent): Place {
  return { x: event.clientX, y: event.clientY, pen: event.pointerType === "pen" };
}

/**
 * A mouse's wheel, not two fingers on a touchpad, which begin with a few pixels, or fractions, to any side: it turns in one
 * direction, by lines, or by whole notches. Most browsers still count a notch as 120, whatever the pixels that they make of it.
 */
function isWheel({ deltaMode, deltaX, deltaY, wheelDeltaY: counted }: WheelEvent & { wheelDeltaY?: number }): boolean {
  if (deltaMode !== WheelEvent.DOM_DELTA_PIXEL) return true;
  const whole = counted ? counted % 120 === 0 : Number.isInteger(deltaY) && Math.abs(deltaY) >= LEAST_NOTCH;
  return deltaX === 0 && whole;
}
