// The label tiles that are here, at every level: read, painted and patched in place. A level above 0 holds every second
// pixel of the one below, so each level is painted by itself and all stay true.

import type { Pyramid, Tile } from "./pyramid";
import { Mask } from "./mask";
import type { Remap } from "./remap";
import type { Runs } from "./runs";
import type { TileCache } from "./tiles";
import { TILE, type Box, type Mode } from "./wire";

export interface PaintRule {
  label: number; // 0 erases
  mode: Mode;
  inside: ReadonlySet<number>; // for mode "inside"
  locked: (id: number) => boolean;
  readonly met?: ReadonlySet<number>; // locked objects that stood in the way
}

/** May a pixel that belongs to `old` be written? The server has the same rule. */
export function mayWrite(rule: PaintRule, old: number): boolean {
  if (rule.locked(old) || rule.locked(rule.label)) return false;
  if (rule.mode === "keep") return old === 0 || old === rule.label;
  return rule.mode === "overwrite" || rule.inside.has(old);
}

export class Labels {
  constructor(
    readonly pyramid: Pyramid,
    readonly remap: Remap,
    private readonly cache: TileCache<Uint32Array>,
  ) {}

  /** The object at a full-size pixel, at the finest level that is here; 0 outside and where nothing is known. */
  at(y: number, x: number): number {
    if (y < 0 || x < 0 || y >= this.pyramid.shape[0] || x >= this.pyramid.shape[1]) return 0;
    for (let level = 0; level < this.pyramid.levels; level++) {
      const [row, column] = [Math.floor(y) >> level, Math.floor(x) >> level];
      const data = this.cache.get({ channel: 0, level, ty: row >> 9, tx: column >> 9 });
      if (data === null) return 0;
      if (data !== undefined) return this.remap.resolve(data[(row & 511) * TILE + (column & 511)]);
    }
    return 0;
  }

  /** Fetch the full-size tiles of a box. */
  async ensure(box: Box): Promise<void> {
    await Promise.all(this.pyramid.tilesIn(box, 0).map((tile) => this.cache.ensure(tile)));
  }

  /** The pixels of a box that `wanted` accepts; a window of full-size pixels, which `ensure` has fetched. */
  mask(box: Box, wanted: (id: number) => boolean): Mask {
    const mask = new Mask(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    const known = new Map<number, number>();
    for (let y = box[0], i = 0; y < box[2]; y++) {
      for (let x = box[1]; x < box[3]; x++, i++) {
        const raw = this.raw(y, x);
        let value = known.get(raw);
        if (value === undefined) known.set(raw, (value = wanted(this.remap.resolve(raw)) ? 1 : 0));
        mask.data[i] = value;
      }
    }
    return mask;
  }

  private raw(y: number, x: number): number {
    const data = this.cache.get({ channel: 0, level: 0, ty: y >> 9, tx: x >> 9 });
    return data ? data[(y & 511) * TILE + (x & 511)] : 0;
  }

  paint(runs: Runs, rule: PaintRule): void {
    for (const [tile, data] of [...this.cache.resident()]) this.paintTile(tile, data, runs, rule);
  }

  /** Paint one tile; returns its pixels, which are new where a tile of zeros got its first ones. */
  paintTile(tile: Tile, data: Uint32Array | null, runs: Runs, rule: PaintRule, quiet = false): Uint32Array | null {
    if (data === null && rule.label === 0) return null;
    const answers = new Map<number, boolean>();
    const may = (raw: number): boolean => {
      let answer = answers.get(raw);
      if (answer === undefined) answers.set(raw, (answer = mayWrite(rule, this.remap.resolve(raw))));
      return answer;
    };
    return this.write(tile, data, runs, 3, (pixels, from, to) => {
      for (let i = from; i < to; i++) if (may(pixels[i])) pixels[i] = rule.label;
    }, quiet);
  }

  /** Put the labels of a patch's runs where they belong. */
  patch(runs: Runs): void {
    for (const [tile, data] of [...this.cache.resident()]) {
      this.write(tile, data, runs, 4, (pixels, from, to, i) => pixels.fill(runs[i + 3], from, to));
    }
    this.cache.outdate((tile) => touches(tile, runs, 4));
  }

  /** Give the pixels of an id, in a box, to another for good. */
  rewrite(id: number, target: number, box: Box): void {
    const rows: number[] = [];
    for (let y = box[0]; y < box[2]; y++) rows.push(y, box[1], box[3]);
    const runs = Int32Array.from(rows);
    for (const [tile, data] of [...this.cache.resident()]) {
      if (data === null) continue;
      this.write(tile, data, runs, 3, (pixels, from, to) => {
        for (let i = from; i < to; i++) if (pixels[i] === id) pixels[i] = target;
      });
    }
  }

  private write(
    tile: Tile,
    data: Uint32Array | null,
    runs: Runs,
    width: 3 | 4,
    fill: (pixels: Uint32Array, from: number, to: number, run: number) => void,
    quiet = false,
  ): Uint32Array | null {
    const { level } = tile;
    const step = 2 ** level;
    const [top, left] = [tile.ty * TILE, tile.tx * TILE];
    const fresh = data === null;
    let pixels = data;
    const box: Box = [TILE, TILE, 0, 0];
    for (let i = firstRun(runs, width, top * step); i < runs.length; i += width) {
      const y = runs[i];
      if (y >= (top + TILE) * step) break;
      if (y % step !== 0) continue;
      const row = y / step - top;
      const from = Math.max(0, Math.ceil(runs[i + 1] / step) - left);
      const to = Math.min(TILE, Math.ceil(runs[i + 2] / step) - left);
      if (from >= to) continue;
      pixels ??= new Uint32Array(TILE * TILE);
      fill(pixels, row * TILE + from, row * TILE + to, i);
      box[0] = Math.min(box[0], row);
      box[1] = Math.min(box[1], from);
      box[2] = Math.max(box[2], row + 1);
      box[3] = Math.max(box[3], to);
    }
    if (pixels !== null && box[2] > 0 && !quiet) {
      if (fresh) this.cache.replace(tile, pixels);
      else this.cache.written(tile, pixels, box);
    }
    return pixels;
  }
}

/** Does a tile hold pixels of these runs? */
export function touches(tile: Tile, runs: Runs, width: 3 | 4): boolean {
  const side = TILE * 2 ** tile.level;
  for (let i = firstRun(runs, width, tile.ty * side); i < runs.length && runs[i] < (tile.ty + 1) * side; i += width) {
    if (runs[i + 1] < (tile.tx + 1) * side && runs[i + 2] > tile.tx * side) return true;
  }
  return false;
}

/** Index of the first run at or below a row. */
function firstRun(runs: Runs, width: number, row: number): number {
  let low = 0;
  let high = runs.length / width;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[middle * width] < row) low = middle + 1;
    else high = middle;
  }
  return low * width;
}
