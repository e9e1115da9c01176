// Runs of pixels: [y, x0, x1] (half-open), or [y, x0, x1, label] in a patch, flat, sorted by row, then column, without
// overlap. As bytes: LEB128 varints of row minus the row before, column minus the end of the run before in this row
// (else the column), length, and the label. Its Python half is server/runs.py.

import type { Box } from "./wire";

export type Runs = Int32Array;

export function encodeRuns(runs: Runs, labelled = false): Uint8Array {
  const width = labelled ? 4 : 3;
  const out: number[] = [];
  let row = 0;
  let end = 0;
  for (let i = 0; i < runs.length; i += width) {
    const [y, x0, x1] = [runs[i], runs[i + 1], runs[i + 2]];
    if (y !== row) end = 0;
    push(out, y - row);
    push(out, x0 - end);
    push(out, x1 - x0);
    if (labelled) push(out, runs[i + 3]);
    row = y;
    end = x1;
  }
  return Uint8Array.from(out);
}

export function decodeRuns(bytes: Uint8Array, labelled = false): Runs {
  const values: number[] = [];
  let value = 0;
  let scale = 1;
  for (const byte of bytes) {
    value += (byte & 127) * scale;
    scale *= 128;
    if (byte < 128) {
      values.push(value);
      value = 0;
      scale = 1;
    }
  }
  const width = labelled ? 4 : 3;
  if (scale !== 1 || values.length % width !== 0) throw new Error("these bytes are no runs");
  const runs = Int32Array.from(values);
  let row = 0;
  let end = 0;
  for (let i = 0; i < runs.length; i += width) {
    if (runs[i] > 0) end = 0;
    row = runs[i] += row;
    const x0 = (runs[i + 1] += end);
    end = runs[i + 2] += x0;
  }
  return runs;
}

function push(out: number[], value: number): void {
  for (; value >= 128; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  out.push(value);
}

/** The box around runs; all zero without any. */
export function boxOf(runs: Runs, width: 3 | 4 = 3): Box {
  if (runs.length === 0) return [0, 0, 0, 0];
  let x0 = Infinity;
  let x1 = 0;
  for (let i = 0; i < runs.length; i += width) {
    x0 = Math.min(x0, runs[i + 1]);
    x1 = Math.max(x1, runs[i + 2]);
  }
  return [runs[0], x0, runs[runs.length - width] + 1, x1];
}

export function areaOf(runs: Runs): number {
  let area = 0;
  for (let i = 0; i < runs.length; i += 3) area += runs[i + 2] - runs[i + 1];
  return area;
}

export function unite(a: Box, b: Box): Box {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

export function intersects(a: Box, b: Box): boolean {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}

/** A set of pixels that grows by spans, and knows itself as runs. */
export class Region {
  private readonly rows = new Map<number, number[]>(); // y -> x0, x1, x0, x1 ... sorted, apart

  constructor(private readonly shape: readonly [height: number, width: number]) {}

  /** Add the pixels x0 to x1 (half-open) of a row; what lies outside the image is cut off. */
  add(y: number, x0: number, x1: number): void {
    x0 = Math.max(0, x0);
    x1 = Math.min(this.shape[1], x1);
    if (y < 0 || y >= this.shape[0] || x0 >= x1) return;
    const spans = this.rows.get(y);
    if (spans === undefined) {
      this.rows.set(y, [x0, x1]);
      return;
    }
    let from = 0;
    while (from < spans.length && spans[from + 1] < x0) from += 2;
    let to = from;
    while (to < spans.length && spans[to] <= x1) to += 2;
    if (to > from) {
      x0 = Math.min(x0, spans[from]);
      x1 = Math.max(x1, spans[to - 1]);
    }
    spans.splice(from, to - from, x0, x1);
  }

  addRuns(runs: Runs): void {
    for (let i = 0; i < runs.length; i += 3) this.add(runs[i], runs[i + 1], runs[i + 2]);
  }

  runs(): Runs {
    const out: number[] = [];
    for (const y of [...this.rows.keys()].sort((a, b) => a - b)) {
      const spans = this.rows.get(y) as number[];
      for (let i = 0; i < spans.length; i += 2) out.push(y, spans[i], spans[i + 1]);
    }
    return Int32Array.from(out);
  }
}
