// Everything the page knows and can do. The panels read its signals and call its actions; nothing here knows the DOM.

import { computed, signal, type ReadonlySignal } from "@preact/signals-core";
import { ObjectTable, type Cell } from "./objects";
import {
  DEFAULT_MODE, DEFAULT_OVERLAYS, DEFAULT_PREFS, DEFAULT_STYLE, Fate,
  type ChannelSettings, type Connection, type DynamicsSettings, type LabelStyle, type Notice, type Overlays,
  type Pointer, type Prefs, type Preview, type Thresholds, type ToolName, type View,
} from "./state";
import type {
  ClassInfo, FromServer, ImageInfo, ImageState, Job, JobKind, Mode, ModelInfo, Point, Project, ToServer,
} from "./wire";

/** Messages to the server; the other direction is `Session.receive`. */
export interface Transport {
  send(message: ToServer): void;
}

/** Plain requests. Addresses are relative to the page's. */
export interface Http {
  url(path: string): string;
  json<T>(path: string): Promise<T>;
  /** `null` where the server has nothing (204). */
  bytes(path: string): Promise<ArrayBuffer | null>;
  upload(path: string, files: readonly File[]): Promise<void>;
  remove(path: string): Promise<void>;
}

/** Where preferences stay between visits. */
export interface Store {
  get(key: string): string | null;
  set(key: string, value: string): void;
}

export class Session {
  // ---- what the server says
  readonly connection = signal<Connection>("connecting");
  readonly user = signal("");
  readonly project = signal<Project | null>(null);
  /** In the order of submission, finished ones too. */
  readonly jobs = signal<readonly Job[]>([]);
  readonly notices = signal<readonly Notice[]>([]);
  /** Edits that the server has not confirmed. 0: everything is saved. */
  readonly unsaved = signal(0);

  // ---- what is open
  readonly imageId = signal<string | null>(null);
  readonly plane = signal(0);
  readonly image: ReadonlySignal<ImageInfo | null> = computed(
    () => this.images.value.find((image) => image.id === this.imageId.value) ?? null,
  );
  readonly images: ReadonlySignal<readonly ImageInfo[]> = computed(() => this.project.value?.images ?? []);
  readonly classes: ReadonlySignal<readonly ClassInfo[]> = computed(() => this.project.value?.classes ?? []);
  readonly models: ReadonlySignal<readonly ModelInfo[]> = computed(() => this.project.value?.models ?? []);
  /** `rows()`, `get(id)`, `fate(id)`, `counts`, `thresholds`, `hiddenClasses`: all can be read in a component. */
  readonly objects = new ObjectTable(computed(() => this.image.value?.shape ?? [0, 0]));
  /** Measurements of the plane by column name, or null until `loadMeasurements` was called. */
  readonly measurements = signal<Record<string, readonly (number | string | null)[]> | null>(null);

  // ---- what is chosen
  readonly selection = signal<ReadonlySet<number>>(new Set());
  readonly tool = signal<ToolName>("pick");
  readonly brushSize = signal(9); // diameter, image pixels
  readonly mode = signal<Mode>(DEFAULT_MODE);
  readonly activeClass = signal(0); // 0: none
  readonly paintClass = signal(false); // with the pick tool: a click gives the active class
  readonly diameter = signal<number | null>(null); // pixels, as measured with the circle; null: automatic
  readonly dynamics = signal<DynamicsSettings>({ cellprob_threshold: 0, niter: null });

  // ---- how it looks
  readonly view = signal<View>({ centre: [0, 0], zoom: 1, width: 1, height: 1 });
  readonly channels = signal<readonly ChannelSettings[]>([]);
  readonly style = signal<LabelStyle>(DEFAULT_STYLE);
  readonly overlays = signal<Overlays>(DEFAULT_OVERLAYS);
  readonly prefs = signal<Prefs>(DEFAULT_PREFS);
  readonly preview = signal<Preview>({ kind: "none" });
  readonly pointer = signal<Pointer | null>(null);
  /** Tiles of the window that are on their way. */
  readonly loading = signal(0);
  /** Why there can be no picture at all (no WebGL2), in words for the user. */
  readonly blind = signal<string | null>(null);
  /** The list of keys is shown. */
  readonly help = signal(false);

  private nextNotice = 1;

  constructor(
    private readonly transport: Transport,
    private readonly http: Http,
    private readonly store: Store,
  ) {}

  // ---- images
  openImage(_id: string): void {}
  nextImage(_step: 1 | -1): void {}
  setPlane(plane: number): void {
    this.plane.value = plane;
  }
  setZ(_z: number): void {}
  setT(_t: number): void {}
  stepZ(_step: 1 | -1): void {}
  stepT(_step: 1 | -1): void {}
  setImageState(_state: ImageState): void {}
  addImages(files: readonly File[]): Promise<void> {
    return this.http.upload("api/images", files);
  }
  removeImage(id: string): Promise<void> {
    return this.http.remove(`api/images/${id}`);
  }
  /** Labels, ROI zip, GeoJSON or `_seg.npy` onto the open image; can be undone. */
  importLabels(_files: readonly File[]): Promise<void> {
    return Promise.resolve();
  }

