// A job where it was started: how far, how long still, and the way to stop it.

import type { Session } from "../core/session";
import type { Job, JobKind } from "../core/wire";
import { Button } from "./controls";
import { duration, isLive, JOBS } from "./words";

export interface Failure {
  name: string;
  error: string;
}

/** The job of these kinds that is worth showing: the running one, else the newest that failed. */
export function currentJob(session: Session, kinds: readonly JobKind[], image?: string | null): Job | null {
  const mine = session.jobs.value.filter((job) => kinds.includes(job.kind) && (image === undefined || job.image === image));
  const last = mine.at(-1) ?? null;
  return mine.find((job) => job.state === "running") ?? mine.find(isLive) ?? (last && last.state !== "done" && last.state !== "cancelled" ? last : null);
}

/** What the newest finished job of a kind found, in an image or at all. */
export function resultOf<T>(session: Session, kind: Job["kind"], image?: string | null): T | null {
  const done = session.jobs.value.findLast((job) => job.kind === kind && job.state === "done" && (image === undefined || job.image === image));
  return (done?.result as T | undefined) ?? null;
}

/** The images that a job went on without, and why. */
export function LeftOut({ failed = [] }: { failed?: readonly Failure[] }) {
  return <>{failed.map(({ name, error }) => <p key={name} class="note error">{name}: {error}</p>)}</>;
}

/** A training that has begun to learn: stopped, it keeps its best so far. */
const keeps = (job: Job): boolean => job.kind === "train" && job.result !== null;

/** Where a job is. */
export function said(job: Job): string {
  if (job.state === "queued") return "waits for its turn";
  if (job.ended) return "ending; nothing of it is kept";
  if (job.stopping) return keeps(job) ? "finishing; the best so far is kept" : "stopping";
  return [job.message, job.eta_s !== null && duration(job.eta_s)].filter(Boolean).join(" · ");
}

export function JobProgress(props: { session: Session; job: Job; name?: string }) {
  const { session, job } = props;
  const name = props.name ?? JOBS[job.kind];
  if (job.state === "failed" || job.state === "interrupted")
    return (
      <div class="progress" role="alert">
        <strong class="note error">{name}: {job.state === "failed" ? "it did not work" : "interrupted when the server stopped"}</strong>
        {job.error && <p>{job.error}</p>}
        {job.hint && <p class="muted">{job.hint}</p>}
      </div>
    );
  const known = job.total > 0;
  const percent = known ? Math.round((100 * job.done) / job.total) : 0;
  return (
    <div class="progress">
      <div class="row">
        <strong class="grow ellipsis">{name}</strong>
        <span class="muted">{known && job.state === "running" ? `${percent} %` : ""}</span>
        {!job.stopping && <Button onClick={() => session.cancelJob(job.id)}>{keeps(job) ? "Stop and keep the best" : "Cancel"}</Button>}
      </div>
      <div
        class={`bar ${known ? "" : "unknown"}`} role="progressbar" aria-label={name}
        aria-valuenow={known ? percent : undefined} aria-valuemin={0} aria-valuemax={100}
      >
        <div style={known ? { width: `${percent}%` } : {}} />
      </div>
      <div class="row">
        <span class="note grow">{said(job)}</span>
        {job.stopping && !job.ended && <Button hint="Nothing of it is kept; the next round goes on from its last checkpoint" onClick={() => session.cancelJob(job.id)}>End without keeping</Button>}
      </div>
    </div>
  );
}
