// Runs in a real browser: draws generated labels with the shader, and the same with its twin, and counts the pixels that
// differ. The test beside it looks at the outcome.

import { FLAG, STATE_WIDTH } from "../../src/core/look";
import { hash, type Rgb } from "../../src/core/palette";
import { Pyramid, type Tile } from "../../src/core/pyramid";
import { labelled, type ShadeInput } from "../../src/core/shade";
import { TILE } from "../../src/core/wire";
import { Renderer, type Frame } from "../../src/gl/renderer";
import { sent } from "../../src/gl/textures";

const [HEIGHT, WIDTH] = [1100, 1300];
const CELL = 37; // side of the cells, which cross the borders of tiles
const random = ((seed: number) => () => (seed = (seed * 16807) % 2147483647) / 2147483647)(11);

const image = (y: number, x: number): number => (y * 3 + x * 5) & 255;

/** Squares with gaps, every 7th one a discarded candidate, with ids beyond one row of the tables. */
function idAt(y: number, x: number): number {
  if (y < 0 || x < 0 || y >= HEIGHT || x >= WIDTH || y % CELL < 3 || (x % CELL < 2 && y % 2 === 0)) return 0;
  return 1 + (Math.floor(y / CELL) * 40 + Math.floor(x / CELL)) * 5;
}
const isCandidate = (id: number): boolean => id % 7 === 0;
const target = (id: number): number => (id % 11 === 0 ? id + 5 : id % 13 === 0 ? 0 : id); // joined, deleted

function tileOf<T extends Uint8Array | Uint32Array>(tile: Tile, data: T, value: (y: number, x: number) => number): T {
  const step = 2 ** tile.level;
  for (let i = 0; i < data.length; i++) {
    const [y, x] = [(tile.ty * TILE + Math.floor(i / TILE)) * step, (tile.tx * TILE + (i % TILE)) * step];
    data[i] = y < HEIGHT && x < WIDTH ? value(y, x) : 0;
  }
  return data;
}

function states(): Uint8Array {
  const bytes = new Uint8Array(STATE_WIDTH * 4 * 2);
  for (let id = 1; id < bytes.length / 4; id++) {
    const h = hash(id + 1);
    if (h % 5 === 0) continue; // not in the table yet
    const flags = (h % 17 === 0 ? FLAG.selected : 0) | (h % 6 === 0 ? FLAG.ghost : 0) | (h % 19 === 0 ? FLAG.hidden : 0) | (h % 7 === 0 ? FLAG.locked : 0);
    bytes.set([flags, 1 + (h % 10), (h >> 4) % 256, h % 256], id * 4);
  }
  return bytes;
}

function shuffled<T>(list: T[]): T[] {
  return list.map((item) => [random(), item] as const).sort((a, b) => a[0] - b[0]).map(([, item]) => item);
}

function build(canvas: HTMLCanvasElement): { renderer: Renderer; state: Uint8Array; pyramid: Pyramid } {
  const renderer = new Renderer(canvas);
  const pyramid = new Pyramid([HEIGHT, WIDTH], 3, 1);
  renderer.open(pyramid, 1, 8, { image: 40, labels: 40, candidates: 12, field: 12 });
  const everything: [number, number, number, number] = [0, 0, HEIGHT, WIDTH];
  for (const tile of shuffled([0, 1, 2].flatMap((level) => pyramid.tilesIn(everything, level)))) {
    renderer.image.put(tile, tileOf(tile, new Uint8Array(TILE * TILE), image));
    renderer.labels.put(tile, tileOf(tile, new Uint32Array(TILE * TILE), (y, x) => (isCandidate(idAt(y, x)) ? 0 : idAt(y, x))));
    if (tile.level === 0) {
      renderer.candidates.put(tile, tileOf(tile, new Uint32Array(TILE * TILE), (y, x) => (isCandidate(idAt(y, x)) ? idAt(y, x) : 0)));
    }
  }
  const state = states();
  renderer.setState(state, null);
  const ids = Array.from({ length: 7000 }, (_, id) => id).filter((id) => target(id) !== id);
  renderer.setRemap(ids, target);
  return { renderer, state, pyramid };
}

