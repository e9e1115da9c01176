// A server in memory, of one image and another that is as good as empty: what the real one does to pixels, for tests of the page alone.

import type { Http } from "../src/core/http";
import { mayWrite } from "../src/core/labels";
import { addStroke } from "../src/core/raster";
import { withDrawn } from "../src/core/regions";
import { decodeRuns, encodeRuns, Region } from "../src/core/runs";
import { Session, type Store, type Transport } from "../src/core/session";
import { TILE, type Edit, type EditPart, type FromServer, type History, type ImageInfo, type ObjectColumns, type ObjectRow, type Project, type Region as DrawnAndCounted, type ToServer } from "../src/core/wire";

interface Change {
  pixels: Map<number, [before: number, after: number]>;
  rows: Map<number, [before: ObjectRow | undefined, after: ObjectRow | undefined]>;
}

export class FakeServer {
  readonly labels: Uint32Array;
  readonly rows = new Map<number, ObjectRow>();
  regions: DrawnAndCounted[] = [];
  rev = 1;
  /** Answers that have not left yet; a test delivers them when it likes. */
  readonly outgoing: FromServer[] = [];
  private nextId = 1;
  private readonly done: Change[] = [];
  private readonly undone: Change[] = [];
  private readonly seen = new Map<string, FromServer>();

  constructor(
    readonly height: number,
    readonly width: number,
    readonly levels: number,
  ) {
    this.labels = new Uint32Array(height * width);
  }

  get info(): ImageInfo {
    return {
      id: "i", name: "image", state: "new", axes: "YX", shape: [this.height, this.width], z: 2, t: 1,
      channels: [{ index: 0, name: "C0", color: "#ffffff", low: 0, high: 255, min: 0, max: 255 }],
      pixel_bits: 8, value_scale: 1, value_offset: 0, pixel_size_um: null, levels: this.levels, rev: this.rev,
      objects: this.rows.size, score: null, limits: null, model: null, volume: false, joined: false, z_step: 1, problem: null, again: false, pixels: "p",
    };
  }

  get project(): Project {
    return { name: "p", path: "/p", classes: [], models: [], model: "compact", images: [this.info, { ...this.info, id: "j" }], rounds: [], sample: false, read_only: false };
  }

  handle(message: ToServer): void {
    switch (message.type) {
      case "open":
        this.send({ type: "opened", image: "i", plane: 0, rev: this.rev, first_id: this.nextId, last_id: this.nextId + 999 });
        this.nextId += 1000;
        return;
      case "lease":
        this.send({ type: "leased", image: "i", first_id: this.nextId, last_id: this.nextId + message.count - 1 });
        this.nextId += message.count;
        return;
      case "edit":
        return this.edit(message);
      case "undo":
        return this.turn(this.done, this.undone, 0);
      case "redo":
        return this.turn(this.undone, this.done, 1);
      default:
    }
  }

  /** What somebody else does: everybody is told. */
  foreign(part: EditPart): void {
    this.apply([part], true);
  }

  tile(level: number, ty: number, tx: number): ArrayBuffer | null {
    const step = 2 ** level;
    const out = new Uint32Array(TILE * TILE);
    let any = false;
    for (let row = 0; row < TILE && (ty * TILE + row) * step < this.height; row++) {
      for (let column = 0; column < TILE && (tx * TILE + column) * step < this.width; column++) {
        const value = this.labels[(ty * TILE + row) * step * this.width + (tx * TILE + column) * step];
        out[row * TILE + column] = value;
        any ||= value !== 0;
      }
    }
    return any ? out.buffer : null;
  }

  columns(): ObjectColumns {
    const rows = [...this.rows.values()];
    const keys = ["id", "plane", "y0", "x0", "y1", "x1", "area", "class", "class_given", "origin", "locked", "score", "flow_error", "discarded", "reason"];
    return Object.fromEntries(keys.map((key) => [key, rows.map((row) => row[key as keyof ObjectRow])])) as unknown as ObjectColumns;
  }

  history(): History {
    return { undo: this.done.length > 0 ? "paint" : null, redo: this.undone.length > 0 ? "paint" : null };
  }

  private send(message: FromServer): void {
    this.outgoing.push(structuredClone(message));
  }

