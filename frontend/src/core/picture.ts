// All tiles of one plane of one image: channels, labels, discarded candidates, the network's output; and which of them the
// window wants.

import { Document, LABEL_TILES, type DocumentHost } from "./document";
import type { Http } from "./http";
import { clipped, keyOf, Pyramid, windowOf, type Tile } from "./pyramid";
import type { ChannelSettings, Overlays, View } from "./state";
import { TileCache, type TileListener } from "./tiles";
import { TILE, type ImageInfo, type ObjectColumns, type Point } from "./wire";

/** The graphics card's side. A test has one that does nothing. */
export interface Screen {
  /** Room for an image: `capacity` in tiles. */
  open(pyramid: Pyramid, channels: number, bits: 8 | 16, capacity: Capacity): void;
  /** Tiles that one texture can hold. */
  readonly mostLayers: number;
  readonly image: TileListener<Uint8Array | Uint16Array>;
  readonly labels: TileListener<Uint32Array>;
  readonly candidates: TileListener<Uint32Array>;
  readonly field: TileListener<Uint16Array>;
  remapped(ids: readonly number[], resolve: (id: number) => number): void;
}

const DEAF: TileListener<never> = { loaded() {}, written() {}, evicted() {} };

/** For tests, and where there is no WebGL2. */
export const NO_SCREEN: Screen = { open() {}, mostLayers: 256, image: DEAF, labels: DEAF, candidates: DEAF, field: DEAF, remapped() {} };

export interface Capacity {
  image: number;
  labels: number;
  candidates: number;
  field: number;
}

const IMAGE_BYTES = 2 ** 28; // for channel tiles, on the card and beside it
const EXTRA_TILES = 64; // of candidates and each field: they have no coarser levels

const MOST_BINS = 128; // of a histogram
const SAMPLE_TILES = 4; // that it looks at

export class Picture {
  readonly pyramid: Pyramid;
  readonly document: Document;
  readonly image: TileCache<Uint8Array | Uint16Array>;
  readonly candidates: TileCache<Uint32Array>;
  private readonly field: TileCache<Uint16Array>;
  private readonly capacity: Capacity;
  private readonly busy = new Map<string, number>();

  constructor(
    readonly info: ImageInfo,
    readonly plane: number,
    private readonly http: Http,
    screen: Screen,
    host: Pick<DocumentHost, "outbox" | "objects">,
    private readonly onBusy: (inFlight: number) => void,
  ) {
    const channels = Math.max(1, info.channels.length);
    this.pyramid = new Pyramid(info.shape, info.levels, 1);
    const tiles = this.pyramid.tilesPerChannel;
    const finest = this.pyramid.rows(0) * this.pyramid.columns(0);
    this.capacity = {
      image: Math.min(tiles * channels, Math.floor(IMAGE_BYTES / (TILE * TILE * (info.pixel_bits / 8))), screen.mostLayers),
      labels: Math.min(tiles, LABEL_TILES, screen.mostLayers),
      candidates: Math.min(finest, EXTRA_TILES),
      field: 3 * Math.min(finest, EXTRA_TILES),
    };
    screen.open(this.pyramid, channels, info.pixel_bits, this.capacity);
    const busy = (what: string) => (count: number) => this.count(what, count);
    this.document = new Document(
      info,
      plane,
      {
        ...host,
        fetchTile: (tile, abort) => this.fetchLabels(tile, abort),
        fetchObjects: () => http.json<ObjectColumns>(`${this.base}/objects?plane=${plane}`),
        busy: busy("labels"),
      },
      { ...listen(screen.labels), remapped: (ids) => screen.remapped(ids, (id) => this.document.remap.resolve(id)) },
    );
    this.image = new TileCache(this.capacity.image, (t, a) => this.fetchPixels(t, a), screen.image, undefined, busy("image"));
    this.candidates = new TileCache(
      this.capacity.candidates, (t, a) => this.fetchCandidates(t, a), screen.candidates, undefined, busy("candidates"),
    );
    this.field = new TileCache(this.capacity.field, (t, a) => this.fetchField(t, a), screen.field, undefined, busy("field"));
  }

  /** Fetch what the window shows, the middle first and coarse before fine. */
  want(view: View, pixelRatio: number, channels: readonly ChannelSettings[], overlays: Overlays, ghostTiles: ReadonlySet<string>): void {
    const box = clipped(windowOf(view), this.pyramid.shape);
    if (box === null) return;
    const level = this.pyramid.levelAt(view.zoom * pixelRatio);
    const top = this.pyramid.levels - 1;
    const tilesOf = (channel: number): Tile[] => [
      ...(level < top - 1 ? this.pyramid.tilesIn(box, top, channel) : []), // one level coarser is as slow and drawn twice
      ...this.pyramid.tilesIn(box, level, channel),
    ];
    const shown = channels.flatMap((channel, index) => (channel.visible ? [index] : []));
    this.image.want(interleaved(shown.map(tilesOf)));
    this.document.tiles.want(tilesOf(0));
    const fine = this.pyramid.tilesIn(box, 0).slice(0, EXTRA_TILES);
    this.candidates.want(overlays.ghosts ? fine.filter((tile) => ghostTiles.has(keyOf(tile))) : []);
    const fields = [...(overlays.cellprob ? [0] : []), ...(overlays.flows ? [1, 2] : [])];
    this.field.want(interleaved(fields.map((channel) => fine.map((tile) => ({ ...tile, channel })))));
  }

