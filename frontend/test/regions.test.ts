// Regions of the picture: drawn, named, counted, and taken away.

import { describe, expect, it, vi } from "vitest";
import { anchorOf, boxOfRegion, freshName, pathOf, withDrawn } from "../src/core/regions";
import type { Point, Region } from "../src/core/wire";
import { opened, stroke } from "./fake";

const square = (y: number, x: number, size: number): Point[][][] => [[[[y, x], [y, x + size], [y + size, x + size], [y + size, x]]]];
const region = (name: string, ...ids: string[]): Region => ({ name, parts: ids.map((id) => ({ id, polygons: square(0, 0, 9) })), objects: 3, area_px: 81 });

describe("regions", () => {
  it("are those of an edit at once, and only what it changed has to be counted anew", () => {
    const before = [region("tumour", "a", "b"), region("stroma", "c")];
    const after = withDrawn(before, [{ id: "d", name: "tumour", polygons: square(20, 20, 5) }]);
    expect(after.map(({ name, parts, objects }) => [name, parts.map(({ id }) => id).join(""), objects])).toEqual([["tumour", "abd", undefined], ["stroma", "c", 3]]);
    const renamed = withDrawn(before, [{ id: "c", name: "tumour", polygons: square(0, 0, 9) }]);
    expect(renamed.map(({ name, parts }) => [name, parts.length])).toEqual([["tumour", 3]]);
    const moved = withDrawn(before, [{ id: "a", name: "tumour", polygons: square(5, 5, 9) }]);
    expect([moved[0].parts[0].polygons, moved[0].parts[1].id, moved[0].objects]).toEqual([square(5, 5, 9), "b", undefined]);
    expect(withDrawn(before, ["a", "b"].map((id) => ({ id, name: "", polygons: [] })))).toEqual([before[1]]);
    expect(before[0].objects).toBe(3); // what was told stays as it is
  });

  it("have a name that none has, a box, a path and a place for the name", () => {
    expect([freshName([]), freshName([region("Region 1"), region("Region 3")])]).toEqual(["Region 1", "Region 2"]);
    const both = { name: "x", parts: [{ id: "a", polygons: square(4, 5, 6) }, { id: "b", polygons: square(-2, 30, 3.5) }] };
    expect(boxOfRegion(both)).toEqual([-2, 5, 10, 33.5]);
    expect(pathOf([[[[0, 1], [2, 3], [4, 5]], [[1, 1], [1, 2], [2, 1]]]])).toBe("M1 0L3 2L5 4ZM1 1L2 1L1 2Z");
    expect(anchorOf(square(4, 5, 6))).toEqual([4, 8]);
  });
});

describe("a session", () => {
  const outline: Point[] = [[5, 5], [5, 50], [30, 50]];

  it("shows a region at once, and what is in it when the server has counted", async () => {
    const { wire, session, server } = await opened();
    session.drawRegion(outline);
    expect(session.regions.value.map(({ name, objects }) => [name, objects])).toEqual([["Region 1", undefined]]);
    expect(session.sending.value).toBe("region");
    await wire.settle();
    expect(session.regions.value.map(({ name, objects }) => [name, objects])).toEqual([["Region 1", 7]]);
    session.beginRegion("Region 1");
    session.drawRegion(outline);
    session.beginRegion(null);
    session.drawRegion(outline);
    await wire.settle();
    expect(server.regions.map(({ name, parts }) => [name, parts.length])).toEqual([["Region 1", 2], ["Region 2", 1]]);
    session.renameRegion("Region 2", "  the \t edge ");
    session.renameRegion("Region 1", " ");
    await wire.settle();
    expect(server.regions.map(({ name }) => name)).toEqual(["Region 1", "the edge"]);
    expect(session.regionName.value).toBe("the edge");
    session.deleteRegion("Region 1");
    await wire.settle();
    expect(server.regions.map(({ name }) => name)).toEqual(["the edge"]);
  });

  it("keeps what is drawn while the connection is lost, and sends it when it is back", async () => {
    const { wire, session, server } = await opened();
    wire.cut();
    session.drawRegion(outline);
    expect([session.regions.value.length, session.unsaved.value]).toEqual([1, 1]);
    server.regions = [region("somebody else's", "z")];
    wire.mend();
    await wire.deliver();
    expect(session.regions.value.map(({ name }) => name)).toContain("Region 1"); // also before it is confirmed
    await wire.settle();
    expect(server.regions.map(({ name }) => name)).toEqual(["somebody else's", "Region 1"]);
    expect(session.regions.value.map(({ name }) => name)).toEqual(["somebody else's", "Region 1"]);
  });

  it("shows what the server has where an edit is refused, and nothing in a project that is only looked at", async () => {
    const { wire, session } = await opened();
    session.regionGrown.value = "refused";
    session.drawRegion(outline);
    await wire.settle();
    expect(session.regions.value).toEqual([]);
    expect(session.notices.value.at(-1)?.message).toContain("not possible");
    session.project.value = { ...session.project.value!, read_only: true };
    session.drawRegion(outline);
    expect([session.regions.value, session.unsaved.value]).toEqual([[], 0]);
  });

  it("selects the cells that are counted in a region, or in none, as the labels are now", async () => {
    const { wire, session } = await opened();
    for (const x of [50, 150, 250]) session.draw(stroke(20, x, x + 9, 9));
    await wire.settle();
    const ids = session.objects.rows().map(({ id }) => id);
    const json = wire.json.bind(wire);
    vi.spyOn(wire, "json").mockImplementation(<T>(path: string) =>
      path.includes("/measurements") ? Promise.resolve({ label: ids, region: ["tumour", "", "tumour"] } as T) : json<T>(path));
    await session.selectInRegion("tumour");
    expect([...session.selection.value]).toEqual([ids[0], ids[2]]);
    await session.selectInRegion("");
    expect([...session.selection.value]).toEqual([ids[1]]);
    await session.selectInRegion("stroma");
    expect([session.selection.value.size, session.notices.value.at(-1)?.message]).toEqual([0, "No cell is counted in stroma"]);
  });

  it("forgets regions with the image, and hears of others' in any plane", async () => {
    const { wire, session, server } = await opened();
    session.drawRegion(outline);
    await wire.settle();
    session.setPlane(1);
    await wire.settle();
    server.regions = [region("theirs", "t")];
    session.receive({ type: "patch", image: "i", plane: 0, rev: 9, by: "me", runs: null, tiles: [], objects: [], regions: true });
    await wire.settle();
    expect(session.regions.value.map(({ name }) => name)).toEqual(["theirs"]);
    expect(session.plane.value).toBe(1);
    expect(session.regionName.value).toBe(null);
    server.regions = [];
    session.openImage("j");
    expect(session.regions.value).toEqual([]);
  });
});
