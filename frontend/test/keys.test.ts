import { afterEach, describe, expect, it, vi } from "vitest";
import type { Session } from "../src/core/session";
import { Keyboard, nameOf } from "../src/tools/keyboard";
import { KEYS } from "../src/tools/keys";

afterEach(() => void vi.unstubAllGlobals());

const pressed = (key: string, held: Partial<Record<"ctrlKey" | "metaKey" | "altKey" | "shiftKey", boolean>> = {}, code = ""): string =>
  nameOf({ key, code, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...held });

describe("keys", () => {
  it("mean one thing each", () => {
    const all = KEYS.flatMap(({ keys }) => keys);
    expect(all.filter((key, i) => all.indexOf(key) !== i)).toEqual([]);
    expect(new Set(KEYS.map(({ id }) => id)).size).toBe(KEYS.length);
  });

  it("are named as in the table", () => {
    expect(pressed("z", { ctrlKey: true })).toBe("Mod+Z");
    expect(pressed("Z", { metaKey: true, shiftKey: true })).toBe("Mod+Shift+Z");
    expect(pressed("?", { shiftKey: true })).toBe("?");
    expect(pressed("Tab", { shiftKey: true })).toBe("Shift+Tab");
    expect(pressed(" ")).toBe("Space");
    expect(pressed("+", { shiftKey: true })).toBe("+");
  });

  it.each([
    ["Cyrillic", "я", "KeyZ", "Mod+Z"], ["Greek", "Ζ", "KeyZ", "Mod+Z"], ["Hebrew", "ז", "KeyZ", "Mod+Z"],
    ["French", "z", "KeyW", "Mod+Z"], ["Dvorak", "b", "KeyN", "Mod+B"], ["German", "ö", "Semicolon", "Mod+Ö"],
  ])("are found on a %s keyboard", (_, key, code, name) => {
    expect(pressed(key, { ctrlKey: true }, code)).toBe(name);
  });
});

describe("the focus", () => {
  /** What lies around what is clicked, from within. */
  class Inside {
    constructor(private readonly around: string[]) {}

    closest(selectors: string): Inside | null {
      return selectors.split(", ").some((selector) => this.around.includes(selector)) ? this : null;
    }
  }

  it.each([
    ["goes back to the picture after a click on a button", ["button"], 1, true, true],
    ["goes back to the picture after a click on a heading that folds", ["summary"], 1, true, true],
    ["stays on a button that was pressed with a key", ["button"], 0, true, false],
    ["stays where a button has put it", ["button"], 1, false, false],
    ["stays in an input", ["input"], 1, true, false],
    ["stays in a dialog", ["button", "dialog"], 1, true, false],
    ["stays in a menu", ["button", "[role=menu]"], 1, true, false],
  ] as const)("%s", (_, around, detail, focused, moves) => {
    const listeners = new Map<string, (event: unknown) => void>();
    const target = new Inside([...around]);
    vi.stubGlobal("window", { addEventListener: (name: string, listener: (event: unknown) => void) => listeners.set(name, listener) });
    vi.stubGlobal("Element", Inside);
    vi.stubGlobal("document", { activeElement: focused ? target : new Inside([]) });
    const focus = vi.fn();
    new Keyboard({} as Session, { focus } as unknown as HTMLCanvasElement);
    listeners.get("click")?.({ detail, target });
    expect(focus).toHaveBeenCalledTimes(moves ? 1 : 0);
  });
});
