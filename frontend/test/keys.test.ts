import { describe, expect, it } from "vitest";
import { nameOf } from "../src/tools/keyboard";
import { KEYS } from "../src/tools/keys";

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
