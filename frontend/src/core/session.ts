// Everything the page knows and can do. The panels read its signals and call its actions; nothing here knows the DOM.

import { batch, computed, effect, signal, type ReadonlySignal } from "@preact/signals-core";
import type { Document } from "./document";
import type { Http } from "./http";
import { ObjectTable, type Cell } from "./objects";
import { Outbox } from "./outbox";
import { NO_SCREEN, Picture, type Screen } from "./picture";
import { clipped, windowOf } from "./pyramid";
import type { Runs } from "./runs";
import {
  DEFAULT_MODE, DEFAULT_OVERLAYS, DEFAULT_PREFS, DEFAULT_STYLE, DEFAULT_THRESHOLDS, Fate,
  type ChannelSettings, type Connection, type DynamicsSettings, type LabelStyle, type Notice, type Overlays,
  type Pointer, type Prefs, type Preview, type Thresholds, type ToolName, type View,
} from "./state";
import { channelsOf, doubtful, fitted, shownCell, zoomed } from "./viewing";
import {
  PROTOCOL,
  type Box, type ClassInfo, type EditPart, type FromServer, type ImageInfo, type ImageState, type Job, type JobKind,
  type Mode, type ModelInfo, type Point, type Project, type ToServer,
} from "./wire";

/** Messages to the server; the other direction is `Session.receive`. */
export interface Transport {
  send(message: ToServer): void;
}

/** Where preferences stay between visits. */
export interface Store {
  get(key: string): string | null;
  set(key: string, value: string): void;
}

/** What the tool in hand can be told from outside. Both say whether there was something to do. */
export interface Hand {
  cancel(): boolean;
  finish(): boolean;
}

/** Where to begin, such as from the page's address. */
export interface Start {
  image: string | null;
  plane: number;
  view: Pick<View, "centre" | "zoom"> | null;
}

const GHOSTS_MAY_TAKE_MS = 60_000;

export class Session {
  // ---- what the server says
  readonly connection = signal<Connection>("connecting");
  readonly user = signal("");
  readonly project = signal<Project | null>(null);
  /** In the order of submission, finished ones too. */
  readonly jobs = signal<readonly Job[]>([]);
  readonly notices = signal<readonly Notice[]>([]);
  private readonly outbox: Outbox;
  /** Edits that the server has not confirmed. 0: everything is saved. */
  readonly unsaved = signal(0);

  // ---- what is open
  readonly imageId = signal<string | null>(null);
  readonly plane = signal(0);
  readonly images: ReadonlySignal<readonly ImageInfo[]> = computed(() => this.project.value?.images ?? []);
  readonly image: ReadonlySignal<ImageInfo | null> = computed(
    () => this.images.value.find((image) => image.id === this.imageId.value) ?? null,
  );
  readonly classes: ReadonlySignal<readonly ClassInfo[]> = computed(() => this.project.value?.classes ?? []);
  readonly models: ReadonlySignal<readonly ModelInfo[]> = computed(() => this.project.value?.models ?? []);
  /** `rows()`, `get(id)`, `fate(id)`, `counts`, `thresholds`, `hiddenClasses`: all can be read in a component. */
  readonly objects: ObjectTable;
  /** Measurements of the plane by column name, or null until `loadMeasurements` was called. */
  readonly measurements = signal<Record<string, readonly (number | string | null)[]> | null>(null);
  /** The tiles of the open plane; for the picture and the tools. */
  readonly picture = signal<Picture | null>(null);

  // ---- what is chosen
  readonly selection = signal<ReadonlySet<number>>(new Set());
  readonly tool = signal<ToolName>("pick");
  readonly brushSize = signal(9); // diameter, image pixels
  readonly mode = signal<Mode>(DEFAULT_MODE);
  readonly activeClass = signal(0); // of what is drawn from now on; 0: none
  readonly paintClass = signal(false); // with the pick tool: a click gives the active class
  readonly diameter = signal<number | null>(null); // pixels, as measured with the circle; null: automatic
  readonly dynamics = signal<DynamicsSettings>({ cellprob_threshold: 0, niter: null });

