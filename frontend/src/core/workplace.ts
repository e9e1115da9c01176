// What the page does when the server speaks, and how it opens images. What the user does is in core/session.ts.

import { batch, effect, signal } from "@preact/signals-core";
import type { Document } from "./document";
import { RequestError, type Http } from "./http";
import { IdPool } from "./ids";
import type { Cell } from "./objects";
import { Outbox } from "./outbox";
import { NO_SCREEN, Picture, type Screen } from "./picture";
import { withDrawn } from "./regions";
import { Signals } from "./signals";
import { type Notice, type Thresholds, type View } from "./state";
import { channelsOf, fitted, shownBox } from "./viewing";
import { PROTOCOL, type Box, type FromServer, type History, type ImageInfo, type Job, type Limits, type Mode, type Project, type Region, type ToServer } from "./wire";

/** Messages to the server; the other direction is `Session.receive`. */
export interface Transport {
  send(message: ToServer): void;
}

/** Where preferences stay between visits. */
export interface Store {
  get(key: string): string | null;
  set(key: string, value: string): void;
}

/** What the tool in hand can be told from outside. `cancel`, `back` and `finish` say whether there was something to do. */
export interface Hand {
  cancel(): boolean;
  /** Take back a step of what is begun. */
  back(): boolean;
  finish(): boolean;
  /** Something is begun that would be lost by going elsewhere. */
  busy(): boolean;
}

/** Where to begin, such as from the page's address. */
export interface Start {
  image: string | null;
  plane: number;
  view: Pick<View, "centre" | "zoom"> | null;
}

/** Something to look at. */
export interface Place {
  image: string;
  plane: number;
  box: Box;
}

/** An undo or redo, and the planes that it has changed as far as is known. */
interface Turn {
  way: "undo" | "redo";
  planes: Set<number>;
}

/** Why a cell was drawn that got no pixel, and what to do: by what drawing does to other cells. */
const NOTHING_DRAWN: Record<Mode, [message: string, hint: string]> = {
  keep: ["Nothing was drawn: other cells lie there", "choose Over others (J)"],
  overwrite: ["Nothing was drawn: the cells there are locked, or of a hidden class", "unlock them (L), or show the class"],
  inside: ["Nothing was drawn: the selected cells lie elsewhere", "choose Keep others (J)"],
};

const QUIET_MS = 1000; // after a change of cells, before they are measured again
const GHOSTS_MAY_TAKE_MS = 60_000;

export abstract class Workplace extends Signals {
  hand: Hand | null = null;
  private readonly damaged = new Map<string, string>(); // images, and what is wrong with them
  private nextNotice = 1;
  private historyAsked = 0; // times since the answer on its way was asked for
  private regionsAsked = 0; // times: of the answers, the one to the last question counts
  private ghostsUntil = 0; // a job has ended: candidates may still be on their way
  protected turn: Turn | null = null; // asked for here, and not yet heard of in full
  private anew = true; // another image is being opened: its channels, and where to look, are yet to be set
  protected limitsSent: Extract<ToServer, { type: "submit" }> | null = null; // until the server has made a job of them
  protected limitsHeld = false; // a slider is in the hand
  /** The thresholds that a person chose: others are the model's, and of no use to another one. */
  readonly byHand = signal<ReadonlySet<keyof Thresholds>>(new Set());
  protected readonly limitsDue = signal<string | null>(null); // an image that was just segmented: with which limits is told a moment later
  protected limitsRest: ReturnType<typeof setTimeout> | undefined; // a slider was moved, and may move on
  private quiet: ReturnType<typeof setTimeout> | undefined;
  protected visited: Cell | null = null; // by the walk through doubtful cells, as it was then
  protected batchSent = false; // until the server has made a job of it, or said why not
  protected suggestion: string | null = null; // the job that was asked for here; "" until it is known

  /** The server is there but does not know this browser: it was started anew, with another token. */
  readonly shutOut = signal(false);

  /** The view came with the address: the first layout of the window must not change it. */
  placed = false;

  protected readonly outbox: Outbox;
  private readonly pools = new Map<string, IdPool>();

