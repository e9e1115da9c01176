// Everything the page knows, each thing in one signal. Actions are in core/session.ts.

import { computed, signal, type ReadonlySignal } from "@preact/signals-core";
import { Look } from "./look";
import { ObjectTable } from "./objects";
import type { Picture } from "./picture";
import {
  DEFAULT_MODE, DEFAULT_OVERLAYS, DEFAULT_PREFS, DEFAULT_STYLE,
  type ChannelSettings, type Connection, type DynamicsSettings, type LabelStyle, type Notice, type Overlays,
  type Pointer, type Prefs, type Preview, type ToolName, type View,
} from "./state";
import type { ClassInfo, History, ImageInfo, Job, Mode, ModelInfo, Project, Region } from "./wire";

export class Signals {
  // ---- what the server says
  readonly connection = signal<Connection>("connecting");
  readonly user = signal("");
  readonly project = signal<Project | null>(null);
  /** In the order of submission, finished ones too. */
  readonly jobs = signal<readonly Job[]>([]);
  readonly notices = signal<readonly Notice[]>([]);
  /** Edits that the server has not confirmed. 0: everything is saved. */
  readonly unsaved = signal(0);

  /** Steps of the open image that the server knows, in this user's order. */
  readonly history = signal<History>({ undo: null, redo: null });
  /** What Undo and Redo would turn: an edit on its way is the newest step. */
  readonly canUndo: ReadonlySignal<string | null> = computed(() => this.sending.value ?? this.history.value.undo);
  readonly canRedo: ReadonlySignal<string | null> = computed(() => (this.sending.value ? null : this.history.value.redo));
  /** Kind of the newest edit of the open image that the server has not confirmed. */
  readonly sending = signal<string | null>(null);

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
  readonly objects = new ObjectTable(
    computed(() => this.image.value?.shape ?? [0, 0]),
    computed(() => this.image.value?.volume ?? false),
  );
  /** What each object looks like; whoever draws brings it up to date. */
  readonly look = new Look();
  /** Measurements of the plane by column name, or null until `loadMeasurements` was called. */
  readonly measurements = signal<Record<string, readonly (number | string | null)[]> | null>(null);
  /** Measurements were asked for since the cells last changed. */
  readonly measured = signal(false);
  /** What people drew and named in the open image, and what is in it in the open plane. */
  readonly regions = signal<readonly Region[]>([]);
  /** The tiles of the open plane; for the picture and the tools. */
  readonly picture = signal<Picture | null>(null);

  // ---- what is chosen
  /** Whether cells of a stack are to be one through planes; null: as those that are there. */
  readonly through = signal<boolean | null>(null);
  readonly inVolume: ReadonlySignal<boolean> = computed(() => {
    const image = this.image.value;
    return image !== null && image.z > 1 && (this.through.value ?? image.joined);
  });
  readonly selection = signal<ReadonlySet<number>>(new Set());
  /** Name of the region that was looked at or drawn last. */
  readonly regionName = signal<string | null>(null);
  /** Name of the region of which another part is drawn next; null: a new one. */
  readonly regionGrown = signal<string | null>(null);
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
  /** Files that are being added to the project. */
  readonly adding = signal(0);
  /** Why there can be no picture at all (no WebGL2), in words for the user. */
  readonly blind = signal<string | null>(null);
  /** The list of keys is shown. */
  readonly help = signal(false);
}