  // ---- how it looks
  readonly view = signal<View>({ centre: [0, 0], zoom: 1, width: 1, height: 1 });
  readonly pixelRatio = signal(1); // device pixels a CSS pixel
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

  hand: Hand | null = null;
  private nextNotice = 1;
  private ghostsUntil = 0; // a job has ended: candidates may still be on their way

  constructor(
    private readonly transport: Transport,
    private readonly http: Http,
    private readonly store: Store,
    private readonly screen: Screen = NO_SCREEN,
    private start: Start = { image: null, plane: 0, view: null },
  ) {
    this.outbox = new Outbox(transport);
    effect(() => void (this.unsaved.value = this.outbox.count.value));
    this.objects = new ObjectTable(computed(() => this.image.value?.shape ?? [0, 0]));
    this.remember("style", this.style);
    this.remember("overlays", this.overlays);
    this.remember("prefs", this.prefs);
    this.remember("brush", this.brushSize);
    this.remember("mode", this.mode);
    effect(() => this.picture.value?.want(this.view.value, this.pixelRatio.value, this.channels.value, this.overlays.value));
  }

  /** Pixels and edits of the open plane. */
  get document(): Document | null {
    return this.picture.peek()?.document ?? null;
  }

  // ---- images
  openImage(id: string): void {
    if (id === this.imageId.value) return;
    this.show(id, 0, true);
  }
  nextImage(step: 1 | -1): void {
    const images = this.images.value;
    const next = images[images.findIndex(({ id }) => id === this.imageId.value) + step];
    if (next) this.openImage(next.id);
  }
  setPlane(plane: number): void {
    const image = this.image.value;
    if (image && plane !== this.plane.value && plane >= 0 && plane < image.z * image.t) this.show(image.id, plane, false);
  }
  setZ(z: number): void {
    const image = this.image.value;
    if (image && z >= 0 && z < image.z) this.setPlane(Math.floor(this.plane.value / image.z) * image.z + z);
  }
  setT(t: number): void {
    const image = this.image.value;
    if (image && t >= 0 && t < image.t) this.setPlane(t * image.z + (this.plane.value % image.z));
  }
  stepZ(step: 1 | -1): void {
    this.setZ((this.plane.value % (this.image.value?.z ?? 1)) + step);
  }
  stepT(step: 1 | -1): void {
    this.setT(Math.floor(this.plane.value / (this.image.value?.z ?? 1)) + step);
  }
  setImageState(state: ImageState): void {
    const image = this.imageId.value;
    if (image) this.transport.send({ type: "set", what: "state", value: { image, state } });
  }
  addImages(files: readonly File[]): Promise<void> {
    return this.tried(this.http.upload("api/images", files));
  }
  removeImage(id: string): Promise<void> {
    return this.tried(this.http.remove(`api/images/${id}`));
  }
  /** Labels, ROI zip, GeoJSON or `_seg.npy` onto the open image; can be undone. */
  importLabels(files: readonly File[]): Promise<void> {
    return this.tried(this.http.upload(`api/images/${this.imageId.value}/import`, files));
  }

