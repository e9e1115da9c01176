// The labels as the shader draws them, pixel by pixel: its specification, and how a test knows that it does.

import { FLAG } from "./look";
import { hash, PALETTE, QUALITY, SINGLE, type Rgb } from "./palette";

export interface ShadeInput {
  /** Resolved object of the labels at an image pixel; 0 outside. */
  labelAt(y: number, x: number): number;
  /** Discarded candidate there; 0 for none. */
  candidateAt(y: number, x: number): number;
  /** As Look.bytes: flags, slot + 1, class, score, of each id. */
  state: Uint8Array;
  ghosts: boolean;
  colorMode: 0 | 1 | 2 | 3;
  fill: number;
  outline: number;
  reach: number; // width of the outline, image pixels
  scale: number; // image pixels a device pixel
  classColors: readonly Rgb[];
}

function stateOf(input: ShadeInput, id: number): [flags: number, slot: number, classId: number, score: number] {
  const [flags = 0, slot = 0, classId = 0, score = 0] = input.state.subarray(id * 4, id * 4 + 4);
  return [flags, slot, classId, score];
}

/** The object that is shown at a pixel: of the labels, else a candidate that was discarded. */
export function shownAt(input: ShadeInput, y: number, x: number): number {
  let id = input.labelAt(y, x);
  if (id === 0 && input.ghosts) {
    id = input.candidateAt(y, x);
    if (id > 0 && stateOf(input, id)[1] === 0) return 0;
  }
  if (id === 0) return 0;
  const [flags] = stateOf(input, id);
  return flags & FLAG.hidden || (flags & FLAG.ghost && !input.ghosts) ? 0 : id;
}

export function colorOf(input: ShadeInput, id: number): Rgb {
  const [, slot, classId, score] = stateOf(input, id);
  if (input.colorMode === 1) return input.classColors[classId];
  if (input.colorMode === 2) {
    if (score === 255 || slot === 0) return [153, 153, 153];
    const good = score / 254;
    return good < 0.5 ? mix(QUALITY[0], QUALITY[1], good * 2) : mix(QUALITY[1], QUALITY[2], good * 2 - 1);
  }
  if (input.colorMode === 3) return SINGLE;
  return PALETTE[slot > 0 ? slot - 1 : hash(id) % PALETTE.length];
}

function bordersAt(input: ShadeInput, y: number, x: number, id: number, reach: number): boolean {
  const steps = [[0, reach], [0, -reach], [reach, 0], [-reach, 0]];
  return steps.some(([dy, dx]) => shownAt(input, Math.floor(y + dy), Math.floor(x + dx)) !== id);
}

/** The colour over `under` at an image position; `row` and `column` are whole device pixels of the screen. */
export function labelled(input: ShadeInput, under: Rgb, y: number, x: number, row: number, column: number): Rgb {
  const id = shownAt(input, Math.floor(y), Math.floor(x));
  if (id === 0) return under;
  const [flags] = stateOf(input, id);
  const selected = (flags & FLAG.selected) !== 0;
  const reach = selected ? Math.max(2 * input.reach, 2 * input.scale) : input.reach;
  const border = bordersAt(input, y, x, id, reach);
  if (flags & FLAG.ghost) {
    const dash = (row + column) % 8 < 4;
    const grey = selected ? 255 : 0.85 * 255;
    return border && (dash || selected) ? mix(under, [grey, grey, grey], 0.7) : under;
  }
  const color = colorOf(input, id);
  if (selected && border) return [255, 255, 255];
  if (border && input.outline > 0) return mix(under, color, input.outline);
  let fill = selected ? Math.max(input.fill, 0.25) : input.fill;
  const hatch = (((column - row) % 10) + 10) % 10 < 1.5;
  if (flags & FLAG.locked && hatch) fill = Math.min(1, fill + 0.3);
  return mix(under, color, fill);
}

function mix(a: Rgb, b: Rgb, t: number): Rgb {
  return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
}
