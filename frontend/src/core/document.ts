// One plane of one image: its label tiles, its objects, and the edits on their way. Every edit is shown at once, then
// sent; the server's word is final.

import { signal } from "@preact/signals-core";
import { RequestError } from "./http";
import { randomId } from "./ids";
import { Labels, touches, type PaintRule } from "./labels";
import type { Cell, ObjectTable } from "./objects";
import type { Joined, Outbox, Painted, Pending } from "./outbox";
import { Pyramid, type Tile } from "./pyramid";
import { Remap } from "./remap";
import { areaOf, boxOf, decodeRuns, encodeRuns, Region, unite, type Runs } from "./runs";
import { RETRY_MS, TileCache, type TileListener } from "./tiles";
import type { Box, DrawnRegion, Edit, EditPart, FromServer, ImageInfo, Mode, ObjectColumns, ObjectRow, Point } from "./wire";

type Message<T extends FromServer["type"]> = Extract<FromServer, { type: T }>;

/** The picture's half: where changes of tiles and of the table of ids go. */
export interface LabelScreen extends TileListener<Uint32Array> {
  remapped(ids: readonly number[]): void;
}

export interface DocumentHost {
  readonly outbox: Outbox;
  readonly objects: ObjectTable;
  fetchTile(tile: Tile, signal: AbortSignal): Promise<Uint32Array | null>;
  fetchObjects(): Promise<ObjectColumns>;
  busy(inFlight: number): void;
}

/** Largest number of label tiles kept, 1 MiB each. */
export const LABEL_TILES = 256;

export class Document {
  readonly labels: Labels;
  readonly tiles: TileCache<Uint32Array>;
  readonly remap: Remap;
  rev: number;
  /** What the server says where it cannot give the objects. */
  readonly refusal = signal<string | null>(null);
  private behind = false; // the objects that were asked for last did not come
  private retry: ReturnType<typeof setTimeout> | undefined;
  private closed = false;
  private readonly drawing = new Set<Stroke>(); // not in the outbox before they end

