// The object table of the open plane, and which of its rows the thresholds leave. Ids are dense, so states are arrays.

import { computed, effect, signal, type ReadonlySignal } from "@preact/signals-core";
import { keyOf } from "./pyramid";
import { Fate, DEFAULT_THRESHOLDS, type Thresholds } from "./state";
import { TILE, type ObjectColumns, type ObjectRow, type Origin } from "./wire";

/** One object. Never changed in place: a change makes a new one. */
export interface Cell {
  readonly id: number;
  readonly plane: number;
  readonly y0: number;
  readonly x0: number;
  readonly y1: number;
  readonly x1: number;
  readonly area: number; // pixels
  readonly class: number; // 0: none
  readonly class_given: boolean; // by a person, as far as the server has told
  readonly origin: Origin;
  readonly locked: boolean;
  readonly score: number | null;
  readonly flow_error: number | null;
  readonly discarded: boolean; // a candidate whose pixels are not in the labels
  readonly reason: string; // why it was discarded
}

const BLANK: Omit<Cell, "id"> = {
  plane: 0, y0: 0, x0: 0, y1: 0, x1: 0, area: 0, class: 0, class_given: false, origin: "manual",
  locked: false, score: null, flow_error: null, discarded: false, reason: "",
};

const REASONS: Record<string, Fate> = {
  flow_error: Fate.flow_error, score: Fate.score, too_small: Fate.small, too_large: Fate.large, touches_border: Fate.border,
};

/** Tells a plane's objects from each other, whatever their ids. */
function placeOf({ y0, x0, y1, x1, area }: Cell): string {
  return `${y0} ${x0} ${y1} ${x1} ${area}`;
}

function tilesUnder(cells: readonly Cell[]): Set<string> {
  const tile = (pixel: number): number => Math.floor(pixel / TILE);
  const keys = new Set<string>();
  for (const { y0, x0, y1, x1 } of cells) {
    for (let ty = tile(y0); ty <= tile(y1 - 1); ty++) {
      for (let tx = tile(x0); tx <= tile(x1 - 1); tx++) keys.add(keyOf({ channel: 0, level: 0, ty, tx }));
    }
  }
  return keys;
}

/** What became of an object by the thresholds that the labels were made with. */
function fateThen(cell: Cell): Fate {
  return cell.discarded ? (REASONS[cell.reason] ?? Fate.flow_error) : Fate.kept;
}

/** What becomes of it by these thresholds. */
export function fateOf(cell: Cell, limits: Thresholds, shape: readonly [number, number]): Fate {
  // A person's word stands above every threshold.
  if (cell.origin !== "auto" || cell.locked || cell.class_given) return Fate.kept;
  if (limits.flow_error !== null && cell.flow_error !== null && cell.flow_error > limits.flow_error) return Fate.flow_error;
  if (limits.score !== null && cell.score !== null && cell.score < limits.score) return Fate.score;
  if (limits.min_size !== null && cell.area < limits.min_size) return Fate.small;
  if (limits.max_size !== null && cell.area > limits.max_size) return Fate.large;
  const touches = cell.y0 <= 0 || cell.x0 <= 0 || cell.y1 >= shape[0] || cell.x1 >= shape[1];
  if (limits.exclude_border && touches) return Fate.border;
  return Fate.kept;
}

export class ObjectTable {
  /** Grows with every change of rows: read it to be told. */
  readonly version = signal(0);
  /** The server has told of the plane's objects: none are there then if there is no row. */
  readonly loaded = signal(false);
  readonly thresholds = signal<Thresholds>(DEFAULT_THRESHOLDS);
  /** The thresholds were moved since the labels were made: they decide, else the labels do. */
  readonly moved = signal(false);
  readonly hiddenClasses = signal<ReadonlySet<number>>(new Set());
  /** Kept and discarded, by cause; a `Fate` is the index. */
  readonly counts: ReadonlySignal<readonly number[]>;
  /** Keys of the full-size tiles in which candidates lie whose pixels are not in the labels. */
  readonly ghostTiles: ReadonlySignal<ReadonlySet<string>> = computed(() => tilesUnder(this.rows().filter((cell) => cell.discarded)));
  /** Fate by id; same array until it must grow. Read `fatesVersion` to be told of changes. */
  fates = new Uint8Array(1024);
  readonly fatesVersion = signal(0);

