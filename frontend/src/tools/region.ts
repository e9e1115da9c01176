import type { Point } from "../core/wire";
import { simplified } from "./lines";
import { distance, type Bench, type Tool } from "./tool";

const GRIP = 8; // CSS pixels around the first corner that close the region
const DRAG = 5; // CSS pixels from which a press is a line that is drawn

/** Draws a region: a drag is its outline, and clicks are its corners, which Enter, a double click or the first corner close. */
export class DrawRegion implements Tool {
  readonly cursor = "crosshair";
  private corners: Point[] = [];
  private path: Point[] = []; // since the press
  private free = false; // the path is an outline

  constructor(private readonly bench: Bench) {}

  press(at: Point): void {
    if (!this.bench.document()) return;
    this.path = [at];
    this.free = false;
  }

  drag(path: readonly Point[]): void {
    if (this.path.length === 0) return;
    this.path.push(...path);
    if (this.corners.length === 0 && distance(this.path[0], path[path.length - 1]) > this.bench.length(DRAG)) this.free = true;
    if (this.free) this.bench.session.preview.value = { kind: "path", points: [...this.path], closed: true };
  }

  release(): void {
    const [path, free] = [this.path, this.free];
    this.path = [];
    this.free = false;
    if (free) {
      this.done(simplified(path, Math.max(0.5, this.bench.length(0.75))));
    } else if (path.length > 0) {
      const near = (corner: Point | undefined): boolean => corner !== undefined && distance(corner, path[0]) < this.bench.length(GRIP);
      if (this.corners.length > 2 && near(this.corners[0])) this.finish();
      else if (!near(this.corners.at(-1))) this.corners.push(path[0]); // the second click of two is no corner
      this.show();
    }
  }

  twice(): void {
    this.finish();
  }

  finish(): boolean {
    const corners = this.corners;
    this.cancel();
    this.done(corners);
    return corners.length > 0;
  }

  back(): boolean {
    const gone = this.corners.pop();
    this.show();
    return gone !== undefined;
  }

  cancel(): boolean {
    const begun = this.corners.length > 0 || this.path.length > 0;
    this.corners = [];
    this.path = [];
    this.free = false;
    this.show();
    return begun;
  }

  abandon(): void {
    this.path = [];
    this.free = false;
    this.show();
  }

  private done(points: readonly Point[]): void {
    this.show();
    if (points.length > 2) this.bench.session.drawRegion(points);
  }

  private show(): void {
    const points = [...this.corners];
    this.bench.session.preview.value = points.length === 0 ? { kind: "none" } : { kind: "polygon", points, active: -1 };
  }
}