  // ---- looking
  setChannel(index: number, change: Partial<ChannelSettings>): void {
    this.channels.value = this.channels.value.map((channel, i) => (i === index ? { ...channel, ...change } : channel));
  }
  /** The next channel alone, and after the last one all of them. */
  showChannel(step: 1 | -1): void {
    const channels = this.channels.value;
    const visible = channels.flatMap((channel, index) => (channel.visible ? [index] : []));
    const places = channels.length + 1; // the last stands for all
    const now = visible.length === 1 ? visible[0] : channels.length;
    const next = (now + step + places) % places;
    this.channels.value = channels.map((channel, i) => ({ ...channel, visible: next === channels.length || i === next }));
  }
  autoContrast(index?: number): void {
    const image = this.image.value;
    this.channels.value = this.channels.value.map((channel, i) => {
      const auto = image?.channels[i];
      return auto && (index === undefined || i === index) ? { ...channel, low: auto.low, high: auto.high, gamma: 1 } : channel;
    });
  }
  setStyle(change: Partial<LabelStyle>): void {
    this.style.value = { ...this.style.value, ...change };
  }
  setOverlays(change: Partial<Overlays>): void {
    this.overlays.value = { ...this.overlays.value, ...change };
  }
  setPrefs(change: Partial<Prefs>): void {
    this.prefs.value = { ...this.prefs.value, ...change };
  }
  zoomBy(factor: number, around: Point = this.view.value.centre): void {
    const shape = this.image.value?.shape;
    if (shape) this.view.value = zoomed(this.view.value, factor, around, shape);
  }
  zoomToFit(): void {
    const shape = this.image.value?.shape;
    if (shape) this.view.value = fitted(this.view.value, shape);
  }
  zoomTo(id: number): void {
    const cell = this.objects.peek(id);
    if (cell) this.view.value = shownCell(this.view.value, cell);
  }
  centreOn(point: Point): void {
    this.view.value = { ...this.view.value, centre: point };
  }

  // ---- objects
  select(ids: Iterable<number>, how: "replace" | "add" | "toggle" = "replace"): void {
    const selection = new Set(how === "replace" ? [] : this.selection.value);
    for (const id of ids) {
      if (how === "toggle" && selection.has(id)) selection.delete(id);
      else selection.add(id);
    }
    this.selection.value = selection;
  }
  /** Walk to the next (or previous) object, lowest quality first. */
  nextDoubtful(step: 1 | -1 = 1): void {
    const cells = doubtful(this.objects.rows(), (id) => this.objects.fate(id));
    if (cells.length === 0) return;
    const now = cells.findIndex(({ id }) => this.selection.value.has(id));
    const next = cells[now < 0 ? (step > 0 ? 0 : cells.length - 1) : (now + step + cells.length) % cells.length];
    this.select([next.id]);
    this.zoomTo(next.id);
  }
  /** The largest of the selected objects takes the others' pixels. */
  mergeSelected(): void {
    this.merge([...this.selection.value]);
  }
  merge(ids: readonly number[]): void {
    const area = (id: number): number => this.objects.peek(id)?.area ?? 0;
    const sorted = [...new Set(ids)].sort((a, b) => area(b) - area(a));
    if (sorted.length < 2) return;
    this.document?.merge(sorted);
    this.select([sorted[0]]);
  }
  deleteSelected(): void {
    this.delete([...this.selection.value]);
  }
  delete(ids: readonly number[]): void {
    this.document?.delete(ids);
    this.selection.value = new Set([...this.selection.value].filter((id) => !ids.includes(id)));
  }
  /** Give one object's two sides of a line different ids. */
  split(id: number, line: readonly Point[]): void {
    this.document?.split(id, line);
  }
  /** Bring discarded candidates back. */
  accept(ids: readonly number[]): void {
    this.document?.accept(ids);
  }
  setClass(value: number, ids: readonly number[] = [...this.selection.value]): void {
    this.document?.setClass(ids, value);
  }
  /** The class for the selected objects, and for those drawn from now on. */
  chooseClass(value: number): void {
    if (value !== 0 && !this.classes.value.some(({ id }) => id === value)) return;
    this.activeClass.value = value;
    if (this.selection.value.size > 0) this.setClass(value);
  }
  lock(value: boolean, ids: readonly number[] = [...this.selection.value]): void {
    this.document?.lock(ids, value);
  }
  toggleLock(): void {
    const cells = [...this.selection.value].map((id) => this.objects.peek(id)).filter((cell) => cell !== undefined);
    this.lock(!cells.every((cell) => cell.locked));
  }
  relabel(id: number, value: number): void {
    this.document?.relabel(id, value);
  }
  /** Make pixels an object of their own, with the active class. Returns its id, 0 if none is to be had. */
  draw(runs: Runs): number {
    const label = this.freshId();
    if (label !== 0) {
      this.document?.paint(label, runs, this.mode.value, [...this.selection.value], this.activeClass.value);
      this.select([label]);
    }
    return label;
  }
  /** An id for a new object; 0, and a word to the user, while none is to be had. */
  freshId(): number {
    const id = this.document?.ids.take() ?? null;
    if (id === null) this.notify("warning", "New objects need the server, which does not answer", "drawing goes on when it is back");
    return id ?? 0;
  }
  /** Write the selected objects into the next plane too, and go there. */
  copyToNextPlane(): void {
    void this.copySelected();
  }
  undo(): void {
    this.inHistory("undo");
  }
  redo(): void {
    this.inHistory("redo");
  }
  setClasses(classes: readonly ClassInfo[]): void {
    this.transport.send({ type: "set", what: "classes", value: classes });
  }
  async loadMeasurements(): Promise<void> {
    const id = this.imageId.value;
    if (!id) return;
    type Columns = Record<string, readonly (number | string | null)[]>;
    const table = await this.http.json<Columns>(`api/images/${id}/measurements?plane=${this.plane.value}`).catch(() => null);
    if (id === this.imageId.value) this.measurements.value = table;
  }