  private edit(edit: Edit): void {
    const known = this.seen.get(edit.op_id);
    if (known) return this.send(known);
    if (edit.kind === "region") {
      const refused = edit.regions?.some(({ name, polygons }) => polygons.length > 0 && name === "refused");
      if (!refused) this.regions = withDrawn(this.regions, edit.regions ?? []).map((region) => ({ ...region, objects: 7, area_px: 100 }));
      const said = { op_id: edit.op_id, image: "i", rev: refused ? this.rev : ++this.rev };
      this.seen.set(edit.op_id, refused ? { type: "reject", tiles: [], reason: "no", ...said } : { type: "ack", objects: [], ...said });
      return this.edit(edit);
    }
    const parts = edit.kind === "batch" ? (edit.parts as EditPart[]) : [edit as EditPart];
    const missing = parts.some((part) => ["merge", "delete", "lock"].includes(part.kind) && part.ids?.some((id) => !this.rows.has(id)));
    const answer: FromServer = missing
      ? { type: "reject", op_id: edit.op_id, image: "i", rev: this.rev, tiles: this.allTiles(), reason: "there is no such object any more" }
      : { type: "ack", op_id: edit.op_id, image: "i", ...this.apply(parts, false) };
    this.seen.set(edit.op_id, answer);
    this.send(answer);
  }

  private apply(parts: readonly EditPart[], tell: boolean): { rev: number; objects: ObjectRow[] } {
    const before = this.labels.slice();
    const rowsBefore = new Map(this.rows);
    for (const part of parts) this.applyPart(part);
    this.recount();
    const change = this.difference(before, rowsBefore);
    this.done.push(change);
    this.undone.length = 0;
    this.rev++;
    const objects = this.rowsOf(change, 1);
    if (tell) this.patch(change, 1, "x");
    return { rev: this.rev, objects };
  }

  private applyPart(part: EditPart): void {
    const ids = new Set(part.ids ?? []);
    const locked = (id: number): boolean => this.rows.get(id)?.locked ?? false;
    if (part.kind === "paint") {
      const runs = decodeRuns(part.runs as Uint8Array);
      const rule = { label: part.label as number, mode: part.mode ?? "overwrite", inside: ids, locked };
      for (let i = 0; i < runs.length; i += 3) {
        for (let x = runs[i + 1]; x < runs[i + 2]; x++) {
          const at = runs[i] * this.width + x;
          if (mayWrite(rule, this.labels[at])) this.labels[at] = rule.label;
        }
      }
    } else if (part.kind === "delete" || part.kind === "merge") {
      const target = part.kind === "merge" ? (part.ids as number[])[0] : 0;
      for (let i = 0; i < this.labels.length; i++) if (ids.has(this.labels[i])) this.labels[i] = target;
    } else if (part.kind === "lock") {
      for (const id of ids) this.rows.set(id, { ...(this.rows.get(id) as ObjectRow), locked: part.value === 1 });
    } else if (part.kind === "set_class") {
      this.recount(); // part of a batch: it may be the object's first pixels
      for (const id of ids) this.rows.set(id, { ...(this.rows.get(id) as ObjectRow), class: part.value });
    }
  }

  /** Boxes and areas from the pixels. */
  private recount(): void {
    const found = new Map<number, ObjectRow>();
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        const id = this.labels[y * this.width + x];
        if (id === 0) continue;
        const row = found.get(id) ?? { id, plane: 0, y0: y, x0: x, y1: 0, x1: 0, area: 0 };
        found.set(id, {
          ...row, x0: Math.min(row.x0 as number, x), x1: Math.max(row.x1 as number, x + 1), y1: y + 1, area: (row.area as number) + 1,
        });
      }
    }
    for (const id of [...this.rows.keys()]) if (!found.has(id)) this.rows.delete(id);
    for (const [id, row] of found) {
      const blank: ObjectRow = { id, class: 0, origin: "manual", locked: false, score: null, flow_error: null, discarded: false, reason: "" };
      this.rows.set(id, { ...blank, ...this.rows.get(id), ...row });
    }
  }

  private difference(before: Uint32Array, rowsBefore: Map<number, ObjectRow>): Change {
    const pixels = new Map<number, [number, number]>();
    before.forEach((value, i) => value !== this.labels[i] && pixels.set(i, [value, this.labels[i]]));
    const rows = new Map<number, [ObjectRow | undefined, ObjectRow | undefined]>();
    for (const id of new Set([...rowsBefore.keys(), ...this.rows.keys()])) {
      const [a, b] = [rowsBefore.get(id), this.rows.get(id)];
      if (JSON.stringify(a) !== JSON.stringify(b)) rows.set(id, [a, b]);
    }
    return { pixels, rows };
  }

  private turn(from: Change[], to: Change[], side: 0 | 1): void {
    const change = from.pop();
    if (!change) return;
    to.push(change);
    for (const [i, pair] of change.pixels) this.labels[i] = pair[side];
    for (const [id, pair] of change.rows) {
      const row = pair[side];
      if (row) this.rows.set(id, row);
      else this.rows.delete(id);
    }
    this.rev++;
    this.patch(change, side, "me");
  }

  /** As runs, or now and then as tiles to fetch. */
  private patch(change: Change, side: 0 | 1, by: string): void {
    const asTiles = this.rev % 3 === 0;
    const flat: number[] = [];
    for (const i of [...change.pixels.keys()].sort((a, b) => a - b)) {
      const x = i % this.width;
      flat.push(Math.floor(i / this.width), x, x + 1, (change.pixels.get(i) as [number, number])[side]);
    }
    this.send({
      type: "patch", image: "i", plane: 0, rev: this.rev, by, runs: asTiles ? null : encodeRuns(Int32Array.from(flat), true),
      tiles: asTiles ? this.allTiles() : [], objects: this.rowsOf(change, side), regions: false,
    });
  }

  private rowsOf(change: Change, side: 0 | 1): ObjectRow[] {
    return [...change.rows].map(([id, pair]) => pair[side] ?? { id, plane: 0, gone: true });
  }

  private allTiles(): [number, number][] {
    const tiles: [number, number][] = [];
    for (let ty = 0; ty * TILE < this.height; ty++) for (let tx = 0; tx * TILE < this.width; tx++) tiles.push([ty, tx]);
    return tiles;
  }
}

