// What the page shows besides pixels and objects: plain values, each held in one signal of Session.

import type { Box, Mode, Point } from "./wire";

export type Connection =
  | "connecting" // first attempt, nothing shown yet
  | "open"
  | "lost" // trying again; drawing goes on, edits are kept until the server answers
  | "outdated"; // page and server are of different versions: reload

export type ToolName =
  | "pick" | "brush" | "eraser" | "outline" | "polygon" | "fill" | "cut" | "merge"
  | "grow" | "shrink" | "smooth" | "delete_box" | "prompt" | "measure" | "region";

export interface Notice {
  id: number;
  level: "info" | "warning" | "error";
  message: string;
  hint: string;
}

export const MOST_CHANNELS = 8; // that are drawn at once

export interface ChannelSettings {
  name: string;
  visible: boolean;
  color: string; // "#rrggbb"
  low: number; // raw units: shown black
  high: number; // raw units: shown at full colour
  gamma: number;
  min: number; // ends of the sliders, raw units
  max: number;
}

export type LabelColor =
  | "distinct" // neighbours differ, safe for colour-blind eyes
  | "class"
  | "quality" // by score
  | "single";

export interface LabelStyle {
  visible: boolean;
  fill: boolean;
  outline: boolean;
  opacity: number; // of the fill, 0 to 1
  outlineOpacity: number;
  outlineWidth: number; // screen pixels
  color: LabelColor;
}

/** Thresholds of the object table: acting on them touches no pixels. `null` switches one off. */
export interface Thresholds {
  flow_error: number | null; // largest
  score: number | null; // smallest
  min_size: number | null; // pixels
  max_size: number | null; // pixels
  exclude_border: boolean;
}

/** Why cells cannot follow the thresholds. */
export type Rigid =
  | "unsegmented" // no run has looked at the whole image
  | "large" // what the model saw of it is not kept
  | "drawn"; // none of them is the model's own

/** What only a new run of the dynamics can answer. */
export interface DynamicsSettings {
  cellprob_threshold: number;
  niter: number | null;
}

/** Why an object is or is not shown. */
export const Fate = { kept: 0, flow_error: 1, score: 2, small: 3, large: 4, border: 5, filtered: 6 } as const;
export type Fate = (typeof Fate)[keyof typeof Fate];

export interface View {
  centre: Point; // image pixels
  zoom: number; // CSS pixels an image pixel
  width: number; // of the stage, CSS pixels
  height: number;
}

export interface Overlays {
  cellprob: boolean;
  flows: boolean;
  ghosts: boolean; // objects that thresholds discard, faint; a click with `accept` brings one back
  scaleBar: boolean;
  regions: boolean;
}

export interface Prefs {
  theme: "system" | "dark" | "light";
  drag: "tool" | "pan"; // what dragging with the pick tool does: select in a box, or move the picture
  wheel: "zoom" | "pan"; // a touchpad's pinch always zooms
  invertImage: boolean;
}

/** What a tool wants drawn above the picture while it works; image pixels. */
export type Preview =
  | { kind: "none" }
  | { kind: "path"; points: Point[]; closed: boolean }
  | { kind: "polygon"; points: Point[]; active: number }
  | { kind: "box"; box: Box }
  | { kind: "circle"; centre: Point; radius: number };

export interface Pointer {
  at: Point; // image pixels
  label: number; // object there, 0 for none
  values: number[]; // of the channels there, raw units; NaN while the tile is on its way
}

export const DEFAULT_STYLE: LabelStyle = {
  visible: true,
  fill: true,
  outline: true,
  opacity: 0.35,
  outlineOpacity: 1,
  outlineWidth: 1,
  color: "distinct",
};

/** As the segmentation's own (core/params.py); a model's own limits are known once it has run. */
export const DEFAULT_THRESHOLDS: Thresholds = {
  flow_error: null,
  score: null,
  min_size: 15,
  max_size: null,
  exclude_border: false,
};

export const DEFAULT_OVERLAYS: Overlays = { cellprob: false, flows: false, ghosts: true, scaleBar: true, regions: true };

export const DEFAULT_PREFS: Prefs = {
  theme: "system",
  drag: "pan",
  wheel: "zoom",
  invertImage: false,
};

export const DEFAULT_MODE: Mode = "keep";