  // ---- tools
  setTool(tool: ToolName): void {
    this.hand?.cancel();
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
  cancel(): void {
    if (!this.hand?.cancel()) this.select([]);
  }
  /** Finish what a tool has begun. */
  finish(): void {
    this.hand?.finish();
  }

  // ---- thresholds
  /** Live, while a slider moves: only the object table is asked. */
  setThresholds(change: Partial<Thresholds>): void {
    batch(() => {
      this.objects.thresholds.value = { ...this.objects.thresholds.value, ...change };
      this.objects.moved.value = true;
    });
  }
  /** Make the labels follow the thresholds; the dynamics are run anew, window first. */
  rethreshold(dynamics: Partial<DynamicsSettings> = {}): void {
    const image = this.image.value;
    if (!image) return;
    this.dynamics.value = { ...this.dynamics.value, ...dynamics };
    const { flow_error, min_size, max_size, exclude_border } = this.objects.thresholds.value;
    this.submit("rethreshold", image.id, {
      ...this.dynamics.value,
      flow_threshold: flow_error,
      min_size: min_size ?? 0,
      max_size_fraction: max_size === null ? null : max_size / (image.shape[0] * image.shape[1]),
      exclude_border,
      window: this.windowParam(),
    });
  }
  /** Delete what the thresholds hide for good, as one edit: the score has no part in making labels. */
  deleteHidden(): void {
    const hidden = this.objects.rows().filter((cell) => !cell.discarded && this.objects.fate(cell.id) !== Fate.kept);
    this.delete(hidden.map(({ id }) => id));
  }

  // ---- jobs
  /** Segment the open image; `params` as the command's options; the window comes first, or alone with `window_only`. */
  segment(params: Record<string, unknown>): void {
    const { window_only, ...rest } = params;
    this.submit("segment", this.imageId.value, { ...rest, window: this.windowParam(), only: window_only === true });
  }
  /** Segment several images, or all, with one recipe. */
  batch(images: readonly string[] | "all", params: Record<string, unknown>): void {
    this.submit("batch", null, { ...params, images });
  }
  train(params: Record<string, unknown>): void {
    this.submit("train", null, params);
  }
  evaluate(params: Record<string, unknown>): void {
    this.submit("evaluate", null, params);
  }
  suggestNext(): void {
    this.submit("suggest", null, {});
  }
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
    this.transport.send({ type: "set", what: "pixel_size_um", value: { image: this.imageId.value, value: um } });
  }
  notify(level: Notice["level"], message: string, hint = ""): void {
    const same = this.notices.peek().some((notice) => notice.message === message && notice.hint === hint);
    if (!same) this.notices.value = [...this.notices.peek(), { id: this.nextNotice++, level, message, hint }];
  }
  dismiss(id: number): void {
    this.notices.value = this.notices.value.filter((notice) => notice.id !== id);
  }

