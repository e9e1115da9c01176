import type { Document } from "../core/document";
import { Mask } from "../core/mask";
import { addPolygon } from "../core/raster";
import { Region } from "../core/runs";
import { outlineOf } from "../core/trace";
import { clipped } from "../core/pyramid";
import type { Box, Point } from "../core/wire";
import { drawPolygon, simplified } from "./lines";
import { reshape } from "./shapes";
import { distance, type Bench, type Tool } from "./tool";

const GRIP = 8; // CSS pixels around a vertex or an edge that take hold of it

/**
 * Clicks set vertices, which can be dragged; a click on the first one, a double click or Enter makes the object. A click
 * on an object shows its outline as vertices: drag them, or drag an edge for a new one, and press Enter.
 */
export class Polygon implements Tool {
  readonly cursor = "crosshair";
  private points: Point[] = [];
  private active = -1;
  private editing: { id: number; before: Mask } | null = null;

  constructor(private readonly bench: Bench) {}

  press(at: Point): void {
    const document = this.bench.document();
    if (!document) return;
    const vertex = this.points.findIndex((point) => distance(point, at) < this.bench.length(GRIP));
    if (vertex === 0 && !this.editing && this.points.length >= 3) {
      this.finish();
    } else if (vertex >= 0) {
      this.active = vertex;
    } else if (this.editing) {
      this.insert(at);
    } else {
      const id = this.points.length === 0 ? document.labels.at(at[0], at[1]) : 0;
      if (id !== 0) void this.take(document, id);
      else this.active = this.points.push(at) - 1;
    }
    this.show();
  }

  drag(path: readonly Point[]): void {
    if (this.active < 0) return;
    this.points[this.active] = path[path.length - 1];
    this.show();
  }

  release(): void {
    this.active = -1;
    this.show();
  }

  twice(): void {
    this.finish();
  }

  finish(): boolean {
    const begun = this.points.length > 0;
    const { points, editing } = this;
    this.cancel();
    if (editing) this.replace(editing.id, editing.before, points);
    else drawPolygon(this.bench, points);
    return begun;
  }

  cancel(): boolean {
    const begun = this.points.length > 0;
    this.points = [];
    this.active = -1;
    this.editing = null;
    this.bench.session.preview.value = { kind: "none" };
    return begun;
  }

  /** Begin to edit an object: its outline becomes vertices. */
  private async take(document: Document, id: number): Promise<void> {
    const cell = this.bench.session.objects.peek(id);
    if (!cell) return;
    const box: Box = [cell.y0, cell.x0, cell.y1, cell.x1];
    await document.labels.ensure(box);
    const before = document.labels.mask(box, (other) => other === id);
    const outline = outlineOf(before);
    if (outline.length < 3) return;
    // A closed line is simplified in two halves, from the vertex farthest from the first.
    const far = outline.reduce((best, point, i) => (distance(point, outline[0]) > distance(outline[best], outline[0]) ? i : best), 0);
    const halves = [outline.slice(0, far + 1), [...outline.slice(far), outline[0]]];
    this.points = halves.flatMap((half) => simplified(half, Math.max(0.75, this.bench.length(1.5))).slice(0, -1));
    this.editing = { id, before };
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

  private replace(id: number, before: Mask, points: readonly Point[]): void {
    const document = this.bench.document();
    if (!document) return;
    const { shape } = document.image;
    const region = new Region(shape);
    addPolygon(region, points);
    const runs = region.runs();
    const outer = points.reduce<Box>(
      (box, [y, x]) => [Math.min(box[0], y), Math.min(box[1], x), Math.max(box[2], y + 1), Math.max(box[3], x + 1)],
      before.box,
    );
    const box = clipped(outer, shape);
    if (!box || runs.length === 0) return;
    const [old, now] = [blank(box), blank(box)];
    put(old, before.runs(shape));
    put(now, runs);
    reshape(document, id, now.minus(old).runs(shape), old.minus(now).runs(shape));
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

function blank([y0, x0, y1, x1]: Box): Mask {
  return new Mask(y0, x0, y1 - y0, x1 - x0);
}

function put(mask: Mask, runs: Int32Array): void {
  for (let i = 0; i < runs.length; i += 3) {
    const row = (runs[i] - mask.y0) * mask.width - mask.x0;
    mask.data.fill(1, row + runs[i + 1], row + runs[i + 2]);
  }
}
