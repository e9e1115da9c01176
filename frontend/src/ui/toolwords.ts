// Tools as people see them: name, icon, and what to do with them in one line.

import type { ToolName } from "../core/state";
import type { IconName } from "./icons";
import { MOD } from "./words";

export const TOOLS: { tool: ToolName; name: string; icon: IconName; does: string; draws?: boolean; first?: boolean }[] = [
  { tool: "pick", name: "Pick", icon: "pick", does: `Click a cell to select it, Shift-click for more. ${MOD}-click deletes, Alt-click merges with the selected one.` },
  { tool: "brush", first: true, name: "Brush", icon: "brush", does: "Start inside a cell to enlarge it, outside to draw a new one. Shift-wheel changes the size.", draws: true },
  { tool: "eraser", name: "Eraser", icon: "eraser", does: "Drag over what is too much. Shift-wheel changes the size." },
  { tool: "outline", name: "Outline", icon: "outline", does: "Draw around a cell; it closes itself where it began.", draws: true },
  { tool: "polygon", name: "Polygon", icon: "polygon", does: "Click corner by corner, drag corners to move them, Enter finishes, Esc leaves it.", draws: true },
  { tool: "fill", first: true, name: "Fill", icon: "fill", does: "Click an enclosed area, such as a hole, to fill it.", draws: true },
  { tool: "cut", name: "Cut", icon: "cut", does: "Draw a line across a cell to make two of it." },
  { tool: "merge", name: "Merge", icon: "merge", does: "Drag across cells to make one of them." },
  { tool: "grow", first: true, name: "Grow", icon: "grow", does: "Click a cell to make it one pixel wider all round." },
  { tool: "shrink", name: "Shrink", icon: "shrink", does: "Click a cell to make it one pixel narrower all round." },
  { tool: "smooth", name: "Smooth", icon: "smooth", does: "Click a cell to smooth its outline." },
  { tool: "delete_box", name: "Delete in a box", icon: "box", does: "Drag a box: every cell that it touches is deleted. Undo brings them back." },
  { tool: "prompt", first: true, name: "Propose", icon: "prompt", does: "Click a cell that was missed, or drag a box around it: its outline is proposed." },
  { tool: "region", name: "Region", icon: "region", does: "Draw around a part of the picture, or click its corners and press Enter: the tab Cells counts what is in it." },
  { tool: "measure", name: "Measure size", icon: "ruler", does: "Drag a circle over a typical cell: the model then looks for cells of this size." },
];

export const MODES = [
  { value: "keep", label: "Keep others", hint: "Drawing never changes other cells" },
  { value: "overwrite", label: "Over others", hint: "Drawing takes pixels away from other cells" },
  { value: "inside", label: "Inside only", hint: "Drawing stays within the selected cells" },
] as const;