  constructor(
    readonly image: ImageInfo,
    readonly plane: number,
    private readonly host: DocumentHost,
    screen: LabelScreen,
  ) {
    const pyramid = new Pyramid(image.shape, image.levels, 1);
    this.rev = image.rev;
    this.remap = new Remap((ids) => screen.remapped(ids));
    this.tiles = new TileCache(
      Math.min(LABEL_TILES, pyramid.tilesPerChannel),
      (tile, abort) => host.fetchTile(tile, abort),
      screen,
      (tile, data) => this.withPending(tile, data),
      (inFlight) => host.busy(inFlight),
    );
    this.labels = new Labels(pyramid, this.remap, this.tiles);
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.retry);
    this.tiles.close();
  }

  async loadObjects(): Promise<void> {
    clearTimeout(this.retry);
    let rev: number;
    do {
      rev = this.rev;
      const columns = await this.host.fetchObjects().catch((error: Error) => error);
      if (this.closed) return;
      if (columns instanceof Error) return this.loadLater(columns);
      this.behind = false;
      this.refusal.value = null;
      this.host.objects.load(columns);
      this.restate();
      const held = this.held();
      this.unjoin(columns.id.filter((id) => !held.has(id)));
      this.replay();
    } while (this.rev !== rev); // what was told meanwhile is newer than this answer may be
  }

  // ---- edits

  /** A stroke, shown while it is drawn and sent when it ends. */
  stroke(label: number, mode: Mode, inside: Iterable<number> = []): Stroke {
    const stroke = new Stroke(this, this.ruleOf(label, mode, inside));
    this.drawing.add(stroke);
    return stroke;
  }

  /** Several paintings and object changes as one edit and one undo; `parts` of other planes are only sent. */
  batch(parts: readonly EditPart[]): void {
    const painted = parts.filter((part) => part.kind === "paint").map((part) => this.toPainted(part));
    for (const { runs, rule } of this.here(painted)) this.show(runs, rule);
    this.send({ kind: "batch", parts: [...parts] }, painted);
    this.foresee(parts);
  }

  /** Pixels for an object; a class for it as part of the same edit. */
  paint(label: number, runs: Runs, mode: Mode, inside: readonly number[] = [], classId = 0): void {
    if (runs.length === 0) return;
    const stroke = this.stroke(label, mode, inside);
    stroke.add(runs);
    stroke.commit(classId);
  }

  /** What gives an object's pixels to another plane. */
  async copyOf(cell: Cell, label: number, plane: number): Promise<EditPart> {
    const box = boxOfCell(cell);
    await this.labels.ensure(box);
    const runs = this.labels.mask(box, (id) => id === cell.id).runs(this.image.shape);
    return { plane, kind: "paint", label, runs: encodeRuns(runs), mode: "keep", ids: [] };
  }

  /** Make one object of several; the first keeps its id. `beyond` are such that lie in other planes only. */
  merge(ids: readonly number[], beyond: readonly number[] = []): void {
    const cells = this.cellsOf(ids);
    if (cells.length === 0 || cells.length + beyond.length < 2) return;
    const [first, ...others] = cells;
    const whole = cells.map((cell) => [cell.y0, cell.x0, cell.y1, cell.x1] as Box).reduce(unite);
    for (const cell of others) this.remap.join(cell.id, first.id, boxOfCell(cell));
    this.host.objects.apply([
      { id: first.id, ...named(whole), area: cells.reduce((sum, cell) => sum + cell.area, 0) },
      ...others.map(({ id }) => ({ id, gone: true })),
    ]);
    this.send({ kind: "merge", ids: [...cells.map(({ id }) => id), ...beyond] }, [], others.map(joinedOf));
  }

  delete(ids: readonly number[]): void {
    const cells = this.cellsOf(ids);
    if (cells.length === 0) return;
    for (const cell of cells) this.remap.join(cell.id, 0, boxOfCell(cell));
    this.host.objects.apply(cells.map(({ id }) => ({ id, gone: true })));
    this.send({ kind: "delete", ids: cells.map(({ id }) => id) }, [], cells.map(joinedOf));
  }

  setClass(ids: readonly number[], value: number): void {
    this.change(ids, "set_class", value, { class: value });
  }

  lock(ids: readonly number[], value: boolean): void {
    this.change(ids, "lock", value ? 1 : 0, { locked: value });
  }

  /** Bring discarded candidates back. */
  accept(ids: readonly number[]): void {
    const cells = ids.map((id) => this.host.objects.get(id)).filter((cell) => cell?.discarded);
    if (cells.length === 0) return;
    const rows = cells.map((cell) => ({ id: (cell as Cell).id, discarded: false, origin: "edited" as const }));
    this.host.objects.apply(rows);
    this.send({ kind: "accept", ids: rows.map(({ id }) => id) });
  }

  /** Cut along a line; the server takes whole numbers for the centres of pixels. */
  split(id: number, line: readonly Point[]): void {
    this.send({ kind: "split", ids: [id], line: line.map(([y, x]) => [y - 0.5, x - 0.5]) });
  }

  /** From this plane on it is another cell. */
  splitHere(id: number): void {
    this.send({ kind: "split", ids: [id], line: [] });
  }

  /** Fill the planes that cells skip between two in which they lie. */
  interpolate(ids: readonly number[]): void {
    this.send({ kind: "interpolate", ids: [...ids] });
  }

  /** Ask for an object at a point, or in a box. */
  prompt(where: Point | Box): void {
    this.send(where.length === 4 ? { kind: "prompt", box: where } : { kind: "prompt", line: [where] });
  }

  /** Draw regions, give them other names, or take them away. */
  region(regions: DrawnRegion[]): void {
    this.send({ kind: "region", regions });
  }

  relabel(id: number, value: number): void {
    this.send({ kind: "relabel", ids: [id], value });
  }

  // ---- the server's word

  /** Returns what was drawn with and still has no pixel. */
  acked(message: Message<"ack">, pending: Pending | null): number[] {
    const touched = (tile: Tile): boolean =>
      (pending?.joined.length ?? 0) > 0 || this.here(pending?.painted ?? []).some(({ runs }) => touches(tile, runs, 3));
    if (message.rev < this.rev) {
      // An answer that was lost and given again: what it says of objects and pixels may be outdated.
      this.tiles.refresh(touched);
      void this.loadObjects();
      return [];
    }
    this.rev = message.rev;
    // What stood in the way as locked here may not have been so there, when the edit was done.
    if (this.here(pending?.painted ?? []).some(({ rule }) => rule.met?.size)) this.tiles.refresh(touched);
    else this.tiles.outdate(touched); // a tile asked for before the edit was done may arrive without it
    // Of a stroke that could write nowhere the server says nothing: there is no such object.
    const known = new Set(message.objects.map(({ id }) => id));
    const unborn = (pending?.fresh ?? []).filter((id) => !known.has(id));
    this.takeRows([...unborn.map((id) => ({ id, gone: true })), ...message.objects]);
    return unborn;
  }

  rejected(message: Message<"reject">, pending: Pending | null): void {
    this.rev = Math.max(this.rev, message.rev);
    for (const { id } of pending?.joined ?? []) this.remap.release(id);
    const wrong = this.here(pending?.painted ?? []);
    this.tiles.refresh((tile) => onTiles(tile, message.tiles) || wrong.some(({ runs }) => touches(tile, runs, 3)));
    void this.loadObjects();
  }

  patched(message: Message<"patch">): void {
    if (message.plane !== this.plane) return;
    this.rev = Math.max(this.rev, message.rev);
    // An id that comes back must be its own again before its pixels are written.
    if (message.runs) {
      const runs = decodeRuns(message.runs, true);
      const labels = new Set<number>();
      for (let i = 3; i < runs.length; i += 4) labels.add(runs[i]);
      this.unjoin(labels);
      this.labels.patch(runs);
    }
    this.takeRows(message.objects);
    if (message.tiles.length > 0) this.tiles.refresh((tile) => onTiles(tile, message.tiles));
    this.replay();
  }

  /** After a reconnection: what is here may be old, and what did not come may do now. */
  catchUp(rev: number): void {
    const same = rev === this.rev;
    this.rev = rev;
    if (same) this.tiles.retry();
    else this.tiles.refresh(() => true);
    if (!same || this.behind) void this.loadObjects();
  }

  // ---- inside

  private loadLater(error: Error): void {
    this.behind = true;
    if (error instanceof RequestError) this.refusal.value = error.message.trim();
    if (!(error instanceof RequestError && error.lasting)) this.retry = setTimeout(() => void this.loadObjects(), RETRY_MS);
  }

  /** @internal for Stroke */
  show(runs: Runs, rule: PaintRule): void {
    if (rule.label !== 0) this.unjoin([rule.label]);
    this.labels.paint(runs, rule);
  }

  /** @internal for Stroke */
  end(stroke: Stroke, keep: boolean, classId = 0): void {
    this.drawing.delete(stroke);
    const { rule } = stroke;
    const runs = stroke.runs();
    if (runs.length === 0) return;
    if (!keep) {
      this.tiles.refresh((tile) => touches(tile, runs, 3));
      return;
    }
    const part: EditPart = {
      plane: this.plane, kind: "paint", label: rule.label, runs: encodeRuns(runs), mode: rule.mode, ids: [...rule.inside],
    };
    const painted = [{ plane: this.plane, runs, rule }];
    if (classId === 0 || rule.label === 0) {
      this.send(part, painted, [], boxOf(runs));
      this.foresee([part]);
    } else {
      const parts: EditPart[] = [part, { plane: this.plane, kind: "set_class", ids: [rule.label], value: classId }];
      this.send({ kind: "batch", parts }, painted);
      this.foresee(parts);
    }
  }

  private change(ids: readonly number[], kind: "set_class" | "lock", value: number, row: Partial<ObjectRow>): void {
    const present = this.cellsOf(ids).map(({ id }) => id);
    if (present.length === 0) return;
    this.host.objects.apply(present.map((id) => ({ id, ...row })));
    this.send({ kind, ids: present, value });
  }

  private send(
    part: Partial<Edit> & Pick<Edit, "kind">, painted: readonly Painted[] = [], joined: readonly Joined[] = [], box?: Box,
  ): void {
    const edit: Edit = {
      ...part, type: "edit", op_id: randomId(), image: this.image.id, plane: this.plane, base_rev: this.rev,
    };
    if (box) edit.box = box;
    const fresh = this.here(painted).map(({ rule }) => rule.label).filter((id) => id !== 0 && !this.host.objects.peek(id));
    this.host.outbox.add({ edit, painted, joined, fresh });
  }

  /** Rows as they will be, until the server says how they are. */
  private foresee(parts: readonly EditPart[]): void {
    const rows: ObjectRow[] = [];
    for (const part of parts) {
      if (part.plane !== this.plane) continue;
      if (part.kind === "set_class") for (const id of part.ids ?? []) rows.push({ id, class: part.value ?? 0 });
      if (part.kind !== "paint" || !part.label || !part.runs) continue;
      const runs = decodeRuns(part.runs);
      const known = this.host.objects.get(part.label);
      rows.push(
        known
          ? { id: part.label, ...named(unite(boxOfCell(known), boxOf(runs))) }
          : { id: part.label, plane: this.plane, ...named(boxOf(runs)), area: areaOf(runs), origin: "manual" },
      );
    }
    this.host.objects.apply(rows);
  }

  private takeRows(rows: readonly ObjectRow[]): void {
    const held = this.held();
    const here = rows.filter((row) => (row.plane === undefined || row.plane === this.plane) && !held.has(row.id));
    this.unjoin(here.filter((row) => !row.gone).map((row) => row.id));
    this.host.objects.apply(here);
    this.restate();
  }

  /** Of a lock or a class on its way the server's rows do not know yet: what is drawn next would go by them. */
  private restate(): void {
    for (const { edit } of this.host.outbox.of(this.image.id)) {
      if (edit.kind !== "lock" && edit.kind !== "set_class") continue;
      const row = edit.kind === "lock" ? { locked: edit.value === 1 } : { class: edit.value as number };
      const present = (edit.ids ?? []).filter((id) => this.host.objects.peek(id));
      this.host.objects.apply(present.map((id) => ({ id, ...row })));
    }
  }

  /** Of what an edit on its way merges or deletes, that edit's answer has the last word. */
  private held(): Set<number> {
    return new Set([...this.host.outbox.of(this.image.id)].flatMap(({ joined }) => joined.map(({ id }) => id)));
  }

  /** Ids that have pixels of their own again. */
  private unjoin(ids: Iterable<number>): void {
    for (const id of ids) {
      if (!this.remap.has(id)) continue;
      const { target, box } = this.remap.forget(id) as { target: number; box: Box };
      this.labels.rewrite(id, target, box);
    }
  }

  /** Show the edits on their way again, over what the server has just said. */
  private replay(): void {
    for (const { edit, painted, joined } of this.host.outbox.of(this.image.id)) {
      for (const { runs, rule } of this.here(painted)) this.labels.paint(runs, rule);
      if (edit.plane !== this.plane || joined.length === 0) continue;
      const target = edit.kind === "merge" ? (edit.ids as number[])[0] : 0;
      for (const { id, box } of joined) {
        const cell = this.host.objects.peek(id);
        this.remap.join(id, target, cell ? unite(box, boxOfCell(cell)) : box);
      }
      this.host.objects.apply(joined.map(({ id }) => ({ id, gone: true })));
    }
    for (const stroke of this.drawing) this.labels.paint(stroke.runs(), stroke.rule);
  }

  private withPending(tile: Tile, data: Uint32Array | null): Uint32Array | null {
    for (const { painted } of this.host.outbox.of(this.image.id)) {
      for (const { runs, rule } of this.here(painted)) data = this.labels.paintTile(tile, data, runs, rule, true);
    }
    for (const stroke of this.drawing) data = this.labels.paintTile(tile, data, stroke.runs(), stroke.rule, true);
    return data;
  }

  private here(painted: readonly Painted[]): Painted[] {
    return painted.filter(({ plane }) => plane === this.plane);
  }

  private toPainted(part: EditPart): Painted {
    const rule = this.ruleOf(part.label ?? 0, part.mode ?? "overwrite", part.ids ?? []);
    return { plane: part.plane, runs: decodeRuns(part.runs as Uint8Array), rule };
  }

  private cellsOf(ids: readonly number[]): Cell[] {
    return ids.map((id) => this.host.objects.get(id)).filter((cell): cell is Cell => cell !== undefined && !cell.discarded);
  }

  /** What was found locked stays so for this edit: rows that the server told before it heard of the lock say otherwise. */
  private ruleOf(label: number, mode: Mode, inside: Iterable<number>): PaintRule {
    const found = new Set<number>();
    const locked = (id: number): boolean => {
      if (!found.has(id) && this.host.objects.peek(id)?.locked) found.add(id);
      return found.has(id);
    };
    return { label, mode, inside: new Set(inside), locked, met: found };
  }
}

/** What a brush leaves behind while it moves. */
export class Stroke {
  private readonly region: Region;

  constructor(
    private readonly document: Document,
    readonly rule: PaintRule,
  ) {
    this.region = new Region(document.image.shape);
  }

  add(runs: Runs): void {
    this.region.addRuns(runs);
    this.document.show(runs, this.rule);
  }

  runs(): Runs {
    return this.region.runs();
  }

  commit(classId = 0): void {
    this.document.end(this, true, classId);
  }

  cancel(): void {
    this.document.end(this, false);
  }
}

function joinedOf(cell: Cell): Joined {
  return { id: cell.id, box: boxOfCell(cell) };
}

export function boxOfCell(cell: Cell): Box {
  return [cell.y0, cell.x0, cell.y1, cell.x1];
}

function named([y0, x0, y1, x1]: Box): { y0: number; x0: number; y1: number; x1: number } {
  return { y0, x0, y1, x1 };
}

/** Is a tile of any level made of one of these full-size tiles? */
function onTiles(tile: Tile, tiles: readonly Point[]): boolean {
  return tiles.some(([ty, tx]) => ty >> tile.level === tile.ty && tx >> tile.level === tile.tx);
}
