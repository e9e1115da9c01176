// What the page does when the server speaks, is silent, or comes back.

import { describe, expect, it } from "vitest";
import type { Hand } from "../src/core/session";
import type { Job } from "../src/core/wire";
import { opened } from "./fake";

const job = (more: Partial<Job>): Job => ({
  id: "a", kind: "suggest", image: null, state: "running", done: 0, total: 0, message: "", eta_s: null, error: null, hint: null,
  result: null, ...more,
});

describe("a suggestion", () => {
  const result = { suggestions: [{ image: "j", plane: 0, box: [0, 0, 10, 10], name: "the next one", reason: "" }] };
  const idle: Hand = { cancel: () => false, finish: () => false, busy: () => false };

  it.each([
    ["is followed in the page that asked", true, idle, "j"],
    ["is not followed in another page", false, idle, "i"],
    ["is not followed while something is begun", true, { ...idle, busy: (): boolean => true }, "i"],
  ] as const)("%s", async (_, asks, hand, image) => {
    const { session } = await opened();
    session.hand = hand;
    if (asks) session.suggestNext();
    session.receive({ type: "job", job: job({}) });
    session.receive({ type: "job", job: job({ state: "done", result }) });
    expect(session.imageId.value).toBe(image);
    expect(session.notices.value.length).toBe(asks ? 1 : 0);
  });
});