  // ---- called by the connection
  connected(): void {
    if (this.connection.value !== "outdated") this.connection.value = "connecting";
  }
  disconnected(): void {
    if (this.connection.value !== "outdated") this.connection.value = "lost";
    this.document?.ids.askAgain();
  }
  receive(message: FromServer): void {
    switch (message.type) {
      case "welcome":
        return this.welcomed(message);
      case "project":
        return this.takeProject(message.project);
      case "image":
        return this.takeImage(message.image);
      case "job":
        return this.takeJob(message.job);
      case "notice":
        return this.notify(message.level, message.message, message.hint);
      case "opened":
        if (!this.isOpen(message)) return;
        this.document?.ids.add(message.first_id, message.last_id);
        return this.document?.catchUp(message.rev);
      case "leased":
        if (this.isOpen(message)) this.document?.ids.add(message.first_id, message.last_id);
        return;
      case "ack": {
        const pending = this.outbox.settle(message.op_id);
        if (this.isOpen(message)) this.document?.acked(message, pending);
        return;
      }
      case "reject": {
        const pending = this.outbox.settle(message.op_id);
        this.notify("warning", `An edit was not possible: ${message.reason}`, "the newer state is shown");
        if (this.isOpen(message)) this.document?.rejected(message, pending);
        return;
      }
      case "patch":
        if (this.isOpen(message)) this.document?.patched(message);
        return;
      case "pong":
        return;
    }
  }

  // ---- inside

  private isOpen(message: { image: string; plane?: number }): boolean {
    return message.image === this.imageId.value && (message.plane ?? this.plane.value) === this.plane.value;
  }

  private welcomed(message: Extract<FromServer, { type: "welcome" }>): void {
    if (message.protocol !== PROTOCOL) {
      this.connection.value = "outdated";
      return;
    }
    this.user.value = message.user;
    this.takeProject(message.project);
    this.connection.value = "open";
    const image = this.imageId.value;
    if (image === null) {
      const asked = this.images.value.find(({ id }) => id === this.start.image) ?? this.images.value[0];
      if (asked) this.show(asked.id, asked.id === this.start.image ? this.start.plane : 0, true);
    } else {
      this.transport.send({ type: "open", image, plane: this.plane.value });
    }
    this.outbox.resend();
  }

  private show(id: string, plane: number, whole: boolean): void {
    this.hand?.cancel();
    batch(() => {
      this.picture.peek()?.close();
      this.picture.value = null;
      this.imageId.value = id;
      this.plane.value = plane;
      this.selection.value = new Set();
      this.measurements.value = null;
      this.objects.clear();
      if (whole) {
        this.objects.thresholds.value = this.thresholdsOf(id);
        this.objects.moved.value = false;
      }
    });
    this.http.json<ImageInfo>(`api/images/${id}`).then(
      (info) => this.opened(info, plane, whole),
      (error: Error) => this.notify("error", `The image cannot be opened: ${error.message}`),
    );
  }

  private opened(info: ImageInfo, plane: number, whole: boolean): void {
    if (this.imageId.peek() !== info.id || this.plane.peek() !== plane) return; // another one was opened meanwhile
    batch(() => {
      this.takeImage(info);
      if (info.problem) return;
      if (whole) {
        this.channels.value = channelsOf(info, this.channels.peek());
        const asked = this.start.image === info.id ? this.start.view : null;
        this.view.value = asked ? { ...this.view.peek(), ...asked } : fitted(this.view.peek(), info.shape);
        this.start = { image: null, plane: 0, view: null };
      }
      const host = {
        outbox: this.outbox,
        objects: this.objects,
        lease: (count: number) => this.transport.send({ type: "lease", image: info.id, count }),
      };
      this.picture.value = new Picture(info, plane, this.http, this.screen, host, (count) => (this.loading.value = count));
    });
    this.transport.send({ type: "open", image: info.id, plane });
    this.loadObjects();
  }

  private loadObjects(): void {
    this.document?.loadObjects().catch((error: Error) => this.notify("error", `The objects cannot be read: ${error.message}`));
  }