  private cells = new Map<number, Cell>();
  private sorted: readonly Cell[] | null = null;
  private doubles: ReadonlySet<number> | null = null;
  private readonly countsSignal = signal<readonly number[]>([0, 0, 0, 0, 0, 0, 0]);

  /** `solid`: cells were found in 3-D, so that a plane shows a part of each, whose size says nothing of the cell's. */
  constructor(
    private readonly shape: ReadonlySignal<readonly [number, number]>,
    private readonly solid: ReadonlySignal<boolean> = signal(false),
  ) {
    this.counts = computed(() => this.countsSignal.value);
    effect(() => this.decide());
  }

  /** Every object of the plane, discarded candidates too, by id. */
  rows(): readonly Cell[] {
    void this.version.value;
    this.sorted ??= [...this.cells.values()].sort((a, b) => a.id - b.id);
    return this.sorted;
  }

  get(id: number): Cell | undefined {
    void this.version.value;
    return this.cells.get(id);
  }

  /** As `get`, without being told of changes. */
  peek(id: number): Cell | undefined {
    return this.cells.get(id);
  }

  fate(id: number): Fate {
    void this.fatesVersion.value;
    return (this.fates[id] ?? Fate.kept) as Fate;
  }

  /** The cells that tools may touch: those of hidden classes are left alone. */
  reachable(): Cell[] {
    return this.rows().filter((cell) => !cell.discarded && this.fate(cell.id) !== Fate.filtered);
  }

  load(columns: ObjectColumns): void {
    this.cells = new Map();
    columns.id.forEach((id, i) => {
      const row: Record<string, unknown> = {};
      for (const key of Object.keys(BLANK) as (keyof typeof BLANK)[]) row[key] = columns[key]?.[i] ?? BLANK[key];
      this.cells.set(id, { ...row, id } as Cell);
    });
    this.loaded.value = true;
    this.changed();
  }

  clear(): void {
    this.cells = new Map();
    this.loaded.value = false;
    this.changed();
  }

  /** Take in rows that the server, or an edit that it has yet to confirm, changed. */
  apply(rows: readonly ObjectRow[]): void {
    for (const { gone, ...row } of rows) {
      if (gone) this.cells.delete(row.id);
      else this.cells.set(row.id, { ...BLANK, ...this.cells.get(row.id), ...row });
    }
    if (rows.length > 0) this.changed();
  }

  private changed(): void {
    this.sorted = null;
    this.doubles = null;
    this.version.value++;
  }

  /** Candidates that are objects again, as undo makes them: they count once. */
  private again(): ReadonlySet<number> {
    if (this.doubles) return this.doubles;
    const candidates = new Map<string, number>();
    for (const cell of this.cells.values()) if (cell.discarded) candidates.set(placeOf(cell), cell.id);
    const found = new Set<number>();
    if (candidates.size > 0) {
      for (const cell of this.cells.values()) {
        const id = cell.discarded ? undefined : candidates.get(placeOf(cell));
        if (id !== undefined) found.add(id);
      }
    }
    return (this.doubles = found);
  }

  private decide(): void {
    const sizes = this.solid.value ? { min_size: null, max_size: null } : {};
    const limits = this.moved.value ? { ...this.thresholds.value, ...sizes } : null;
    const hidden = this.hiddenClasses.value;
    const shape = this.shape.value;
    const counts = [0, 0, 0, 0, 0, 0, 0];
    const rows = this.rows();
    const last = rows.length > 0 ? rows[rows.length - 1].id : 0;
    if (last >= this.fates.length) this.fates = new Uint8Array(2 ** Math.ceil(Math.log2(last + 1)));
    this.fates.fill(Fate.kept);
    for (const cell of rows) {
      if (this.again().has(cell.id)) {
        this.fates[cell.id] = Fate.filtered;
        continue;
      }
      const fate = hidden.has(cell.class) ? Fate.filtered : limits ? fateOf(cell, limits, shape) : fateThen(cell);
      this.fates[cell.id] = fate;
      counts[fate]++;
    }
    this.countsSignal.value = counts;
    this.fatesVersion.value = this.fatesVersion.peek() + 1;
  }
}
