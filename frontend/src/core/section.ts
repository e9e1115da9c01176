// A cut through the planes of a stack, drawn as the picture is: small, so by the processor.

import type { Rgb } from "./palette";
import { labelled, type ShadeInput } from "./shade";
import type { ChannelLook } from "./shown";

/** What the server says of a cut: lines of pixels, one a plane. */
export interface Section {
  planes: number;
  length: number; // pixels of a line
  channels: (Uint8Array | Uint16Array)[];
  labels: Uint32Array;
}

/** How it is drawn. */
export interface SectionView {
  from: number; // first pixel of a line that is in sight
  scale: number; // image pixels a pixel of the drawing
  step: number; // image pixels from plane to plane
  width: number;
  height: number;
  here: number; // the plane that the picture shows
  channels: readonly ChannelLook[]; // of `Section.channels`, in their order
  invert: boolean;
  labels: Omit<ShadeInput, "labelAt" | "candidateAt" | "scale" | "ghosts"> | null; // null: none are shown
}

export function readSection(bytes: ArrayBuffer, planes: number, length: number, channels: number, bits: 8 | 16): Section {
  const size = planes * length;
  const part = bits / 8;
  if (bytes.byteLength !== size * (channels * part + 4)) throw new Error("a cut through the planes has another size than its image");
  const pixels = Array.from({ length: channels }, (_, i) => {
    const raw = bytes.slice(i * size * part, (i + 1) * size * part);
    return bits === 8 ? new Uint8Array(raw) : new Uint16Array(raw);
  });
  return { planes, length, channels: pixels, labels: new Uint32Array(bytes.slice(channels * size * part)) };
}

/** Red, green, blue and opacity of every pixel, the first plane at the top. */
export function drawSection(section: Section, view: SectionView): Uint8ClampedArray<ArrayBuffer> {
  const { planes, length } = section;
  const place = (y: number, x: number): number => {
    const plane = Math.floor(y / view.step);
    return plane < 0 || plane >= planes || x < 0 || x >= length ? -1 : plane * length + x;
  };
  const input: ShadeInput | null = view.labels && {
    ...view.labels, scale: view.scale, ghosts: false, candidateAt: () => 0,
    labelAt: (y, x) => section.labels[place(y, x)] ?? 0,
  };
  const out = new Uint8ClampedArray(4 * view.width * view.height);
  for (let row = 0; row < view.height; row++) {
    const y = (row + 0.5) * view.scale;
    const marked = Math.floor(y / view.step) === view.here;
    for (let column = 0; column < view.width; column++) {
      const x = view.from + (column + 0.5) * view.scale;
      const at = place(y, Math.floor(x));
      if (at < 0) continue;
      let color = light(section, view, at);
      if (input) color = labelled(input, color, y, x, row, column);
      // the plane of the picture, where it would not hide anything
      if (marked && (column < 4 || column >= view.width - 4)) color = [255, 255, 255];
      out.set([...color, 255], 4 * (row * view.width + column));
    }
  }
  return out;
}

function light(section: Section, { channels, invert }: SectionView, at: number): Rgb {
  const sum = [0, 0, 0];
  channels.forEach(({ color, low, high, gamma }, i) => {
    const share = Math.min(1, Math.max(0, (section.channels[i][at] - low) / (high - low || 1)));
    const bright = gamma === 1 ? share : share ** gamma;
    for (let c = 0; c < 3; c++) sum[c] += color[c] * bright;
  });
  const [r, g, b] = sum.map((value) => (invert ? 255 - Math.min(255, value) : Math.min(255, value)));
  return [r, g, b];
}
