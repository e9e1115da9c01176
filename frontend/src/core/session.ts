// What the user can do. The panels read the signals (core/signals.ts) and call these actions; nothing here knows the DOM.

import { batch, computed, signal, type ReadonlySignal } from "@preact/signals-core";
import { portions } from "./http";
import { randomId } from "./ids";
import type { Cell } from "./objects";
import { clipped, windowOf } from "./pyramid";
import { boxOfRegion, freshName, withDrawn } from "./regions";
import type { Runs } from "./runs";
import { readSection, type Section } from "./section";
import { channelLooks } from "./shown";
import {
  Fate, MOST_CHANNELS,
  type ChannelSettings, type DynamicsSettings, type LabelStyle, type Overlays, type Prefs, type Rigid, type Thresholds, type ToolName,
} from "./state";
import { doubtful, fitted, nextOf, shownBox, shownCell, zoomed } from "./viewing";
import { LARGEST_WHOLE_PX, type AddReport, type AdvisedLimits, type Box, type ClassInfo, type DrawnRegion, type EditPart, type ImageInfo, type ImageState, type JobKind, type Limits, type Mode, type Point } from "./wire";
import { few, sizeOf, Workplace } from "./workplace";

const REST_MS = 350;

/** What a person made of an image is in it: models leave it alone unless it is chosen. */
export const begunOn = ({ state, again }: ImageInfo): boolean => !again && (state === "corrected" || state === "done");