  constructor(
    protected readonly transport: Transport,
    protected readonly http: Http,
    protected readonly store: Store,
    protected readonly screen: Screen = NO_SCREEN,
    protected start: Start = { image: null, plane: 0, view: null },
  ) {
    super();
    // What is drawn before the server's welcome must not overtake the edits that wait for it.
    this.outbox = new Outbox((edit) => this.connection.peek() === "open" && transport.send(edit));
    effect(() => {
      this.unsaved.value = this.outbox.count.value;
      // A proposal on its way is no step yet, and may come to nothing.
      const edit = [...this.outbox.of(this.imageId.value ?? "")].findLast(({ edit }) => edit.kind !== "prompt")?.edit;
      this.sending.value = edit ? (edit.kind === "paint" && !edit.label ? "erase" : edit.kind) : null;
    });
    this.remember("style", this.style);
    this.remember("overlays", this.overlays);
    this.remember("prefs", this.prefs);
    this.remember("brush", this.brushSize);
    this.remember("mode", this.mode);
    effect(() =>
      this.picture.value?.want(this.view.value, this.pixelRatio.value, this.channels.value, this.overlays.value, this.objects.ghostTiles.value),
    );
    effect(() => {
      const document = this.picture.value?.document;
      const refusal = document?.refusal.value ?? document?.tiles.refusal.value;
      if (refusal) this.notify("error", `Not all cells can be shown: ${refusal}`);
    });
  }

  /** Pixels and edits of the open plane. */
  get document(): Document | null {
    return this.picture.peek()?.document ?? null;
  }

  /** Ids for new objects of an image. */
  protected idsOf(image: string): IdPool {
    let pool = this.pools.get(image);
    if (!pool) this.pools.set(image, (pool = new IdPool((count) => this.transport.send({ type: "lease", image, count }))));
    return pool;
  }

