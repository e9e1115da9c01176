// Where tiles lie: level 0 is full size, each level above takes every second pixel of the one below.

import type { View } from "./state";
import { TILE, type Box } from "./wire";

export interface Tile {
  readonly channel: number; // 0 for labels
  readonly level: number;
  readonly ty: number;
  readonly tx: number;
}

export function keyOf(tile: Tile): string {
  return `${tile.channel}/${tile.level}/${tile.ty}/${tile.tx}`;
}

export class Pyramid {
  /** First row of each level in the page table, which stacks all levels of one channel. */
  readonly firstRow: readonly number[];
  readonly tableRows: number;
  readonly tilesPerChannel: number;

  constructor(
    readonly shape: readonly [height: number, width: number],
    readonly levels: number,
    readonly channels: number,
  ) {
    const firstRow: number[] = [];
    let rows = 0;
    let tiles = 0;
    for (let level = 0; level < levels; level++) {
      firstRow.push(rows);
      rows += this.rows(level);
      tiles += this.rows(level) * this.columns(level);
    }
    this.firstRow = firstRow;
    this.tableRows = rows;
    this.tilesPerChannel = tiles;
  }

  withChannels(channels: number): Pyramid {
    return new Pyramid(this.shape, this.levels, channels);
  }

  rows(level: number): number {
    return Math.max(1, Math.ceil(this.shape[0] / 2 ** level / TILE));
  }

  columns(level: number): number {
    return Math.max(1, Math.ceil(this.shape[1] / 2 ** level / TILE));
  }

  /** The coarsest level that still has a pixel for each screen pixel; `zoom` in device pixels an image pixel. */
  levelAt(zoom: number): number {
    return Math.max(0, Math.min(this.levels - 1, Math.floor(Math.log2(1 / zoom) + 1e-9)));
  }

  /** Tiles of a level that meet a box of full-size pixels, nearest to its middle first. */
  tilesIn(box: Box, level: number, channel = 0): Tile[] {
    const side = TILE * 2 ** level;
    const y0 = Math.max(0, Math.floor(box[0] / side));
    const x0 = Math.max(0, Math.floor(box[1] / side));
    const y1 = Math.min(this.rows(level), Math.ceil(box[2] / side));
    const x1 = Math.min(this.columns(level), Math.ceil(box[3] / side));
    const middle = [(box[0] + box[2]) / 2 / side - 0.5, (box[1] + box[3]) / 2 / side - 0.5];
    const tiles: Tile[] = [];
    for (let ty = y0; ty < y1; ty++) for (let tx = x0; tx < x1; tx++) tiles.push({ channel, level, ty, tx });
    const far = (tile: Tile): number => Math.hypot(tile.ty - middle[0], tile.tx - middle[1]);
    return tiles.sort((a, b) => far(a) - far(b));
  }
}

/** The part of the image that the window shows, which may reach out of the image. */
export function windowOf(view: View): Box {
  const [h, w] = [view.height / view.zoom / 2, view.width / view.zoom / 2];
  return [view.centre[0] - h, view.centre[1] - w, view.centre[0] + h, view.centre[1] + w];
}

/** A box as whole pixels within the image, or null where it lies outside. */
export function clipped(box: Box, shape: readonly [number, number]): Box | null {
  const clip: Box = [
    Math.max(0, Math.floor(box[0])), Math.max(0, Math.floor(box[1])),
    Math.min(shape[0], Math.ceil(box[2])), Math.min(shape[1], Math.ceil(box[3])),
  ];
  return clip[0] < clip[2] && clip[1] < clip[3] ? clip : null;
}
