import type { Mask } from "./mask";
import type { Point } from "./wire";

// Clockwise: right, down, left, up, as [dy, dx].
const STEPS: readonly Point[] = [[0, 1], [1, 0], [0, -1], [-1, 0]];

/**
 * The outline of a mask's first piece, along pixel edges: its corners, clockwise, in image pixels. Filling it gives the
 * piece without its holes.
 */
export function outlineOf(mask: Mask): Point[] {
  const first = mask.data.indexOf(1);
  if (first < 0) return [];
  const [top, left] = [mask.y0 + Math.floor(first / mask.width), mask.x0 + (first % mask.width)];
  const corners: Point[] = [];
  let [y, x, direction] = [top, left, 0];
  do {
    y += STEPS[direction][0];
    x += STEPS[direction][1];
    const turn = turnAt(mask, y, x, direction);
    if (turn !== 0) corners.push([y, x]);
    direction = (direction + turn) % 4;
  } while (y !== top || x !== left || direction !== 0);
  return corners;
}

/** Quarter turns clockwise at a corner, so that the piece stays on the right: 0, 1 or 3. */
function turnAt(mask: Mask, y: number, x: number, direction: number): 0 | 1 | 3 {
  // The four pixels around the corner; of these, the two ahead.
  const around = [mask.has(y - 1, x), mask.has(y, x), mask.has(y, x - 1), mask.has(y - 1, x - 1)];
  const onRight = around[(direction + 1) % 4];
  const onLeft = around[direction];
  if (!onRight) return 1; // also where two pixels meet at the corner only: pieces are 4-connected
  return onLeft ? 3 : 0;
}
