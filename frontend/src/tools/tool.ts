// What a tool is. Positions are image pixels (y, x), with fractions: a pixel's centre is at .5.

import type { Document } from "../core/document";
import type { Session } from "../core/session";
import type { Point } from "../core/wire";

export interface Modifiers {
  shift: boolean;
  alt: boolean;
  mod: boolean; // Ctrl, or Cmd on a Mac
}

/**
 * The hand that holds a tool: a press, moves, a release. Moves come too while nothing is pressed (`hover`). No cell changes
 * for good before the release: the press may turn out to be the first of two fingers.
 */
export interface Tool {
  readonly cursor: string;
  press(at: Point, modifiers: Modifiers): void;
  /** While pressed; every position that the device reported, in order. */
  drag(path: readonly Point[]): void;
  release(): void;
  hover?(at: Point): void;
  twice?(at: Point): void; // a double click
  /** Leave what was begun. True if there was something. */
  cancel(): boolean;
  /** Take back the last step of what was begun. True if there was one. */
  back?(): boolean;
  /** Take the press back, and leave what was begun before it; by default, `cancel`. */
  abandon?(): void;
  /** Finish what was begun without another click. True if there was something. */
  finish?(): boolean;
}

/** What tools work on. */
export interface Bench {
  readonly session: Session;
  /** The open plane, or null while there is none. */
  document(): Document | null;
  /** The cell there that tools may touch, which is none of a hidden class; 0 for none. */
  cellAt(at: Point): number;
  /** As `cellAt`, a discarded candidate too. */
  objectAt(at: Point): number;
  /** Image pixels that are `cssPixels` long on the screen now. */
  length(cssPixels: number): number;
}

/** "Inside only" writes in selected cells: without any, a word to the user. */
export function canWrite({ session }: Bench, what: "draw" | "erase" = "draw"): boolean {
  const nowhere = session.mode.peek() === "inside" && session.selection.peek().size === 0;
  if (nowhere) session.notify("info", `Select the cells to ${what} in first`, "or choose Keep others (J)");
  return !nowhere;
}

export function distance(a: Point, b: Point): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}
