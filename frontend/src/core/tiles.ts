// Tiles that are here, on their way, or wanted. What was not wanted for longest goes first when room is short.

import { signal, type ReadonlySignal } from "@preact/signals-core";
import { RequestError } from "./http";
import { keyOf, type Tile } from "./pyramid";
import type { Box } from "./wire";

export type TileArray = Uint8Array | Uint16Array | Uint32Array;

/** Told of every change: the GPU's half of the cache. `null` stands for a tile of zeros. */
export interface TileListener<T extends TileArray> {
  loaded(tile: Tile, data: T | null): void;
  /** Pixels changed in place, within the box (of the tile's own pixels). */
  written(tile: Tile, data: T, box: Box): void;
  evicted(tile: Tile): void;
}

interface Entry<T> {
  tile: Tile;
  data: T | null;
  stale: boolean; // shown until its successor arrives
}

interface Flight {
  tile: Tile;
  abort: AbortController;
  outdated: boolean; // its pixels changed after it was asked for: ask again
}

const MOST_IN_FLIGHT = 8;
export const RETRY_MS = 1500;

export class TileCache<T extends TileArray> {
  private readonly entries = new Map<string, Entry<T>>(); // in order of last use
  private readonly flights = new Map<string, Flight>();
  private wanted: readonly Tile[] = []; // most urgent first
  private wantedKeys: ReadonlySet<string> = new Set();
  private closed = false;
  private readonly waiting = new Map<string, (() => void)[]>();
  private readonly refused = new Map<string, Tile>(); // not asked for again before `refresh` or `retry`
  private readonly why = signal<string | null>(null);
  /** What the server says of tiles that it cannot give; null while there are none. */
  readonly refusal: ReadonlySignal<string | null> = this.why;

  constructor(
    private readonly capacity: number,
    private readonly fetchTile: (tile: Tile, signal: AbortSignal) => Promise<T | null>,
    private readonly listener: TileListener<T>,
    /** Called before a tile that arrives is shown: to put back what the server does not know yet. */
    private readonly prepare: (tile: Tile, data: T | null) => T | null = (_tile, data) => data,
    private readonly onBusy: (inFlight: number) => void = () => {},
  ) {}

  /** The tiles of the window, most urgent first; all others may go. */
  want(tiles: readonly Tile[]): void {
    this.wanted = tiles.slice(0, this.capacity);
    this.wantedKeys = new Set(this.wanted.map(keyOf));
    for (const [key, flight] of this.flights) {
      if (!this.wantedKeys.has(key) && !this.waiting.has(key)) flight.abort.abort();
    }
    for (const [key, entry] of this.entries) if (entry.stale && !this.wantedKeys.has(key)) this.evict(key, entry.tile);
    for (let i = this.wanted.length - 1; i >= 0; i--) this.touch(keyOf(this.wanted[i]));
    this.pump();
  }

  /** The pixels, `null` for a tile of zeros, `undefined` while it is not here. */
  get(tile: Tile): T | null | undefined {
    return this.entries.get(keyOf(tile))?.data;
  }

  *resident(): Generator<[Tile, T | null]> {
    for (const entry of this.entries.values()) yield [entry.tile, entry.data];
  }

  /** Resolves when the tile is here; it is fetched before all others. */
  ensure(tile: Tile): Promise<void> {
    const key = keyOf(tile);
    if (this.entries.has(key)) {
      this.touch(key);
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.waiting.set(key, [...(this.waiting.get(key) ?? []), resolve]);
      this.start(tile);
    });
  }

  /** Put pixels where a tile of zeros was. */
  replace(tile: Tile, data: T): void {
    const entry = this.entries.get(keyOf(tile));
    if (entry === undefined) return;
    entry.data = data;
    this.listener.loaded(tile, data);
  }

  written(tile: Tile, data: T, box: Box): void {
    this.listener.written(tile, data, box);
  }

  /** A tile on its way may not know of a change that was made meanwhile. */
  outdate(touches: (tile: Tile) => boolean): void {
    for (const flight of this.flights.values()) if (touches(flight.tile)) flight.outdated = true;
  }

  /** Fetch again what is here: what is wanted stays in sight until then, the rest goes. */
  refresh(touches: (tile: Tile) => boolean): void {
    for (const [key, entry] of this.entries) {
      if (!touches(entry.tile)) continue;
      if (this.wantedKeys.has(key)) entry.stale = true;
      else this.evict(key, entry.tile);
    }
    this.outdate(touches);
    this.retry(touches);
  }

  /** Ask again for what the server could not give. */
  retry(touches: (tile: Tile) => boolean = () => true): void {
    for (const [key, tile] of this.refused) if (touches(tile)) this.refused.delete(key);
    if (this.refused.size === 0) this.why.value = null;
    this.pump();
  }

  close(): void {
    this.closed = true;
    for (const flight of this.flights.values()) flight.abort.abort();
    for (const entry of this.entries.values()) this.listener.evicted(entry.tile);
    this.entries.clear();
  }

  private pump(): void {
    for (const tile of this.wanted) {
      if (this.flights.size >= MOST_IN_FLIGHT) return;
      const entry = this.entries.get(keyOf(tile));
      if ((entry === undefined || entry.stale) && !this.refused.has(keyOf(tile))) this.start(tile);
    }
  }

  private start(tile: Tile): void {
    const key = keyOf(tile);
    if (this.closed || this.flights.has(key)) return;
    const flight: Flight = { tile, abort: new AbortController(), outdated: false };
    this.flights.set(key, flight);
    this.refused.delete(key);
    this.onBusy(this.flights.size);
    this.fetchTile(tile, flight.abort.signal).then(
      (data) => this.land(flight, data),
      (error: unknown) => this.crash(flight, error),
    );
  }

  private land(flight: Flight, data: T | null): void {
    const key = keyOf(flight.tile);
    this.end(key);
    if (this.closed) return;
    if (flight.outdated && !this.wantedKeys.has(key)) {
      if (this.waiting.has(key)) this.start(flight.tile);
      else if (this.entries.has(key)) this.evict(key, flight.tile);
      return;
    }
    const ready = this.prepare(flight.tile, data);
    this.entries.delete(key);
    this.entries.set(key, { tile: flight.tile, data: ready, stale: flight.outdated });
    if (this.refused.size === 0) this.why.value = null;
    this.makeRoom();
    this.listener.loaded(flight.tile, ready);
    for (const resolve of this.waiting.get(key) ?? []) resolve();
    this.waiting.delete(key);
    this.pump();
  }

  private crash(flight: Flight, error: unknown): void {
    const key = keyOf(flight.tile);
    this.end(key);
    if (this.closed) return;
    const refused = error instanceof RequestError && error.lasting && !flight.outdated;
    if (refused) {
      this.refused.set(key, flight.tile);
      this.why.value = error.message.trim();
    }
    if (refused || flight.abort.signal.aborted) this.pump();
    else setTimeout(() => (this.waiting.has(key) ? this.start(flight.tile) : this.pump()), RETRY_MS);
  }

  private end(key: string): void {
    this.flights.delete(key);
    this.onBusy(this.flights.size);
  }

  private touch(key: string): void {
    const entry = this.entries.get(key);
    if (entry === undefined) return;
    this.entries.delete(key);
    this.entries.set(key, entry);
  }

  private makeRoom(): void {
    for (const [key, entry] of this.entries) {
      if (this.entries.size <= this.capacity) return;
      this.evict(key, entry.tile);
    }
  }

  private evict(key: string, tile: Tile): void {
    this.entries.delete(key);
    this.listener.evicted(tile);
  }
}
