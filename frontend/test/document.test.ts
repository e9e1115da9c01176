import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { RequestError } from "../src/core/http";
import { Region, encodeRuns } from "../src/core/runs";
import { addStroke } from "../src/core/raster";
import type { Session } from "../src/core/session";
import { TILE, type Mode } from "../src/core/wire";
import { type FakeServer, type FakeWire, opened, stroke, WIDTH } from "./fake";

/** Pixels that differ between what the page shows and what the server has, over all tiles that are here. */
function differences(server: FakeServer, session: Session): string[] {
  const document = session.document;
  const wrong: string[] = [];
  for (const [tile, data] of document?.tiles.resident() ?? []) {
    const truth = server.tile(tile.level, tile.ty, tile.tx);
    if (truth === null && data === null) continue;
    const pixels = truth ? new Uint32Array(truth) : new Uint32Array(TILE * TILE);
    for (let i = 0; i < pixels.length; i++) {
      const shown = data?.[i] ? (document?.remap.resolve(data[i]) ?? 0) : 0;
      if (shown !== pixels[i]) wrong.push(`level ${tile.level} tile ${tile.ty},${tile.tx} pixel ${i}: ${shown}, should be ${pixels[i]}`);
    }
  }
  return wrong;
}

describe("a document", () => {
  it("shows an edit before the server knows of it, and keeps it through a lost connection", async () => {
    const { server, wire, session } = await opened();
    wire.cut();
    const id = session.draw(stroke(20, 500, 530, 9));
    expect(session.unsaved.value).toBe(1);
    expect(session.document?.labels.at(20, 515)).toBe(id);
    expect(server.labels.some((value) => value !== 0)).toBe(false);
    wire.mend();
    await wire.settle();
    expect(session.unsaved.value).toBe(0);
    expect(server.labels[20 * WIDTH + 515]).toBe(id);
    expect(differences(server, session)).toEqual([]);
  });

  it("knows what can be undone, of what is on its way too", async () => {
    const { wire, session } = await opened();
    const steps = () => [session.canUndo.value, session.canRedo.value];
    expect(steps()).toEqual([null, null]);
    session.draw(stroke(20, 500, 530, 9));
    expect(steps()).toEqual(["paint", null]);
    await wire.settle();
    expect(steps()).toEqual(["paint", null]);
    session.undo();
    await wire.settle();
    expect(steps()).toEqual([null, "paint"]);
    session.draw(stroke(20, 100, 130, 9));
    expect(steps()).toEqual(["paint", null]);
    await wire.settle();
    expect(steps()).toEqual(["paint", null]);
  });

  it("keeps what was told while an older list of objects was on its way", async () => {
    const { wire, session } = await opened();
    session.draw(stroke(20, 500, 530, 9));
    await wire.settle();
    const loading = session.document?.loadObjects();
    session.draw(stroke(20, 100, 130, 9));
    await wire.deliver(0); // the edit is confirmed before the list arrives
    await wire.settle();
    await loading;
    expect(session.objects.rows().length).toBe(2);
  });

  it.each([
    ["that nobody answered", new Error("no answer"), false, true],
    ["that failed at the server", new RequestError(500, "torn\n"), true, true],
    ["that was refused for good", new RequestError(409, "torn\n"), true, false],
  ])("asks again for objects %s, and after a lost connection", async (_, error, told, retried) => {
    const { wire, session } = await opened();
    session.draw(stroke(20, 500, 530, 9));
    await wire.settle();
    const asked = vi.spyOn(wire, "json").mockImplementation((path) => (path.includes("/objects") ? Promise.reject(error) : new Promise(() => undefined)));
    vi.useFakeTimers();
    try {
      session.objects.clear();
      await session.document?.loadObjects();
      await vi.advanceTimersByTimeAsync(1600);
      expect(asked).toHaveBeenCalledTimes(retried ? 2 : 1);
      expect(session.notices.value.map(({ message }) => message)).toEqual(told ? ["Not all cells can be shown: torn"] : []);
      asked.mockRestore();
      if (!retried) {
        wire.cut();
        wire.mend(); // at the same revision
      }
      await vi.advanceTimersByTimeAsync(1600);
    } finally {
      vi.useRealTimers();
    }
    await wire.settle();
    expect(session.objects.rows().length).toBe(1);
  });

  it("keeps a lock on its way though older rows arrive", async () => {
    const { server, wire, session } = await opened();
    const id = session.draw(stroke(20, 100, 130, 9));
    session.lock(true, [id]);
    await wire.deliver(0, 1); // of the drawing alone
    session.document?.paint(session.freshId(), stroke(20, 110, 120, 9), "overwrite");
    await wire.settle();
    expect(differences(server, session)).toEqual([]);
  });

  it("does an edit once though it is sent twice", async () => {
    const { server, wire, session } = await opened();
    session.draw(stroke(20, 100, 130, 9));
    const rev = server.rev;
    wire.cut(); // the answer is lost, the edit is not
    wire.mend();
    await wire.settle();
    expect(server.rev).toBe(rev);
    expect(session.unsaved.value).toBe(0);
  });

  it("sends what is drawn before the welcome after what was drawn before", async () => {
    const { server, wire, session } = await opened();
    wire.cut();
    session.document?.paint(session.freshId(), stroke(20, 100, 130, 9), "overwrite");
    wire.connect();
    const later = session.freshId();
    session.document?.paint(later, stroke(20, 110, 120, 9), "overwrite");
    wire.mend();
    await wire.settle();
    expect(server.labels[20 * WIDTH + 115]).toBe(later);
    expect(differences(server, session)).toEqual([]);
  });

  it("merges and deletes without writing a pixel, and undoes it", async () => {
    const { server, wire, session } = await opened();
    const a = session.draw(stroke(10, 100, 130, 9));
    const b = session.draw(stroke(30, 100, 130, 9));
    await wire.settle();
    const pixels = [...(session.document?.tiles.resident() ?? [])].map(([, data]) => data?.join());
    session.merge([a, b]);
    const after = [...(session.document?.tiles.resident() ?? [])].map(([, data]) => data?.join());
    expect(after.every((text, i) => text === pixels[i])).toBe(true);
    expect(session.document?.labels.at(30, 110)).toBe(session.document?.labels.at(10, 110));
    await wire.settle();
    expect(differences(server, session)).toEqual([]);
    session.undo();
    await wire.settle();
    expect(session.document?.labels.at(30, 110)).toBe(b);
    expect(differences(server, session)).toEqual([]);
  });

  it("lets go of what is there no longer", async () => {
    const { wire, session } = await opened();
    const kept = session.draw(stroke(10, 100, 130, 9));
    await wire.settle();
    const undone = session.draw(stroke(30, 100, 130, 9));
    await wire.settle();
    session.select([kept, undone]);
    session.undo();
    await wire.settle();
    expect([...session.selection.value]).toEqual([kept]);
  });

  it("takes back what the server refuses", async () => {
    const { server, wire, session } = await opened();
    const id = session.draw(stroke(10, 100, 130, 9));
    await wire.settle();
    server.foreign({ plane: 0, kind: "delete", ids: [id] });
    session.delete([id]); // both at once: ours comes second
    await wire.settle();
    expect(session.notices.value).toHaveLength(1);
    expect(differences(server, session)).toEqual([]);
  });

  it("leaves locked objects alone", async () => {
    const { server, wire, session } = await opened();
    const id = session.draw(stroke(10, 100, 130, 9));
    session.lock(true, [id]);
    session.document?.paint(0, stroke(10, 90, 140, 20), "overwrite");
    expect(session.document?.labels.at(10, 110)).toBe(id);
    await wire.settle();
    expect(differences(server, session)).toEqual([]);
  });

  it("asks again where something locked stood in the way: the lock may have been undone", async () => {
    const { server, wire, session } = await opened();
    const id = session.draw(stroke(10, 440, 440, 9));
    session.lock(true, [id]);
    session.undo();
    session.document?.paint(session.freshId(), stroke(10, 440, 440, 9), "overwrite");
    await wire.settle();
    expect(differences(server, session)).toEqual([]);
  });

  it("sends a brush stroke in less than a kilobyte", () => {
    const region = new Region([4096, 4096]);
    addStroke(region, [1000, 1000], [1200, 1300], 25);
    expect(encodeRuns(region.runs()).length).toBeLessThan(1024);
  });
});

