// Textures that the shader reads: pages of tiles, and tables by object id.

import { STATE_WIDTH } from "../core/look";
import type { Pyramid, Tile } from "../core/pyramid";
import type { TileArray } from "../core/tiles";
import { TILE, type Box } from "../core/wire";

export interface PixelFormat {
  readonly internal: number;
  readonly format: number;
  readonly type: number;
}

export function formats(gl: WebGL2RenderingContext): Record<"u8" | "u16" | "u32" | "f16" | "rgba8", PixelFormat> {
  return {
    u8: { internal: gl.R8UI, format: gl.RED_INTEGER, type: gl.UNSIGNED_BYTE },
    u16: { internal: gl.R16UI, format: gl.RED_INTEGER, type: gl.UNSIGNED_SHORT },
    u32: { internal: gl.R32UI, format: gl.RED_INTEGER, type: gl.UNSIGNED_INT },
    f16: { internal: gl.R16F, format: gl.RED, type: gl.HALF_FLOAT },
    rgba8: { internal: gl.RGBA8UI, format: gl.RGBA_INTEGER, type: gl.UNSIGNED_BYTE },
  };
}

/** Texels sent to the card since the start: what tests count. */
export const sent = { tiles: 0, tables: 0 };

const ALL_ZERO = 65535;

function nearest(gl: WebGL2RenderingContext, target: number): void {
  gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texParameteri(target, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(target, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
}

/**
 * Tiles in the layers of one texture, and the table that finds them. The layers are made when the first tile comes, which
 * takes as long as a frame or two: they are taken over from the texture of the image before, if they fit.
 */
export class PagedTexture {
  private readonly tiles: WebGLTexture;
  private readonly pages: WebGLTexture;
  private readonly layers = new Map<number, number>(); // place in the page table -> layer
  private readonly free: number[] = [];
  private readonly columns: number;
  private made = 0; // layers

  constructor(
    private readonly gl: WebGL2RenderingContext,
    private readonly pyramid: Pyramid,
    private readonly pixel: PixelFormat,
    private readonly capacity: number,
    before?: PagedTexture,
  ) {
    this.columns = pyramid.columns(0);
    if (before && before.pixel.internal === pixel.internal && before.made >= capacity) {
      this.tiles = before.tiles;
      this.made = before.made;
    } else {
      if (before) gl.deleteTexture(before.tiles);
      this.tiles = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.tiles);
      gl.texImage3D(gl.TEXTURE_2D_ARRAY, 0, pixel.internal, 1, 1, 1, 0, pixel.format, pixel.type, null);
      nearest(gl, gl.TEXTURE_2D_ARRAY);
    }
    if (before) gl.deleteTexture(before.pages);
    for (let layer = capacity - 1; layer >= 0; layer--) this.free.push(layer);
    this.pages = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.pages);
    const table = formats(gl).u16;
    const rows = pyramid.tableRows * pyramid.channels;
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const empty = new Uint16Array(this.columns * rows);
    gl.texImage2D(gl.TEXTURE_2D, 0, table.internal, this.columns, rows, 0, table.format, table.type, empty);
    nearest(gl, gl.TEXTURE_2D);
  }

  /** Whether it holds no pixel but zeros. */
  get blank(): boolean {
    return this.layers.size === 0;
  }

  /** Whether it has pixels of this tile. */
  has(tile: Tile): boolean {
    return this.layers.has(this.placeOf(tile));
  }

  put(tile: Tile, data: TileArray | null): void {
    if (data === null) {
      this.release(tile);
      this.setPage(tile, ALL_ZERO);
      return;
    }
    const place = this.placeOf(tile);
    let layer = this.layers.get(place);
    if (layer === undefined) {
      this.allocate();
      layer = this.free.pop();
      if (layer === undefined) throw new Error("more tiles than layers");
      this.layers.set(place, layer);
      this.setPage(tile, layer + 1);
    }
    this.send(layer, [0, 0, TILE, TILE], data);
  }

  /** Send a box of a tile's pixels. */
  write(tile: Tile, data: TileArray, [y0, x0, y1, x1]: Box): void {
    const layer = this.layers.get(this.placeOf(tile));
    if (layer === undefined) return;
    const width = x1 - x0;
    // A contiguous copy: row lengths and skips of the unpacking state are refused by some drivers for array textures.
    const box = new (data.constructor as new (length: number) => TileArray)((y1 - y0) * width);
    for (let y = y0; y < y1; y++) box.set(data.subarray(y * TILE + x0, y * TILE + x1), (y - y0) * width);
    this.send(layer, [y0, x0, y1, x1], box);
  }

  drop(tile: Tile): void {
    this.release(tile);
    this.setPage(tile, 0);
  }

  bind(unit: number): void {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.tiles);
    gl.activeTexture(gl.TEXTURE0 + unit + 1);
    gl.bindTexture(gl.TEXTURE_2D, this.pages);
  }

  private allocate(): void {
    if (this.made > 0) return;
    this.made = this.capacity;
    const { gl, pixel } = this;
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.tiles);
    gl.texImage3D(gl.TEXTURE_2D_ARRAY, 0, pixel.internal, TILE, TILE, this.capacity, 0, pixel.format, pixel.type, null);
  }

  private release(tile: Tile): void {
    const layer = this.layers.get(this.placeOf(tile));
    if (layer === undefined) return;
    this.layers.delete(this.placeOf(tile));
    this.free.push(layer);
  }

  private send(layer: number, [y0, x0, y1, x1]: Box, data: TileArray): void {
    const { gl, pixel } = this;
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.tiles);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, x0, y0, layer, x1 - x0, y1 - y0, 1, pixel.format, pixel.type, data);
    sent.tiles += data.length;
  }

  private setPage(tile: Tile, entry: number): void {
    const { gl } = this;
    const place = this.placeOf(tile);
    const table = formats(gl).u16;
    gl.bindTexture(gl.TEXTURE_2D, this.pages);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const [x, y] = [place % this.columns, Math.floor(place / this.columns)];
    gl.texSubImage2D(gl.TEXTURE_2D, 0, x, y, 1, 1, table.format, table.type, Uint16Array.of(entry));
  }

  private placeOf({ channel, level, ty, tx }: Tile): number {
    return (channel * this.pyramid.tableRows + this.pyramid.firstRow[level] + ty) * this.columns + tx;
  }
}

