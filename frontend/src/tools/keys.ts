// Every key, once: the `?` page, the tooltips and the keyboard read this table.
// "Mod" is Ctrl, and Cmd on a Mac. Keys of Cellpose keep their meaning where there is one.

import type { Session } from "../core/session";
import type { ToolName } from "../core/state";

export type KeyGroup = "Tools" | "Correct" | "Look" | "Go" | "Classes";

export interface KeyBinding {
  readonly id: string; // for tooltips: keysOf(id)
  readonly group: KeyGroup;
  readonly keys: readonly string[]; // as `KeyboardEvent.key` in capitals, with "Mod+", "Shift+", "Alt+" before
  readonly words: string;
  readonly run: (session: Session) => void;
}

export interface Gesture {
  readonly group: KeyGroup;
  readonly gesture: string;
  readonly words: string;
}

const tool = (name: ToolName, key: string, words: string): KeyBinding => ({
  id: name, group: "Tools", keys: [key], words, run: (s) => s.setTool(name),
});

const classKey = (value: number): KeyBinding => ({
  id: `class_${value}`,
  group: "Classes",
  keys: [String(value)],
  words: value === 0 ? "Take the class away" : `Class ${value} for the selected cells and the next ones`,
  run: (s) => s.chooseClass(value),
});

export const KEYS: readonly KeyBinding[] = [
  tool("pick", "V", "Pick: select cells, move the picture"),
  tool("brush", "B", "Brush"),
  tool("eraser", "E", "Eraser"),
  tool("outline", "O", "Outline: draw around a cell, it closes itself"),
  tool("polygon", "P", "Polygon with corners that can be moved"),
  tool("fill", "F", "Fill an enclosed area"),
  tool("cut", "C", "Cut: a stroke splits the cell it crosses"),
  tool("merge", "M", "Merge: a stroke joins the cells it touches"),
  tool("grow", "G", "Grow the cell that is clicked by a pixel"),
  tool("shrink", "H", "Shrink the cell that is clicked by a pixel"),
  tool("smooth", "T", "Smooth the outline of the cell that is clicked"),
  tool("delete_box", "Q", "Delete every cell that a box touches"),
  tool("prompt", "I", "Propose a cell where you click, or in a box"),
  tool("measure", "U", "Measure the size of a cell with a circle"),
  tool("region", "R", "Region: draw a part of the picture, to count the cells in it"),

  { id: "undo", group: "Correct", keys: ["Mod+Z"], words: "Undo", run: (s) => s.undo() },
  { id: "redo", group: "Correct", keys: ["Mod+Y", "Mod+Shift+Z"], words: "Redo", run: (s) => s.redo() },
  { id: "delete", group: "Correct", keys: ["Delete", "Backspace"], words: "Delete the selected cells; the last corner while a polygon is drawn", run: (s) => void (s.hand?.back() || s.deleteSelected()) },
  { id: "merge_selected", group: "Correct", keys: ["Shift+M"], words: "Merge the selected cells", run: (s) => s.mergeSelected() },
  { id: "accept", group: "Correct", keys: ["Y"], words: "Bring the selected hidden cells back", run: (s) => s.accept([...s.selection.value]) },
  { id: "lock", group: "Correct", keys: ["L"], words: "Lock or unlock the selected cells", run: (s) => s.toggleLock() },
  { id: "copy_next", group: "Correct", keys: ["Shift+C"], words: "Copy the selected cells to the next plane", run: (s) => s.copyToNextPlane() },
  { id: "split_here", group: "Correct", keys: ["Shift+X"], words: "Cut the selected cells between planes: from this one on they are others", run: (s) => s.splitHere() },
  { id: "fill_between", group: "Correct", keys: ["Shift+F"], words: "Fill the planes that the selected cells skip between two that show them", run: (s) => s.fillBetween() },
  { id: "brush_smaller", group: "Correct", keys: [",", "["], words: "Smaller brush", run: (s) => s.setBrushSize(s.brushSize.value / 1.25 - 0.5) },
  { id: "brush_larger", group: "Correct", keys: [".", "]"], words: "Larger brush", run: (s) => s.setBrushSize(s.brushSize.value * 1.25 + 0.5) },
  { id: "mode", group: "Correct", keys: ["J"], words: "What drawing does to other cells: keep, overwrite, inside only", run: (s) => s.nextMode() },
  { id: "cancel", group: "Correct", keys: ["Escape"], words: "Leave what was begun; select nothing", run: (s) => s.cancel() },
  { id: "finish", group: "Correct", keys: ["Enter"], words: "Finish the outline or polygon", run: (s) => s.finish() },

  { id: "labels", group: "Look", keys: ["Space"], words: "Show or hide the cells", run: (s) => s.setStyle({ visible: !s.style.value.visible }) },
  { id: "fill_style", group: "Look", keys: ["X"], words: "Filled cells on and off", run: (s) => s.setStyle({ fill: !s.style.value.fill }) },
  { id: "outline_style", group: "Look", keys: ["Z"], words: "Outlines on and off", run: (s) => s.setStyle({ outline: !s.style.value.outline }) },
  { id: "channel_next", group: "Look", keys: ["S", "ArrowDown"], words: "Next channel alone, then all", run: (s) => s.showChannel(1) },
  { id: "channel_previous", group: "Look", keys: ["W", "ArrowUp"], words: "Previous channel alone, then all", run: (s) => s.showChannel(-1) },
  { id: "auto_contrast", group: "Look", keys: ["Shift+A"], words: "Automatic contrast", run: (s) => s.autoContrast() },
  { id: "zoom_in", group: "Look", keys: ["+", "="], words: "Closer", run: (s) => s.zoomBy(1.25) },
  { id: "zoom_out", group: "Look", keys: ["-"], words: "Farther", run: (s) => s.zoomBy(0.8) },
  { id: "fit", group: "Look", keys: ["Home"], words: "Whole image", run: (s) => s.zoomToFit() },
  { id: "help", group: "Look", keys: ["?", "Mod+H"], words: "This list", run: (s) => void (s.help.value = !s.help.value) },

  { id: "next_doubtful", group: "Go", keys: ["Tab"], words: "Next doubtful cell (in the picture; Esc leaves it)", run: (s) => s.nextDoubtful(1) },
  { id: "previous_doubtful", group: "Go", keys: ["Shift+Tab"], words: "Previous doubtful cell", run: (s) => s.nextDoubtful(-1) },
  { id: "next_image", group: "Go", keys: ["D", "ArrowRight"], words: "Next image", run: (s) => s.nextImage(1) },
  { id: "previous_image", group: "Go", keys: ["A", "ArrowLeft"], words: "Previous image", run: (s) => s.nextImage(-1) },
  { id: "next_z", group: "Go", keys: ["PageDown"], words: "Next z plane", run: (s) => s.stepZ(1) },
  { id: "previous_z", group: "Go", keys: ["PageUp"], words: "Previous z plane", run: (s) => s.stepZ(-1) },
  { id: "next_t", group: "Go", keys: ["Shift+PageDown"], words: "Next time point", run: (s) => s.stepT(1) },
  { id: "previous_t", group: "Go", keys: ["Shift+PageUp"], words: "Previous time point", run: (s) => s.stepT(-1) },

  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 0].map(classKey),
];

