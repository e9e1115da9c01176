// Tools that change the shape of the object that is clicked.

import type { Document } from "../core/document";
import { filled, grown, type Mask, pieceAt, shrunk, smoothed } from "../core/mask";
import { clipped } from "../core/pyramid";
import { encodeRuns, type Runs } from "../core/runs";
import type { Box, EditPart, Point } from "../core/wire";
import { canWrite, type Bench, type Tool } from "./tool";

const MARGIN = 6; // pixels around an object that its shape may grow into
const FILL_REACH = 1024; // side of the window in which an enclosed area is looked for
const MOST_PIXELS = 2 ** 23; // of an object that is computed with

/** A click does it, once. */
abstract class Click implements Tool {
  readonly cursor = "pointer";
  private at: Point | null = null;

  constructor(protected readonly bench: Bench) {}

  press(at: Point): void {
    this.at = at;
  }

  drag(): void {}

  release(): void {
    const document = this.bench.document();
    if (document && this.at) void this.click(document, this.at);
    this.at = null;
  }

  cancel(): boolean {
    const begun = this.at !== null;
    this.at = null;
    return begun;
  }

  protected abstract click(document: Document, at: Point): Promise<void>;
}

/** Gives the clicked object another shape: one edit, one undo. */
class Reshape extends Click {
  constructor(
    bench: Bench,
    private readonly change: (mask: Mask) => Mask,
  ) {
    super(bench);
  }

  protected async click(document: Document, at: Point): Promise<void> {
    const id = this.bench.cellAt(at);
    const cell = this.bench.session.objects.peek(id);
    if (!cell) return;
    const box = clipped([cell.y0 - MARGIN, cell.x0 - MARGIN, cell.y1 + MARGIN, cell.x1 + MARGIN], document.image.shape) as Box;
    if (!fits(this.bench, box)) return;
    await document.labels.ensure(box);
    const before = document.labels.mask(box, (other) => other === id);
    const after = this.change(before);
    if (after.area === 0) {
      this.bench.session.notify("info", "This would leave nothing of the object", "delete it with the Delete key");
      return;
    }
    const { shape } = document.image;
    reshape(document, id, after.minus(before).runs(shape), before.minus(after).runs(shape));
  }
}

/** What an object gains, where nobody else is, and loses, as one edit. */
export function reshape(document: Document, id: number, gained: Runs, lost: Runs): void {
  const paint = (label: number, runs: Runs, mode: "keep" | "inside"): EditPart[] =>
    runs.length === 0 ? [] : [{ plane: document.plane, kind: "paint", label, runs: encodeRuns(runs), mode, ids: [id] }];
  const parts = [...paint(0, lost, "inside"), ...paint(id, gained, "keep")];
  if (parts.length > 0) document.batch(parts);
}

export const grow = (bench: Bench): Tool => new Reshape(bench, grown);
export const shrink = (bench: Bench): Tool => new Reshape(bench, shrunk);
export const smooth = (bench: Bench): Tool => new Reshape(bench, smoothed);

/**
 * On an object: fills its holes. On background that is enclosed: gives it to the object around it, or, where several
 * enclose it together, makes it an object of its own.
 */
export class Fill extends Click {
  protected async click(document: Document, at: Point): Promise<void> {
    const id = this.bench.cellAt(at);
    if (id !== 0) await this.fillHoles(document, id);
    else await this.fillGap(document, at);
  }

  private async fillHoles(document: Document, id: number): Promise<void> {
    const cell = this.bench.session.objects.peek(id);
    if (!cell) return;
    const box: Box = [cell.y0, cell.x0, cell.y1, cell.x1];
    if (!fits(this.bench, box)) return;
    await document.labels.ensure(box);
    const mask = document.labels.mask(box, (other) => other === id);
    reshape(document, id, filled(mask).minus(mask).runs(document.image.shape), new Int32Array());
  }

  private async fillGap(document: Document, [y, x]: Point): Promise<void> {
    const { session } = this.bench;
    const { shape } = document.image;
    const half = FILL_REACH / 2;
    const box = clipped([y - half, x - half, y + half, x + half], shape) as Box;
    await document.labels.ensure(box);
    const gap = pieceAt(document.labels.mask(box, (id) => id === 0), Math.floor(y), Math.floor(x));
    if (!gap) return;
    if (gap.touchesEdge) {
      session.notify("info", "This area is open", "fill works where objects enclose the background");
      return;
    }
    const neighbours = neighboursOf(document, gap.mask);
    if (neighbours.size === 1) reshape(document, [...neighbours][0], gap.mask.runs(shape), new Int32Array());
    else if (canWrite(this.bench)) session.draw(gap.mask.runs(shape));
  }
}

function neighboursOf(document: Document, mask: Mask): Set<number> {
  const around = grown(mask).minus(mask);
  const found = new Set<number>();
  around.data.forEach((value, i) => {
    if (value === 1) found.add(document.labels.at(mask.y0 + Math.floor(i / mask.width), mask.x0 + (i % mask.width)));
  });
  found.delete(0);
  return found;
}

function fits(bench: Bench, [y0, x0, y1, x1]: Box): boolean {
  const small = (y1 - y0) * (x1 - x0) <= MOST_PIXELS;
  if (!small) bench.session.notify("info", "This object is too large for that", "use the brush");
  return small;
}