export class Session extends Workplace {
  // ---- images
  /** What the list of images is narrowed to. */
  readonly wanted = signal("");
  readonly wantedState = signal<ImageState | "all">("all");
  readonly listed: ReadonlySignal<readonly ImageInfo[]> = computed(() => {
    const [text, state] = [this.wanted.value.trim().toLowerCase(), this.wantedState.value];
    return this.images.value.filter((image) => (state === "all" || image.state === state) && image.name.toLowerCase().includes(text));
  });
  openImage(id: string): void {
    if (id === this.imageId.value && this.picture.peek()) return;
    this.show(id, 0, true);
  }
  /** The next of the list; the open one need not be in it any more. */
  nextImage(step: 1 | -1): void {
    const [images, listed] = [this.images.value, new Set(this.listed.value)];
    let at = images.findIndex(({ id }) => id === this.imageId.value) + step;
    while (images[at] && !listed.has(images[at])) at += step;
    if (images[at]) this.openImage(images[at].id);
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
  /** Say how far the open image is; null: as far as its edits say. */
  setImageState(state: ImageState | null): void {
    const image = this.imageId.value;
    if (image) this.ask({ type: "set", what: "state", value: { image, state } });
  }
  /** Files since the first of those that are being added. */
  readonly addingOf = signal(0);
  /**
   * In several requests, so that what one of them cannot do does not undo the others; `left` tells what was dropped with them and cannot be sent.
   * Of a folder's files, those that are no images or look like results are passed over.
   */
  async addImages(files: readonly File[], left: readonly string[] = [], ofFolder = false): Promise<void> {
    const known = new Map(this.images.value.map(({ id, name }) => [id, name]));
    const errors = [...left];
    const already: string[] = [];
    let failed = left.length;
    let skipped = 0;
    let added = 0;
    this.adding.value += files.length;
    this.addingOf.value += files.length;
    for (const part of portions(files)) {
      const report = await this.http.upload<AddReport>(ofFolder ? "api/images?folder=1" : "api/images", part).catch((error: Error) => error);
      this.adding.value -= part.length;
      if (report instanceof Error) {
        failed += part.length;
        errors.push(`${part[0].name}${part.length > 1 ? ` and ${part.length - 1} more` : ""}: ${report.message.trim()}`);
      } else {
        failed += report.failed.length;
        skipped += report.skipped;
        added += report.added.length;
        errors.push(...report.failed.map(({ error }) => error));
        already.push(...report.already.flatMap((id) => known.get(id) ?? [])); // one that had been taken out is back
      }
    }
    if (this.adding.value === 0) this.addingOf.value = 0;
    if (failed > 0) this.notify("warning", failed === 1 ? "A file cannot be added" : `${failed} files cannot be added`, few(errors, "; "));
    if (added > files.length) this.notify("info", `${added.toLocaleString("en")} images came in`, "Each scene of a file is an image of its own; what is not wanted can be taken out again");
    if (skipped > 0) this.notify("info", `${skipped === 1 ? "A file" : `${skipped} files`} of the folder passed over`, "No images, or results such as labels: to add one all the same, drop the file by itself");
    if (already.length > 0) this.notify("info", already.length === 1 ? "An image is in the project already" : `${already.length} images are in the project already`, few(already, ", "));
  }
  async removeImage(id: string): Promise<void> {
    await this.tried(this.http.remove(`api/images/${id}`));
  }
  /** Labels, ROI zip, GeoJSON or `_seg.npy` in the place of the open image's cells; can be undone. */
  async importLabels(file: File): Promise<void> {
    const answer = await this.tried(this.http.upload<{ objects: number }>(`api/images/${this.imageId.value}/import`, [file]));
    if (!answer) return;
    const came = answer.objects === 0 ? "No new cell" : answer.objects === 1 ? "A cell" : `${answer.objects.toLocaleString("en")} cells`;
    this.notify("info", `${came} came in from ${file.name}`, "Undo brings back what was here");
  }

  // ---- looking
  setChannel(index: number, change: Partial<ChannelSettings>): void {
    this.channels.value = this.channels.value.map((channel, i) => (i === index ? { ...channel, ...change } : channel));
  }
  /** The next channel alone, and after the last one all that are drawn at once. */
  showChannel(step: 1 | -1): void {
    const channels = this.channels.value;
    const visible = channels.flatMap((channel, index) => (channel.visible ? [index] : []));
    const places = channels.length + 1; // the last stands for all
    const now = visible.length === 1 ? visible[0] : channels.length;
    const next = (now + step + places) % places;
    this.channels.value = channels.map((channel, i) => ({ ...channel, visible: next === channels.length ? i < MOST_CHANNELS : i === next }));
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

  /** Pixels and labels of a cut through the planes that lie above each other: across rows ("y") or columns ("x") at one of them. */
  async section(axis: "y" | "x", at: number): Promise<Section | null> {
    const image = this.image.peek();
    if (!image) return null;
    const shown = channelLooks(this).map(({ channel }) => channel);
    const t = Math.floor(this.plane.peek() / image.z);
    const bytes = await this.http.bytes(`api/images/${image.id}/section/${axis}/${t}/${at}?channels=${shown.join(",")}`);
    return bytes && readSection(bytes, image.z, image.shape[axis === "y" ? 1 : 0], shown.length, image.pixel_bits);
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
    const next = nextOf(cells, cells.find(({ id }) => this.selection.value.has(id)) ?? this.visited, step);
    if (!next) return;
    this.visited = next;
    this.select([next.id]);
    this.zoomTo(next.id);
  }
  /** The largest of the selected objects takes the others' pixels. */
  mergeSelected(): void {
    this.merge([...this.selection.value]);
  }
  merge(ids: readonly number[]): void {
    const area = (id: number): number => this.objects.peek(id)?.area ?? 0;
    const all = [...new Set(ids)];
    const sorted = all.filter((id) => this.objects.peek(id)).sort((a, b) => area(b) - area(a));
    const beyond = this.inVolume.value ? all.filter((id) => !this.objects.peek(id)) : [];
    if (sorted.length === 0 || sorted.length + beyond.length < 2) return;
    this.document?.merge(sorted, beyond);
    this.select([sorted[0]]);
  }
  deleteSelected(): void {
    this.delete([...this.selection.value]);
  }
  delete(ids: readonly number[]): void {
    this.document?.delete(ids);
    this.deselect(ids);
  }
  /** Give one object's two sides of a line different ids. */
  split(id: number, line: readonly Point[]): void {
    this.document?.split(id, line);
  }
  /** The selected cells of a stack are others from this plane on. */
  splitHere(): void {
    const image = this.image.value;
    if (!image || !this.inVolume.value || this.plane.value % image.z === 0) return;
    for (const id of this.selection.value) if (this.objects.peek(id)) this.document?.splitHere(id);
    this.select([]);
  }
  /** Give the selected cells of a stack the planes that they skip, wherever these are. */
  fillBetween(): void {
    if (this.inVolume.value && this.selection.value.size > 0) this.document?.interpolate([...this.selection.value]);
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
  /** Show or hide the cells of a class; what is hidden is no longer selected. */
  toggleClass(value: number): void {
    const hidden = new Set(this.objects.hiddenClasses.value);
    if (!hidden.delete(value)) hidden.add(value);
    this.objects.hiddenClasses.value = hidden;
    this.deselect([...this.selection.value].filter((id) => this.objects.fate(id) === Fate.filtered));
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
      const { mode, inside } = this.drawing();
      this.document?.paint(label, runs, mode, inside, this.activeClass.value);
      this.select([label]);
    }
    return label;
  }
  /** How drawing, or erasing, writes, and on what: cells of hidden classes keep their pixels. */
  drawing(erases = false): { mode: Mode; inside: number[] } {
    const mode = erases && this.mode.value === "keep" ? "overwrite" : this.mode.value;
    if (mode === "inside") return { mode, inside: [...this.selection.value] };
    if (mode === "keep" || this.objects.hiddenClasses.value.size === 0) return { mode, inside: [] };
    return { mode: "inside", inside: [0, ...this.objects.reachable().map(({ id }) => id)] };
  }
  /** An id for a new object; 0, and a word to the user, while none is to be had. */
  freshId(): number {
    const image = this.imageId.value;
    const id = image && this.idsOf(image).take();
    if (id) return id;
    if (this.project.value?.read_only) this.notify("warning", "This project is open for looking only", "nothing was drawn");
    else this.notify("warning", "New objects need the server, which does not answer", "drawing goes on when it is back");
    return 0;
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
    this.ask({ type: "set", what: "classes", value: classes });
  }

  // ---- regions
  /** Take the tool in hand, to draw a new region or another part of one. */
  beginRegion(name: string | null): void {
    this.setTool("region");
    this.regionGrown.value = name;
  }
  drawRegion(points: readonly Point[]): void {
    const name = this.regionGrown.value ?? freshName(this.regions.value);
    this.changeRegions([{ id: randomId(), name, polygons: [[[...points]]] }]);
    this.regionName.value = name;
  }
  renameRegion(name: string, to: string): void {
    const wish = to.trim().replace(/\s+/g, " ");
    if (!wish || wish === name) return;
    if (!this.changeRegions(this.partsOf(name).map((part) => ({ ...part, name: wish })))) return;
    for (const named of [this.regionName, this.regionGrown]) if (named.value === name) named.value = wish;
  }
  deleteRegion(name: string): void {
    this.changeRegions(this.partsOf(name).map(({ id }) => ({ id, name: "", polygons: [] })));
    this.forgetRegions();
  }
  zoomToRegion(name: string): void {
    this.regionName.value = name;
    const region = this.regions.value.find((other) => other.name === name);
    if (region) this.view.value = shownBox(this.view.value, boxOfRegion(region));
  }
  /** Choose the cells that are counted in a region; "": those in none. */
  async selectInRegion(name: string): Promise<void> {
    await this.loadMeasurements(); // as they are now
    const { label = [], region = [] } = this.measurements.value ?? {};
    const ids = label.flatMap((id, i) => (region[i] === name ? [Number(id)] : []));
    this.select(ids.filter((id) => this.objects.fate(id) === Fate.kept));
    if (this.selection.value.size === 0) this.notify("info", name ? `No cell is counted in ${name}` : "Every cell is in a region");
  }
  /** GeoJSON, ImageJ ROIs, or an image of numbers; can be undone. */
  async importRegions(file: File): Promise<void> {
    const answer = await this.tried(this.http.upload<{ names: readonly string[]; left: readonly string[] }>(`api/images/${this.imageId.value}/regions`, [file]));
    if (!answer) return;
    this.notify("info", `${few(answer.names, ", ")} came in from ${file.name}`, "Undo takes them out again");
    if (answer.left.length > 0) this.notify("warning", `Left out of ${file.name}: ${few(answer.left, ", ")}`, "This lies outside of the picture, or has too many corners: was the file made from another picture, or at another size?");
  }
  private partsOf(name: string): DrawnRegion[] {
    return this.regions.value.flatMap((region) => (region.name === name ? region.parts.map((part) => ({ ...part, name })) : []));
  }
  private changeRegions(drawn: DrawnRegion[]): boolean {
    if (drawn.length === 0 || !this.document) return false;
    if (this.project.value?.read_only) {
      this.notify("warning", "This project is open for looking only", "nothing was drawn");
      return false;
    }
    this.document.region(drawn);
    this.regions.value = withDrawn(this.regions.value, drawn);
    this.setOverlays({ regions: true });
    return true;
  }

  async loadMeasurements(): Promise<void> {
    const [id, plane] = [this.imageId.value, this.plane.value];
    if (!id) return;
    this.measured.value = true;
    type Columns = Record<string, readonly (number | string | null)[]>;
    const table = await this.http.json<Columns>(`api/images/${id}/measurements?plane=${plane}`).catch(() => null);
    if (table && id === this.imageId.value && plane === this.plane.value) this.measurements.value = table;
  }

  // ---- tools
  setTool(tool: ToolName): void {
    this.hand?.cancel();
    this.regionGrown.value = null;
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
  /** Why the cells here cannot follow the thresholds, which then are those of the next run; null: they can. */
  readonly rigid: ReadonlySignal<Rigid | null> = computed(() => {
    const image = this.image.value;
    if (!image || (!image.limits && this.limitsDue.value !== image.id)) return "unsegmented";
    if (image.shape[0] * image.shape[1] > LARGEST_WHOLE_PX) return "large";
    const cells = this.objects.rows().filter((cell) => !cell.discarded);
    return cells.length > 0 && !cells.some((cell) => cell.origin === "auto" && !cell.locked) ? "drawn" : null;
  });
  /** Live, while a slider moves: only the object table is asked. */
  setThresholds(change: Partial<Thresholds>): void {
    const before = this.objects.moved.peek();
    batch(() => {
      this.objects.thresholds.value = { ...this.objects.thresholds.value, ...change };
      this.byHand.value = new Set([...this.byHand.value, ...(Object.keys(change) as (keyof Thresholds)[])]);
      this.objects.moved.value = this.rigid.value === null; // nothing is hidden on screen that would be in every file
    });
    if (this.objects.moved.peek() && !before) void this.document?.loadObjects(); // whose class was given changes do not tell
    this.limitsHeld = true;
  }
  /** The same of what only a new run of the dynamics can answer. */
  setDynamics(change: Partial<DynamicsSettings>): void {
    this.dynamics.value = { ...this.dynamics.value, ...change };
    this.limitsHeld = true;
  }
  /** Make the labels follow the thresholds, now or once the server is back; the dynamics are run anew, window first. */
  rethreshold(dynamics: Partial<DynamicsSettings> = {}): void {
    clearTimeout(this.limitsRest);
    this.limitsRest = undefined;
    this.limitsHeld = false;
    this.dynamics.value = { ...this.dynamics.value, ...dynamics };
    const image = this.image.value;
    if (!image || this.rigid.value !== null) return;
    const params = { ...this.limits(), window: this.windowParam() };
    this.limitsSent = { type: "submit", kind: "rethreshold", image: image.id, params };
    this.transport.send(this.limitsSent);
  }
  /** The same once the slider rests, or another image is opened: arrow keys change it with every step. */
  rethresholdSoon(dynamics: Partial<DynamicsSettings> = {}): void {
    clearTimeout(this.limitsRest);
    this.dynamics.value = { ...this.dynamics.value, ...dynamics };
    this.limitsRest = setTimeout(() => this.rethreshold(), REST_MS);
  }
  /** What the sliders say, as a run's parameters. */
  limits(): Limits {
    const { flow_error, score, min_size, max_size, exclude_border } = this.objects.thresholds.value;
    const image = this.image.value;
    return {
      ...this.dynamics.value,
      flow_threshold: flow_error ?? 0,
      min_size: min_size ?? 0,
      max_size_fraction: max_size === null ? null : max_size / (image ? sizeOf(image) : 1),
      exclude_border,
      min_score: score ?? 0,
    };
  }

  // ---- jobs
  /** Images that a job is at. */
  readonly atWork: ReadonlySignal<ReadonlySet<string>> = computed(
    () => new Set(this.jobs.value.flatMap(({ image, state }) => (image !== null && state === "running" ? [image] : []))),
  );
  /** Segment the open image; `params` as the command's options; the window comes first, or alone with `window_only`. */
  segment(params: Record<string, unknown>): void {
    const { window_only, ...rest } = params;
    this.submit("segment", this.imageId.value, { ...rest, window: this.windowParam(), only: window_only === true });
  }
  /** The images that are segmented many at once: nobody has begun on them, their files can be read, and they are not to be labelled blind. */
  segmentable(): readonly ImageInfo[] {
    return this.images.value.filter((image) => !image.problem && !image.again && !begunOn(image));
  }
  /** Segment several images with one recipe. One such wish at a time: a double click is one. */
  batch(images: readonly string[], params: Record<string, unknown>): void {
    if (!this.batchSent) this.batchSent = this.submit("batch", null, { ...params, images });
  }
  /** Ask which limits suit what was corrected in the open image. */
  suggestLimits(): void {
    this.submit("limits", this.imageId.value, { ...this.limits() });
  }
  /** Take limits that were suggested, as if the sliders had been moved there. */
  useLimits(advised: AdvisedLimits): void {
    const { flow_threshold, min_score, min_size, cellprob_threshold } = advised;
    this.setThresholds({ flow_error: flow_threshold || null, score: min_score || null, min_size: min_size || null });
    this.rethreshold({ cellprob_threshold });
  }
  train(params: Record<string, unknown>): void {
    this.submit("train", null, params);
  }
  evaluate(params: Record<string, unknown>): void {
    this.submit("evaluate", null, params);
  }
  suggestNext(): void {
    if (this.submit("suggest", null, {})) this.suggestion = "";
  }
  /** Pick places of finished images to be labelled a second time. */
  pickAgain(count: number): void {
    this.submit("again", null, { count });
  }
  compareAgain(): void {
    this.submit("agreement", null, {});
  }
  submit(kind: JobKind, image: string | null, params: Record<string, unknown>): boolean {
    return this.ask({ type: "submit", kind, image, params });
  }
  /** Stop a job. A running training keeps its best so far; one that is stopping is ended without. */
  cancelJob(id: string): void {
    if (!this.ask({ type: "cancel", job: id })) return;
    this.jobs.value = this.jobs.value.map((job) => {
      if (job.id !== id || job.kind !== "train" || job.state !== "running") return job;
      return { ...job, stopping: true }; // before the server says so: a double click is one wish
    });
  }
  jobReport<T>(id: string): Promise<T> {
    return this.http.json<T>(`api/jobs/${id}/report`);
  }
  activateModel(name: string): void {
    this.ask({ type: "set", what: "model", value: name });
  }

  // ---- addresses for links and pictures
  thumbUrl(id: string): string {
    return this.http.url(`api/images/${id}/thumb`);
  }
  /** A file to download: of one image, or of all images without `image`. */
  exportUrl(kind: "labels" | "rois" | "geojson" | "coco" | "seg" | "csv" | "overlay" | "run" | "regions" | "region_outlines" | "zip", image?: string): string {
    return this.http.url(image === undefined ? `api/export/${kind}` : `api/images/${image}/export/${kind}`);
  }

  // ---- project and notices
  setProjectName(name: string): void {
    this.ask({ type: "set", what: "name", value: name });
  }
  setPixelSize(um: number | null): void {
    this.ask({ type: "set", what: "pixel_size_um", value: { image: this.imageId.value, value: um } });
  }
  dismiss(id: number): void {
    this.notices.value = this.notices.value.filter((notice) => notice.id !== id);
  }

  // ---- inside

  /** What is in sight: plane, y0, x0, y1, x1. */
  private windowParam(): [plane: number, ...box: Box] | null {
    const shape = this.image.value?.shape;
    const box = shape && clipped(windowOf(this.view.value), shape);
    return box ? [this.plane.value, ...box] : null;
  }

  private inHistory(type: "undo" | "redo"): void {
    const image = this.imageId.value;
    // A step of what is begun comes before all that is done; there is none to do again.
    if (type === "undo" ? this.hand?.back() || this.hand?.cancel() : this.hand?.busy()) return;
    if (!image) return;
    if ([...this.outbox.of(image)].at(-1)?.edit.kind === "prompt") {
      this.notify("info", "A cell is still being proposed", "when it is there it can be taken back");
    } else if (this.ask({ type, image })) {
      this.turn = { way: type, planes: this.turn?.planes ?? new Set() };
    }
  }

  private async copySelected(): Promise<void> {
    const [document, image] = [this.document, this.image.value];
    const plane = this.plane.value + 1;
    if (!document || !image || plane >= image.z * image.t) return;
    const through = this.inVolume.value && plane % image.z > 0; // it is the same cell there
    const cells = [...this.selection.value].map((id) => this.objects.peek(id)).filter((cell) => cell && !cell.discarded);
    const parts: EditPart[] = [];
    for (const cell of cells as Cell[]) {
      const label = through ? cell.id : this.freshId();
      if (label === 0) return;
      parts.push(await document.copyOf(cell, label, plane));
    }
    if (parts.length === 0) return;
    document.batch(parts);
    this.setPlane(plane);
    this.notify("info", parts.length === 1 ? "The cell was copied to this plane" : `${parts.length} cells were copied to this plane`, "where other cells lie, those stay");
  }

  /** The answer, or a word to the user and null. */
  private tried<T>(promise: Promise<T>): Promise<T | null> {
    return promise.catch((error: Error) => {
      this.notify("error", error.message);
      return null;
    });
  }
}

export { Fate, type Cell };
export type { Hand, Place, Start, Store, Transport } from "./workplace";
