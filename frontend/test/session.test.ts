// What the page does when the server speaks, is silent, or comes back.

import { computed, effect } from "@preact/signals-core";
import { describe, expect, it, vi } from "vitest";
import type { Http } from "../src/core/http";
import type { Hand } from "../src/core/session";
import { Fate, type ChannelSettings } from "../src/core/state";
import { channelsOf } from "../src/core/viewing";
import type { AddReport, FromServer, Job, JobState } from "../src/core/wire";
import { opened, stroke } from "./fake";

const job = (more: Partial<Job>): Job => ({
  id: "a", kind: "suggest", image: null, state: "running", done: 0, total: 0, message: "", eta_s: null, stopping: false, ended: false, error: null,
  hint: null, result: null, ...more,
});

describe("an image", () => {
  it("that is chosen while the connection is lost opens when it is back", async () => {
    const { wire, session } = await opened();
    wire.cut();
    session.openImage("j");
    await wire.deliver();
    expect(session.picture.value).toBe(null);
    wire.mend();
    await wire.settle();
    expect(session.picture.value?.info.id).toBe("j");
  });

  it("that could not be opened is tried again when it is chosen again", async () => {
    const { wire, session } = await opened();
    wire.connected = false; // shorter than the page takes to notice
    session.openImage("j");
    await wire.deliver();
    wire.connected = true;
    session.openImage("j");
    await wire.settle();
    expect(session.picture.value?.info.id).toBe("j");
  });

  it("has its own channels though another plane of it is shown before it has opened", async () => {
    const { wire, session } = await opened();
    session.setChannel(0, { low: 77 });
    session.openImage("j");
    session.setPlane(1);
    await wire.settle();
    expect(session.picture.value?.plane).toBe(1);
    expect(session.channels.value[0].low).toBe(0);
  });

  it("whose cells reach through planes keeps what is chosen there, and copies of it are the same cell", async () => {
    const { wire, session, server } = await opened();
    const [first, second] = [session.draw(stroke(10, 50, 60, 9)), session.draw(stroke(30, 50, 60, 9))];
    await wire.settle();
    const info = { ...server.info, joined: false };
    vi.spyOn(server, "info", "get").mockImplementation(() => info);
    const copies: [number, number][] = [];
    const handle = server.handle.bind(server);
    vi.spyOn(server, "handle").mockImplementation((message) => {
      if (message.type !== "edit" || message.kind !== "batch") return handle(message);
      for (const { label, plane } of message.parts!) copies.push([label!, plane]);
    });
    session.select([first]);
    session.copyToNextPlane();
    await vi.waitFor(() => expect(session.plane.value).toBe(1));
    expect(copies).toEqual([[second + 1, 1]]); // in planes each has cells of its own
    expect(session.selection.value.size).toBe(0);
    session.setPlane(0);
    await wire.settle();
    info.joined = true;
    session.receive({ type: "image", image: { ...info } });
    session.select([first, second]);
    session.copyToNextPlane();
    await vi.waitFor(() => expect(session.plane.value).toBe(1));
    expect(copies.slice(1)).toEqual([[first, 1], [second, 1]]);
    expect(session.selection.value).toEqual(new Set([first, second]));
    // What is chosen in another plane can be joined with what goes on here, and cut off from here on.
    const asked: object[] = [];
    vi.spyOn(server, "handle").mockImplementation((message) => {
      if (message.type === "edit") asked.push({ kind: message.kind, ids: message.ids, line: message.line, plane: message.plane });
    });
    await wire.settle();
    session.objects.apply([{ id: second, gone: true }]);
    session.merge([second, first]);
    session.splitHere();
    session.select([second]);
    session.fillBetween();
    expect(asked).toEqual([
      { kind: "merge", ids: [first, second], line: undefined, plane: 1 },
      { kind: "split", ids: [first], line: [], plane: 1 },
      { kind: "interpolate", ids: [second], line: undefined, plane: 1 },
    ]);
    session.setPlane(0);
    await wire.settle();
    session.select([first]);
    session.splitHere(); // there is nothing before the first plane
    expect(asked).toHaveLength(3);
  });

  it("with many channels shows as many as are drawn at once", async () => {
    const { server, session } = await opened();
    const channels = Array.from({ length: 10 }, (_, index) => ({ ...server.info.channels[0], index, name: `C${index}` }));
    session.channels.value = channelsOf({ ...server.info, channels }, []);
    const shown = () => session.channels.value.filter(({ visible }) => visible).length;
    expect(shown()).toBe(8);
    session.showChannel(1);
    expect(shown()).toBe(1);
    session.showChannel(-1);
    expect(shown()).toBe(8);
  });

  it("does not take the looks of another one's unnamed channels, nor nothing at all", async () => {
    const { server } = await opened();
    const [first] = server.info.channels;
    const shown = (names: string[], before: readonly ChannelSettings[] = []) => channelsOf({ ...server.info, channels: names.map((name, index) => ({ ...first, index, name })) }, before);
    const two = shown(["0", "1"]).map((channel, i) => ({ ...channel, color: "#1fe07a", visible: i === 1 }));
    expect(shown(["0"], two)).toMatchObject([{ color: "#ffffff", visible: true }]);
    expect(shown(["0", "1"], two)).toEqual(two);
    const named = shown(["DAPI", "GFP"]).map((channel, i) => ({ ...channel, gamma: 2, visible: i === 0 }));
    expect(shown(["0", "DAPI"], named)[1].gamma).toBe(2);
    expect(shown(["GFP"], named)).toMatchObject([{ visible: true }]);
  });

  it("after and before the open one is the next that is listed", async () => {
    const { session, server } = await opened();
    const images = ["a 1", "b 1", "a 2", "b 2"].map((name) => ({ ...server.info, id: name, name }));
    session.receive({ type: "project", project: { ...server.project, images } });
    const walk = (from: string, step: 1 | -1): string | null => {
      session.imageId.value = from;
      session.nextImage(step);
      return session.imageId.value;
    };
    expect([walk("a 1", 1), walk("b 2", -1), walk("b 2", 1)]).toEqual(["b 1", "a 2", "b 2"]);
    session.wanted.value = "B";
    expect([walk("b 1", 1), walk("b 2", -1), walk("b 1", -1)]).toEqual(["b 2", "b 1", "b 1"]);
    expect([walk("a 2", 1), walk("a 2", -1)]).toEqual(["b 2", "b 1"]); // listed no more
    session.wantedState.value = "done";
    expect(walk("b 1", 1)).toBe("b 1");
  });

  it("is shown at the place that was asked for, whichever was open", async () => {
    const { wire, session } = await opened();
    for (const [image, plane] of [["j", 1], ["j", 1], ["j", 0], ["i", 1]] as const) {
      session.goTo({ image, plane, box: [10, 500, 30, 520] });
      await wire.settle();
      expect(session.picture.value).toMatchObject({ info: { id: image }, plane });
      expect(session.view.value.centre).toEqual([20, 510]);
      session.centreOn([0, 0]);
    }
  });
});

