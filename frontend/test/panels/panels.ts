// The page with made-up data in a named state, to look at every panel and to check it without a server:
// `npx vite`, then test/panels/index.html?state=working&tab=teach&theme=light

import { h, render } from "preact";
import { Session } from "../../src/core/session";
import type { ImageInfo, Job, ObjectColumns, Project } from "../../src/core/wire";
import { App } from "../../src/ui/App";

const asked = new URLSearchParams(location.search);
const state = asked.get("state") ?? "full"; // full | empty | connecting | working | error | lost
const count = Number(asked.get("cells") ?? 400);

const random = ((seed: number) => () => (seed = (seed * 16807) % 2147483647) / 2147483647)(7);

const limits = { flow_threshold: 0.4, cellprob_threshold: 0, niter: null, min_size: 15, max_size_fraction: null, exclude_border: false, min_score: 0.3 };
const image = (i: number, more: Partial<ImageInfo> = {}): ImageInfo => ({
  id: `i${i}`, name: ["fluorescence", "brightfield", "stained_tissue", "plate_A03_field_12_long_name"][i % 4] + `_${i}.tif`,
  state: (["predicted", "corrected", "done", "new"] as const)[i % 4], axes: "CYX", shape: [1024, 1024], z: i === 0 ? 12 : 1, t: 1,
  channels: [], pixel_bits: 16, value_scale: 1, value_offset: 0, pixel_size_um: 0.325, levels: 2, rev: 3,
  objects: i % 4 === 3 ? 0 : 120 + 7 * i, score: 0.8, ...(i % 4 === 3 ? { limits: null, model: null } : { limits, model: "round 2" }), volume: false, joined: false, z_step: 1, problem: null, again: false, pixels: "p", ...more,
});

const project: Project = {
  name: "Mitosis screen", path: "/data/mitosis.project", sample: false, read_only: false, model: "round 2",
  classes: [{ id: 1, name: "resting", color: "#56b4e9" }, { id: 2, name: "dividing", color: "#e69f00" }],
  models: [
    { name: "compact", title: "Compact (shipped)", active: false, note: "Nuclei and cells in fluorescence, phase contrast, brightfield and stained tissue." },
    { name: "round 2", title: "Round 2", active: true, note: "Taught from 3 images, 412 cells." },
  ],
  images: state === "empty" ? [] : [...Array.from({ length: 9 }, (_, i) => image(i)), image(9, { name: "broken.tif", problem: "The file ends in the middle of an image. Copy it again from the microscope." }), ...[10, 11, 12].map((i) => image(i, { name: `again-${i - 9}`, again: true, state: i === 10 ? "done" : "new", objects: 0 }))],
  rounds: [
    { name: "round 1", ap_before: 0.61, ap_after: 0.74, frozen_before: 0.7, frozen_after: 0.69, objects: 180, active: false, words: [] },
    { name: "round 2", ap_before: 0.74, ap_after: 0.83, frozen_before: 0.69, frozen_after: 0.68, objects: 412, active: true, words: ["On your pictures it now finds 83 of 100 cells at the right place and shape; before, 74.", "It misses fewer touching cells: 21 before, 8 now.", "On other pictures nothing was lost that matters: 0.69 before, 0.68 now."] },
  ],
};

const job = (more: Partial<Job>): Job => ({
  id: "j", kind: "segment", image: "i0", state: "running", done: 7, total: 16, message: "tile 7 of 16", eta_s: 42, stopping: false, ended: false,
  error: null, hint: null, result: null, ...more,
});

const objects: ObjectColumns = { id: [], gone: [], plane: [], y0: [], x0: [], y1: [], x1: [], area: [], class: [], class_given: [], origin: [], locked: [], score: [], flow_error: [], discarded: [], reason: [] };
const places: [number, number, number][] = [];
for (let i = 1; i <= count; i++) {
  const side = Math.ceil(Math.sqrt(count));
  const step = 1000 / side;
  const r = step * (0.28 + 0.16 * random());
  const [y, x] = [12 + step * (Math.floor(i / side) + 0.5 + 0.2 * random()), 12 + step * ((i % side) + 0.5 + 0.2 * random())];
  places.push([y, x, r]);
  objects.id.push(i); objects.gone.push(false); objects.plane.push(0);
  objects.y0.push(Math.floor(y - r)); objects.x0.push(Math.floor(x - r)); objects.y1.push(Math.ceil(y + r)); objects.x1.push(Math.ceil(x + r));
  objects.area.push(Math.round(Math.PI * r * r)); objects.class.push(i % 9 === 0 ? 2 : i % 3 === 0 ? 1 : 0); objects.class_given.push(i % 6 === 0);
  objects.origin.push(i % 31 === 0 ? "manual" : i % 17 === 0 ? "edited" : "auto"); objects.locked.push(false);
  objects.score.push(1 - 0.6 * random() ** 3); objects.flow_error.push(0.1 + 0.9 * random() ** 4); objects.discarded.push(false); objects.reason.push("");
}

const files = { url: (path: string) => (path.endsWith("thumb") ? thumb : path), json: () => Promise.reject(new Error("no server")), bytes: () => Promise.resolve(null), upload: () => Promise.reject(new Error("no server")), remove: () => Promise.resolve() };
const kept = new Map<string, string>();
const store = { get: (key: string) => kept.get(key) ?? null, set: (key: string, value: string) => void kept.set(key, value) };