  // ---- looking
  setChannel(_index: number, _change: Partial<ChannelSettings>): void {}
  /** The next channel alone, and after the last one all of them. */
  showChannel(_step: 1 | -1): void {}
  autoContrast(_index?: number): void {}
  setStyle(change: Partial<LabelStyle>): void {
    this.style.value = { ...this.style.value, ...change };
  }
  setOverlays(change: Partial<Overlays>): void {
    this.overlays.value = { ...this.overlays.value, ...change };
  }
  setPrefs(change: Partial<Prefs>): void {
    this.prefs.value = { ...this.prefs.value, ...change };
  }
  zoomBy(_factor: number, _around?: Point): void {}
  zoomToFit(): void {}
  zoomTo(_id: number): void {}
  centreOn(_point: Point): void {}

  // ---- objects
  select(ids: Iterable<number>, _how: "replace" | "add" | "toggle" = "replace"): void {
    this.selection.value = new Set(ids);
  }
  /** Walk to the next (or previous) object, lowest quality first. */
  nextDoubtful(_step: 1 | -1 = 1): void {}
  mergeSelected(): void {}
  deleteSelected(): void {}
  /** Give one object's two sides of a line different ids. */
  split(_id: number, _line: readonly Point[]): void {}
  /** Bring discarded candidates back. */
  accept(_ids: readonly number[]): void {}
  setClass(_value: number, _ids: readonly number[] = [...this.selection.value]): void {}
  lock(_value: boolean, _ids: readonly number[] = [...this.selection.value]): void {}
  toggleLock(): void {}
  /** The class for the selected objects, and for those drawn from now on. */
  chooseClass(_value: number): void {}
  relabel(_id: number, _value: number): void {}
  /** Write the selected objects into the next plane too. */
  copyToNextPlane(): void {}
  undo(): void {}
  redo(): void {}
  setClasses(_classes: readonly ClassInfo[]): void {}
  loadMeasurements(): Promise<void> {
    return Promise.resolve();
  }

  // ---- tools
  setTool(tool: ToolName): void {
    this.tool.value = tool;
  }
  setBrushSize(size: number): void {
    this.brushSize.value = Math.max(1, Math.min(500, Math.round(size)));
  }
  setMode(mode: Mode): void {
    this.mode.value = mode;
  }

  nextMode(): void {
    const order: Mode[] = ["keep", "overwrite", "inside"];
    this.setMode(order[(order.indexOf(this.mode.value) + 1) % order.length]);
  }
  /** Leave what a tool has begun; with nothing begun, select nothing. */
  cancel(): void {}
  /** Finish what a tool has begun. */
  finish(): void {}

  // ---- thresholds
  /** Live, while a slider moves: only the object table is asked. */
  setThresholds(change: Partial<Thresholds>): void {
    this.objects.thresholds.value = { ...this.objects.thresholds.value, ...change };
  }
  /** Make the labels follow the thresholds; with dynamics, run these anew, window first. */
  rethreshold(_dynamics?: Partial<DynamicsSettings>): void {}

  // ---- jobs
  /** Segment the open image; `params` as the command's options; the window comes first. */
  segment(_params: Record<string, unknown>): void {}
  /** Segment several images, or all, with one recipe. */
  batch(_images: readonly string[] | "all", _params: Record<string, unknown>): void {}
  train(_params: Record<string, unknown>): void {}
  evaluate(_params: Record<string, unknown>): void {}
  suggestNext(): void {}
  submit(kind: JobKind, image: string | null, params: Record<string, unknown>): void {
    this.transport.send({ type: "submit", kind, image, params });
  }
  cancelJob(id: string): void {
    this.transport.send({ type: "cancel", job: id });
  }
  jobReport<T>(id: string): Promise<T> {
    return this.http.json<T>(`api/jobs/${id}/report`);
  }
  activateModel(name: string): void {
    this.transport.send({ type: "set", what: "model", value: name });
  }

  // ---- addresses for links and pictures
  thumbUrl(id: string): string {
    return this.http.url(`api/images/${id}/thumb`);
  }
  /** A file to download: of one image, or of all images without `image`. */
  exportUrl(kind: "labels" | "rois" | "geojson" | "coco" | "seg" | "csv" | "overlay" | "run" | "zip", image?: string): string {
    return this.http.url(image === undefined ? `api/export/${kind}` : `api/images/${image}/export/${kind}`);
  }

  // ---- project and notices
  setProjectName(name: string): void {
    this.transport.send({ type: "set", what: "name", value: name });
  }
  setPixelSize(um: number | null): void {
    this.transport.send({ type: "set", what: "pixel_size_um", value: um });
  }
  notify(level: Notice["level"], message: string, hint = ""): void {
    this.notices.value = [...this.notices.value, { id: this.nextNotice++, level, message, hint }];
  }
  dismiss(id: number): void {
    this.notices.value = this.notices.value.filter((notice) => notice.id !== id);
  }

  // ---- called by the connection
  connected(): void {}
  disconnected(): void {
    this.connection.value = "lost";
  }
  receive(_message: FromServer): void {}
}

export { Fate, type Cell };
