// Let the model find the cells, then decide which of them to keep. The sliders act on the object table, at once.

import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { begunOn, type Session } from "../core/session";
import { Fate, type Thresholds } from "../core/state";
import type { AdvisedLimits } from "../core/wire";
import { ends, Histogram } from "./charts";
import { Button, Check, Choice, Empty, Section, Select, Slider, TextField } from "./controls";
import { currentJob, JobProgress, LeftOut, resultOf, type Failure } from "./JobProgress";
import { anisotropy, channels, chosenChannels, chosenModel, invert, isGiven, model, recipe, target, type Target } from "./recipe";
import { area, channelName, FATES, isLive, leftAlone, length, plural, RIGID, TERMS } from "./words";

const MOST_SEEN = 3; // channels that a model looks at

const TARGETS: { value: Target; label: string }[] = [
  { value: "auto", label: "Automatic" },
  { value: "cells", label: "Cells" },
  { value: "nuclei", label: "Nuclei" },
];

const SPANS: { value: "planes" | "volume"; label: string }[] = [
  { value: "planes", label: "In each plane" },
  { value: "volume", label: "In 3-D" },
];

interface Found {
  diameter_px: number | null;
  notes?: string[];
}

/** What the last run of a model said of the open image. */
const lastFound = (session: Session) => resultOf<Found>(session, "segment", session.imageId.value);

function Diameter({ session }: { session: Session }) {
  const px = session.diameter.value;
  const um = session.image.value?.pixel_size_um ?? null;
  const estimate = lastFound(session)?.diameter_px ?? null;
  const set = (text: string) => {
    const value = Number(text);
    session.diameter.value = text.trim() === "" || !(value > 0) ? null : value / (um ?? 1);
  };
  return (
    <div class="field" data-hint={TERMS.diameter}>
      <div class="field-head">
        <label for="diameter">Cell diameter</label>
        <span class="value">{px !== null ? length(px, um) : estimate === null ? "automatic" : `automatic: ${length(estimate, um)}`}</span>
      </div>
      <div class="row">
        <TextField
          id="diameter" type="number" class="grow" min="0" step="any" placeholder="automatic" aria-description={TERMS.diameter}
          value={px === null ? "" : Number((px * (um ?? 1)).toPrecision(3))} onChange={set}
        />
        <span class="muted">{um === null ? "px" : "µm"}</span>
        {px === null ? (
          <Button hint="Show a circle in the picture; drag its edge to the size of a cell" onClick={() => startCircle(session)}>Circle</Button>
        ) : (
          <Button hint="Let the model estimate the size" onClick={() => (session.diameter.value = null)}>Automatic</Button>
        )}
      </div>
    </div>
  );
}

/** Which channels the model looks at. Where it cannot look at all, they are to be chosen. */
function Channels({ session }: { session: Session }) {
  const all = session.channels.value;
  const chosen = chosenChannels(session);
  const set = (channel: number, on: boolean) => (channels.value = all.flatMap((_, i) => ((i === channel ? on : chosen.includes(i)) ? [i] : [])));
  const names = (some: readonly number[]) => some.map((i) => channelName(all[i].name, 2)).join(", ");
  return (
    <div class="field" role="group" aria-label="Channels" data-hint="What the model looks at. Cells are measured in all channels.">
      <div class="field-head">
        <span>Channels that show the cells</span>
        <span class="value">{chosen.length ? names(chosen) : "automatic"}</span>
      </div>
      <div class="channel-choice">
        {all.map((item, i) => (
          <Check key={i} label={channelName(item.name, 2)} checked={chosen.includes(i)} disabled={!chosen.includes(i) && chosen.length >= MOST_SEEN} onChange={(on) => set(i, on)} />
        ))}
      </div>
      {all.length > MOST_SEEN && chosen.length === 0 && <span class="note">The model looks at {MOST_SEEN} at most, of {all.length} here.</span>}
    </div>
  );
}