/** The wire between a session and the fake: can be cut, and delivers when told to. */
export class FakeWire implements Transport, Http {
  connected = false;
  session: Session | null = null;
  private readonly waiting: (() => void)[] = [];

  constructor(readonly server: FakeServer) {}

  send(message: ToServer): void {
    if (this.connected) this.server.handle(structuredClone(message));
  }

  url(path: string): string {
    return path;
  }

  json<T>(path: string): Promise<T> {
    const server = this.server;
    const image = { ...server.info, id: path.split("/")[2] };
    const answer = path.includes("/objects") ? server.columns() : path.endsWith("/history") ? server.history() : path.includes("/regions") ? { regions: server.regions } : image;
    return this.later(structuredClone(answer) as T);
  }

  bytes(path: string): Promise<ArrayBuffer | null> {
    const label = path.match(/labels\/(\d+)\/0\/(\d+)\/(\d+)$/)?.slice(1).map(Number);
    return this.later(label ? this.server.tile(label[0], label[1], label[2]) : null);
  }

  upload<T>(): Promise<T> {
    return Promise.reject(new Error("no files"));
  }

  remove(): Promise<void> {
    return Promise.resolve();
  }

  /** Let some answers through: of requests, and of the socket, in order. */
  async deliver(requests = Infinity, messages = Infinity): Promise<void> {
    for (const answer of this.waiting.splice(0, requests)) answer();
    for (let i = 0; i < 8; i++) await Promise.resolve();
    for (const message of this.server.outgoing.splice(0, messages)) if (this.connected) this.session?.receive(message);
    for (let i = 0; i < 8; i++) await Promise.resolve();
  }

  /** Everything, until nothing is left to say. */
  async settle(): Promise<void> {
    while (this.waiting.length > 0 || this.server.outgoing.length > 0) await this.deliver();
  }

  cut(): void {
    this.connected = false;
    this.server.outgoing.length = 0; // answers on their way are lost
    this.session?.disconnected();
  }

  /** The socket is there again; the server has yet to say welcome. */
  connect(): void {
    this.connected = true;
    this.session?.connected();
  }

  mend(): void {
    if (!this.connected) this.connect();
    this.server.outgoing.length = 0; // a page is told only what happens after it has opened the image
    this.session?.receive({ type: "welcome", protocol: 1, user: "me", project: this.server.project });
  }

  private later<T>(value: T): Promise<T> {
    if (!this.connected) return Promise.reject(new Error("Failed to fetch"));
    return new Promise((resolve) => this.waiting.push(() => resolve(value)));
  }
}

export class MemoryStore implements Store {
  private readonly values = new Map<string, string>();

  get(key: string): string | null {
    return this.values.get(key) ?? null;
  }

  set(key: string, value: string): void {
    this.values.set(key, value);
  }
}

export const [HEIGHT, WIDTH] = [40, 600]; // two tiles at level 0, one at level 1

/** A session that has opened the fake's image. Its window shows an image pixel as a screen pixel. */
export async function opened(): Promise<{ server: FakeServer; wire: FakeWire; session: Session }> {
  const server = new FakeServer(HEIGHT, WIDTH, 2);
  const wire = new FakeWire(server);
  const session = new Session(wire, wire, new MemoryStore());
  wire.session = session;
  session.view.value = { centre: [20, 300], zoom: 1, width: WIDTH, height: HEIGHT };
  wire.mend();
  await wire.settle();
  session.view.value = { centre: [20, 300], zoom: 1, width: WIDTH, height: HEIGHT };
  await wire.settle();
  return { server, wire, session };
}

export function stroke(y: number, x0: number, x1: number, size: number): Int32Array {
  const region = new Region([HEIGHT, WIDTH]);
  addStroke(region, [y, x0], [y, x1], size);
  return region.runs();
}