describe("cells", () => {
  it("that are being fetched are not said to be none, and while they are fetched again those from before stay", async () => {
    const { wire, session } = await opened();
    const known = () => [session.objects.loaded.value, session.objects.rows().length];
    expect(known()).toEqual([true, 0]);
    session.draw(stroke(20, 100, 140, 9));
    await wire.settle();
    void session.document?.loadObjects();
    expect(known()).toEqual([true, 1]);
    await wire.settle();
    session.setPlane(1);
    expect(known()).toEqual([false, 0]);
    await wire.settle();
    expect(session.objects.loaded.value).toBe(true);
  });
});

describe("without a server", () => {
  it("what needs one says so", async () => {
    const { wire, session } = await opened();
    const actions = [
      () => session.setImageState("done"), () => session.setClasses([]), () => session.segment({}), () => session.undo(),
      () => session.setProjectName("p"), () => session.setPixelSize(1), () => session.activateModel("m"), () => session.cancelJob("a"),
    ];
    for (const act of actions) act();
    expect(session.notices.value).toEqual([]);
    wire.cut();
    for (const act of actions) {
      session.notices.value = [];
      act();
      expect(session.notices.value).toHaveLength(1);
    }
  });
});

const limits = { flow_threshold: 0, cellprob_threshold: 0, niter: null, min_size: 15, max_size_fraction: null, exclude_border: false, min_score: 0 };