/** Of a stack: whether its cells reach through planes, and how far these lie apart. */
function Through({ session }: { session: Session }) {
  const on = session.inVolume.value;
  const set = (text: string) => {
    const value = Number(text);
    anisotropy.value = text.trim() !== "" && value > 0 ? value : null;
  };
  return (
    <>
      <Choice label="Cells of the stack" hint={TERMS.volume} value={on ? "volume" : "planes"} options={SPANS} onChange={(value) => (session.through.value = value === "volume")} />
      {on && (
        <div class="field" data-hint={TERMS.anisotropy}>
          <div class="field-head"><label for="anisotropy">Planes lie apart by</label></div>
          <div class="row">
            <TextField
              id="anisotropy" type="number" class="grow" min="0.1" step="any" placeholder={String(Number(session.image.value!.z_step.toPrecision(3)))} aria-description={TERMS.anisotropy}
              value={anisotropy.value ?? ""} onChange={set}
            />
            <span class="muted">px</span>
          </div>
        </div>
      )}
    </>
  );
}

/** Begin with a circle of the size of the cells there are or were seen, else of a sixth of what is in sight. */
function startCircle(session: Session): void {
  const areas = session.objects.rows().filter((cell) => !cell.discarded).map((cell) => cell.area).sort((a, b) => a - b);
  const { width, height, zoom } = session.view.value;
  session.diameter.value = areas.length
    ? 2 * Math.sqrt(areas[areas.length >> 1] / Math.PI)
    : (lastFound(session)?.diameter_px ?? Math.min(width, height) / zoom / 6);
}

function Tune({ session }: { session: Session }) {
  const rows = session.objects.rows();
  const limits = session.objects.thresholds.value;
  const counts = session.objects.counts.value;
  const um = session.image.value?.pixel_size_um ?? null;
  const solid = session.image.value?.volume ?? false;
  const size = (px: number) => (solid ? `${Math.round(px).toLocaleString("en")} voxels` : area(px, um));
  const auto = useMemo(() => rows.filter((cell) => cell.origin === "auto"), [rows]);
  const { errors, scores, areas, largest, worst } = useMemo(() => {
    const errors = auto.flatMap((cell) => (cell.flow_error === null ? [] : [cell.flow_error]));
    const scores = auto.flatMap((cell) => (cell.score === null ? [] : [cell.score]));
    const areas = auto.map((cell) => cell.area);
    const most = ends(areas, 0, 100)[1];
    return { errors, scores, areas, largest: solid ? most ** 1.5 : most, worst: Math.min(3, ends(errors, 0, 1)[1]) };
  }, [auto, solid]);
  const set = (change: Partial<Thresholds>) => session.setThresholds(change);
  const rigid = session.rigid.value;
  // What the next run is not told need not be what the last one had.
  const own = (name: "flow_error" | "score") => rigid !== null && !isGiven(session, name);
  const failed = rigid ? null : currentJob(session, ["rethreshold"], session.imageId.value);
  const hidden = counts.reduce((sum, count, fate) => (fate === Fate.kept ? sum : sum + count), 0);
  const causes = counts.flatMap((count, fate) => (fate !== Fate.kept && count > 0 ? [`${count} ${FATES[fate as Fate]}`] : []));
  // Sizes spread over decades: the slider walks in equal ratios.
  const toArea = (position: number) => (position <= 0 ? 0 : Math.round((largest + 1) ** (position / 100)));
  const toPosition = (px: number) => (px <= 0 ? 0 : (100 * Math.log(px)) / Math.log(largest + 1));
  return (
    <Section title="Which cells to keep" hint={rigid ? "Which cells the next run keeps. Cells that you drew, corrected or locked always stay." : "Acts at once and only hides: nothing is lost. Cells that you drew, corrected or locked always stay."}>
      <div class="tally" role="status">
        <span><b>{counts[Fate.kept].toLocaleString("en")}</b> shown</span>
        <span><b>{hidden.toLocaleString("en")}</b> hidden</span>
        <span class="causes">{causes.join(", ") || "nothing is hidden"}</span>
      </div>
      {rigid && <p class="note">{RIGID[rigid]}: what you set here and below holds for the next <i>Find cells</i>.</p>}
      {failed && !isLive(failed) && (
        <>
          <JobProgress session={session} job={failed} />
          <p class="note">The cells are as they were. What you set holds for the next <i>Find cells</i>.</p>
        </>
      )}
      <div>
        <Slider
          label="Score" hint={TERMS.score} min={0} max={1} step={0.01} value={limits.score ?? 0}
          onInput={(value) => set({ score: value <= 0 ? null : value })} onChange={() => session.rethresholdSoon()}
          show={(value) => (own("score") ? "the model's own" : limits.score === null ? "keep all" : `at least ${value.toFixed(2)}`)}
        />
        {scores.length > 0 && <Histogram values={scores} low={0} high={1} label="Score" marks={limits.score === null ? [] : [limits.score]} />}
      </div>
      {errors.length > 0 && (
        <div>
          <Slider
            label="Doubtful shape (flow error)" hint={TERMS.flow_error} min={0} max={worst} step={0.01} value={limits.flow_error ?? worst}
            onInput={(value) => set({ flow_error: value >= worst ? null : Math.max(0.01, value) })} onChange={() => session.rethresholdSoon()}
            show={(value) => (own("flow_error") ? "the model's own" : limits.flow_error === null ? "keep all" : `up to ${value.toFixed(2)}`)}
          />
          <Histogram values={errors} low={0} high={worst} label="Flow error" marks={limits.flow_error === null ? [] : [limits.flow_error]} />
        </div>
      )}
      <Slider
        label="Smallest" hint={solid ? TERMS.voxels : TERMS.size} min={0} max={100} step={0.5} value={toPosition(limits.min_size ?? 0)}
        onInput={(value) => set({ min_size: toArea(value) || null })} onChange={() => session.rethresholdSoon()}
        show={() => (limits.min_size === null ? "keep all" : `at least ${size(limits.min_size)}`)}
      />
      <Slider
        label="Largest" hint={solid ? TERMS.voxels : TERMS.size} min={0} max={100} step={0.5} value={limits.max_size === null ? 100 : toPosition(limits.max_size)}
        onInput={(value) => set({ max_size: value >= 100 ? null : toArea(value) })} onChange={() => session.rethresholdSoon()}
        show={() => (limits.max_size === null ? "keep all" : `up to ${size(limits.max_size)}`)}
      />
      {areas.length > 0 && !solid && <span class="note">Middle half of the cells: {middle(areas, um)}</span>}
      <Check label="Hide cells at the edge" hint={TERMS.border} checked={limits.exclude_border} onChange={(exclude_border) => { set({ exclude_border }); session.rethresholdSoon(); }} />
      <Check label="Show hidden cells faintly" hint={TERMS.ghosts} checked={session.overlays.value.ghosts} onChange={(ghosts) => session.setOverlays({ ghosts })} />
      {!rigid && !solid && <Suggested session={session} />}
    </Section>
  );
}