  // ---- what the server says
  connected(): void {
    this.shutOut.value = false;
    if (this.connection.value !== "outdated") this.connection.value = "connecting";
  }
  disconnected(): void {
    if (this.connection.value !== "outdated") this.connection.value = "lost";
    for (const pool of this.pools.values()) pool.askAgain();
    this.turn = null;
    this.batchSent = false;
  }
  refused(yes: boolean): void {
    this.shutOut.value = yes;
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
        this.turn = null; // it may say that there was nothing to turn
        this.batchSent = false;
        return this.notify(message.level, message.message, message.hint);
      case "opened":
        this.idsOf(message.image).add(message.first_id, message.last_id);
        if (this.isOpen(message)) {
          this.document?.catchUp(message.rev);
          this.picture.peek()?.image.retry();
          void this.loadRegions();
        }
        return this.askHistory(message.image);
      case "leased":
        return this.idsOf(message.image).add(message.first_id, message.last_id);
      case "ack": {
        const pending = this.outbox.settle(message.op_id);
        if (pending?.edit.kind === "region") void this.loadRegions();
        if (this.isOpen(message)) {
          const unborn = this.document?.acked(message, pending) ?? [];
          if (unborn.length > 0) this.notify("info", ...NOTHING_DRAWN[this.mode.peek()]);
          this.deselect(unborn);
          this.cellsChanged();
        }
        if (pending?.edit.kind === "prompt" && this.isOpen(pending.edit)) this.selection.value = new Set(message.objects.flatMap(({ id, gone }) => (gone ? [] : [id])));
        return this.askHistory(message.image);
      }
      case "reject": {
        const pending = this.outbox.settle(message.op_id);
        this.notify("warning", `An edit was not possible: ${message.reason}`, "the newer state is shown");
        if (pending?.edit.kind === "region") void this.loadRegions();
        if (this.isOpen(message)) {
          this.document?.rejected(message, pending);
          this.deselect(pending?.fresh ?? []);
        }
        return;
      }
      case "patch": {
        if (this.isOpen(message)) {
          this.document?.patched(message);
          this.cellsChanged();
          this.deselect(message.objects.flatMap((row) => (row.gone ? [row.id] : [])));
        }
        if (message.regions && message.image === this.imageId.peek()) {
          void this.loadRegions();
          this.cellsChanged(); // which region each is in
        }
        const seen = message.regions && message.objects.length === 0; // they lie in all planes
        if (message.image === this.imageId.peek() && message.by === this.user.peek() && !seen) this.turn?.planes.add(message.plane);
        return this.askHistory(message.image);
      }
      case "pong":
        return;
    }
  }

  /** Send a wish that only a server that listens can fulfil; false, and a word to the user, while there is none. */
  protected ask(wish: ToServer): boolean {
    const heard = this.connection.peek() === "open";
    if (heard) this.transport.send(wish);
    else this.notify("info", "This needs the server, which does not answer", "try again when it is back; your edits are kept and sent then");
    return heard;
  }

  notify(level: Notice["level"], message: string, hint = ""): void {
    const same = this.notices.peek().some((notice) => notice.message === message && notice.hint === hint);
    if (!same) this.notices.value = [...this.notices.peek(), { id: this.nextNotice++, level, message, hint }];
  }

  // ---- opening

  /** Look at a place of an image, open or not: a suggestion, an error of an evaluation. */
  goTo({ image, plane, box }: Place): void {
    const view = shownBox(this.view.value, box);
    if (image === this.imageId.value && this.picture.peek()) {
      if (plane !== this.plane.value) this.show(image, plane, false);
      this.view.value = view;
    } else {
      this.start = { image, plane, view };
      this.show(image, plane, true);
    }
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
    } else if (this.picture.peek()) {
      this.transport.send({ type: "open", image, plane: this.plane.value });
    } else {
      this.show(image, this.plane.value, false); // it was chosen while the connection was lost
    }
    this.outbox.resend();
    if (this.limitsSent) this.transport.send(this.limitsSent);
  }

  /** Make the labels follow the limits. */
  protected abstract rethreshold(): void;

  /** What is deleted, undone or hidden cannot stay selected. */
  protected deselect(ids: readonly number[]): void {
    const gone = new Set(ids);
    const kept = [...this.selection.peek()].filter((id) => !gone.has(id));
    if (kept.length < this.selection.peek().size) this.selection.value = new Set(kept);
  }

  /** Open an image, or another plane of it; `whole` if the view starts anew. */
  protected show(id: string, plane: number, whole: boolean): void {
    this.hand?.cancel();
    if (this.limitsRest !== undefined) this.rethreshold(); // of the image that is left
    this.anew ||= whole;
    this.turn = null;
    batch(() => {
      this.picture.peek()?.close();
      this.picture.value = null;
      this.imageId.value = id;
      this.plane.value = plane;
      // A cell that reaches through planes stays chosen in the next one, to be looked at or joined with what goes on there.
      if (whole || !this.inVolume.peek()) this.selection.value = new Set();
      this.visited = null;
      this.forgetMeasurements();
      if (whole) this.history.value = { undo: null, redo: null };
      if (whole) this.regions.value = [];
      this.forgetRegions();
      this.objects.clear();
      if (whole) {
        this.takeLimits(this.images.peek().find((image) => image.id === id));
      }
    });
    this.http.json<ImageInfo>(`api/images/${id}`).then(
      (info) => this.opened(info, plane),
      (error: Error) => this.unreadable(id, error),
    );
  }

  /** The file is damaged, which only opening it shows: said where the picture would be, and in the list. */
  private unreadable(id: string, error: Error): void {
    const damaged = error instanceof RequestError && error.status === 409;
    if (!damaged) return this.notify("error", `The image cannot be opened: ${error.message}`, "choose it in the list to try again");
    this.damaged.set(id, error.message.trim());
    const image = this.images.peek().find((known) => known.id === id);
    if (image) this.takeImage(image);
  }

  private opened(info: ImageInfo, plane: number): void {
    this.damaged.delete(info.id);
    // Another one, or the same by another answer, was opened meanwhile.
    if (this.imageId.peek() !== info.id || this.plane.peek() !== plane || this.picture.peek()) return;
    batch(() => {
      this.takeImage(info);
      if (info.problem) return;
      if (this.anew) {
        this.anew = false;
        this.channels.value = channelsOf(info, this.channels.peek());
        const asked = this.start.image === info.id ? this.start.view : null;
        this.placed = asked !== null;
        this.view.value = asked ? { ...this.view.peek(), ...asked } : fitted(this.view.peek(), info.shape);
        this.start = { image: null, plane: 0, view: null };
      }
      const host = { outbox: this.outbox, objects: this.objects };
      this.picture.value = new Picture(info, plane, this.http, this.screen, host, (count) => (this.loading.value = count));
    });
    this.transport.send({ type: "open", image: info.id, plane });
    this.loadObjects();
  }

  /** Ask what can be undone: once for all that happens meanwhile. */
  private askHistory(image: string): void {
    if (image !== this.imageId.peek()) return;
    this.historyAsked++;
    if (this.historyAsked > 1) return;
    void this.http.json<History>(`api/images/${image}/history`).catch(() => null).then((history) => {
      const again = this.historyAsked > 1;
      this.historyAsked = 0;
      if (image !== this.imageId.peek()) this.askHistory(this.imageId.peek() ?? "");
      else if (again) this.askHistory(image);
      else if (history) {
        this.history.value = history;
        this.followTurn();
      }
    });
  }

  /** What undo or redo changed on planes out of sight alone is shown; while something is begun, only named. */
  private followTurn(): void {
    const [turn, image] = [this.turn, this.image.peek()];
    if (!turn || !image || turn.planes.size === 0) return;
    this.turn = null;
    const [plane] = turn.planes;
    if (turn.planes.has(this.plane.peek())) return;
    if (!this.hand?.busy()) this.show(image.id, plane, false);
    const place = [image.z > 1 && `z ${(plane % image.z) + 1}`, image.t > 1 && `t ${Math.floor(plane / image.z) + 1}`].filter(Boolean);
    this.notify("info", `${turn.way === "undo" ? "Taken back" : "Done again"} on ${place.join(", ")}`);
  }

  private loadObjects(): void {
    void this.document?.loadObjects();
  }

  private takeProject(project: Project): void {
    const known = new Map(this.images.peek().map((image) => [image.id, image]));
    this.project.value = { ...project, images: project.images.map((image) => this.known(image, known.get(image.id))) };
  }

  private takeImage(image: ImageInfo): void {
    const project = this.project.peek();
    if (!project) return;
    // Made anew, perhaps by somebody else: the sliders follow, unless they are on the move.
    const before = project.images.find(({ id }) => id === image.id)?.limits ?? null;
    if (image.id === this.limitsDue.peek()) this.limitsDue.value = null;
    const anew = image.id === this.imageId.peek() && JSON.stringify(image.limits) !== JSON.stringify(before);
    if (anew && !this.objects.moved.peek() && !this.limitsMoving()) this.takeLimits(image);
    const images = project.images.map((known) => (known.id === image.id ? this.known(image, known) : known));
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
    if (known?.state === "running" && job.state === "cancelled" && job.kind === "train") {
      if (job.ended) this.notify("info", "The training was ended without keeping anything", "the next round goes on from its last checkpoint");
      else this.notify("info", "Training was stopped before there was anything better to keep", "the model is as it was");
    }
    if (known && isLive(known) && job.kind === "rethreshold" && job.image === this.imageId.peek()) this.followed(job);
    if (!known && job.kind === "rethreshold" && job.image === this.limitsSent?.image) this.limitsSent = null;
    if (!known && job.kind === "batch") this.batchSent = false;
    if (!known && job.kind === "suggest" && this.suggestion === "") this.suggestion = job.id;
    // Which image it has just done it does not say: what is told of the open one from now on may be of its new cells.
    if (job.kind === "batch" && (job.state === "running" || job.state === "done")) this.ghostsUntil = Date.now() + GHOSTS_MAY_TAKE_MS;
    if (!known || known.state === "done" || job.state !== "done") return;
    if (job.id === this.suggestion) this.follow(job);
    if (job.kind === "batch") this.tellLeftOut(job);
    if ((job.kind === "segment" || job.kind === "rethreshold") && job.image !== null) {
      if (typeof job.result?.diameter_px === "number") this.limitsDue.value = job.image; // not only in sight
      if (job.image === this.imageId.peek()) this.labelsMade();
    }
  }

  private tellLeftOut(job: Job): void {
    const failed = (job.result?.failed ?? []) as { name: string; error: string }[];
    const reasons = failed.map(({ name, error }) => `${name}: ${error}`);
    if (reasons.length > 0) this.notify("warning", reasons.length === 1 ? "An image could not be segmented" : `${reasons.length} images could not be segmented`, few(reasons, "; "));
  }

  /** Go to the first image that is suggested, at the place that is worth a look; while something is begun, only name it. */
  private follow(job: Job): void {
    const [first] = (job.result?.suggestions ?? []) as (Place & { name: string; reason: string })[];
    if (!first) return;
    if (!this.hand?.busy()) this.goTo(first);
    this.notify("info", `Next to correct: ${first.name}`, first.reason);
  }

  /** The sliders say what no job has been told of yet. */
  private limitsMoving(): boolean {
    return this.limitsHeld || this.limitsRest !== undefined || this.limitsSent?.image === this.imageId.peek();
  }

  /** New limits came to nothing: the labels are as they were, and no cell stays hidden that is in every file. */
  private followed(job: Job): void {
    const goesOn = this.jobs.peek().some((other) => other.kind === "rethreshold" && other.image === job.image && isLive(other));
    if (job.state === "done" || goesOn || this.limitsMoving()) return;
    if (job.state === "cancelled") this.takeLimits(this.image.peek() ?? undefined);
    else this.objects.moved.value = false; // the sliders stay: they may be meant for the next run
  }

  /** A job has made the labels: they follow its thresholds now, unless others were chosen meanwhile. */
  private labelsMade(): void {
    if (!this.limitsMoving()) this.objects.moved.value = false;
    this.forgetMeasurements();
    if (this.regions.peek().length > 0) void this.loadRegions();
    this.ghostsUntil = Date.now() + GHOSTS_MAY_TAKE_MS;
    this.picture.peek()?.refreshExtras();
    this.loadObjects();
  }

  private isOpen(message: { image: string; plane?: number }): boolean {
    return message.image === this.imageId.value && (message.plane ?? this.plane.value) === this.plane.value;
  }

  /** Regions, and what is in them in the open plane. */
  private async loadRegions(): Promise<void> {
    const [id, plane, asked] = [this.imageId.peek(), this.plane.peek(), ++this.regionsAsked];
    if (id === null) return;
    const answer = await this.http.json<{ regions: readonly Region[] }>(`api/images/${id}/regions?plane=${plane}`).catch(() => null);
    if (!answer || asked !== this.regionsAsked || id !== this.imageId.peek()) return;
    const waiting = [...this.outbox.of(id)].map(({ edit }) => edit.regions ?? []);
    this.regions.value = waiting.reduce<readonly Region[]>(withDrawn, answer.regions);
    this.forgetRegions();
  }

  /** What is gone is neither shown nor drawn on. */
  protected forgetRegions(): void {
    const there = new Set(this.regions.peek().map(({ name }) => name));
    for (const named of [this.regionName, this.regionGrown]) if (!there.has(named.peek() ?? "")) named.value = null;
  }

  /** Of other cells than there are now. */
  private forgetMeasurements(): void {
    clearTimeout(this.quiet);
    this.measurements.value = null;
    this.measured.value = false;
  }

  private cellsChanged(): void {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => {
      this.measured.value = false;
      if (this.regions.peek().length > 0) void this.loadRegions();
    }, QUIET_MS);
  }

  /** Sliders stand where the labels are. */
  private takeLimits(image: ImageInfo | undefined): void {
    const limits = image?.limits; // without: what was chosen for the image before holds for this one too
    const before = this.objects.thresholds.peek();
    const now = { ...before, ...(limits && thresholdsOf(limits, sizeOf(image))) };
    this.objects.thresholds.value = now;
    this.byHand.value = new Set([...this.byHand.peek()].filter((name) => now[name] === before[name]));
    this.objects.moved.value = false;
    this.limitsHeld = false;
    if (limits) this.dynamics.value = { cellprob_threshold: limits.cellprob_threshold, niter: limits.niter };
  }

  /** Lists of images come without channels, and without what only opening an image shows; what was known of them stays. */
  private known(image: ImageInfo, before: ImageInfo | undefined): ImageInfo {
    const problem = image.problem ?? this.damaged.get(image.id) ?? null;
    if (image.channels.length > 0 || !before) return { ...image, problem };
    const { channels, pixel_bits, value_scale, value_offset } = before;
    return { ...image, problem, channels, pixel_bits, value_scale, value_offset };
  }

  private remember<T>(key: string, value: { value: T; peek(): T }): void {
    const stored = parsed<T>(this.store.get(key));
    if (stored !== null) value.value = isRecord(stored) ? { ...value.peek(), ...stored } : stored;
    effect(() => this.store.set(key, JSON.stringify(value.value)));
  }
}

/** Pixels of which a largest size is a share: a plane's, or where cells reach through planes, a volume's. */
export const sizeOf = ({ shape, z, volume }: ImageInfo): number => shape[0] * shape[1] * (volume ? z : 1);

function thresholdsOf(limits: Limits, size: number): Thresholds {
  const { flow_threshold, min_score, min_size, max_size_fraction, exclude_border } = limits;
  return {
    flow_error: flow_threshold || null,
    score: min_score || null,
    min_size: min_size || null,
    max_size: max_size_fraction === null ? null : Math.round(max_size_fraction * size),
    exclude_border,
  };
}

const isLive = ({ state }: Job): boolean => state === "queued" || state === "running";

/** The first few of a list. */
export function few(list: readonly string[], between: string): string {
  return [...list.slice(0, 4), ...(list.length > 4 ? ["…"] : [])].join(between);
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
