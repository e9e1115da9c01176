// The terms that had to stay, each with the line that explains it; and numbers as people read them.

import { Fate, type Rigid } from "../core/state";
import type { ImageState, Job, JobKind, Origin } from "../core/wire";

export const TERMS = {
  model: "The network that looks for cells. Each has learned from other pictures.",
  diameter: "Typical width of a cell. The model needs it to look at the right scale; automatic is right for most pictures.",
  target: "Where a picture shows both: outline whole cells, or only their nuclei.",
  cellprob: "How sure the model has to be that a pixel belongs to a cell. Lower finds more and larger cells.",
  flow_error: "How badly the outline fits the directions that the model saw. High means a doubtful shape.",
  score: "How likely the model thinks that this is a cell and well outlined, from 0 to 1.",
  size: "Area of the cell.",
  here: "Area of what this plane shows of the cell.",
  voxels: "Volume of the cell. The labels follow when the slider rests: a plane shows a part of each cell only.",
  border: "Cells that touch the edge of the picture are cut off; their sizes are not true.",
  ghosts: "Draw hidden cells faintly; a click brings one back.",
  gamma: "Below 1 makes faint structures brighter, above 1 makes them darker. The data stay as they are.",
  levels: "How often each brightness occurs (rare ones enlarged). Drag an edge of the window, or the window: left of it is shown black, right of it at full brightness. The data stay as they are.",
  flows: "Colours tell the direction to the middle of the cell, as the model sees it.",
  probability: "Where the model sees cells, before they are told apart.",
  ap: "Share of cells found at the right place and shape, of all found, missed and invented: 1 is perfect.",
  loss: "How far the model still is from your corrections. It should fall.",
  round: "Training once on everything corrected so far.",
  forgetting: "Whether the model has become worse on pictures that are not yours.",
  plane: "One picture of a stack.",
  side: "Cuts through the planes at the chosen cell, or at the middle of the picture: whether cells reach as far as they should.",
  volume: "In 3-D, what planes above each other show of a cell is one cell, with one number and a volume. In planes, each has cells of its own.",
  anisotropy: "How many pixels lie between two planes. The file often says it; if it is wrong, cells are cut or joined through the planes.",
  region: "A cell counts where at least half of it lies. Parts of one name are one region; where two overlap, the one drawn later has the cells.",
  agreement: "Two people, or one at two times, never outline the same cells the same way. A model that agrees with you as well as you do with yourself is as good as it can be.",
} as const;

export const STATES: Record<ImageState, string> = {
  new: "not segmented",
  predicted: "segmented",
  corrected: "corrected",
  done: "done",
  missing: "file missing",
};

export const ORIGINS: Record<Origin, string> = { auto: "model", manual: "drawn", edited: "corrected" };

export const FATES: Record<Fate, string> = {
  [Fate.kept]: "shown",
  [Fate.flow_error]: "doubtful shape",
  [Fate.score]: "low score",
  [Fate.small]: "too small",
  [Fate.large]: "too large",
  [Fate.border]: "at the edge",
  [Fate.filtered]: "class hidden",
};

export const RIGID: Record<Rigid, string> = {
  unsegmented: "The model has not looked at the whole image yet",
  large: "What the model saw of so large an image is not kept",
  drawn: "All cells here were drawn, corrected, locked or brought in",
};

export const JOBS: Record<JobKind, string> = {
  segment: "Finding cells",
  rethreshold: "Applying thresholds",
  limits: "Suggesting limits",
  train: "Training",
  evaluate: "Scoring",
  suggest: "Choosing the next image",
  batch: "Segmenting images",
  again: "Picking places",
  agreement: "Comparing labels",
};

/** Kinds of edit, as the log calls them. */
export const STEPS: Record<string, string> = {
  paint: "drawing",
  erase: "erasing",
  merge: "merging cells",
  delete: "deleting cells",
  clear: "deleting all cells",
  relabel: "changing a cell's number",
  set_class: "giving a class",
  lock: "locking or unlocking",
  split: "cutting a cell",
  interpolate: "filling planes between",
  accept: "bringing cells back",
  prompt: "a proposed cell",
  region: "a region",
  batch: "changing cells",
  import: "importing cells",
  segment: "finding cells",
  rethreshold: "new limits for cells",
};

/** The key beside the space bar, as this machine's keyboard calls it. */
export const MAC = /Mac|iP(hone|ad)/.test(globalThis.navigator?.platform ?? "");
export const MOD = MAC ? "⌘" : "Ctrl";

/** Channels without a name in the file have a number, which the commands know too. */
export const channelName = (name: string, count: number): string => (!/^\d+$/.test(name) ? name : count === 1 ? "Brightness" : `Channel ${name}`);

export const plural = (count: number, one: string, many = `${one}s`): string => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** Of many images, what is segmented and what is left alone: `begun` have corrections or are marked as done. */
export function leftAlone(open: number, begun: number): string {
  const left = begun ? `${begun.toLocaleString("en")} with corrections or marked done ${begun === 1 ? "is" : "are"} left alone.` : "";
  return open ? left : `Nothing is left to segment. ${left}`.trimEnd();
}

export function duration(seconds: number): string {
  if (seconds < 8) return "a few seconds left";
  if (seconds < 90) return `${Math.round(seconds / 5) * 5} s left`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min left`;
  return `${(seconds / 3600).toFixed(1)} h left`;
}

export const isLive = (job: Job): boolean => job.state === "queued" || job.state === "running";

/** A length in pixels, and in micrometres where the pixel size is known. */
export function length(px: number, um: number | null): string {
  const pixels = `${px < 10 ? px.toFixed(1) : Math.round(px)} px`;
  return um === null ? pixels : `${pixels} · ${Number((px * um).toPrecision(3)).toLocaleString("en")} µm`;
}

export function area(px: number, um: number | null): string {
  return um === null ? `${Math.round(px).toLocaleString("en")} px²` : `${Number((px * um * um).toPrecision(3)).toLocaleString("en")} µm²`;
}

/** The roundest length of at most `most` screen pixels: 1, 2 or 5 times a power of ten. */
export function roundLength(zoom: number, um: number | null, most = 120): { width: number; text: string } {
  const unit = um ?? 1;
  const longest = (most / zoom) * unit;
  const power = 10 ** Math.floor(Math.log10(longest));
  const nice = [5, 2, 1].map((digit) => digit * power).find((value) => value <= longest) ?? power;
  let text = um === null ? `${nice} px` : nice >= 1000 ? `${nice / 1000} mm` : nice < 1 ? `${Number((nice * 1000).toPrecision(3))} nm` : `${nice} µm`;
  if (um === null && nice < 1) text = `${Number(nice.toPrecision(1))} px`;
  return { width: (nice / unit) * zoom, text };
}
