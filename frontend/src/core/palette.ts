// Colours of objects. The ten differ from one another also to eyes that lack one kind of cone (a test computes it), and
// neighbours get different ones, for as long as fewer than ten meet.

import type { Cell } from "./objects";

export type Rgb = readonly [number, number, number]; // 0 to 255

export const PALETTE: readonly Rgb[] = [
  [255, 124, 0], [49, 237, 255], [119, 197, 112], [255, 248, 0], [86, 116, 188],
  [215, 50, 33], [233, 136, 180], [146, 87, 251], [209, 255, 220], [154, 103, 91],
];

/** Where all objects have one colour. */
export const SINGLE: Rgb = PALETTE[1];

/** From doubtful to good. */
export const QUALITY: readonly [Rgb, Rgb, Rgb] = [[214, 73, 51], [240, 200, 80], [70, 160, 220]];

/** A well-mixed number of an id; the shader has its twin. All arithmetic is on 32 unsigned bits. */
export function hash(id: number): number {
  let h = id >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d) >>> 0;
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}

/** The colour of an object that no neighbour is known of. */
export function slotOf(id: number): number {
  return hash(id) % PALETTE.length;
}

const CELL = 64; // side of a bucket of the neighbour search, pixels

/** Remembers which colour each object has, and gives new ones a colour that no neighbour has. */
export class Slots {
  private readonly slots = new Map<number, number>();

  get(id: number): number {
    return this.slots.get(id) ?? slotOf(id);
  }

  /** Colours for all of these; those that have one keep it. */
  assign(cells: readonly Cell[]): void {
    const fresh = cells.filter((cell) => !this.slots.has(cell.id));
    if (fresh.length === 0) return;
    const buckets = new Map<number, Cell[]>();
    for (const cell of cells) for (const key of bucketsOf(cell)) push(buckets, key, cell);
    for (const cell of fresh) {
      const taken = new Array<number>(PALETTE.length).fill(0);
      for (const key of bucketsOf(cell)) {
        for (const other of buckets.get(key) ?? []) {
          const slot = this.slots.get(other.id);
          if (slot !== undefined && other.id !== cell.id && meet(cell, other)) taken[slot]++;
        }
      }
      this.slots.set(cell.id, leastTaken(taken, slotOf(cell.id)));
    }
  }
}

function leastTaken(taken: readonly number[], first: number): number {
  let best = first;
  for (let step = 1; step < taken.length; step++) {
    const slot = (first + step) % taken.length;
    if (taken[slot] < taken[best]) best = slot;
  }
  return best;
}

function meet(a: Cell, b: Cell): boolean {
  const gap = 2;
  return a.y0 <= b.y1 + gap && b.y0 <= a.y1 + gap && a.x0 <= b.x1 + gap && b.x0 <= a.x1 + gap;
}

function* bucketsOf(cell: Cell): Generator<number> {
  for (let y = Math.floor(cell.y0 / CELL); y <= Math.floor(cell.y1 / CELL); y++) {
    for (let x = Math.floor(cell.x0 / CELL); x <= Math.floor(cell.x1 / CELL); x++) yield y * 65536 + x;
  }
}

function push(map: Map<number, Cell[]>, key: number, cell: Cell): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [cell]);
  else list.push(cell);
}

export function parseColor(color: string): Rgb {
  const value = Number.parseInt(color.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}