function picture(canvas: HTMLCanvasElement, zoom: number, fill: boolean): void {
  const ink = canvas.getContext("2d")!;
  ink.fillStyle = "#05070a";
  ink.fillRect(0, 0, canvas.width, canvas.height);
  places.forEach(([y, x, r], i) => {
    const glow = ink.createRadialGradient(x * zoom, y * zoom, 0, x * zoom, y * zoom, r * zoom);
    glow.addColorStop(0, "#8fb8c9");
    glow.addColorStop(1, "#0c161c");
    ink.fillStyle = glow;
    ink.beginPath();
    ink.ellipse(x * zoom, y * zoom, r * zoom, r * zoom * 0.85, i, 0, 7);
    ink.fill();
    if (fill) { ink.strokeStyle = `hsl(${(i * 137) % 360} 70% 60%)`; ink.lineWidth = 1.5; ink.stroke(); }
  });
}
const small = document.createElement("canvas");
small.width = small.height = 96;
picture(small, 0.2, false);
const thumb = small.toDataURL();

const session = new Session({ send: () => undefined }, files, store);
session.prefs.value = { ...session.prefs.value, theme: (asked.get("theme") as "dark" | "light" | null) ?? "system" };
session.connection.value = state === "lost" ? "lost" : state === "connecting" ? "connecting" : "open";
if (state === "lost") session.unsaved.value = 3;
if (state !== "connecting") session.project.value = state === "error" ? { ...project, rounds: [] } : project;
if (state !== "empty" && state !== "connecting") {
  session.imageId.value = asked.get("image") ?? "i0";
  session.channels.value = ["DAPI", "GFP-tubulin"].map((name, i) => ({ name, visible: i === 0, color: ["#4f8dff", "#39d98a"][i], low: 220, high: 2800, gamma: 1, min: 0, max: 4095 }));
  if (state !== "working" || asked.get("tab") !== "find") session.objects.load(objects);
  session.setThresholds({ flow_error: 0.6, min_size: 300 });
  session.select([37]);
  session.pointer.value = { at: [412.3, 633.8], label: 37, values: [1893, 402] };
  session.view.value = { centre: [512, 512], zoom: 0.7, width: 720, height: 700 };
  if (asked.get("tool")) session.tool.value = asked.get("tool") as "brush";
  if (asked.get("diameter")) session.diameter.value = Number(asked.get("diameter"));
}
const wave = (from: number, to: number) => Array.from({ length: 40 }, (_, i) => to + (from - to) * Math.exp(-i / 9) + 0.02 * random());
if (state === "working")
  session.jobs.value = [
    job({}), job({ id: "b", kind: "batch", image: null, state: "queued", done: 0, total: 0, message: "", eta_s: null }),
    job({ id: "t", kind: "train", image: null, message: "step 40 of 100", done: 40, total: 100, eta_s: 190, result: { loss: wave(1.2, 0.25), validation_loss: wave(1.1, 0.35), validation_ap: wave(0.6, 0.83) } }),
  ];
if (state === "full")
  session.jobs.value = [
    job({ id: "s", kind: "suggest", image: null, state: "done", result: { suggestions: [1, 4].map((i) => ({ ...image(i), image: `i${i}`, plane: 0, box: [0, 0, 200, 200], reason: "Many cells here look unlike those you corrected." })) } }),
    job({ id: "e", kind: "evaluate", image: null, state: "done", result: { ap: 0.81, gallery: ["missed", "missed", "merged", "boundary", "spurious"].map((kind) => ({ image: "i0", kind, plane: 0, box: [100, 100, 150, 150] })) } }),
    job({ id: "g", kind: "agreement", image: null, state: "done", result: { n_images: 6, failed: [], sentence: "The model is below human agreement: F1 at IoU 0.5 is 0.931 (0.902 to 0.954) between the two labellings, the model differs from that by -0.061 (-0.094 to -0.031).", scores: [["F1 at IoU 0.5", 0.931, 0.87], ["F1 at IoU 0.75", 0.82, 0.71], ["boundary F", 0.9, 0.86]].map(([name, you, model]) => ({ name, people: { value: you }, model: [{ value: model }, { value: model }] })) } }),
  ];
if (state === "error") {
  session.jobs.value = ["segment", "train", "batch"].map((kind) => job({ id: kind, kind: kind as "train", image: kind === "segment" ? "i0" : null, state: "failed", error: "Not enough memory: 9.1 GB are needed, 4.0 GB are free.", hint: "Choose a larger cell diameter, close other programs, or run it on a larger machine." }));
  session.notify("error", "labels.tif could not be imported: it is 512 x 512 pixels, the image 1024 x 1024.", "Import labels that were made from this image.");
  session.notify("warning", "The disk is nearly full: 180 MB are left.", "Free some space; what you did is saved.");
}
if (asked.get("help")) session.help.value = true;

const hold = (element: HTMLElement | null): void => {
  if (!element || element.firstChild) return;
  const canvas = document.createElement("canvas");
  const { width, height } = element.parentElement!.getBoundingClientRect();
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  element.append(canvas);
  session.view.value = { centre: [512, 512], zoom: height / 1024, width, height };
  const ink = canvas.getContext("2d")!;
  ink.translate((canvas.width - canvas.height) / 2, 0);
  picture(canvas, canvas.height / 1024, true);
};
render(h(App, { session, stage: hold }), document.getElementById("app")!);
Object.assign(window, { session });