/** What a search among limits found; `found` and `wrong` are counts now and with the limits. */
interface LimitAdvice {
  keywords: AdvisedLimits;
  wanted: number;
  unwanted: number;
  found: [number, number];
  wrong: [number, number];
}

const LIMITS_HINT = "From at least three cells that you drew, corrected, brought back or locked, and three that you deleted";

function Suggested({ session }: { session: Session }) {
  const image = session.imageId.value;
  const job = currentJob(session, ["limits"], image);
  const advice = job ? null : resultOf<LimitAdvice>(session, "limits", image);
  const now = session.limits();
  const used = advice !== null && Object.entries(advice.keywords).every(([name, value]) => Math.abs((now[name as keyof AdvisedLimits] ?? 0) - value) < 0.005);
  return (
    <>
      <div class="full">
        <Button hint={LIMITS_HINT} disabled={job !== null && isLive(job)} onClick={() => session.suggestLimits()}>Suggest limits from my corrections</Button>
      </div>
      {job && <JobProgress session={session} job={job} />}
      {advice && (
        <p class="note" role="status">
          {used ? "These limits" : `${limitsInWords(advice.keywords, session.image.value?.pixel_size_um ?? null)}:`} keep {advice.found[1]} of the {advice.wanted} cells you want
          {used ? "" : ` (${advice.found[0]} now)`} and {advice.wrong[1]} of the {advice.unwanted} you deleted{used ? "" : ` (${advice.wrong[0]} now)`}.
        </p>
      )}
      {advice && !used && <div class="full"><Button kind="primary" onClick={() => session.useLimits(advice.keywords)}>Use these limits</Button></div>}
    </>
  );
}

function limitsInWords({ cellprob_threshold, flow_threshold, min_score, min_size }: AdvisedLimits, um: number | null): string {
  const words = [
    min_score > 0 ? `score at least ${min_score.toFixed(2)}` : "any score",
    flow_threshold > 0 && `flow error up to ${flow_threshold.toFixed(2)}`,
    min_size > 0 ? `at least ${area(min_size, um)}` : "any size",
    cellprob_threshold !== 0 && `certainty ${cellprob_threshold > 0 ? "+" : ""}${cellprob_threshold}`,
  ].filter(Boolean).join(", ");
  return words[0].toUpperCase() + words.slice(1);
}

