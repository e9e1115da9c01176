// What the page and the server say to each other: see design/0005-wire.md. The Python half is server/messages.py.

export const PROTOCOL = 1;
export const FOLDER = "application/x-cellbrook-folder"; // a part of an upload: a line of JSON, [[path, bytes], ...], then the contents
export const TILE = 512;
export const LARGEST_WHOLE_PX = 2 ** 26; // of larger planes the server keeps nothing that other thresholds could be tried on

export type Box = [y0: number, x0: number, y1: number, x1: number]; // half-open, pixels
export type Point = [y: number, x: number];
export type Mode = "overwrite" | "keep" | "inside";
export type Origin = "auto" | "manual" | "edited";
export type ImageState = "new" | "predicted" | "corrected" | "done" | "missing";

export interface ChannelInfo {
  index: number;
  name: string;
  color: string; // "#rrggbb"
  low: number; // auto-contrast, in raw units
  high: number;
  min: number;
  max: number;
}

export interface ImageInfo {
  id: string;
  name: string;
  state: ImageState;
  axes: string;
  shape: [height: number, width: number];
  z: number;
  t: number;
  channels: ChannelInfo[];
  pixel_bits: 8 | 16; // as sent; raw = sent * value_scale + value_offset
  value_scale: number;
  value_offset: number;
  pixel_size_um: number | null;
  levels: number;
  rev: number;
  objects: number;
  score: number | null; // mean object score
  limits: Limits | null; // what its labels were made with; null before the first run
  model: string | null; // with which
  volume: boolean; // its cells were found in 3-D: one reaches through several planes
  joined: boolean; // some do, however they came about
  z_step: number; // how many pixels planes lie apart
  problem: string | null; // what is wrong with the file, and what to do
  again: boolean; // a place that is labelled a second time: nothing is learnt from it
  pixels: string; // names its pixels as they are shown here: with it, a tile's address means the same for good
}

/** Parameters of the last run that decide which cells are kept. */
export interface Limits {
  flow_threshold: number | null; // null: the model's own, 0: all shapes
  cellprob_threshold: number;
  niter: number | null;
  min_size: number;
  max_size_fraction: number | null; // of the image's area
  exclude_border: boolean;
  min_score: number | null; // null: the model's own, 0: all
}

/** Those of them that are searched, where corrections tell what is wanted. */
export interface AdvisedLimits {
  cellprob_threshold: number;
  flow_threshold: number; // 0: all shapes
  min_score: number; // 0: all
  min_size: number;
}

export interface ClassInfo {
  id: number; // 1-9 have keys
  name: string;
  color: string;
}

export interface ModelInfo {
  name: string;
  title: string;
  active: boolean;
  note: string;
}

/** What became of files that were added. */
export interface AddReport {
  added: string[];
  already: string[];
  failed: { name: string; error: string }[]; // the error begins with the name
  skipped: number; // files of a folder that are no images, or look like results
}

export interface Project {
  name: string;
  path: string;
  classes: ClassInfo[];
  models: ModelInfo[];
  model: string;
  images: ImageInfo[];
  rounds: Round[];
  sample: boolean;
  read_only: boolean;
}

export interface Round {
  name: string;
  ap_before: number | null;
  ap_after: number | null;
  frozen_before: number | null;
  frozen_after: number | null;
  objects: number;
  active: boolean;
  words: string[];
}

export interface ObjectRow {
  id: number;
  gone?: boolean;
  plane?: number;
  y0?: number;
  x0?: number;
  y1?: number;
  x1?: number;
  area?: number;
  class?: number;
  class_given?: boolean; // a person gave or took away its class; told with all objects alone, not with changes
  origin?: Origin;
  locked?: boolean;
  score?: number | null;
  flow_error?: number | null;
  discarded?: boolean;
  reason?: string;
}

/** What undo would take back and redo do again: the kind of edit, null for none. */
export interface History {
  undo: string | null;
  redo: string | null;
}

export type ObjectColumns = { [K in keyof Required<ObjectRow>]: Required<ObjectRow>[K][] };

export type JobKind = "segment" | "rethreshold" | "limits" | "train" | "evaluate" | "suggest" | "batch" | "again" | "agreement";
export type JobState = "queued" | "running" | "done" | "failed" | "cancelled" | "interrupted";

export interface Job {
  id: string;
  kind: JobKind;
  image: string | null;
  state: JobState;
  done: number;
  total: number;
  message: string;
  eta_s: number | null;
  stopping: boolean; // a training that was asked to stop, and finishes with its best so far
  ended: boolean; // it was asked again: nothing of it is kept
  error: string | null;
  hint: string | null;
  result: Record<string, unknown> | null;
}

export type EditKind =
  | "paint" | "merge" | "delete" | "relabel" | "set_class" | "lock" | "split" | "interpolate" | "accept" | "prompt" | "region" | "batch";

/** What is drawn of a region at once: polygons, each an outline and the holes in it. Without any it is gone. */
export interface DrawnRegion {
  id: string;
  name: string;
  polygons: Point[][][];
}

/** All that is drawn under a name, and what is in it in the open plane. */
export interface Region {
  name: string;
  parts: { id: string; polygons: Point[][][] }[];
  objects?: number;
  area_px?: number;
  area_um2?: number;
  objects_per_mm2?: number;
  covered?: number; // share of its pixels that belong to objects
}

/** One of several edits that are done, and undone, as one. */
export interface EditPart {
  plane: number;
  kind: EditKind;
  label?: number;
  runs?: Uint8Array;
  mode?: Mode;
  ids?: number[];
  value?: number;
  line?: Point[];
}

export interface Edit {
  type: "edit";
  op_id: string;
  image: string;
  plane: number;
  base_rev: number;
  kind: EditKind;
  label?: number;
  box?: Box;
  runs?: Uint8Array;
  mode?: Mode;
  ids?: number[];
  value?: number;
  line?: Point[];
  regions?: DrawnRegion[];
  parts?: EditPart[];
}

export type ToServer =
  | { type: "hello"; protocol: number; client: string }
  | { type: "open"; image: string; plane: number }
  | Edit
  | { type: "undo"; image: string }
  | { type: "redo"; image: string }
  | { type: "lease"; image: string; count: number }
  | { type: "submit"; kind: JobKind; image: string | null; params: Record<string, unknown> }
  | { type: "cancel"; job: string }
  | { type: "set"; what: "classes" | "model" | "state" | "name" | "pixel_size_um"; value: unknown }
  | { type: "ping"; t: number };

export type FromServer =
  | { type: "welcome"; protocol: number; user: string; project: Project }
  | { type: "opened"; image: string; plane: number; rev: number; first_id: number; last_id: number }
  | { type: "ack"; op_id: string; image: string; rev: number; objects: ObjectRow[] }
  | { type: "reject"; op_id: string; image: string; rev: number; tiles: Point[]; reason: string }
  | {
      type: "patch"; image: string; plane: number; rev: number; by: string;
      runs: Uint8Array | null; tiles: Point[]; objects: ObjectRow[]; regions: boolean;
    }
  | { type: "leased"; image: string; first_id: number; last_id: number }
  | { type: "job"; job: Job }
  | { type: "image"; image: ImageInfo }
  | { type: "project"; project: Project }
  | { type: "notice"; level: "info" | "warning" | "error"; message: string; hint: string }
  | { type: "pong"; t: number };
