import type { Stroke } from "../core/document";
import { addStroke } from "../core/raster";
import { Region } from "../core/runs";
import type { Point } from "../core/wire";
import { canWrite, type Bench, type Modifiers, type Tool } from "./tool";

/**
 * Brush and eraser. A brush that begins on an object adds to it; on the background it makes a new one, unless it begins
 * within reach of the only selected object. With mode "inside" only selected objects' pixels are written.
 */
export class Brush implements Tool {
  readonly cursor = "crosshair";
  private stroke: Stroke | null = null;
  private last: Point = [0, 0];
  private fresh = false;

  constructor(
    private readonly bench: Bench,
    private readonly erases: boolean,
  ) {}

  press(at: Point, _modifiers: Modifiers): void {
    const { session } = this.bench;
    const document = this.bench.document();
    if (!document || !canWrite(this.bench, this.erases ? "erase" : "draw")) return;
    const label = this.erases ? 0 : this.labelFor(at);
    if (!this.erases && label === 0) return;
    const { mode, inside } = session.drawing(this.erases);
    this.stroke = document.stroke(label, mode, inside);
    this.last = at;
    this.drag([at]);
  }

  drag(path: readonly Point[]): void {
    const document = this.bench.document();
    if (!this.stroke || !document) return;
    const region = new Region(document.image.shape);
    for (const point of path) {
      addStroke(region, this.last, point, this.bench.session.brushSize.value);
      this.last = point;
    }
    this.stroke.add(region.runs());
  }

  release(): void {
    const { session } = this.bench;
    const label = this.stroke?.rule.label ?? 0;
    this.stroke?.commit(this.fresh ? session.activeClass.value : 0);
    if (this.fresh && session.objects.peek(label)) session.select([label]); // not what began and ended outside the image
    this.stroke = null;
  }

  cancel(): boolean {
    const begun = this.stroke !== null;
    this.stroke?.cancel();
    this.stroke = null;
    return begun;
  }

  private labelFor(at: Point): number {
    const { session } = this.bench;
    const under = this.bench.cellAt(at);
    this.fresh = false;
    if (under !== 0 && session.mode.value !== "inside") return under;
    const selected = [...session.selection.value];
    if (selected.length === 1 && session.mode.value !== "inside" && this.reaches(selected[0], at)) return selected[0];
    this.fresh = true;
    return session.freshId();
  }

  private reaches(id: number, [y, x]: Point): boolean {
    const radius = this.bench.session.brushSize.value / 2;
    const labels = this.bench.document()?.labels;
    for (let angle = 0; angle < 2 * Math.PI; angle += Math.PI / 8) {
      for (const r of [radius / 2, radius]) {
        if (labels?.at(y + r * Math.sin(angle), x + r * Math.cos(angle)) === id) return true;
      }
    }
    return false;
  }
}
