import type { Session } from "../core/session";
import { KEYS, type KeyBinding } from "./keys";

/** Keys that a focused control needs for itself. */
const OF_CONTROLS = new Set(["Space", "Enter", "Home", "PageUp", "PageDown", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]);
const TYPES_TEXT = "input:not([type=range], [type=checkbox], [type=radio], [type=button], [type=color]), textarea, select, [contenteditable]";

export class Keyboard {
  spaceHeld = false;
  /** The space bar moved the picture: letting it go does nothing more. */
  spaceUsed = false;
  private readonly bindings: ReadonlyMap<string, KeyBinding>;

  constructor(
    private readonly session: Session,
    private readonly canvas: HTMLCanvasElement,
  ) {
    this.bindings = new Map(KEYS.flatMap((binding) => binding.keys.map((key) => [key, binding])));
    window.addEventListener("keydown", (event) => this.down(event));
    window.addEventListener("keyup", (event) => this.up(event));
    window.addEventListener("blur", () => (this.spaceHeld = false));
    window.addEventListener("click", (event) => this.clicked(event));
  }

  /** After a click with the mouse the keys are the picture's again: the space bar is to move it, not to press the button once more. */
  private clicked(event: MouseEvent): void {
    if (event.detail === 0 || !(event.target instanceof Element)) return; // by a key
    const button = event.target.closest("button, summary");
    if (button && button === document.activeElement && !button.closest("dialog, [role=menu]")) this.canvas.focus({ preventScroll: true });
  }

  private down(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.isComposing || !this.isOurs(event)) return;
    const binding = this.bindings.get(nameOf(event));
    if (!binding) return;
    event.preventDefault();
    if (event.key === " ") {
      if (!event.repeat) this.spaceUsed = false;
      this.spaceHeld = true;
    } else if (event.key === "Escape" && event.target === this.canvas && this.session.selection.value.size === 0) {
      // Nothing to leave but the picture: the Tab key goes on to the panels then.
      if (!this.session.hand?.cancel()) this.canvas.blur();
    } else {
      binding.run(this.session);
    }
  }

  private up(event: KeyboardEvent): void {
    if (event.key !== " " || !this.spaceHeld) return;
    this.spaceHeld = false;
    if (!this.spaceUsed) this.bindings.get("Space")?.run(this.session);
  }

  private isOurs(event: KeyboardEvent): boolean {
    const target = event.target instanceof Element ? event.target : document.body;
    if (document.querySelector("dialog[open]") || target.closest(TYPES_TEXT)) return false;
    // Tab walks through cells while there are some; Escape leaves the picture, so that nobody is caught in it.
    if (event.key === "Tab") return target === this.canvas && this.session.objects.counts.peek()[0] > 0;
    const onPicture = target === document.body || target === this.canvas;
    return onPicture || !OF_CONTROLS.has(nameOf(event));
  }
}

/** As in the table of keys: "Mod+Shift+Z", "?", "Space". */
export function nameOf(event: Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">): string {
  // Where letters are not Latin, a key is called by what is printed beside them.
  const beside = /^\p{L}$/u.test(event.key) && !/[a-z]/i.test(event.key) ? /^Key([A-Z])$/.exec(event.code)?.[1] : undefined;
  const key = event.key === " " ? "Space" : (beside ?? (event.key.length === 1 ? event.key.toUpperCase() : event.key));
  // Shift is part of a sign such as "?", but not of a letter or of Tab.
  const shift = event.shiftKey && (key.length > 1 || /\p{L}/u.test(key));
  return [...(event.ctrlKey || event.metaKey ? ["Mod"] : []), ...(event.altKey ? ["Alt"] : []), ...(shift ? ["Shift"] : []), key].join("+");
}
