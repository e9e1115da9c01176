// Where one is, back and forth, what is running, and the looks of the page.

import type { Session } from "../core/session";
import { Button } from "./controls";
import { leftOpen, rightOpen, tab } from "./layout";
import { isLive, JOBS, plural, STATES, STEPS } from "./words";

export function Mark() {
  return (
    <svg viewBox="0 0 24 24" aria-hidden="true">
      <rect width="24" height="24" rx="6" fill="#0f5f80" />
      <path d="M4 9.5c3-2.5 5.5-2.5 8 0s5 2.5 8 0M4 15c3-2.5 5.5-2.5 8 0s5 2.5 8 0" fill="none" stroke="#bfe6f5" stroke-width="1.8" stroke-linecap="round" />
      <circle cx="12" cy="12.3" r="2.2" fill="#ffd479" />
    </svg>
  );
}

/** Undo or Redo; says which step it turns. */
function Turn(props: { way: "Undo" | "Redo"; step: string | null; keys: string; onClick: () => void }) {
  const { way, step } = props;
  const hint = step === null ? `Nothing to ${way.toLowerCase()}` : `${way}: ${STEPS[step] ?? "the last change"}`;
  return <Button kind="quiet" icon={way === "Undo" ? "undo" : "redo"} label={way} hint={hint} keys={props.keys} disabled={step === null} onClick={props.onClick} />;
}

export function TopBar({ session }: { session: Session }) {
  const project = session.project.value;
  const image = session.image.value;
  const style = session.style.value;
  const live = session.jobs.value.filter(isLive);
  const running = live.find((job) => job.state === "running") ?? live[0];
  const light = session.prefs.value.theme === "light" || (session.prefs.value.theme === "system" && matchMedia("(prefers-color-scheme: light)").matches);
  return (
    <header class="top">
      <Button kind="quiet" icon="images" label="Images" hint={leftOpen.value ? "Hide the images" : "Show the images"} pressed={leftOpen.value} onClick={() => (leftOpen.value = !leftOpen.value)} />
      <h1 class="brand"><Mark /><span>Cellbrook</span></h1>
      <div class="divider" />
      <div class="where">
        <span class="muted ellipsis" title={project?.path}>{project?.name ?? ""}</span>
        {image && (
          <>
            <Button kind="quiet" icon="left" label="Previous image" keys="A" onClick={() => session.nextImage(-1)} />
            <b class="ellipsis" title={image.name}>{image.name}</b>
            <Button kind="quiet" icon="right" label="Next image" keys="D" onClick={() => session.nextImage(1)} />
            {!image.problem && (
              <Button
                kind="quiet" icon="check" pressed={image.state === "done"}
                hint={image.state === "done" ? "Marked as done; click to take the mark away" : `Now: ${STATES[image.state]}. Mark it when every cell is right: the model may learn from it.`}
                onClick={() => session.setImageState(image.state === "done" ? null : "done")}
              >{image.state === "done" ? "Done" : "Mark as done"}</Button>
            )}
          </>
        )}
      </div>
      <div class="spacer" />
      {running && (
        <Button kind="quiet" hint="Show the jobs" onClick={() => { tab.value = "export"; rightOpen.value = true; }}>
          <span class="spinner" aria-hidden="true" /> {JOBS[running.kind]}{running.total > 0 && running.state === "running" ? ` ${Math.round((100 * running.done) / running.total)} %` : ""}{live.length > 1 ? `, ${plural(live.length - 1, "job")} waiting` : ""}
        </Button>
      )}
      <Turn way="Undo" step={session.canUndo.value} keys="Ctrl+Z" onClick={() => session.undo()} />
      <Turn way="Redo" step={session.canRedo.value} keys="Ctrl+Y" onClick={() => session.redo()} />
      <div class="divider" />
      <Button kind="quiet" icon={style.visible ? "eye" : "eyeoff"} pressed={style.visible} label="Show the cells" keys="Space" onClick={() => session.setStyle({ visible: !style.visible })} />
      <Button kind="quiet" icon={light ? "moon" : "sun"} label={light ? "Dark page" : "Light page"} onClick={() => session.setPrefs({ theme: light ? "dark" : "light" })} />
      <Button kind="quiet" icon="help" label="Keys" keys="?" onClick={() => (session.help.value = true)} />
      <Button kind="quiet" icon="cells" label="Panels" hint={rightOpen.value ? "Hide the panels" : "Show the panels"} pressed={rightOpen.value} onClick={() => (rightOpen.value = !rightOpen.value)} />
    </header>
  );
}