describe("limits of cells", () => {
  const segmented = async (): ReturnType<typeof opened> => {
    const page = await opened();
    page.session.receive({ type: "image", image: { ...page.server.info, limits } });
    return page;
  };

  it("that were moved without a server are sent when it is back, until it has heard of them", async () => {
    const { wire, server, session } = await segmented();
    const heard = vi.spyOn(server, "handle");
    const submitted = () => heard.mock.calls.filter(([message]) => message.type === "submit").map(([message]) => message);
    wire.cut();
    session.setThresholds({ min_size: 40 });
    session.rethreshold();
    wire.mend();
    expect(submitted()).toMatchObject([{ kind: "rethreshold", image: "i", params: { min_size: 40 } }]);
    session.receive({ type: "job", job: job({ kind: "rethreshold", image: "i" }) });
    wire.cut();
    wire.mend();
    expect(submitted()).toHaveLength(1);
  });

  it("that were suggested are taken as if the sliders had been moved there", async () => {
    const { server, session } = await segmented();
    const heard = vi.spyOn(server, "handle");
    const submitted = () => heard.mock.calls.filter(([message]) => message.type === "submit").map(([message]) => message);
    session.setThresholds({ exclude_border: true });
    session.suggestLimits();
    expect(submitted()).toMatchObject([{ kind: "limits", image: "i", params: { exclude_border: true } }]);
    const advised = { cellprob_threshold: -1, flow_threshold: 0, min_score: 0.7, min_size: 60 };
    session.useLimits(advised);
    expect(submitted()[1]).toMatchObject({ kind: "rethreshold", image: "i", params: { ...advised, exclude_border: true } });
    expect(session.objects.thresholds.value).toMatchObject({ score: 0.7, flow_error: null, min_size: 60 });
    expect(session.dynamics.value.cellprob_threshold).toBe(-1);
  });

  it("are followed once a slider rests, and at once when the image is left", async () => {
    const { server, session } = await segmented();
    const heard = vi.spyOn(server, "handle");
    const submitted = () => heard.mock.calls.filter(([message]) => message.type === "submit").map(([message]) => message);
    vi.useFakeTimers();
    try {
      session.setThresholds({ min_size: 40 });
      session.rethresholdSoon();
      session.setThresholds({ min_size: 41 });
      session.rethresholdSoon();
      expect(submitted()).toEqual([]);
      session.openImage("j");
      expect(submitted()).toMatchObject([{ image: "i", params: { min_size: 41 } }]);
      vi.runAllTimers();
      expect(submitted()).toHaveLength(1);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("limits that cells cannot follow", () => {
  it.each([
    ["are those of an image that no run has looked at", "unsegmented", {}],
    ["are those of an image too large to keep what the model saw", "large", { limits, shape: [2 ** 14, 2 ** 13] }],
    ["are those of cells that are not the model's", "drawn", { limits }],
  ] as const)("%s: they hide nothing and start no job", async (_, why, more) => {
    const { session, server } = await opened();
    session.objects.apply([{ id: 1, area: 5, origin: why === "drawn" ? "manual" : "auto" }, { id: 2, origin: "auto", discarded: true }]);
    session.receive({ type: "image", image: { ...server.info, ...more, shape: [...("shape" in more ? more.shape : server.info.shape)] } });
    const heard = vi.spyOn(server, "handle");
    session.setThresholds({ min_size: 40 });
    session.rethreshold({ cellprob_threshold: 2 });
    expect([session.rigid.value, session.objects.fate(1), heard.mock.calls.length]).toEqual([why, Fate.kept, 0]);
    expect(session.limits()).toMatchObject({ min_size: 40, cellprob_threshold: 2 }); // of the next run
  });

  it("are followed once there are cells of the model, told a moment before its limits", async () => {
    const { session, server } = await opened();
    session.objects.apply([{ id: 1, area: 5, origin: "auto" }]);
    const segment = (state: JobState, result: object | null): void => session.receive({ type: "job", job: job({ kind: "segment", image: "i", state, result: { ...result } }) });
    const told = [{}, { diameter_px: 30 }].map((result) => {
      segment("running", null);
      segment("done", result); // only in sight, then all
      return session.rigid.value;
    });
    session.receive({ type: "image", image: { ...server.info, limits } });
    session.setThresholds({ min_size: 40 });
    expect([told, session.rigid.value, session.objects.fate(1)]).toEqual([["unsegmented", null], null, Fate.small]);
  });

  it("do not hide a cell whose class was given meanwhile, perhaps by somebody else", async () => {
    const { wire, session, server } = await opened();
    session.objects.apply([1, 2].map((id) => ({ id, area: 20, origin: "auto" })));
    session.receive({ type: "image", image: { ...server.info, limits } });
    for (const id of [1, 2]) server.rows.set(id, { id, plane: 0, area: 20, origin: "auto", class_given: id === 2 });
    session.setThresholds({ min_size: 40 });
    await wire.settle();
    expect([1, 2].map((id) => session.objects.fate(id))).toEqual([Fate.small, Fate.kept]);
  });

  it("because the job came to nothing hide no cell that is in every file", async () => {
    const { session, server } = await opened();
    session.objects.apply([{ id: 1, area: 20, origin: "auto" }]);
    session.receive({ type: "image", image: { ...server.info, limits } });
    const said = (id: string, state: JobState): void => session.receive({ type: "job", job: job({ id, kind: "rethreshold", image: "i", state }) });
    const move = (id: string): void => {
      session.setThresholds({ min_size: 40 });
      session.rethreshold();
      said(id, "running");
    };
    const now = () => [session.objects.fate(1), session.objects.thresholds.value.min_size];
    move("a");
    move("b");
    said("a", "cancelled"); // by the one that took its place
    expect(now()).toEqual([Fate.small, 40]);
    said("b", "failed");
    expect(now()).toEqual([Fate.kept, 40]);
    move("c");
    said("c", "cancelled"); // by the user
    expect(now()).toEqual([Fate.kept, 15]);
  });
});

describe("a slider", () => {
  it("keeps what was chosen with it while the job of another one ends", async () => {
    const { server, session } = await opened();
    session.receive({ type: "image", image: { ...server.info, limits } });
    const made = (id: string, more: object): void => {
      session.receive({ type: "job", job: job({ id, kind: "rethreshold", image: "i", state: "done" }) });
      session.receive({ type: "image", image: { ...server.info, limits: { ...limits, ...more } } });
    };
    const said = () => [session.objects.thresholds.value.min_size, session.objects.moved.value, session.dynamics.value.cellprob_threshold];
    vi.useFakeTimers();
    try {
      for (const id of ["a", "b", "c"]) session.receive({ type: "job", job: job({ id, kind: "rethreshold", image: "i" }) });
      session.setThresholds({ min_size: 200 });
      session.setDynamics({ cellprob_threshold: 2 });
      made("a", { min_score: 0.3 }); // in the hand
      expect(said()).toEqual([200, true, 2]);
      session.rethresholdSoon();
      made("b", { min_score: 0.4 }); // let go
      expect(said()).toEqual([200, true, 2]);
      vi.runAllTimers();
      session.receive({ type: "job", job: job({ id: "d", kind: "rethreshold", image: "i" }) });
      made("d", { min_size: 200, cellprob_threshold: 2 });
      expect(said()).toEqual([200, false, 2]);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("a training", () => {
  const learning = job({ kind: "train", result: { loss: [1] } });

  it.each([
    ["stopped once is said to have found nothing better", false, "Training was stopped before there was anything better to keep"],
    ["ended by a second wish, perhaps of another page, is said to be ended", true, "The training was ended without keeping anything"],
  ])("%s", async (_, ended, message) => {
    const { session } = await opened();
    session.receive({ type: "job", job: learning });
    session.receive({ type: "job", job: { ...learning, stopping: true } });
    session.receive({ type: "job", job: { ...learning, state: "cancelled", ended, result: null } });
    expect(session.notices.value.map((notice) => notice.message)).toEqual([message]);
  });

  it("is stopping at once where it was asked to stop", async () => {
    const { session } = await opened();
    session.receive({ type: "job", job: learning });
    session.cancelJob("a");
    expect(session.jobs.value[0].stopping).toBe(true);
  });
});

describe("undo", () => {
  it("of something on another plane goes there and says so", async () => {
    const { wire, session } = await opened();
    session.draw(stroke(20, 100, 140, 9));
    await wire.settle();
    session.setPlane(1);
    await wire.settle();
    session.undo();
    await wire.settle();
    expect([session.plane.value, session.notices.value.at(-1)?.message]).toEqual([0, "Taken back on z 1"]);
    session.redo();
    await wire.settle();
    expect([session.plane.value, session.notices.value.length]).toEqual([0, 1]);
  });

  it("by somebody else, or of all planes, leaves the picture where it is", async () => {
    const { wire, session } = await opened();
    session.setPlane(1);
    await wire.settle();
    const patch = (plane: number, by: string): FromServer => ({ type: "patch", image: "i", plane, rev: 9, by, runs: null, tiles: [], objects: [], regions: false });
    session.receive(patch(0, "me"));
    await wire.settle();
    session.undo();
    for (const by of ["x", "me"]) session.receive(patch(0, by));
    session.receive(patch(1, "me"));
    await wire.settle();
    expect([session.plane.value, session.notices.value]).toEqual([1, []]);
  });

  it("waits for a proposal that is on its way, which is no step yet", async () => {
    const { server, wire, session } = await opened();
    session.draw(stroke(20, 100, 140, 9));
    await wire.settle();
    session.document?.prompt([5, 300]);
    const heard = vi.spyOn(server, "handle");
    expect(session.canUndo.value).toBe("paint");
    session.undo();
    expect(heard).not.toHaveBeenCalled();
    expect(session.notices.value).toHaveLength(1);
    await wire.settle();
    session.undo();
    expect(heard.mock.lastCall?.[0].type).toBe("undo");
  });
});

describe("an image in the list", () => {
  it("hears of jobs only when one begins or ends on it", async () => {
    const { session } = await opened();
    const busy = computed(() => session.atWork.value.has("i"));
    const drawn: boolean[] = [];
    const stop = effect(() => void drawn.push(busy.value));
    session.receive({ type: "job", job: job({ kind: "segment", image: "i", state: "queued" }) });
    for (let done = 0; done < 9; done++) session.receive({ type: "job", job: job({ kind: "segment", image: "i", done }) });
    session.receive({ type: "job", job: job({ id: "b", kind: "segment", image: "j" }) });
    session.receive({ type: "job", job: job({ kind: "segment", image: "i", state: "done" }) });
    stop();
    expect(drawn).toEqual([false, true, false]);
  });
});

describe("many images at once", () => {
  it("of which some could not be segmented name them and why, once", async () => {
    const { session } = await opened();
    const done = job({ kind: "batch", state: "done", result: { images: 3, failed: [{ name: "a", error: "gone" }, { name: "b", error: "torn" }] } });
    session.receive({ type: "job", job: done }); // of an earlier visit
    session.receive({ type: "job", job: job({ id: "b", kind: "batch" }) });
    for (let i = 0; i < 2; i++) session.receive({ type: "job", job: { ...done, id: "b" } });
    expect(session.notices.value).toMatchObject([{ level: "warning", message: "2 images could not be segmented", hint: "a: gone; b: torn" }]);
  });

  it("are those that nobody has begun on, that can be read and are not to be labelled blind", async () => {
    const { session, server } = await opened();
    const states = ["new", "predicted", "corrected", "done"] as const;
    const begun = states.map((state) => ({ ...server.info, id: state, state }));
    const images = [...begun, { ...server.info, id: "j", again: true }, { ...server.info, id: "k", problem: "gone" }];
    session.receive({ type: "project", project: { ...server.project, images } });
    expect(session.segmentable().map(({ id }) => id)).toEqual(["new", "predicted"]);
  });

  it("are wished for once by a double click", async () => {
    const { session, server, wire } = await opened();
    const heard = vi.spyOn(server, "handle");
    const twice = (): void => [1, 2].forEach(() => session.batch(["i"], {}));
    twice();
    session.receive({ type: "job", job: job({ kind: "batch" }) });
    twice();
    session.receive({ type: "notice", level: "error", message: "refused", hint: "" });
    twice();
    wire.cut();
    wire.mend();
    twice();
    expect(heard.mock.calls.filter(([message]) => message.type === "submit")).toHaveLength(4);
  });

  it("bring the open one its new discarded cells", async () => {
    const { session, server, wire } = await opened();
    const extras = vi.spyOn(session.picture.value!, "refreshExtras");
    session.receive({ type: "image", image: server.info });
    expect(extras).not.toHaveBeenCalled();
    session.receive({ type: "job", job: job({ kind: "batch" }) });
    session.receive({ type: "image", image: server.info });
    expect(extras).toHaveBeenCalledOnce();
    await wire.settle();
  });
});

describe("a project that is open for looking only", () => {
  it("says so when somebody draws", async () => {
    const { session, server } = await opened();
    session.receive({ type: "project", project: { ...server.project, read_only: true } });
    for (let i = 0; i < 2000 && session.freshId(); i++);
    expect(session.notices.value.at(-1)?.message).toBe("This project is open for looking only");
  });
});

describe("files that are added", () => {
  it("go in requests of twenty files or 500 MB, and the page tells how far it is; one that fails leaves the others", async () => {
    const { wire, session } = await opened();
    const sized = (name: string, size = 1): File => Object.defineProperty(new File([], name), "size", { value: size });
    const files = [sized("big.tif", 3e9), sized("a.tif", 300e6), sized("b.tif", 300e6), ...Array.from({ length: 41 }, (_, i) => sized(`${i}.tif`))];
    const requests: string[][] = [];
    const progress: number[][] = [];
    vi.spyOn(wire as Http, "upload").mockImplementation((_, sent) => {
      progress.push([session.addingOf.value - session.adding.value, session.addingOf.value]);
      requests.push(sent.map(({ name }) => name));
      if (requests.length === 2) return Promise.reject(new Error("this upload is too large\n"));
      if (requests.length === 3) return Promise.reject(new Error("The server does not answer"));
      return Promise.resolve({ added: [], already: [], skipped: 0, failed: requests.length === 4 ? [{ name: "20.tif", error: "20.tif: not an image" }] : [] } as never);
    });
    await session.addImages(files, ["plate.zarr: a folder"]);
    expect(requests.map((names) => [names.length, names[0]])).toEqual([[1, "big.tif"], [1, "a.tif"], [20, "b.tif"], [20, "19.tif"], [2, "39.tif"]]);
    expect(progress).toEqual([[0, 44], [1, 44], [2, 44], [22, 44], [42, 44]]);
    expect([session.adding.value, session.addingOf.value]).toEqual([0, 0]);
    expect(session.notices.value.map(({ message, hint }) => [message, hint])).toEqual([[
      "23 files cannot be added",
      "plate.zarr: a folder; a.tif: this upload is too large; b.tif and 19 more: The server does not answer; 20.tif: not an image",
    ]]);
  });

  it("are counted meanwhile; those that are no images, or here already, are named", async () => {
    const { wire, session } = await opened();
    let answer: (report: AddReport) => void = () => undefined;
    vi.spyOn(wire, "upload").mockReturnValue(new Promise<unknown>((resolve) => (answer = resolve)));
    const added = session.addImages([new File([], "a.txt"), new File([], "b.tif"), new File([], "c.tif")]);
    expect(session.adding.value).toBe(3);
    answer({ added: [], already: ["i", "taken out"], failed: [{ name: "a.txt", error: "a.txt: not an image" }], skipped: 0 });
    await added;
    expect(session.adding.value).toBe(0);
    expect(session.notices.value.map(({ message, hint }) => [message, hint])).toEqual([
      ["A file cannot be added", "a.txt: not an image"],
      ["An image is in the project already", "image"],
    ]);
  });
});

describe("a file of several scenes", () => {
  it("is several images, which is said", async () => {
    const { wire, session } = await opened();
    const upload = vi.spyOn(wire, "upload").mockResolvedValue({ added: ["a", "b", "c"], already: [], failed: [], skipped: 0 });
    await session.addImages([new File([], "run.lif")]);
    expect(session.notices.value.map(({ message }) => message)).toEqual(["3 images came in"]);
    upload.mockResolvedValue({ added: ["d", "e"], already: [], failed: [], skipped: 0 });
    await session.addImages([new File([], "d.tif"), new File([], "e.tif")]);
    expect(session.notices.value).toHaveLength(1);
  });
});

describe("images of a folder", () => {
  it("are added without its other files, which are counted", async () => {
    const { wire, session } = await opened();
    const upload = vi.spyOn(wire, "upload").mockResolvedValue({ added: ["n"], already: [], failed: [], skipped: 2 });
    await session.addImages([new File([], "a.tif"), new File([], "a_labels.tif"), new File([], "notes.txt")], [], true);
    expect(upload).toHaveBeenCalledWith("api/images?folder=1", expect.anything());
    expect(session.notices.value.map(({ message }) => message)).toEqual(["2 files of the folder passed over"]);
  });
});

describe("cells that are brought in", () => {
  it.each([[0, "No new cell came in from a.tif"], [1, "A cell came in from a.tif"], [1234, "1,234 cells came in from a.tif"]])("are counted: %i", async (objects, message) => {
    const { wire, session } = await opened();
    vi.spyOn(wire, "upload").mockResolvedValue({ rev: 2, objects });
    await session.importLabels(new File([], "a.tif"));
    expect(session.notices.value).toMatchObject([{ level: "info", message, hint: "Undo brings back what was here" }]);
  });
});

describe("measurements", () => {
  it("are asked for again once cells have changed, and stay meanwhile", async () => {
    const { wire, session } = await opened();
    vi.useFakeTimers();
    try {
      const first = session.loadMeasurements();
      await wire.deliver();
      await first;
      expect([session.measured.value, session.measurements.value === null]).toEqual([true, false]);
      session.draw(stroke(20, 100, 140, 9));
      await wire.deliver();
      expect(session.measured.value).toBe(true);
      vi.runAllTimers();
      expect([session.measured.value, session.measurements.value === null]).toEqual([false, false]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("of another plane are not taken for this one's", async () => {
    const { wire, session } = await opened();
    const late = session.loadMeasurements();
    session.setPlane(1);
    await wire.settle();
    await late;
    expect([session.measured.value, session.measurements.value]).toEqual([false, null]);
  });
});

describe("the walk through doubtful cells", () => {
  it("goes on where it was after a cell was deleted or changed", async () => {
    const { session } = await opened();
    session.objects.apply([0.5, 0.1, 0.3, 0.2, 0.4].map((score, i) => ({ id: i + 1, score, origin: "auto" })));
    const walk = (step: 1 | -1 = 1): number[] => {
      session.nextDoubtful(step);
      return [...session.selection.value];
    };
    expect([walk(), walk()]).toEqual([[2], [4]]);
    session.objects.apply([{ id: 4, gone: true }]);
    session.select([]);
    expect(walk()).toEqual([3]);
    session.objects.apply([{ id: 3, score: null }]); // reshaped
    expect(walk()).toEqual([5]);
    session.objects.apply([{ id: 5, gone: true }]);
    session.select([]);
    expect([walk(-1), walk(-1), walk()]).toEqual([[2], [1], [2]]);
    session.openImage("j");
    session.objects.apply([{ id: 1, score: 0, origin: "auto" }, { id: 2, score: 0.9, origin: "auto" }]);
    expect(walk()).toEqual([1]);
  });
});

describe("a suggestion", () => {
  const result = { suggestions: [{ image: "j", plane: 0, box: [0, 0, 10, 10], name: "the next one", reason: "" }] };
  const idle: Hand = { cancel: () => false, back: () => false, finish: () => false, busy: () => false };

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