function compare(renderer: Renderer, state: Uint8Array, frame: Frame, level: number): { wrong: number; worst: number; first: string } {
  const { gl } = renderer;
  renderer.draw(frame);
  const [w, h] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
  const pixels = new Uint8Array(w * h * 4);
  gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  const sampled = (value: (y: number, x: number) => number) => (y: number, x: number) => (y < 0 || x < 0 || y >= HEIGHT || x >= WIDTH ? 0 : value((y >> level) << level, (x >> level) << level));
  const input: ShadeInput = {
    labelAt: sampled((y, x) => (isCandidate(idAt(y, x)) ? 0 : target(idAt(y, x)))),
    candidateAt: (y, x) => (isCandidate(idAt(y, x)) ? idAt(y, x) : 0),
    state, ghosts: frame.ghosts, colorMode: frame.colorMode, fill: frame.fill, outline: frame.outline,
    reach: frame.outlineWidth / frame.zoom, scale: 1 / frame.zoom, classColors: frame.classColors,
  };
  const [grey] = [sampled(image)];
  let [wrong, worst, first] = [0, 0, ""];
  for (let row = 0; row < h; row++) {
    for (let column = 0; column < w; column++) {
      const [y, x] = [frame.corner[0] + (row + 0.5) / frame.zoom, frame.corner[1] + (column + 0.5) / frame.zoom];
      const outside = y < 0 || x < 0 || y >= HEIGHT || x >= WIDTH;
      const value = grey(Math.floor(y), Math.floor(x));
      const truth: Rgb = outside ? frame.background : labelled(input, [value, value, value], y, x, row, column);
      const at = ((h - 1 - row) * w + column) * 4;
      const off = Math.max(...truth.map((part, i) => Math.abs(part - pixels[at + i])));
      if (off <= 1.5) continue;
      wrong++;
      worst = Math.max(worst, off);
      first ||= `y ${y} x ${x}: drew ${[...pixels.subarray(at, at + 3)]}, twin says ${truth.map(Math.round)}`;
    }
  }
  return { wrong, worst, first };
}

const canvas = document.createElement("canvas");
canvas.width = 320;
canvas.height = 240;
document.body.append(canvas);
const { renderer, state, pyramid } = build(canvas);
const base: Frame = {
  corner: [0, 0], zoom: 1, background: [22, 24, 27], channels: [{ channel: 0, color: [255, 255, 255], low: 0, high: 255, gamma: 1 }],
  invert: false, showLabels: true, ghosts: true, colorMode: 0, fill: 0.35, outline: 1, outlineWidth: 1,
  classColors: Array.from({ length: 256 }, (_, i): Rgb => [i, 255 - i, 90]), overlay: 0,
};
const frames: Partial<Frame>[] = [
  {}, { corner: [430, 460], zoom: 2 }, { corner: [505.125, 500.25], zoom: 16 }, { corner: [-20, -30], zoom: 0.5 },
  { corner: [0, 100], zoom: 0.25 }, { corner: [900, 1100], zoom: 1, ghosts: false }, { corner: [200, 300], zoom: 4, colorMode: 1, outlineWidth: 2 },
  { corner: [600, 20], zoom: 1, colorMode: 2, outline: 0 }, { corner: [300, 700], zoom: 2, colorMode: 3, fill: 0 },
];
const outcome = frames.map((change) => {
  const frame = { ...base, ...change };
  return { ...compare(renderer, state, frame, pyramid.levelAt(frame.zoom)), frame: JSON.stringify(change) };
});

// Small changes are small on the wire to the card.
const before = { ...sent };
renderer.labels.write({ channel: 0, level: 0, ty: 0, tx: 1 }, new Uint32Array(TILE * TILE), [10, 20, 74, 84]);
const patch = sent.tiles - before.tiles;
renderer.setRemap([42], () => 43);
renderer.setState(state, [42]);
const texels = { patch, tables: sent.tables - before.tables };

// A frame of which only what changed is drawn anew is the frame drawn whole.
function shot(): Uint8Array {
  const { gl } = renderer;
  const pixels = new Uint8Array(gl.drawingBufferWidth * gl.drawingBufferHeight * 4);
  gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  return pixels;
}
const differing = (a: Uint8Array, b: Uint8Array): number => new Uint32Array(a.buffer).reduce((sum, value, i) => sum + Number(value !== new Uint32Array(b.buffer)[i]), 0);
const parts = frames.map((change, i) => {
  const frame = { ...base, ...change, outlineWidth: 1 + (i % 3) };
  renderer.draw(frame);
  const earlier = shot();
  const [y, x] = [Math.round(frame.corner[0] + 60 / frame.zoom), Math.round(frame.corner[1] + 90 / frame.zoom)];
  const [ty, tx] = [Math.floor(Math.max(0, y) / TILE), Math.floor(Math.max(0, x) / TILE)];
  const [row, column] = [Math.min(Math.max(0, y) - ty * TILE, TILE - 40), Math.min(Math.max(0, x) - tx * TILE, TILE - 50)];
  for (const level of [0, 1, 2]) {
    const [r, c, h, w] = [row, column, 40, 50].map((value) => value >> level);
    const tile = { channel: 0, level, ty: ty >> level, tx: tx >> level };
    const off = [((ty - (tile.ty << level)) * TILE) >> level, ((tx - (tile.tx << level)) * TILE) >> level];
    renderer.labels.write(tile, new Uint32Array(TILE * TILE).fill(5000 + i), [r + off[0], c + off[1], r + off[0] + h, c + off[1] + w]);
  }
  const [top, left] = [ty * TILE + row, tx * TILE + column];
  renderer.draw(frame, [[top, left, top + 40, left + 50]]);
  const partial = shot();
  renderer.draw(frame);
  return { changed: differing(earlier, partial), wrong: differing(partial, shot()) };
});

renderer.draw({ ...base, corner: [430, 460], zoom: 1 });
Object.assign(window, { outcome, texels, parts, error: renderer.gl.getError() });
