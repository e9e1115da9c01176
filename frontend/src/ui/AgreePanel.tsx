// Is the model as good as a person? Places are labelled a second time, blind, and all labels are compared.

import type { Session } from "../core/session";
import type { Job } from "../core/wire";
import { Button, Section } from "./controls";
import { currentJob, JobProgress, LeftOut } from "./JobProgress";
import { isLive, plural, TERMS } from "./words";

const PLACES = 6;

interface Share {
  value: number;
  low: number | null;
  high: number | null;
}

interface Agreement {
  sentence: string;
  n_images: number;
  scores: { name: string; people: Share; model: Share[] }[];
  failed: { name: string; error: string }[];
}

const two = (value: number) => value.toFixed(2);

function Answer({ found }: { found: Agreement }) {
  return (
    <>
      <p role="status">{found.sentence}</p>
      <table class="rounds">
        <thead>
          <tr><th>Agreement on {plural(found.n_images, "place")}</th><th class="num" data-hint="Your first labels with your second ones">You</th><th class="num" data-hint="The model with your first labels, and with your second ones">Model</th></tr>
        </thead>
        <tbody>
          {found.scores.map(({ name, people, model }) => (
            <tr key={name}>
              <td>{name}</td>
              <td class="num">{two(people.value)}</td>
              <td class="num">{model.map((share) => two(share.value)).join(" · ")}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <LeftOut failed={found.failed} />
    </>
  );
}

export function AgreePanel({ session }: { session: Session }) {
  const images = session.images.value;
  const places = images.filter((image) => image.again);
  const labelled = places.filter((image) => image.state === "corrected" || image.state === "done");
  const ready = images.some((image) => !image.again && image.state === "done");
  const job: Job | null = currentJob(session, ["again", "agreement"]);
  const busy = job !== null && isLive(job);
  const found = session.jobs.value.findLast((item) => item.kind === "agreement" && item.state === "done")?.result as Agreement | undefined;
  return (
    <Section title="As good as a person?" hint={TERMS.agreement}>
      {places.length === 0 ? (
        <p class="note">Label a few places a second time, without seeing your first labels: best on another day. Then you see how well you agree with yourself, and whether the model agrees with you as well.</p>
      ) : (
        <>
          <p>{labelled.length} of {plural(places.length, "place")} labelled again. Draw all cells of a place, then mark it as done.</p>
          <div class="row wrap" role="group" aria-label="Places to label again">
            {places.map((image, i) => (
              <Button
                key={image.id} kind="plain" icon={labelled.includes(image) ? "check" : undefined} pressed={session.imageId.value === image.id}
                hint={`Open ${image.name}${labelled.includes(image) ? ", labelled" : ""}`}
                onClick={() => session.openImage(image.id)}
              >{i + 1}</Button>
            ))}
          </div>
        </>
      )}
      <div class="row wrap">
        {places.length > 0 && <Button disabled={busy || labelled.length === 0} hint="Compare your first labels, your second ones and the model's" onClick={() => session.compareAgain()}>Compare</Button>}
        <Button disabled={busy || !ready} hint={ready ? "Random places of images that are done" : "Mark an image as done first"} onClick={() => session.pickAgain(PLACES)}>
          {places.length === 0 ? `Pick ${PLACES} places to label again` : `${PLACES} more places`}
        </Button>
      </div>
      {job ? <JobProgress session={session} job={job} /> : found && <Answer found={found} />}
    </Section>
  );
}
