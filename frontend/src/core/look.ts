// What the shader is told of each object, four bytes an id: flags, colour slot + 1 (0: none yet), class, score.

import type { Cell, ObjectTable } from "./objects";
import { Slots } from "./palette";
import { Fate } from "./state";
import type { Box } from "./wire";

export const FLAG = { selected: 1, ghost: 2, hidden: 4, locked: 8 } as const;
export const STATE_WIDTH = 4096; // ids in a row of the texture
export const MOST_BOXES = 64; // that are drawn one by one: with more, all is

export class Look {
  /** Bytes of whole rows of STATE_WIDTH ids. */
  bytes = new Uint8Array(STATE_WIDTH * 4);

  private cells: readonly Cell[] = [];
  private slots = new Slots();
  private image: string | null = null;

  /** Bring up to date; returns the ids that look different and where (null: many), or null when all must be sent anew (more rows). */
  update(image: string | null, objects: ObjectTable, selection: ReadonlySet<number>): { ids: number[]; boxes: Box[] | null } | null {
    if (image !== this.image) this.slots = new Slots(); // ids begin anew
    this.image = image;
    const old = this.cells;
    const cells = objects.rows();
    this.cells = cells;
    this.slots.assign(cells);
    const last = cells.length > 0 ? cells[cells.length - 1].id : 0;
    const rows = Math.max(this.bytes.length / (STATE_WIDTH * 4), Math.floor(last / STATE_WIDTH) + 1);
    const next = new Uint8Array(rows * STATE_WIDTH * 4);
    for (const cell of cells) {
      const fate = objects.fate(cell.id);
      const flags =
        (selection.has(cell.id) ? FLAG.selected : 0) | (cell.locked ? FLAG.locked : 0) |
        (fate === Fate.filtered ? FLAG.hidden : fate === Fate.kept ? 0 : FLAG.ghost);
      const score = cell.score === null ? 255 : Math.round(Math.min(1, Math.max(0, cell.score)) * 254);
      next.set([flags, this.slots.get(cell.id) + 1, cell.class, score], cell.id * 4);
    }
    const before = this.bytes;
    this.bytes = next;
    if (before.length !== next.length) return null;
    const [a, b] = [new Uint32Array(before.buffer), new Uint32Array(next.buffer)];
    const changed: number[] = [];
    for (let id = 0; id < b.length; id++) if (a[id] !== b[id]) changed.push(id);
    const boxes = changed.length > MOST_BOXES ? null : changed.flatMap((id) => [...boxOf(old, id), ...boxOf(cells, id)]);
    return { ids: changed, boxes };
  }
}

/** Where an object of a table in the order of ids lies. */
function boxOf(cells: readonly Cell[], id: number): Box[] {
  let [low, high] = [0, cells.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (cells[middle].id < id) low = middle + 1;
    else high = middle;
  }
  if (low === cells.length || cells[low].id !== id) return [];
  const { y0, x0, y1, x1 } = cells[low];
  return [[y0, x0, y1, x1]];
}
