// Tools that draw a line: cut and merge act on what it crosses, outline closes it into an object.

import { addPolygon, along } from "../core/raster";
import { Region } from "../core/runs";
import type { Point } from "../core/wire";
import { canWrite, distance, type Bench, type Tool } from "./tool";

abstract class Line implements Tool {
  readonly cursor = "crosshair";
  protected path: Point[] = [];

  constructor(protected readonly bench: Bench) {}

  press(at: Point): void {
    this.path = [at];
    this.show();
  }

  drag(path: readonly Point[]): void {
    if (this.path.length === 0) return;
    this.path.push(...path);
    this.show();
  }

  release(): void {
    const path = this.path;
    this.clear();
    if (path.length > 1) this.done(path);
  }

  cancel(): boolean {
    const begun = this.path.length > 0;
    this.clear();
    return begun;
  }

  protected abstract done(path: Point[]): void;
  protected readonly closed: boolean = false;

  protected show(): void {
    this.bench.session.preview.value = { kind: "path", points: [...this.path], closed: this.closed };
  }

  private clear(): void {
    this.path = [];
    this.bench.session.preview.value = { kind: "none" };
  }
}

/** The objects under a path, in the order in which it meets them, with the number of samples on each. */
export function crossed(bench: Bench, path: readonly Point[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const at of along(path)) {
    const id = bench.cellAt(at);
    if (id !== 0) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

/** Splits the object that the stroke crosses: of several, those that it enters and leaves again. */
export class Cut extends Line {
  protected done(path: Point[]): void {
    const { session } = this.bench;
    const met = crossed(this.bench, path);
    const ends = [path[0], path[path.length - 1]].map((at) => this.bench.cellAt(at));
    const through = [...met.keys()].filter((id) => !ends.includes(id));
    const most = [...met].sort((a, b) => b[1] - a[1])[0];
    const ids = through.length > 0 ? through : most ? [most[0]] : [];
    if (ids.length === 0) session.notify("info", "The cut crossed no object", "draw it across one, from side to side");
    for (const id of ids) session.split(id, simplified(path, 0.5));
  }
}

/** Joins the objects that the stroke touches. */
export class Join extends Line {
  protected done(path: Point[]): void {
    this.bench.session.merge([...crossed(this.bench, path).keys()]);
  }
}

/** Draws around an object; the line closes itself. Also begun by a right click, then it follows the pointer. */
export class Outline extends Line {
  protected override readonly closed = true;
  private following = false;
  private leftStart = false;

  override press(at: Point): void {
    if (canWrite(this.bench)) super.press(at);
  }

  /** Cellpose's way: a click begins, the pointer draws, a click ends, or coming back to the start. */
  follow(at: Point): void {
    if (this.following) {
      this.end();
      return;
    }
    this.press(at);
    this.following = this.path.length > 0;
    this.leftStart = false;
  }

  hover(at: Point): void {
    if (!this.following) return;
    this.drag([at]);
    const gap = distance(at, this.path[0]);
    if (gap > this.bench.length(24)) this.leftStart = true;
    if (this.leftStart && gap < this.bench.length(6)) this.end();
  }

  finish(): boolean {
    const begun = this.following;
    if (begun) this.end();
    return begun;
  }

  override cancel(): boolean {
    this.following = false;
    return super.cancel();
  }

  private end(): void {
    this.following = false;
    this.release();
  }

  protected done(path: Point[]): void {
    drawPolygon(this.bench, path);
  }
}

/** Fills a closed line as a new object. */
export function drawPolygon(bench: Bench, points: readonly Point[]): void {
  const document = bench.document();
  if (!document || points.length < 3) return;
  const region = new Region(document.image.shape);
  addPolygon(region, points);
  const runs = region.runs();
  if (runs.length > 0) bench.session.draw(runs);
}

/** Fewer points that stay within `tolerance` of the line (Douglas and Peucker, 1973). */
export function simplified(path: readonly Point[], tolerance: number): Point[] {
  if (path.length < 3) return [...path];
  const [a, b] = [path[0], path[path.length - 1]];
  const length = distance(a, b);
  let far = 0;
  let at = 0;
  path.forEach((point, i) => {
    const off =
      length === 0
        ? distance(point, a)
        : Math.abs((b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])) / length;
    if (off > far) [far, at] = [off, i];
  });
  if (far <= tolerance) return [a, b];
  return [...simplified(path.slice(0, at + 1), tolerance).slice(0, -1), ...simplified(path.slice(at), tolerance)];
}
