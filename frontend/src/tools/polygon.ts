import { grown, Mask } from "../core/mask";
import { addPolygon } from "../core/raster";
import { Region, type Runs } from "../core/runs";
import { outlineOf } from "../core/trace";
import { clipped } from "../core/pyramid";
import type { Box, Point } from "../core/wire";
import { drawPolygon, simplified } from "./lines";
import { reshape } from "./shapes";
import { canWrite, distance, type Bench, type Tool } from "./tool";

const GRIP = 8; // CSS pixels around a vertex or an edge that take hold of it

/** A cell whose outline was made into vertices, which run within `tolerance` pixels of it. */
interface Editing {
  id: number;
  before: Mask;
  points: readonly Point[];
  tolerance: number;
}

/**
 * Clicks set vertices, which can be dragged; a click on the first one, a double click or Enter makes the object. A click
 * on an object shows its outline as vertices: drag them, or drag an edge for a new one, and press Enter. Where none was moved
 * the object stays as it was, its holes and other pieces too.
 */
export class Polygon implements Tool {
  readonly cursor = "crosshair";
  private points: Point[] = [];
  private steps: Point[][] = []; // the points before each press that changed them
  private active = -1;
  private target = 0; // the object that is pressed
  private editing: Editing | null = null;
  private turn = 0; // grows when something is begun or left

  constructor(private readonly bench: Bench) {}

  press(at: Point): void {
    this.steps.push([...this.points]);
    if (!this.bench.document()) return;
    this.active = this.points.findIndex((point) => distance(point, at) < this.bench.length(GRIP));
    if (this.active < 0 && this.editing) this.insert(at);
    else if (this.active < 0) {
      this.target = this.points.length === 0 ? this.bench.cellAt(at) : 0;
      if (this.target === 0 && (this.points.length > 0 || canWrite(this.bench))) this.active = this.points.push(at) - 1;
    }
    this.show();
  }

  drag(path: readonly Point[]): void {
    if (this.active < 0) return;
    this.points[this.active] = path[path.length - 1];
    this.show();
  }

  release(): void {
    const { target } = this;
    const pressed = this.steps.at(-1) ?? [];
    const first = this.active === 0 && !this.editing && pressed.length >= 3;
    const closes = first && distance(this.points[0], pressed[0]) < this.bench.length(GRIP / 2);
    if (closes) this.points = pressed;
    if (this.points.length === pressed.length && this.points.every((point, i) => point === pressed[i])) this.steps.pop();
    this.letGo();
    if (closes) this.finish();
    else if (target !== 0) void this.take(target);
  }

  twice(): void {
    this.finish();
  }

  finish(): boolean {
    const begun = this.points.length > 0;
    const { points, editing } = this;
    this.cancel();
    if (editing) this.replace(editing, points);
    else drawPolygon(this.bench, points);
    return begun;
  }

  /** Takes the last corner away, or what was last done to one; with nothing done to a cell, leaves it. */
  back(): boolean {
    const before = this.steps.pop();
    if (!before) return this.cancel();
    this.points = before;
    this.letGo();
    return true;
  }

  cancel(): boolean {
    const begun = this.points.length > 0;
    this.points = [];
    this.steps = [];
    this.editing = null;
    this.turn++;
    this.letGo();
    return begun;
  }

  abandon(): void {
    this.points = this.steps.pop() ?? [];
    this.letGo();
  }

  private letGo(): void {
    this.active = -1;
    this.target = 0;
    this.show();
  }

  /** Begin to edit an object: its outline becomes vertices. */
  private async take(id: number): Promise<void> {
    const document = this.bench.document();
    const cell = this.bench.session.objects.peek(id);
    if (!document || !cell) return;
    const box: Box = [cell.y0, cell.x0, cell.y1, cell.x1];
    const turn = ++this.turn;
    await document.labels.ensure(box);
    if (turn !== this.turn || this.points.length > 0) return; // left, or something else was begun, meanwhile
    const before = document.labels.mask(box, (other) => other === id);
    const outline = outlineOf(before);
    if (outline.length < 3) return;
    // A closed line is simplified in two halves, from the vertex farthest from the first.
    const far = outline.reduce((best, point, i) => (distance(point, outline[0]) > distance(outline[best], outline[0]) ? i : best), 0);
    const halves = [outline.slice(0, far + 1), [...outline.slice(far), outline[0]]];
    const tolerance = Math.max(0.75, this.bench.length(1.5));
    this.points = halves.flatMap((half) => simplified(half, tolerance).slice(0, -1));
    this.editing = { id, before, points: [...this.points], tolerance };
    this.bench.session.select([id]);
    this.show();
  }

  /** A new vertex on the edge that is pressed; elsewhere nothing. */
  private insert(at: Point): void {
    const next = (i: number): Point => this.points[(i + 1) % this.points.length];
    const edge = this.points.findIndex((point, i) => toSegment(at, point, next(i)) < this.bench.length(GRIP));
    if (edge < 0) return;
    this.points.splice(edge + 1, 0, at);
    this.active = edge + 1;
  }

  private replace({ id, before, points: first, tolerance }: Editing, points: readonly Point[]): void {
    const document = this.bench.document();
    if (!document) return;
    const { shape } = document.image;
    const outer = points.reduce<Box>(
      (box, [y, x]) => [Math.min(box[0], y), Math.min(box[1], x), Math.max(box[2], y + 1), Math.max(box[3], x + 1)],
      before.box,
    );
    const box = clipped(outer, shape);
    if (!box) return;
    const [was, old, now] = [before.runs(shape), filledIn(first, shape), filledIn(points, shape)].map((runs) => within(box, runs));
    const reach = Math.ceil(1.5 * tolerance); // in steps to the side, up and down
    const gained = near(now.minus(was), now.minus(old), reach);
    const lost = near(was.minus(now), old.minus(now), reach);
    if (now.area > 0) reshape(document, id, gained.runs(shape), lost.runs(shape));
  }

  private show(): void {
    const { points, active } = this;
    this.bench.session.preview.value = points.length === 0 ? { kind: "none" } : { kind: "polygon", points: [...points], active };
  }
}

function toSegment(p: Point, a: Point, b: Point): number {
  const length = distance(a, b) ** 2;
  const t = length === 0 ? 0 : ((p[0] - a[0]) * (b[0] - a[0]) + (p[1] - a[1]) * (b[1] - a[1])) / length;
  const s = Math.max(0, Math.min(1, t));
  return distance(p, [a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1])]);
}

function filledIn(points: readonly Point[], shape: readonly [number, number]): Runs {
  const region = new Region(shape);
  addPolygon(region, points);
  return region.runs();
}

function within([y0, x0, y1, x1]: Box, runs: Runs): Mask {
  const mask = new Mask(y0, x0, y1 - y0, x1 - x0);
  for (let i = 0; i < runs.length; i += 3) {
    const row = (runs[i] - y0) * mask.width - x0;
    mask.data.fill(1, row + runs[i + 1], row + runs[i + 2]);
  }
  return mask;
}

/** Pixels of a mask that are few steps from another's. */
function near(mask: Mask, other: Mask, steps: number): Mask {
  let reached = other;
  for (let i = 0; i < steps; i++) reached = grown(reached);
  return Mask.like(mask, mask.data.map((value, i) => value & reached.data[i]));
}