  /** A channel's value at a full-size pixel in raw units; NaN while it is not known. */
  valueAt(channel: number, [y, x]: Point): number {
    for (let level = 0; level < this.pyramid.levels; level++) {
      const [row, column] = [Math.floor(y) >> level, Math.floor(x) >> level];
      const data = this.image.get({ channel, level, ty: row >> 9, tx: column >> 9 });
      if (data === null) return this.info.value_offset;
      if (data !== undefined) return data[(row & 511) * TILE + (column & 511)] * this.info.value_scale + this.info.value_offset;
    }
    return Number.NaN;
  }

  /** How often values occur in a channel, in raw units; null until the picture is here. Bins hold whole steps of the data. */
  histogram(channel: number, low: number, high: number): { counts: number[]; first: number; width: number } | null {
    const { value_scale: scale, value_offset: offset } = this.info;
    const found = this.sample(channel);
    if (!found || !(high > low)) return null;
    const first = Math.floor((low - offset) / scale);
    const last = Math.ceil((high - offset) / scale);
    const width = Math.max(1, Math.ceil((last - first + 1) / MOST_BINS));
    const counts = new Array<number>(Math.ceil((last - first + 1) / width)).fill(0);
    for (const { data, rows, columns } of found) {
      for (let y = 0; y < rows; y++) {
        for (let i = y * TILE; i < y * TILE + columns; i++) {
          const value = data ? data[i] : 0;
          if (value >= first && value <= last) counts[Math.floor((value - first) / width)]++;
        }
      }
    }
    return { counts, first: first * scale + offset, width: width * scale };
  }

  /** All tiles of the finest level that is here whole, and small enough to count quickly. */
  private sample(channel: number): { data: Uint8Array | Uint16Array | null; rows: number; columns: number }[] | null {
    const [height, width] = this.pyramid.shape;
    for (let level = 0; level < this.pyramid.levels; level++) {
      const tiles = this.pyramid.tilesIn([0, 0, height, width], level, channel);
      if (tiles.length > SAMPLE_TILES || tiles.some((tile) => this.image.get(tile) === undefined)) continue;
      return tiles.map((tile) => ({
        data: this.image.get(tile) ?? null,
        rows: Math.min(TILE, Math.ceil(height / 2 ** level) - tile.ty * TILE),
        columns: Math.min(TILE, Math.ceil(width / 2 ** level) - tile.tx * TILE),
      }));
    }
    return null;
  }

  /** The discarded candidate at a full-size pixel; 0 for none. */
  candidateAt([y, x]: Point): number {
    const [row, column] = [Math.floor(y), Math.floor(x)];
    const data = this.candidates.get({ channel: 0, level: 0, ty: row >> 9, tx: column >> 9 });
    return data ? data[(row & 511) * TILE + (column & 511)] : 0;
  }

  /** A job has found new flows and candidates. */
  refreshExtras(): void {
    this.candidates.refresh(() => true);
    this.field.refresh(() => true);
  }

  close(): void {
    this.document.close();
    for (const cache of [this.image, this.candidates, this.field]) cache.close();
  }

  private get base(): string {
    return `api/images/${this.info.id}`;
  }

  private async fetchPixels(tile: Tile, abort: AbortSignal): Promise<Uint8Array | Uint16Array | null> {
    const { channel, level, ty, tx } = tile;
    const place = `${level}/${this.plane}/${channel}/${ty}/${tx}`;
    const bytes = await this.http.bytes(`${this.base}/pixels/${place}?v=${this.info.pixels}`, abort);
    if (bytes === null) return null;
    return this.info.pixel_bits === 8 ? new Uint8Array(bytes) : new Uint16Array(bytes);
  }

  private async fetchLabels({ level, ty, tx }: Tile, abort: AbortSignal): Promise<Uint32Array | null> {
    const bytes = await this.http.bytes(`${this.base}/labels/${level}/${this.plane}/${ty}/${tx}`, abort);
    return bytes && new Uint32Array(bytes);
  }

  private async fetchCandidates({ ty, tx }: Tile, abort: AbortSignal): Promise<Uint32Array | null> {
    const bytes = await this.http.bytes(`${this.base}/candidates/${this.plane}/${ty}/${tx}`, abort);
    return bytes && new Uint32Array(bytes);
  }

  /** Field channels: 0 cellprob, 1 and 2 the flows (dy, dx), which arrive together. */
  private async fetchField({ channel, ty, tx }: Tile, abort: AbortSignal): Promise<Uint16Array | null> {
    const kind = channel === 0 ? "cellprob" : "flows";
    const bytes = await this.http.bytes(`${this.base}/field/${kind}/${this.plane}/${ty}/${tx}`, abort);
    if (bytes === null) return null;
    const all = new Uint16Array(bytes);
    return channel === 2 ? all.slice(TILE * TILE) : all.slice(0, TILE * TILE);
  }

  private count(what: string, inFlight: number): void {
    this.busy.set(what, inFlight);
    this.onBusy([...this.busy.values()].reduce((sum, count) => sum + count, 0));
  }
}

function listen(listener: TileListener<Uint32Array>): TileListener<Uint32Array> {
  return {
    loaded: (tile, data) => listener.loaded(tile, data),
    written: (tile, data, box) => listener.written(tile, data, box),
    evicted: (tile) => listener.evicted(tile),
  };
}

/** The first of each list, then the second of each ... */
function interleaved(lists: readonly Tile[][]): Tile[] {
  const longest = Math.max(0, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}