type Step =
  | { do: "paint"; y: number; x: number; length: number; size: number; mode: Mode; pick: number; erase: boolean }
  | { do: "merge" | "delete" | "lock" | "foreign"; pick: number; other: number }
  | { do: "undo" | "redo" | "cut" | "connect" | "mend" | "settle" }
  | { do: "deliver"; requests: number; messages: number }
  | { do: "look"; x: number; zoom: number };

const pick = fc.nat(20);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("paint" as const), y: fc.integer({ min: 0, max: 40 }), x: fc.integer({ min: 440, max: 580 }),
      length: fc.nat(60), size: fc.integer({ min: 1, max: 30 }), mode: fc.constantFrom<Mode>("overwrite", "keep", "inside"),
      pick, erase: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("merge" as const, "delete" as const, "lock" as const, "foreign" as const), pick, other: pick }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("undo" as const, "redo" as const, "cut" as const, "connect" as const, "mend" as const, "settle" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("deliver" as const), requests: fc.nat(4), messages: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("look" as const), x: fc.integer({ min: 0, max: 600 }), zoom: fc.constantFrom(0.4, 1, 4) }) },
);

async function take(step: Step, server: FakeServer, wire: FakeWire, session: Session): Promise<void> {
  const rows = session.objects.rows();
  const idAt = (index: number): number => rows[index % Math.max(1, rows.length)]?.id ?? 0;
  switch (step.do) {
    case "paint": {
      const runs = stroke(step.y, step.x, step.x + step.length, step.size);
      const label = step.erase ? 0 : step.pick % 2 === 0 ? session.freshId() : idAt(step.pick);
      if (label !== 0 || step.erase) session.document?.paint(label, runs, step.mode, [idAt(step.pick + 1), 0].slice(0, 1 + (step.pick % 2)));
      return;
    }
    case "merge":
      return session.merge([idAt(step.pick), idAt(step.other)].filter((id) => id !== 0));
    case "delete":
      return session.delete([idAt(step.pick)]);
    case "lock":
      return session.lock(step.other % 2 === 0, [idAt(step.pick)]);
    case "foreign": {
      const ids = [...server.rows.keys()];
      const id = ids[step.pick % Math.max(1, ids.length)];
      const runs = encodeRuns(stroke(step.other * 2, 490, 540, 11));
      if (step.other % 3 === 0 && id) server.foreign({ plane: 0, kind: "delete", ids: [id] });
      else server.foreign({ plane: 0, kind: "paint", label: 900_000 + step.pick, runs, mode: "overwrite" });
      return;
    }
    case "undo":
      return session.undo();
    case "redo":
      return session.redo();
    case "cut":
      return wire.cut();
    case "connect":
      return wire.connected ? undefined : wire.connect();
    case "mend":
      return session.connection.value === "open" ? undefined : wire.mend();
    case "settle":
      return wire.settle();
    case "deliver":
      return wire.deliver(step.requests, step.messages);
    case "look":
      session.view.value = { centre: [20, step.x], zoom: step.zoom, width: 200, height: 40 };
  }
}

describe("page and server", () => {
  it("agree in the end, whatever is done and however late the answers are", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        const { server, wire, session } = await opened();
        for (const each of steps) await take(each, server, wire, session);
        if (session.connection.value !== "open") wire.mend();
        await wire.settle();
        expect(session.unsaved.value).toBe(0);
        expect(differences(server, session).slice(0, 5)).toEqual([]);
        const shown = session.objects.rows().map(({ id, area, locked }) => [id, area, locked]);
        const truth = [...server.rows.values()].map(({ id, area, locked }) => [id, area, locked]).sort((a, b) => (a[0] as number) - (b[0] as number));
        expect(shown).toEqual(truth);
      }),
      { numRuns: Number(process.env.RUNS ?? 60) },
    );
  }, 120_000);
});
