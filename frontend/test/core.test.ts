import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { RequestError } from "../src/core/http";
import { IdPool } from "../src/core/ids";
import { FLAG, Look } from "../src/core/look";
import { components, grown, Mask, shrunk, smoothed } from "../src/core/mask";
import { ObjectTable, type Cell } from "../src/core/objects";
import { PALETTE, slotOf, Slots } from "../src/core/palette";
import { Pyramid } from "../src/core/pyramid";
import { addPolygon, addStroke } from "../src/core/raster";
import { Remap } from "../src/core/remap";
import { areaOf, decodeRuns, encodeRuns, Region } from "../src/core/runs";
import { drawSection, readSection } from "../src/core/section";
import { Fate } from "../src/core/state";
import { TileCache } from "../src/core/tiles";
import { outlineOf } from "../src/core/trace";
import type { Point } from "../src/core/wire";
import { signal } from "@preact/signals-core";

const SHAPE: [number, number] = [60, 80];

function pixels(region: Region): Set<string> {
  const found = new Set<string>();
  const runs = region.runs();
  for (let i = 0; i < runs.length; i += 3) for (let x = runs[i + 1]; x < runs[i + 2]; x++) found.add(`${runs[i]},${x}`);
  return found;
}

const spans = fc.array(fc.tuple(fc.integer({ min: -2, max: 62 }), fc.integer({ min: -5, max: 85 }), fc.integer({ min: -5, max: 85 })));
const point = fc.tuple(fc.double({ min: -5, max: 65, noNaN: true }), fc.double({ min: -5, max: 85, noNaN: true })) as fc.Arbitrary<Point>;

describe("runs", () => {
  it("are written as the server reads them", () => {
    // The example of server/runs.py.
    expect([...encodeRuns(Int32Array.of(2, 5, 8, 2, 9, 11))]).toEqual([2, 5, 3, 0, 1, 2]);
  });

  it("come back as they were, with labels too", () => {
    fc.assert(
      fc.property(spans, fc.nat(2 ** 31 - 1), (list, label) => {
        const region = new Region(SHAPE);
        for (const [y, a, b] of list) region.add(y, Math.min(a, b), Math.max(a, b));
        const runs = region.runs();
        expect(decodeRuns(encodeRuns(runs))).toEqual(runs);
        const labelled = Int32Array.from({ length: (runs.length / 3) * 4 }, (_, i) => (i % 4 === 3 ? label : runs[Math.floor(i / 4) * 3 + (i % 4)]));
        expect(decodeRuns(encodeRuns(labelled, true), true)).toEqual(labelled);
      }),
    );
  });

  it("of a region are its pixels, once each, sorted", () => {
    fc.assert(
      fc.property(spans, (list) => {
        const region = new Region(SHAPE);
        const truth = new Set<string>();
        for (const [y, a, b] of list) {
          region.add(y, a, b);
          if (y >= 0 && y < 60) for (let x = Math.max(0, a); x < Math.min(80, b); x++) truth.add(`${y},${x}`);
        }
        expect(pixels(region)).toEqual(truth);
        expect(areaOf(region.runs())).toBe(truth.size);
      }),
    );
  });

  it("are refused when cut short", () => {
    expect(() => decodeRuns(Uint8Array.of(1, 2, 200))).toThrow("no runs");
  });
});

