// The model learns from corrections: train a round, watch it, see what was gained and what was forgotten, go back if not.

import type { Place, Session } from "../core/session";
import type { Job, Round } from "../core/wire";
import { Lines } from "./charts";
import { AgreePanel } from "./AgreePanel";
import { Button, Section } from "./controls";
import { currentJob, JobProgress, LeftOut, resultOf, type Failure } from "./JobProgress";
import { isLive, plural, TERMS } from "./words";

const score = (value: number | null) => (value === null ? "–" : value.toFixed(2));

/** The curves that a running training has sent so far. */
function curves(job: Job): { loss: (number | null)[]; held: (number | null)[]; ap: (number | null)[] } {
  const list = (name: string) => {
    const values = job.result?.[name];
    return Array.isArray(values) ? values.map((value) => (typeof value === "number" ? value : null)) : [];
  };
  return { loss: list("loss"), held: list("validation_loss"), ap: list("validation_ap") };
}

/** Where a training is; the last step is followed by scoring, of which nobody knows how long it takes. */
function inWords(job: Job): Job {
  if (job.total === 0) return { ...job, message: "getting ready, which may take a minute or two" };
  if (job.done < job.total) return { ...job, message: `step ${job.done} of ${job.total}` };
  return { ...job, total: 0, eta_s: null, message: "trying what was learnt on pictures it has not seen" };
}

function Training({ session, job }: { session: Session; job: Job }) {
  const { loss, held, ap } = curves(job);
  return (
    <>
      <JobProgress session={session} job={inWords(job)} name="Training" />
      {ap.length > 0 && <Lines label="Score on held-back pictures" range={[0, 1]} lines={[{ name: "score on held-back pictures", kind: "a", points: ap }]} unit={(v) => v.toFixed(2)} />}
      {loss.length > 0 && (
        <Lines
          label="Loss over steps"
          lines={[{ name: "error while learning", kind: "a", points: loss }, ...(held.length ? [{ name: "held back", kind: "b" as const, points: held }] : [])]}
        />
      )}
      {loss.length === 0 && isLive(job) && <p class="note">Curves appear after the first steps.</p>}
    </>
  );
}

interface Suggestion extends Place {
  name: string;
  reason: string;
}

interface Mistake extends Place {
  kind: "missed" | "spurious" | "merged" | "split" | "boundary";
}

const MISTAKES: Record<Mistake["kind"], [name: string, hint: string]> = {
  missed: ["missed", "There is a cell, and the model did not see it"],
  spurious: ["invented", "The model saw a cell where there is none"],
  merged: ["joined", "The model took several cells for one"],
  split: ["cut up", "The model took one cell for several"],
  boundary: ["wrong outline", "The cell is found, but its outline is far off"],
};

function Suggestions({ session }: { session: Session }) {
  const found = resultOf<{ suggestions?: Suggestion[] }>(session, "suggest")?.suggestions;
  if (!found) return null;
  if (found.length === 0) return <p class="note">Every image is corrected or done. Add images to go on.</p>;
  return (
    <ol class="places" aria-label="Images that would teach most">
      {found.map((item) => (
        <li key={item.image}>
          <button type="button" class="place" onClick={() => session.goTo(item)}><b class="ellipsis">{item.name}</b><span class="note">{item.reason}</span></button>
        </li>
      ))}
    </ol>
  );
}

/** How the model does on what was corrected, and every mistake as a place to go to. */
function Mistakes({ session }: { session: Session }) {
  const found = resultOf<{ ap?: number | null; gallery?: Mistake[]; failed?: Failure[] }>(session, "evaluate");
  if (!found?.gallery) return null;
  const names = new Map(session.images.value.map((image) => [image.id, image.name]));
  return (
    <>
      <p data-hint={TERMS.ap}>Score on your corrected images: <b>{score(found.ap ?? null)}</b></p>
      <LeftOut failed={found.failed} />
      {(Object.keys(MISTAKES) as Mistake["kind"][]).map((kind) => {
        const places = found.gallery!.filter((mistake) => mistake.kind === kind);
        if (places.length === 0) return null;
        const [name, hint] = MISTAKES[kind];
        return (
          <details key={kind} class="more">
            <summary data-hint={hint}>{places.length} {name}</summary>
            <div class="row wrap">
              {places.map((place, i) => (
                <Button key={i} kind="plain" hint={`Go there: ${names.get(place.image) ?? ""}`} onClick={() => { session.select([]); session.goTo(place); }}>{i + 1}</Button>
              ))}
            </div>
          </details>
        );
      })}
    </>
  );
}