function middle(values: readonly number[], um: number | null): string {
  const sorted = [...values].sort((a, b) => a - b);
  return `${area(sorted[sorted.length >> 2], um)} to ${area(sorted[(3 * sorted.length) >> 2], um)}`;
}

export function FindPanel({ session }: { session: Session }) {
  const params = useComputed(() => recipe(session).value);
  const forAll = useComputed(() => recipe(session, true).value);
  const image = session.image.value;
  if (!image) return <Empty title="No image is open" icon="images">Choose one at the left, or drop image files onto the page.</Empty>;
  if (image.problem)
    return <Empty title="This image cannot be segmented" icon="warn">{image.problem}</Empty>;
  const job = currentJob(session, ["segment"], image.id);
  const busy = job !== null && (job.state === "running" || job.state === "queued");
  const models = session.models.value;
  const found = session.objects.rows().length > 0;
  const tunable = found || image.limits !== null; // limits that leave no cell can be taken back
  const dynamics = session.dynamics.value;
  const stack = image.z * image.t > 1;
  const through = session.inVolume.value;
  const segmentable = session.segmentable();
  const left = leftAlone(segmentable.length, session.images.value.filter(begunOn).length);
  const many = currentJob(session, ["batch"]);
  const crowded = session.channels.value.length > MOST_SEEN;
  return (
    <>
      <Section title="Find cells">
        <Select
          label="Model" hint={TERMS.model} value={chosenModel(session)}
          options={models.map((item) => ({ value: item.name, label: item.title || item.name }))} onChange={(name) => (model.value = name)}
        />
        <Choice label="What to outline" hint={TERMS.target} value={target.value} options={TARGETS} onChange={(value) => (target.value = value)} />
        <Diameter session={session} />
        {image.z > 1 && <Through session={session} />}
        {crowded && <Channels session={session} />}
        <details class="more">
          <summary>More</summary>
          <div class="stack">
            {session.channels.value.length > 1 && !crowded && <Channels session={session} />}
            <Check label="Cells are darker than their surround" hint="Turns dark and bright round for the model" checked={invert.value} onChange={(on) => (invert.value = on)} />
          </div>
        </details>
        <div class="full">
          <Button kind="primary" icon="play" disabled={busy} onClick={() => session.segment(params.value)}>{stack ? "Find cells in this stack" : "Find cells"}</Button>
        </div>
        <div class="row halves">
          <Button disabled={busy || through} hint={through ? "Cells in 3-D are found in the whole stack" : "Only what is in sight: quick, to try settings"} onClick={() => session.segment({ ...params.value, window_only: true })}>Only in sight</Button>
          <Button
            disabled={busy || segmentable.length === 0 || (many !== null && isLive(many))} hint="Every image that has no corrections yet, one after the other"
            onClick={() => session.batch(segmentable.map(({ id }) => id), forAll.value)}
          >All {plural(segmentable.length, "image")}</Button>
        </div>
        {left && <p class="note">{left}</p>}
        {job && <JobProgress session={session} job={job} />}
        {!busy && lastFound(session)?.notes?.map((note) => <p key={note} class="note">{note}</p>)}
        {many ? <JobProgress session={session} job={many} /> : <LeftOut failed={resultOf<{ failed: Failure[] }>(session, "batch")?.failed} />}
        {!found && !busy && <p class="note">The cells appear as they are found. What you draw or correct is never changed by the model.</p>}
      </Section>
      {tunable && <Tune session={session} />}
      {tunable && (
        <Section title="More or fewer cells" hint={TERMS.cellprob}>
          <Slider
            label="Certainty (cell probability)" hint={TERMS.cellprob} min={-6} max={6} step={0.1} value={dynamics.cellprob_threshold}
            onInput={(value) => session.setDynamics({ cellprob_threshold: value })}
            onChange={(value) => session.rethresholdSoon({ cellprob_threshold: value })}
            show={(value) => (value === 0 ? "normal" : value < 0 ? `${value.toFixed(1)}: more cells` : `+${value.toFixed(1)}: fewer cells`)}
          />
        </Section>
      )}
      {found && (
        <div class="section"><div class="section-body">
          <span class="note">{plural(session.objects.counts.value[Fate.kept], "cell")} · Tab in the picture walks through the doubtful ones.</span>
        </div></div>
      )}
    </>
  );
}
