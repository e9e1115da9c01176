// Shapes that are drawn, as pixels. A pixel is in a shape if its centre (y + 0.5, x + 0.5) is.

import type { Region } from "./runs";
import type { Point } from "./wire";

/** The path of a round brush between two points: every pixel whose centre is within `diameter / 2` of the line. */
export function addStroke(region: Region, from: Point, to: Point, diameter: number): void {
  const radius = Math.max(diameter, 1) / 2;
  // However fine the brush, the pixel under the pointer is painted.
  region.add(Math.floor(to[0]), Math.floor(to[1]), Math.floor(to[1]) + 1);
  const top = Math.floor(Math.min(from[0], to[0]) - radius);
  const bottom = Math.ceil(Math.max(from[0], to[0]) + radius);
  for (let y = top; y < bottom; y++) {
    const span = capsuleSpan(y + 0.5, from, to, radius);
    if (span !== null) region.add(y, Math.ceil(span[0] - 0.5), Math.floor(span[1] - 0.5) + 1);
  }
}

/** Where the horizontal line at `y` is within `radius` of the segment: one interval, as a capsule is convex. */
function capsuleSpan(y: number, a: Point, b: Point, radius: number): [number, number] | null {
  let low = Infinity;
  let high = -Infinity;
  for (const end of [a, b]) {
    const reach = radius * radius - (y - end[0]) ** 2;
    if (reach < 0) continue;
    low = Math.min(low, end[1] - Math.sqrt(reach));
    high = Math.max(high, end[1] + Math.sqrt(reach));
  }
  const [dy, dx] = [b[0] - a[0], b[1] - a[1]];
  const length = Math.hypot(dy, dx);
  if (length > 0) {
    // The straight sides: the two long edges of the rectangle along the segment.
    for (const side of [-1, 1]) {
      const [oy, ox] = [(-side * radius * dx) / length, (side * radius * dy) / length];
      if (dy === 0) continue; // the ends' circles reach as far
      const t = (y - a[0] - oy) / dy;
      if (t < 0 || t > 1) continue;
      const x = a[1] + ox + t * dx;
      low = Math.min(low, x);
      high = Math.max(high, x);
    }
  }
  return low <= high ? [low, high] : null;
}

/** The inside of a polygon, which closes itself (even-odd rule), and the pixels under its outline's corners. */
export function addPolygon(region: Region, points: readonly Point[]): void {
  if (points.length === 0) return;
  let top = Infinity;
  let bottom = -Infinity;
  for (const [y] of points) {
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  for (let y = Math.floor(top); y <= Math.floor(bottom); y++) {
    const crossings: number[] = [];
    const centre = y + 0.5;
    points.forEach((a, i) => {
      const b = points[(i + 1) % points.length];
      if (a[0] <= centre !== b[0] <= centre) crossings.push(a[1] + ((centre - a[0]) / (b[0] - a[0])) * (b[1] - a[1]));
    });
    crossings.sort((p, q) => p - q);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      region.add(y, Math.ceil(crossings[i] - 0.5), Math.ceil(crossings[i + 1] - 0.5));
    }
  }
}

/** Points every half pixel at most along a path: what lies under a stroke. */
export function* along(path: readonly Point[]): Generator<Point> {
  for (let i = 0; i < path.length; i++) {
    const [a, b] = [path[Math.max(0, i - 1)], path[i]];
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(b[0] - a[0], b[1] - a[1])));
    for (let s = 1; s <= steps; s++) yield [a[0] + ((b[0] - a[0]) * s) / steps, a[1] + ((b[1] - a[1]) * s) / steps];
  }
}