function Rounds({ session, rounds }: { session: Session; rounds: readonly Round[] }) {
  const latest = rounds.at(-1)!;
  const before = rounds.find((round) => round.ap_before !== null)?.ap_before ?? null;
  return (
    <Section title="Score over rounds" hint={TERMS.ap}>
      {rounds.length > 1 && <Lines label="Score after each round" range={[0, 1]} lines={[{ name: "your pictures", kind: "a", points: [before, ...rounds.map((round) => round.ap_after)] }, { name: "other pictures", kind: "b", points: [rounds[0].frozen_before, ...rounds.map((round) => round.frozen_after)] }]} unit={score} />}
      <table class="rounds">
        <thead>
          <tr><th>Round</th><th class="num" data-hint={TERMS.ap}>Before</th><th class="num">After</th><th class="num" data-hint="Corrected cells that it learned from">Cells</th><th><span class="hidden-text">Use</span></th></tr>
        </thead>
        <tbody>
          {[...rounds].reverse().map((round) => (
            <tr key={round.name}>
              <td>{round.name}</td>
              <td class="num">{score(round.ap_before)}</td>
              <td class="num">{score(round.ap_after)}</td>
              <td class="num">{round.objects}</td>
              <td class="num">{round.active ? <span class="note">in use</span> : <Button kind="quiet" hint={better(round) ? undefined : "No better than what it started from on pictures that were held back"} onClick={() => session.activateModel(round.name)}>Use</Button>}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {latest.words.length > 0 && (
        <ul class="words" aria-label="What the last round changed">{latest.words.map((line) => <li key={line}>{line}</li>)}</ul>
      )}
    </Section>
  );
}

const better = ({ ap_before, ap_after }: Round) => ap_before === null || (ap_after !== null && ap_after > ap_before);

export function TeachPanel({ session }: { session: Session }) {
  const project = session.project.value;
  const rounds = project?.rounds ?? [];
  const images = session.images.value.filter((image) => !image.again);
  const ready = images.filter((image) => image.state === "corrected" || image.state === "done");
  const job = currentJob(session, ["train"]);
  const busy = job !== null && isLive(job);
  const suggest = currentJob(session, ["suggest"]);
  const evaluate = currentJob(session, ["evaluate"]);
  const active = project?.models.find((item) => item.active);
  const image = session.image.value;
  const shipped = project?.models.find((item) => !rounds.some((round) => round.name === item.name));
  return (
    <>
      <Section title="Teach the model" hint={TERMS.round}>
        {ready.length === 0 ? (
          <>
            <p>The model learns from pictures that you corrected.</p>
            <ol class="steps">
              <li>Find the cells of an image.</li>
              <li>Correct what is wrong: draw what was missed, cut what was joined, delete what is no cell.</li>
              <li>Mark the image as done. Two or three images are a good start.</li>
            </ol>
          </>
        ) : (
          <p>{plural(ready.length, "corrected image")} to learn from{images.length > ready.length ? `, ${images.length - ready.length} left untouched` : ""}.</p>
        )}
        {image && (
          <Button icon="check" pressed={image.state === "done"} hint="Every cell of this image is right: the model may learn from it" onClick={() => session.setImageState(image.state === "done" ? null : "done")}>
            {image.state === "done" ? "This image is done" : "Mark this image as done"}
          </Button>
        )}
        <div class="full">
          <Button kind="primary" icon="teach" disabled={busy || ready.length === 0} onClick={() => session.train({})}>Train a round</Button>
        </div>
        {job ? <Training session={session} job={job} /> : ready.length > 0 && <p class="note">You can go on working meanwhile. The present model stays, and you can go back to it.</p>}
      </Section>
      <Section title="Next image" hint="The image from which the model would learn most">
        <Button icon="star" disabled={suggest !== null && isLive(suggest)} onClick={() => session.suggestNext()}>Suggest the next image to correct</Button>
        {suggest ? <JobProgress session={session} job={suggest} /> : <Suggestions session={session} />}
      </Section>
      {rounds.length > 0 ? <Rounds session={session} rounds={rounds} /> : (
        <Section title="Score over rounds" hint={TERMS.ap}><p class="note">After the first round you see here how much better the model became, and whether it forgot anything.</p></Section>
      )}
      <Section title="Model in use">
        <p><b>{active?.title ?? project?.model ?? "–"}</b></p>
        {active?.note && <p class="note">{active.note}</p>}
        <div class="row wrap">
          {shipped && !shipped.active && <Button onClick={() => session.activateModel(shipped.name)}>Go back to {shipped.title || shipped.name}</Button>}
          <Button disabled={ready.length === 0 || (evaluate !== null && isLive(evaluate))} hint="Compare the model's cells with your corrected ones" onClick={() => session.evaluate({})}>Score it on my images</Button>
        </div>
        {evaluate ? <JobProgress session={session} job={evaluate} /> : <Mistakes session={session} />}
      </Section>
      <AgreePanel session={session} />
    </>
  );
}
