// Tools that drag a box or a circle.

import type { Box, Point } from "../core/wire";
import { distance, type Bench, type Tool } from "./tool";

abstract class Dragged implements Tool {
  readonly cursor = "crosshair";
  protected from: Point | null = null;
  protected to: Point = [0, 0];

  constructor(protected readonly bench: Bench) {}

  press(at: Point): void {
    this.from = at;
    this.to = at;
  }

  drag(path: readonly Point[]): void {
    if (!this.from) return;
    this.to = path[path.length - 1];
    this.show(this.from, this.to);
  }

  release(): void {
    if (!this.from) return;
    const from = this.from;
    this.cancel();
    this.done(from, this.to);
  }

  cancel(): boolean {
    const begun = this.from !== null;
    this.from = null;
    this.bench.session.preview.value = { kind: "none" };
    return begun;
  }

  protected show(from: Point, to: Point): void {
    this.bench.session.preview.value = { kind: "box", box: boxBetween(from, to) };
  }

  protected abstract done(from: Point, to: Point): void;

  protected isClick(from: Point, to: Point): boolean {
    return distance(from, to) < this.bench.length(4);
  }
}

function boxBetween(a: Point, b: Point): Box {
  return [
    Math.floor(Math.min(a[0], b[0])), Math.floor(Math.min(a[1], b[1])),
    Math.ceil(Math.max(a[0], b[0])), Math.ceil(Math.max(a[1], b[1])),
  ];
}

/** Deletes every cell with a pixel in the box; a click deletes one. */
export class DeleteBox extends Dragged {
  protected done(from: Point, to: Point): void {
    const { session } = this.bench;
    const labels = this.bench.document()?.labels;
    if (!labels) return;
    const [y0, x0, y1, x1] = boxBetween(from, to);
    const hit = new Set<number>();
    if (this.isClick(from, to)) hit.add(this.bench.cellAt(from));
    else {
      // What lies wholly within needs no look at pixels; of the others a pixel must be in the box.
      for (const cell of session.objects.reachable()) {
        if (cell.y0 >= y1 || cell.x0 >= x1 || cell.y1 <= y0 || cell.x1 <= x0) continue;
        const within = cell.y0 >= y0 && cell.x0 >= x0 && cell.y1 <= y1 && cell.x1 <= x1;
        if (within || hasPixelIn(labels, cell.id, [Math.max(y0, cell.y0), Math.max(x0, cell.x0), Math.min(y1, cell.y1), Math.min(x1, cell.x1)])) {
          hit.add(cell.id);
        }
      }
    }
    hit.delete(0);
    if (hit.size > 0) session.delete([...hit]);
  }
}

function hasPixelIn(labels: { at(y: number, x: number): number }, id: number, [y0, x0, y1, x1]: Box): boolean {
  for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) if (labels.at(y, x) === id) return true;
  return false;
}

/** Asks the server for an object at a click, or in a box. */
export class Prompt extends Dragged {
  protected done(from: Point, to: Point): void {
    this.bench.document()?.prompt(this.isClick(from, to) ? from : boxBetween(from, to));
  }
}

/** A circle from its middle: the diameter for segmenting. */
export class Measure extends Dragged {
  protected override show(from: Point, to: Point): void {
    this.bench.session.preview.value = { kind: "circle", centre: from, radius: distance(from, to) };
  }

  protected done(from: Point, to: Point): void {
    const diameter = 2 * distance(from, to);
    if (diameter >= 2) this.bench.session.diameter.value = Math.round(diameter * 10) / 10;
  }
}