describe("tiles", () => {
  const tiles = [0, 1].map((tx) => ({ channel: 0, level: 0, ty: 0, tx }));

  it.each([[409, 1], [507, 1], [500, 3], [403, 3]])("that are answered with %d are asked for %d times in three seconds, and again when wished", async (status, times) => {
    vi.useFakeTimers();
    try {
      let broken = true;
      const asked = vi.fn(({ tx }: { tx: number }) => (broken && tx === 1 ? Promise.reject(new RequestError(status, "plane 3 is torn\n")) : Promise.resolve(null)));
      const cache = new TileCache(4, asked, { loaded() {}, written() {}, evicted() {} });
      const askedFor = (): number => asked.mock.calls.filter(([{ tx }]) => tx === 1).length;
      cache.want(tiles);
      await vi.advanceTimersByTimeAsync(3100);
      expect([askedFor(), cache.get(tiles[0]), cache.get(tiles[1])]).toEqual([times, null, undefined]);
      expect(cache.refusal.value).toBe(times === 1 ? "plane 3 is torn" : null);
      if (times === 1) {
        cache.want([...tiles].reverse());
        cache.refresh(({ tx }) => tx === 0);
        expect(askedFor()).toBe(1);
      }
      broken = false;
      cache.refresh(({ tx }) => tx === 1);
      await vi.advanceTimersByTimeAsync(1600);
      expect([cache.get(tiles[1]), cache.refusal.value]).toEqual([null, null]);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("drawing", () => {
  it("paints every pixel whose centre the brush reaches", () => {
    fc.assert(
      fc.property(point, point, fc.integer({ min: 1, max: 25 }), (a, b, diameter) => {
        const region = new Region(SHAPE);
        addStroke(region, a, b, diameter);
        const painted = pixels(region);
        const wrong: Point[] = [];
        for (let y = 0; y < SHAPE[0]; y++) {
          for (let x = 0; x < SHAPE[1]; x++) {
            const off = toSegment([y + 0.5, x + 0.5], a, b) - diameter / 2;
            const under = y === Math.floor(b[0]) && x === Math.floor(b[1]);
            if (Math.abs(off) > 1e-6 && painted.has(`${y},${x}`) !== (off < 0 || under)) wrong.push([y, x]);
          }
        }
        expect(wrong).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  it("fills every pixel whose centre is in a polygon", () => {
    fc.assert(
      fc.property(fc.array(point, { minLength: 3, maxLength: 8 }), (corners) => {
        const region = new Region(SHAPE);
        addPolygon(region, corners);
        const painted = pixels(region);
        for (let y = 0; y < SHAPE[0]; y += 3) {
          for (let x = 0; x < SHAPE[1]; x += 3) {
            const near = corners.some((corner, i) => toSegment([y + 0.5, x + 0.5], corner, corners[(i + 1) % corners.length]) < 1e-6);
            if (!near) expect([y, x, painted.has(`${y},${x}`)]).toEqual([y, x, winding([y + 0.5, x + 0.5], corners)]);
          }
        }
      }),
      { numRuns: 40 },
    );
  });
});

function toSegment(p: Point, a: Point, b: Point): number {
  const length = (b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2;
  const t = length === 0 ? 0 : Math.max(0, Math.min(1, ((p[0] - a[0]) * (b[0] - a[0]) + (p[1] - a[1]) * (b[1] - a[1])) / length));
  return Math.hypot(p[0] - a[0] - t * (b[0] - a[0]), p[1] - a[1] - t * (b[1] - a[1]));
}

/** Even-odd, by counting edges that a ray to the right crosses. */
function winding(p: Point, corners: readonly Point[]): boolean {
  let inside = false;
  corners.forEach((a, i) => {
    const b = corners[(i + 1) % corners.length];
    if (a[0] > p[0] !== b[0] > p[0] && p[1] < a[1] + ((p[0] - a[0]) / (b[0] - a[0])) * (b[1] - a[1])) inside = !inside;
  });
  return inside;
}

const mask = fc.array(fc.boolean(), { minLength: 120, maxLength: 120 }).map((bits) => {
  // A frame of background, so that nothing touches the window's edge.
  const out = new Mask(3, 5, 12, 14);
  bits.forEach((bit, i) => (out.data[(Math.floor(i / 12) + 1) * 14 + (i % 12) + 1] = bit ? 1 : 0));
  return out;
});

describe("shapes", () => {
  it("grow and shrink by a pixel", () => {
    fc.assert(
      fc.property(mask, (m) => {
        const [larger, smaller] = [grown(m), shrunk(m)];
        expect(m.minus(larger).area).toBe(0);
        expect(smaller.minus(m).area).toBe(0);
        expect(shrunk(larger).minus(m).area).toBe(shrunk(larger).area - m.area); // closing loses nothing
      }),
    );
  });

  it("smoothed stay one piece, and a disk stays a disk", () => {
    const disk = new Mask(0, 0, 21, 21);
    for (let y = 0; y < 21; y++) for (let x = 0; x < 21; x++) disk.data[y * 21 + x] = (y - 10) ** 2 + (x - 10) ** 2 <= 49 ? 1 : 0;
    expect(Math.abs(smoothed(disk).area - disk.area)).toBeLessThanOrEqual(disk.area * 0.03);
    fc.assert(
      fc.property(mask, (m) => {
        expect(components(smoothed(m)).length <= 1 || smoothed(m) === m).toBe(true);
      }),
    );
  });

  it("are traced along pixel edges: filling the outline gives the piece without holes", () => {
    fc.assert(
      fc.property(mask, (m) => {
        const piece = components(m)[0]?.mask;
        if (!piece) return;
        const region = new Region([40, 40]);
        addPolygon(region, outlineOf(piece));
        expect(region.runs()).toEqual(enclosed(piece).runs([40, 40]));
      }),
    );
  });
});

/** A 4-connected piece and what it encloses: background that does not reach the frame, by corners too. */
function enclosed(piece: Mask): Mask {
  const { width, data } = piece;
  const out = new Uint8Array(data.length).fill(1);
  const stack = [0];
  while (stack.length > 0) {
    const i = stack.pop() as number;
    if (out[i] === 0 || data[i] === 1) continue;
    out[i] = 0;
    for (const step of [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1]) {
      if (i + step >= 0 && i + step < data.length) stack.push(i + step);
    }
  }
  return Mask.like(piece, out);
}

describe("a table of joined ids", () => {
  it("resolves like sets that were united", () => {
    const remap = new Remap(() => {});
    remap.join(5, 3, [0, 0, 1, 1]);
    remap.join(3, 8, [1, 1, 2, 2]);
    expect([5, 3, 8].map((id) => remap.resolve(id))).toEqual([8, 8, 8]);
    remap.join(8, 5, [0, 0, 9, 9]); // they are one already
    expect(remap.resolve(8)).toBe(8);
    expect(remap.forget(3)).toEqual({ target: 8, box: [1, 1, 2, 2] });
    expect([5, 3].map((id) => remap.resolve(id))).toEqual([8, 3]); // what followed 3 belongs to 8 as before
    remap.join(8, 0, [0, 0, 9, 9]);
    expect(remap.resolve(5)).toBe(0);
    remap.release(8);
    expect(remap.resolve(5)).toBe(8);
  });
});

describe("ids", () => {
  it("are asked for early and once", () => {
    const asked: number[] = [];
    const pool = new IdPool((count) => asked.push(count));
    pool.add(1, 300);
    for (let i = 1; i <= 300; i++) expect(pool.take()).toBe(i);
    expect(pool.take()).toBe(null);
    expect(asked).toEqual([1024]);
    pool.add(5000, 5001);
    expect([pool.take(), pool.take(), pool.take()]).toEqual([5000, 5001, null]);
    pool.add(5001, 5003); // after a lost connection: 5001 is in an edit that waits
    expect([pool.take(), pool.take(), pool.take()]).toEqual([5002, 5003, null]);
  });
});

const cell = (more: Partial<Cell>): Cell => ({
  id: 1, plane: 0, y0: 10, x0: 10, y1: 20, x1: 20, area: 80, class: 0, class_given: false, origin: "auto", locked: false, score: 0.9,
  flow_error: 0.1, discarded: false, reason: "", ...more,
});

describe("thresholds", () => {
  const table = (): ObjectTable => {
    const objects = new ObjectTable(signal<[number, number]>([100, 100]));
    objects.apply([
      cell({ id: 1 }), cell({ id: 2, flow_error: 0.7 }), cell({ id: 3, flow_error: 0.7, origin: "manual" }), cell({ id: 4, area: 3 }),
      cell({ id: 5, flow_error: 0.9, x0: 3, discarded: true, reason: "flow_error" }), cell({ id: 6, x1: 100, class: 2 }),
      cell({ id: 8, flow_error: 0.7, class: 2, class_given: true }),
    ]);
    return objects;
  };

  it("leave the table's word until they are moved", () => {
    expect([1, 2, 3, 4, 5, 6].map((id) => table().fate(id))).toEqual([0, 0, 0, 0, Fate.flow_error, 0]);
  });

  it("hide, bring back, and never touch what a person made", () => {
    const objects = table();
    objects.moved.value = true;
    objects.thresholds.value = { flow_error: 0.5, score: null, min_size: 15, max_size: null, exclude_border: true };
    expect([1, 2, 3, 4, 5, 6, 8].map((id) => objects.fate(id))).toEqual([0, Fate.flow_error, 0, Fate.small, Fate.flow_error, Fate.border, 0]);
    objects.thresholds.value = { ...objects.thresholds.value, flow_error: 1 };
    expect(objects.fate(5)).toBe(Fate.kept);
    expect(objects.counts.value[Fate.kept]).toBe(5);
    objects.hiddenClasses.value = new Set([2]);
    expect(objects.fate(6)).toBe(Fate.filtered);
  });

  it("of size wait for the labels where a plane shows a part of each cell", () => {
    const objects = new ObjectTable(signal<[number, number]>([100, 100]), signal(true));
    objects.apply([cell({ id: 1, score: 0.2 }), cell({ id: 4, area: 3 })]);
    objects.moved.value = true;
    objects.thresholds.value = { flow_error: null, score: 0.5, min_size: 15, max_size: 20, exclude_border: false };
    expect([1, 4].map((id) => objects.fate(id))).toEqual([Fate.score, Fate.kept]);
  });

  it("count a candidate once that undo has made an object again", () => {
    const objects = table();
    const before = objects.counts.value;
    objects.apply([cell({ id: 7, flow_error: 0.9, x0: 3 })]);
    expect(objects.fate(5)).toBe(Fate.filtered);
    expect(objects.counts.value[Fate.kept]).toBe(before[Fate.kept] + 1);
    expect(objects.counts.value[Fate.flow_error]).toBe(0);
  });
});

describe("a cut through planes", () => {
  const section = readSection(
    Uint8Array.from([0, 100, 200, 50, 50, 50, ...[0, 7, 7, 0, 0, 0].flatMap((id) => [id, 0, 0, 0])]).buffer, 2, 3, 1, 8,
  );
  const view = {
    from: 0, scale: 1, step: 2, width: 3, height: 4, here: 9, invert: false, labels: null,
    channels: [{ channel: 0, color: [255, 255, 255] as const, low: 0, high: 200, gamma: 1 }],
  };
  const rows = (drawn: Uint8ClampedArray): number[][] => [0, 1, 2, 3].map((row) => [0, 1, 2].map((column) => drawn[4 * (3 * row + column)]));

  it("has planes as far apart as they lie, the first at the top", () => {
    expect(rows(drawSection(section, view))).toEqual([[0, 128, 255], [0, 128, 255], [64, 64, 64], [64, 64, 64]]);
    expect(rows(drawSection(section, { ...view, from: 1 }))[0]).toEqual([128, 255, 0]); // and nothing beyond its end
  });

  it("shows cells in their colours, the chosen one with a white line", () => {
    const state = new Uint8Array(4096 * 4);
    state.set([FLAG.selected, 1, 0, 255], 4 * 7);
    const labels = { state, colorMode: 0 as const, fill: 1, outline: 1, reach: 1, classColors: [] };
    const drawn = drawSection(section, { ...view, labels });
    expect([...drawn.subarray(4, 8)]).toEqual([255, 255, 255, 255]);
    expect([...drawn.subarray(0, 4)]).toEqual([0, 0, 0, 255]);
    state[4 * 7] = 0;
    expect([...drawSection(section, { ...view, labels: { ...labels, outline: 0 } }).subarray(4, 7)]).toEqual([...PALETTE[0]]);
  });

  it("of another size than its image is refused", () => {
    expect(() => readSection(new ArrayBuffer(7), 2, 3, 1, 8)).toThrow("another size");
  });
});

describe("colours", () => {
  // Machado, Oliveira and Fernandes (2009), severity 1: normal, protan, deutan, tritan.
  const EYES = [
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
  ];

  function lab(rgb: readonly number[], eye: number[][]): number[] {
    const linear = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    const [r, g, b] = eye.map((row) => Math.min(1, Math.max(0, row[0] * linear[0] + row[1] * linear[1] + row[2] * linear[2])));
    const f = (t: number): number => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
    const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047);
    const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
    const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883);
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
  }

  it("differ clearly to every kind of eye", () => {
    for (const eye of EYES) {
      const seen = PALETTE.map((rgb) => lab(rgb, eye));
      seen.forEach((a, i) => seen.slice(i + 1).forEach((b) => expect(Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2])).toBeGreaterThan(20)));
    }
  });

  it("differ between neighbours, whatever colours their ids had in the image before", () => {
    const twin = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20].find((id) => slotOf(id) === slotOf(1)) as number;
    const objects = new ObjectTable(signal<[number, number]>([100, 100]));
    const look = new Look();
    const slots = (image: string, x0: number): number[] => {
      objects.apply([cell({ id: 1 }), cell({ id: twin, x0, x1: x0 + 10 })]);
      look.update(image, objects, new Set());
      return [1, twin].map((id) => look.bytes[id * 4 + 1]);
    };
    const [a, b] = slots("far apart", 80);
    expect(a).toBe(b);
    const [c, d] = slots("side by side", 20);
    expect(c).not.toBe(d);
  });

  it("differ between neighbours, and stay when objects come and go", () => {
    const cells: Cell[] = [];
    for (let i = 0; i < 900; i++) {
      const [y, x] = [Math.floor(i / 30) * 20, (i % 30) * 20];
      cells.push(cell({ id: 7 * i + 1, y0: y, x0: x, y1: y + 20, x1: x + 20 }));
    }
    const slots = new Slots();
    slots.assign(cells.slice(100));
    const before = cells.slice(100).map(({ id }) => slots.get(id));
    slots.assign(cells);
    expect(cells.slice(100).map(({ id }) => slots.get(id))).toEqual(before);
    cells.forEach(({ id }, i) => {
      if (i % 30 < 29) expect(slots.get(id)).not.toBe(slots.get(cells[i + 1].id));
      if (i < 870) expect(slots.get(id)).not.toBe(slots.get(cells[i + 30].id));
    });
  });
});

describe("a pyramid", () => {
  it("covers every pixel with one tile a level, the middle first", () => {
    const pyramid = new Pyramid([30_000, 20_001], 7, 1);
    expect([pyramid.rows(0), pyramid.columns(0), pyramid.rows(6), pyramid.columns(6)]).toEqual([59, 40, 1, 1]);
    expect([64, 1, 0.5, 0.3, 0.001].map((zoom) => pyramid.levelAt(zoom))).toEqual([0, 0, 1, 1, 6]);
    const tiles = pyramid.tilesIn([1000, 1000, 2048, 2048], 1);
    expect(tiles).toHaveLength(4);
    expect(tiles[0]).toEqual({ channel: 0, level: 1, ty: 1, tx: 1 });
  });
});