/** One texel for each object id, in rows of STATE_WIDTH. */
export class IdTable {
  private readonly texture: WebGLTexture;
  private rows = 0;

  constructor(
    private readonly gl: WebGL2RenderingContext,
    private readonly pixel: PixelFormat,
  ) {
    this.texture = gl.createTexture();
  }

  /** Send every row anew. `data` has STATE_WIDTH texels a row. */
  fill(data: TileArray, rows: number): void {
    const { gl, pixel } = this;
    this.rows = rows;
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage2D(gl.TEXTURE_2D, 0, pixel.internal, STATE_WIDTH, rows, 0, pixel.format, pixel.type, data);
    nearest(gl, gl.TEXTURE_2D);
    sent.tables += rows * STATE_WIDTH;
  }

  get capacity(): number {
    return this.rows * STATE_WIDTH;
  }

  /** Send the texels of some ids; many at once go as whole rows. */
  update(ids: readonly number[], data: TileArray, perId: number): void {
    const rows = new Map<number, [number, number]>();
    for (const id of ids) {
      const [row, column] = [Math.floor(id / STATE_WIDTH), id % STATE_WIDTH];
      const span = rows.get(row);
      rows.set(row, span ? [Math.min(span[0], column), Math.max(span[1], column + 1)] : [column, column + 1]);
    }
    const { gl, pixel } = this;
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    for (const [row, [from, to]] of rows) {
      const start = row * STATE_WIDTH;
      const part = data.slice((start + from) * perId, (start + to) * perId);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, from, row, to - from, 1, pixel.format, pixel.type, part);
      sent.tables += to - from;
    }
  }

  bind(unit: number): void {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(this.gl.TEXTURE_2D, this.texture);
  }
}
