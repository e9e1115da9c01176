// Files out and in, many images at once, and what is being worked on.

import { useComputed } from "@preact/signals";
import { useRef } from "preact/hooks";
import { begunOn, type Session } from "../core/session";
import type { ImageInfo, Job } from "../core/wire";
import { Button, Empty, Section } from "./controls";
import { download, making } from "./download";
import { currentJob, JobProgress, LeftOut, resultOf, type Failure } from "./JobProgress";
import { picked } from "./picked";
import { recipe } from "./recipe";
import { isLive, JOBS, leftAlone, MOD, plural } from "./words";

type Kind = Parameters<Session["exportUrl"]>[0];
const FILES: { kind: Kind; name: string; hint: string }[] = [
  { kind: "csv", name: "Measurements", hint: "CSV: one row a cell; opens in Excel, R, Python" },
  { kind: "labels", name: "Labels", hint: "TIFF: each cell has its own number; opens in Fiji" },
  { kind: "rois", name: "ImageJ ROIs", hint: "A zip for Fiji's ROI Manager" },
  { kind: "geojson", name: "QuPath", hint: "GeoJSON: drag it onto the image in QuPath" },
  { kind: "overlay", name: "Picture", hint: "PNG: the image with its cells outlined, for slides" },
  { kind: "coco", name: "COCO", hint: "JSON for training other programs" },
  { kind: "seg", name: "Cellpose", hint: "_seg.npy for the Cellpose GUI" },
  { kind: "run", name: "Recipe", hint: "run.json: every setting, to repeat this exactly" },
];

const ZIP = { kind: "zip", name: "All in a zip", hint: "A zip of all these files" } as const;

function Files({ session, image }: { session: Session; image?: ImageInfo }) {
  const unknown = image?.limits === null; // with which settings its cells were found
  return (
    <>
      <div class="links">
        {[...(image ? FILES : FILES.filter(({ kind }) => kind === "csv")), ZIP].map(({ kind, name, hint }) => {
          const url = session.exportUrl(kind, image?.id);
          const busy = making.value.has(url);
          return (
            <Button key={kind} icon="download" hint={hint} disabled={busy || (unknown && kind === "run")} onClick={() => void download(session, url, `${name} of ${image?.name ?? "all images"}`)}>
              {busy ? "Being made…" : name}
            </Button>
          );
        })}
      </div>
      {unknown && <span class="note">There is a recipe once the model has looked at the whole image.</span>}
    </>
  );
}

const ENDED: Record<Job["state"], string> = {
  queued: "waits", running: "runs", done: "done", failed: "did not work", cancelled: "cancelled", interrupted: "interrupted",
};

function Jobs({ session }: { session: Session }) {
  const jobs = session.jobs.value.filter((job) => job.kind !== "rethreshold" || isLive(job) || job.state === "failed");
  const names = new Map(session.images.value.map((image) => [image.id, image.name]));
  if (jobs.length === 0) return <p class="note">Nothing has been run yet. Long work appears here with its progress.</p>;
  return (
    <ul class="jobs">
      {[...jobs].reverse().slice(0, 20).map((job) => (
        <li key={job.id}>
          {isLive(job) || job.state === "failed" ? (
            <JobProgress session={session} job={job} name={[JOBS[job.kind], job.image && names.get(job.image)].filter(Boolean).join(": ")} />
          ) : (
            <div class="row">
              <span class="grow ellipsis">{JOBS[job.kind]}{job.image ? `: ${names.get(job.image) ?? ""}` : ""}</span>
              <span class="note">{ENDED[job.state]}</span>
            </div>
          )}
        </li>
      ))}
    </ul>
  );
}

export function ExportPanel({ session }: { session: Session }) {
  const image = session.image.value;
  const input = useRef<HTMLInputElement>(null);
  const params = useComputed(() => recipe(session, true).value);
  const images = session.images.value;
  if (images.length === 0) return <Empty title="Nothing to export yet" icon="download">Add images at the left first.</Empty>;
  const some = images.filter((item) => picked.value.has(item.id));
  const begun = some.filter(begunOn).length;
  const segmentable = session.segmentable();
  const left = leftAlone(segmentable.length, images.filter(begunOn).length);
  const todo = some.length ? some : segmentable.filter((item) => item.state === "new");
  const job = currentJob(session, ["batch"]);
  return (
    <>
      {image && (
        <Section title={`Files of ${image.name}`}>
          {image.problem ? <p class="note">{image.problem}</p>
            : image.objects > 0 ? <Files session={session} image={image} />
            : <p class="note">This image has no cells yet. Find or draw some, and their files appear here.</p>}
        </Section>
      )}
      <Section title="Files of all images">
        {images.some((item) => item.objects > 0 && !item.again) ? <Files session={session} />
          : <p class="note">No image has cells yet. Find or draw some, and their files appear here.</p>}
      </Section>
      <Section title="Many images" hint="The settings of the tab Find, for one image after the other">
        <p class="note">With the settings of the tab Find. What you drew, corrected or locked stays as it is.</p>
        <div class="row wrap">
          <Button kind="primary" icon="play" disabled={todo.length === 0 || (job !== null && isLive(job))} onClick={() => session.batch(todo.map((item) => item.id), params.value)}>
            {some.length ? `Segment the ${some.length} chosen` : `Segment ${plural(todo.length, "new image")}`}
          </Button>
          <Button disabled={segmentable.length === 0 || (job !== null && isLive(job))} onClick={() => session.batch(segmentable.map(({ id }) => id), params.value)}>All {segmentable.length}</Button>
        </div>
        {left && <span class="note">{left}</span>}
        {begun > 0 && <span class="note">Of the chosen ones {begun} {begun === 1 ? "has" : "have"} corrections or {begun === 1 ? "is" : "are"} marked done: the model's own cells are found anew there.</span>}
        {!some.length && <span class="note">{MOD}-click images at the left to choose some.</span>}
        {job ? <JobProgress session={session} job={job} /> : <LeftOut failed={resultOf<{ failed: Failure[] }>(session, "batch")?.failed} />}
      </Section>
      {image && (
        <Section title="Bring cells in" hint="Onto the open image; can be undone">
          <p class="note">Label image (TIFF, PNG), ImageJ ROI zip, GeoJSON, COCO or Cellpose's _seg.npy, onto {image.name}. They take the place of all cells here but locked ones; Undo brings those back.</p>
          <input ref={input} type="file" hidden accept=".tif,.tiff,.png,.zip,.roi,.geojson,.json,.npy" aria-label="File with cells"
            onChange={(event) => { const file = event.currentTarget.files?.[0]; if (file) void session.importLabels(file); event.currentTarget.value = ""; }} />
          <Button icon="upload" onClick={() => input.current?.click()}>Import cells…</Button>
        </Section>
      )}
      <Section title="Jobs"><Jobs session={session} /></Section>
    </>
  );
}
