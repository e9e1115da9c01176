// Where to look: pure functions of the view.

import { boxOfCell } from "./document";
import type { Cell } from "./objects";
import { Fate, MOST_CHANNELS, type ChannelSettings, type View } from "./state";
import type { Box, ImageInfo, Point } from "./wire";

const CLOSEST = 64; // CSS pixels an image pixel
const MARGIN = 0.95; // of the window that a whole image takes

export function fitted(view: View, shape: readonly [number, number]): View {
  const zoom = Math.min(view.height / Math.max(1, shape[0]), view.width / Math.max(1, shape[1])) * MARGIN;
  return { ...view, centre: [shape[0] / 2, shape[1] / 2], zoom: Math.max(1e-4, Math.min(8, zoom)) };
}

/** Zoom, leaving the image position `around` where it is on the screen. */
export function zoomed(view: View, factor: number, around: Point, shape: readonly [number, number]): View {
  const least = fitted(view, shape).zoom / 4;
  const zoom = Math.max(least, Math.min(CLOSEST, view.zoom * factor));
  const kept = view.zoom / zoom;
  const centre: Point = [
    around[0] + (view.centre[0] - around[0]) * kept,
    around[1] + (view.centre[1] - around[1]) * kept,
  ];
  return { ...view, zoom, centre: held(centre, shape) };
}

/** Move by CSS pixels; the middle of the window stays on the image. */
export function panned(view: View, dx: number, dy: number, shape: readonly [number, number]): View {
  return { ...view, centre: held([view.centre[0] - dy / view.zoom, view.centre[1] - dx / view.zoom], shape) };
}

function held([y, x]: Point, shape: readonly [number, number]): Point {
  return [Math.max(0, Math.min(shape[0], y)), Math.max(0, Math.min(shape[1], x))];
}

/** Show an object: in the middle, and neither tiny nor larger than the window. */
export function shownCell(view: View, cell: Cell): View {
  const [y0, x0, y1, x1] = boxOfCell(cell);
  const size = Math.max(y1 - y0, x1 - x0, 1);
  const room = Math.min(view.width, view.height);
  const onScreen = size * view.zoom;
  const zoom = onScreen < room / 16 || onScreen > room * 0.8 ? Math.min(CLOSEST / 2, room / 5 / size) : view.zoom;
  return { ...view, zoom, centre: [(y0 + y1) / 2, (x0 + x1) / 2] };
}

/** Show a box, however small, with its surroundings. */
export function shownBox(view: View, [y0, x0, y1, x1]: Box): View {
  const zoom = Math.min(view.height / Math.max(80, y1 - y0), view.width / Math.max(80, x1 - x0)) / 1.5;
  return { ...view, zoom: Math.min(CLOSEST / 2, zoom), centre: [(y0 + y1) / 2, (x0 + x1) / 2] };
}

/** Objects that a person should look at, most doubtful first. */
export function doubtful(cells: readonly Cell[], fate: (id: number) => Fate): Cell[] {
  return cells
    .filter((cell) => !cell.discarded && !cell.locked && cell.score !== null && fate(cell.id) === Fate.kept)
    .sort(byDoubt);
}

/** The next of doubtful objects, or the one before; `last` need not be among them any more. */
export function nextOf(cells: readonly Cell[], last: Cell | null, step: 1 | -1): Cell | undefined {
  const beyond = last ? cells.filter((cell) => step * byDoubt(cell, last) > 0) : cells;
  return (beyond.length > 0 ? beyond : cells).at(step > 0 ? 0 : -1);
}

function byDoubt(a: Cell, b: Cell): number {
  return (a.score as number) - (b.score as number) || a.id - b.id;
}

/** How channels are shown at first; what was chosen for a channel of the same name stays. */
export function channelsOf(image: ImageInfo, before: readonly ChannelSettings[]): ChannelSettings[] {
  // A mere number names the same thing only beside the same others.
  const alike = image.channels.length === before.length && image.channels.every(({ name }, i) => name === before[i].name);
  const channels = image.channels.map(({ name, color, low, high, min, max }, i) => {
    const same = before.find((channel) => channel.name === name && (alike || !/^\d+$/.test(name)));
    const kept = same ? { visible: same.visible, color: same.color, gamma: same.gamma } : { visible: i < MOST_CHANNELS, color, gamma: 1 };
    return { name, low, high, min, max, ...kept };
  });
  return before.length === 0 || channels.some(({ visible }) => visible) ? channels : channelsOf(image, []);
}
