// A small window of pixels, in or out: what the tools that change shapes compute with.

import { Region, type Runs } from "./runs";
import type { Box } from "./wire";

export class Mask {
  readonly height: number;
  readonly width: number;
  readonly data: Uint8Array;

  constructor(
    readonly y0: number,
    readonly x0: number,
    height: number,
    width: number,
    data?: Uint8Array,
  ) {
    this.height = height;
    this.width = width;
    this.data = data ?? new Uint8Array(height * width);
  }

  static like(other: Mask, data: Uint8Array): Mask {
    return new Mask(other.y0, other.x0, other.height, other.width, data);
  }

  get box(): Box {
    return [this.y0, this.x0, this.y0 + this.height, this.x0 + this.width];
  }

  /** In, in image pixels; outside the window: out. */
  has(y: number, x: number): boolean {
    const [row, column] = [y - this.y0, x - this.x0];
    return row >= 0 && column >= 0 && row < this.height && column < this.width && this.data[row * this.width + column] === 1;
  }

  get area(): number {
    return this.data.reduce((sum, value) => sum + value, 0);
  }

  runs(shape: readonly [number, number]): Runs {
    const region = new Region(shape);
    for (let row = 0; row < this.height; row++) {
      let start = -1;
      for (let column = 0; column <= this.width; column++) {
        const inside = column < this.width && this.data[row * this.width + column] === 1;
        if (inside && start < 0) start = column;
        if (!inside && start >= 0) {
          region.add(this.y0 + row, this.x0 + start, this.x0 + column);
          start = -1;
        }
      }
    }
    return region.runs();
  }

  /** Pixels of this that are not in the other of the same window. */
  minus(other: Mask): Mask {
    return Mask.like(this, this.data.map((value, i) => value & (other.data[i] ^ 1)));
  }
}

/** A pixel more on every side (4-neighbours). */
export function grown(mask: Mask): Mask {
  const { height, width, data } = mask;
  const out = data.slice();
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (data[i] === 0) continue;
      if (y > 0) out[i - width] = 1;
      if (y < height - 1) out[i + width] = 1;
      if (x > 0) out[i - 1] = 1;
      if (x < width - 1) out[i + 1] = 1;
    }
  }
  return Mask.like(mask, out);
}

/** A pixel less on every side; the window's border counts as inside, so that the image's border does not eat objects. */
export function shrunk(mask: Mask): Mask {
  const inverted = Mask.like(mask, mask.data.map((value) => value ^ 1));
  return Mask.like(mask, grown(inverted).data.map((value) => value ^ 1));
}

/**
 * The outline without its teeth: a pixel is in if enough of the disk around it is; how much is enough is chosen so that the
 * area changes least, as otherwise round objects would shrink each time. Keeps the largest piece.
 */
export function smoothed(mask: Mask, radius = 2): Mask {
  const { height, width, data } = mask;
  const disk: [number, number][] = [];
  for (let dy = -radius; dy <= radius; dy++) {
    for (let dx = -radius; dx <= radius; dx++) if (dy * dy + dx * dx <= radius * radius + 1) disk.push([dy, dx]);
  }
  const cover = new Uint8Array(data.length);
  const pixelsWith = new Array<number>(disk.length + 1).fill(0);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      for (const [dy, dx] of disk) {
        const row = Math.min(height - 1, Math.max(0, y + dy));
        const column = Math.min(width - 1, Math.max(0, x + dx));
        cover[i] += data[row * width + column];
      }
      pixelsWith[cover[i]]++;
    }
  }
  const enough = leastChange(pixelsWith, mask.area);
  const out = cover.map((count) => (count >= enough ? 1 : 0));
  const largest = components(Mask.like(mask, out)).sort((a, b) => b.area - a.area)[0];
  return largest?.mask ?? mask;
}

/** The cover that as many pixels reach as the area has, within a quarter of the disk around its half. */
function leastChange(pixelsWith: readonly number[], area: number): number {
  const full = pixelsWith.length - 1;
  let best = Math.ceil(full / 2);
  let reached = 0;
  let bestOff = Infinity;
  for (let cover = full; cover >= full / 4; cover--) {
    reached += pixelsWith[cover];
    const off = Math.abs(reached - area);
    if (cover <= (3 * full) / 4 && off < bestOff) [best, bestOff] = [cover, off];
  }
  return best;
}

export interface Component {
  mask: Mask;
  area: number;
  touchesEdge: boolean; // of the window
}

/** The 4-connected pieces of a mask. */
export function components(mask: Mask): Component[] {
  const seen = mask.data.map((value) => value ^ 1);
  const found: Component[] = [];
  for (let i = 0; i < seen.length; i++) {
    if (seen[i] === 0) found.push(flood(mask, seen, i));
  }
  return found;
}

/** The piece that holds a pixel (of the image), or null where the mask is empty. */
export function pieceAt(mask: Mask, y: number, x: number): Component | null {
  if (!mask.has(y, x)) return null;
  const seen = mask.data.map((value) => value ^ 1);
  return flood(mask, seen, (y - mask.y0) * mask.width + x - mask.x0);
}

function flood(mask: Mask, seen: Uint8Array, start: number): Component {
  const { height, width } = mask;
  const out = new Uint8Array(seen.length);
  const stack = [start];
  seen[start] = 1;
  let area = 0;
  let touchesEdge = false;
  while (stack.length > 0) {
    const i = stack.pop() as number;
    const [y, x] = [Math.floor(i / width), i % width];
    out[i] = 1;
    area++;
    touchesEdge ||= y === 0 || x === 0 || y === height - 1 || x === width - 1;
    if (y > 0 && seen[i - width] === 0) stack.push(mark(seen, i - width));
    if (y < height - 1 && seen[i + width] === 0) stack.push(mark(seen, i + width));
    if (x > 0 && seen[i - 1] === 0) stack.push(mark(seen, i - 1));
    if (x < width - 1 && seen[i + 1] === 0) stack.push(mark(seen, i + 1));
  }
  return { mask: Mask.like(mask, out), area, touchesEdge };
}

function mark(seen: Uint8Array, i: number): number {
  seen[i] = 1;
  return i;
}

/** The mask with every enclosed hole in. */
export function filled(mask: Mask): Mask {
  const background = Mask.like(mask, mask.data.map((value) => value ^ 1));
  const out = mask.data.slice();
  for (const hole of components(background)) {
    if (!hole.touchesEdge) hole.mask.data.forEach((value, i) => (out[i] |= value));
  }
  return Mask.like(mask, out);
}