export const GESTURES: readonly Gesture[] = [
  { group: "Look", gesture: "Wheel, or pinch", words: "Zoom" },
  { group: "Look", gesture: "Right-drag, Space-drag, middle-drag, two fingers", words: "Move the picture" },
  { group: "Look", gesture: "Drag with Pick", words: "Move the picture" },
  { group: "Look", gesture: "A finger, once a pen was used", words: "Move the picture" },
  { group: "Look", gesture: "Double-click with Pick", words: "Whole image" },
  { group: "Correct", gesture: "Shift-wheel", words: "Brush size" },
  { group: "Correct", gesture: "Right-click (or Ctrl-click on a Mac), move, right-click", words: "Draw an outline with any tool" },
  { group: "Correct", gesture: "Ctrl-click, on a Mac Cmd-click", words: "Delete the cell" },
  { group: "Correct", gesture: "Alt-click", words: "Merge the cell with the selected one" },
  { group: "Correct", gesture: "Shift-click", words: "Select one more cell" },
  { group: "Correct", gesture: "Shift-drag with Pick", words: "Select the cells in a box" },
  { group: "Correct", gesture: "Click a faint cell", words: "Bring it back" },
  { group: "Correct", gesture: "Eraser end of a pen", words: "Erase, with any tool" },
  { group: "Go", gesture: "Ctrl- or Cmd-click in the list of images", words: "Choose several to segment" },
];

/** "Mod+Shift+Z" as it is printed on this machine's keys. */
export function printed(key: string, mac: boolean): string {
  return key.replace("Mod", mac ? "⌘" : "Ctrl").replace("Arrow", "");
}

export function keysOf(id: string): readonly string[] {
  return KEYS.find((binding) => binding.id === id)?.keys ?? [];
}
