// What the panels say and send, as far as it needs no document.

import { readFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import type { Notice } from "../src/core/state";
import type { Job } from "../src/core/wire";
import { brief, ends } from "../src/ui/charts";
import { download, making, nameOf } from "../src/ui/download";
import { said } from "../src/ui/JobProgress";
import { anisotropy, channels, followModel, model, recipe } from "../src/ui/recipe";
import { leftAlone, length } from "../src/ui/words";
import { HEIGHT, opened, WIDTH } from "./fake";

describe("what moves without end", () => {
  it("does so in steps: in a browser without a graphics card it would else take a core from what is waited for", () => {
    const styles = readFileSync(new URL("../src/ui/styles.css", import.meta.url), "utf8");
    const endless = [...styles.matchAll(/animation:[^;]*infinite[^;]*;/g)].map(([rule]) => rule);
    expect(endless.length).toBeGreaterThan(0);
    expect(endless.filter((rule) => !rule.includes("steps("))).toEqual([]);
  });
});

describe("numbers", () => {
  it.each([
    [-12.34, "-12.3"], [9999, "9999"], [12_345, "12.3k"], [999_499, "999k"], [999_500, "1.00M"], [-25_000_000, "-25.0M"],
    [999.4e6, "999M"], [999.5e6, "1.00G"], [25e9, "25.0G"],
  ])("%d has three digits", (value, text) => expect(brief(value)).toBe(text));

  it("may be as many as there are cells", () => {
    const many = Array.from({ length: 300_000 }, (_, i) => i - 7);
    expect([ends(many), ends(many, -9, 1e6), ends([])]).toEqual([[-7, 299_992], [-9, 1e6], [Infinity, -Infinity]]);
  });

  it("of micrometres are written out", () => {
    expect(length(4000, 0.5)).toBe("4000 px · 2,000 µm");
    expect(length(9, 0.1)).toBe("9.0 px · 0.9 µm");
  });
});

const job = (more: Partial<Job>): Job => ({
  id: "a", kind: "train", image: null, state: "running", done: 3, total: 9, message: "step 3 of 9", eta_s: 40, stopping: false, ended: false, error: null,
  hint: null, result: null, ...more,
});

describe("a job", () => {
  it.each([
    [{}, "step 3 of 9 · 40 s left"], [{ state: "queued" }, "waits for its turn"], [{ stopping: true }, "stopping"],
    [{ stopping: true, result: { loss: [1] } }, "finishing; the best so far is kept"],
    [{ stopping: true, ended: true, result: { loss: [1] } }, "ending; nothing of it is kept"],
  ] as const)("%o says %s", (more, words) => expect(said(job(more))).toBe(words));
});

describe("a file to take along", () => {
  const fetched = async (answer: () => Response): Promise<{ given: string[]; notices: readonly Notice[]; while: boolean; after: boolean }> => {
    const { session } = await opened();
    const given: string[] = [];
    const link = { href: "", download: "", click: () => given.push(link.download) };
    vi.stubGlobal("document", { createElement: () => link });
    vi.stubGlobal("fetch", () => new Promise((resolve) => setTimeout(resolve)).then(answer));
    vi.spyOn(URL, "createObjectURL").mockReturnValue("");
    const done = download(session, "api/export/csv", "Measurements of all images");
    const busy = making.value.has("api/export/csv");
    await done;
    vi.unstubAllGlobals();
    return { given, notices: session.notices.value, while: busy, after: making.value.size > 0 };
  };

  it("is given under the server's name; meanwhile it is known to be made", async () => {
    const headers = { "content-disposition": `attachment; filename="all_objects.csv"` };
    expect(await fetched(() => new Response("a", { headers }))).toEqual({ given: ["all_objects.csv"], notices: [], while: true, after: false });
    expect(nameOf("attachment; filename*=utf-8''Zellen%20%C2%B5.csv")).toBe("Zellen µ.csv");
  });

  it.each([
    [() => new Response("no image has cells yet", { status: 400 }), "no image has cells yet"],
    [(): Response => { throw new TypeError("Failed to fetch"); }, "the server does not answer: try again when it is back"],
  ])("that cannot be made says why", async (answer, hint) => {
    const { given, notices, after } = await fetched(answer);
    expect([given, notices.map((notice) => [notice.message, notice.hint]), after]).toEqual([[], [["Measurements of all images could not be made", hint]], false]);
  });
});

describe("many images", () => {
  it.each([
    [3, 0, ""], [3, 1, "1 with corrections or marked done is left alone."], [0, 2, "Nothing is left to segment. 2 with corrections or marked done are left alone."],
    [0, 0, "Nothing is left to segment."],
  ])("%i to segment and %i begun on", (open, begun, words) => expect(leftAlone(open, begun)).toBe(words));
});

describe("the recipe", () => {
  it("takes the model that was chosen until another is put to use", async () => {
    const { session, server } = await opened();
    const stop = followModel(session);
    const use = (name: string): void => session.receive({ type: "project", project: { ...server.project, model: name } });
    const asked = () => recipe(session).value.model;
    expect(asked()).toBe("compact");
    model.value = "other";
    use("compact"); // told again
    expect(asked()).toBe("other");
    for (const name of ["round 1", "compact"]) {
      use(name);
      expect(asked()).toBe(name);
    }
    stop();
  });

  it("tells a model the doubt of another one only where a person chose it", async () => {
    const { session, server } = await opened();
    const limits = { flow_threshold: 0.4, cellprob_threshold: 0, niter: null, min_size: 15, max_size_fraction: null, exclude_border: false, min_score: 0.3 };
    const asked = () => [recipe(session).value.flow_threshold, recipe(session).value.min_score, recipe(session).value.min_size];
    const made = (more: object): void => session.receive({ type: "image", image: { ...server.info, model: "compact", limits: { ...limits, ...more } } });
    expect(asked()).toEqual([undefined, undefined, 15]); // before the first run
    made({});
    expect(asked()).toEqual([0.4, 0.3, 15]);
    model.value = "other";
    expect(asked()).toEqual([undefined, undefined, 15]);
    session.setThresholds({ score: 0.5 });
    session.objects.moved.value = false; // as the labels that follow make it
    session.rethreshold();
    session.receive({ type: "job", job: job({ kind: "rethreshold", image: "i" }) });
    made({ min_score: 0.5 });
    expect(asked()).toEqual([undefined, 0.5, 15]);
    made({ min_score: 0.2 }); // by somebody else
    expect(asked()).toEqual([undefined, undefined, 15]);
    model.value = null;
    expect(asked()).toEqual([0.4, 0.2, 15]);
  });

  it("asks for cells in 3-D of stacks, as those of the open one were found or as was chosen", async () => {
    const { session, server } = await opened();
    const asked = (many = false) => [recipe(session, many).value.volume, recipe(session, many).value.anisotropy];
    const is = (more: object): void => session.receive({ type: "image", image: { ...server.info, ...more } });
    const limits = { flow_threshold: 0.4, cellprob_threshold: 0, niter: null, min_size: 15, max_size_fraction: 0.5, exclude_border: false, min_score: 0.3 };
    expect(asked()).toEqual([undefined, undefined]);
    is({ volume: true, joined: true, limits });
    expect(asked()).toEqual([true, undefined]);
    expect(session.objects.thresholds.value.max_size).toBe(HEIGHT * WIDTH); // half of two planes
    expect(recipe(session).value.max_size_fraction).toBe(0.5);
    session.through.value = false;
    expect(asked()).toEqual([undefined, undefined]);
    expect(recipe(session).value.max_size_fraction).toBe(undefined); // it was of volumes
    session.through.value = true;
    anisotropy.value = 4;
    expect(asked()).toEqual([true, 4]);
    is({ z: 1 }); // flat, beside stacks
    expect([asked(), asked(true)]).toEqual([[undefined, undefined], [true, 4]]);
    anisotropy.value = null;
  });

  it("names a channel only where the open image has it, for many images by its name", async () => {
    const { session } = await opened();
    const sent = (names: string[]) => {
      session.channels.value = names.map((name) => ({ name, visible: true, color: "", low: 0, high: 1, gamma: 1, min: 0, max: 1 }));
      return [recipe(session).value.channels, recipe(session, true).value.channels];
    };
    channels.value = [1];
    expect(sent(["DAPI", "GFP"])).toEqual(["1", "GFP"]);
    expect(sent(["0", "1"])).toEqual(["1", "1"]);
    expect(sent(["DAPI"])).toEqual([undefined, undefined]);
    channels.value = [0];
    expect(sent(["DAPI"])).toEqual([undefined, undefined]);
    channels.value = [0, 3];
    expect(sent(["DAPI", "GFP", "RFP", "Cy5"])).toEqual(["0,3", "DAPI,Cy5"]);
    expect(sent(["DAPI", "GFP", "RFP", "DAPI"])).toEqual(["0,3", "0,3"]); // a name twice tells nothing
    expect(sent(["a=b", "GFP", "RFP", "Cy5"])).toEqual(["0,3", "0,3"]);
    channels.value = [];
    expect(sent(["DAPI", "GFP"])).toEqual([undefined, undefined]);
  });
});