  private takeProject(project: Project): void {
    const known = new Map(this.images.peek().map((image) => [image.id, image]));
    this.project.value = { ...project, images: project.images.map((image) => withChannels(image, known.get(image.id))) };
  }

  private takeImage(image: ImageInfo): void {
    const project = this.project.peek();
    if (!project) return;
    const images = project.images.map((known) => (known.id === image.id ? withChannels(image, known) : known));
    this.project.value = { ...project, images };
    if (image.id === this.imageId.peek() && Date.now() < this.ghostsUntil) {
      this.picture.peek()?.refreshExtras();
      this.loadObjects();
    }
  }

  private takeJob(job: Job): void {
    const jobs = this.jobs.peek();
    const known = jobs.find(({ id }) => id === job.id);
    this.jobs.value = known ? jobs.map((other) => (other.id === job.id ? job : other)) : [...jobs, job];
    if (known && known.state !== "failed" && job.state === "failed") {
      this.notify("error", job.error ?? "The job failed", job.hint ?? "");
    }
    if (!known || known.state === "done" || job.state !== "done") return;
    if ((job.kind === "segment" || job.kind === "rethreshold") && job.image !== null) {
      if (job.image === this.imageId.peek()) this.labelsMade(job.image);
    }
  }

  /** A job has made the labels: they follow its thresholds now. */
  private labelsMade(image: string): void {
    this.store.set(`thresholds.${image}`, JSON.stringify(this.objects.thresholds.peek()));
    this.objects.moved.value = false;
    this.measurements.value = null;
    this.ghostsUntil = Date.now() + GHOSTS_MAY_TAKE_MS;
    this.picture.peek()?.refreshExtras();
    this.loadObjects();
  }

  private thresholdsOf(image: string): Thresholds {
    return { ...DEFAULT_THRESHOLDS, ...parsed<Thresholds>(this.store.get(`thresholds.${image}`)) };
  }

  /** What is in sight: plane, y0, x0, y1, x1. */
  private windowParam(): [plane: number, ...box: Box] | null {
    const shape = this.image.value?.shape;
    const box = shape && clipped(windowOf(this.view.value), shape);
    return box ? [this.plane.value, ...box] : null;
  }

  private inHistory(type: "undo" | "redo"): void {
    if (this.hand?.cancel()) return;
    const image = this.imageId.value;
    if (this.connection.value !== "open") {
      this.notify("info", "Undo needs the server, which does not answer", "your edits are kept and sent when it is back");
    } else if (image) {
      this.transport.send({ type, image });
    }
  }

  private async copySelected(): Promise<void> {
    const [document, image] = [this.document, this.image.value];
    const plane = this.plane.value + 1;
    if (!document || !image || plane >= image.z * image.t) return;
    const cells = [...this.selection.value].map((id) => this.objects.peek(id)).filter((cell) => cell && !cell.discarded);
    const parts: EditPart[] = [];
    for (const cell of cells as Cell[]) {
      const label = this.freshId();
      if (label === 0) return;
      parts.push(await document.copyOf(cell, label, plane));
    }
    if (parts.length === 0) return;
    document.batch(parts);
    this.setPlane(plane);
  }

  private async tried(promise: Promise<void>): Promise<void> {
    await promise.catch((error: Error) => this.notify("error", error.message));
  }

  private remember<T>(key: string, value: { value: T; peek(): T }): void {
    const stored = parsed<T>(this.store.get(key));
    if (stored !== null) value.value = isRecord(stored) ? { ...value.peek(), ...stored } : stored;
    effect(() => this.store.set(key, JSON.stringify(value.value)));
  }
}

/** Lists of images come without channels; what was known of them stays. */
function withChannels(image: ImageInfo, known: ImageInfo | undefined): ImageInfo {
  if (image.channels.length > 0 || !known) return image;
  const { channels, pixel_bits, value_scale, value_offset } = known;
  return { ...image, channels, pixel_bits, value_scale, value_offset };
}

function parsed<T>(text: string | null): T | null {
  try {
    return text === null ? null : (JSON.parse(text) as T);
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

export { Fate, type Cell };
