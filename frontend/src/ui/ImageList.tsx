// The images of the project: look for one, see how far each is, add more.

import { signal, useComputed } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Session } from "../core/session";
import type { ImageInfo, ImageState } from "../core/wire";
import { Button, Empty, Select } from "./controls";
import { picked, toggle } from "./picked";
import { useRows } from "./rows";
import { plural, STATES } from "./words";

const ROW = 58; // as in styles.css
const leaving = signal<ImageInfo | null>(null); // what is to be taken out, if that was meant

/** Drawn anew only when something of its own changes: jobs speak ten times a second. */
function Row({ session, image, place, of }: { session: Session; image: ImageInfo; place: number; of: number }) {
  const open = useComputed(() => session.imageId.value === image.id).value;
  const chosen = useComputed(() => picked.value.has(image.id)).value;
  const busy = useComputed(() => session.atWork.value.has(image.id)).value;
  return (
    <li class={chosen ? "picked" : ""} aria-posinset={place} aria-setsize={of}>
      <button
        type="button" class="open" aria-current={open} title={image.problem ?? image.name}
        onClick={(event) => (event.ctrlKey || event.metaKey ? toggle(image.id) : session.openImage(image.id))}
      >
        {image.problem
          ? <span class="thumb" aria-hidden="true" />
          : <img class="thumb" src={session.thumbUrl(image.id)} alt="" loading="lazy" decoding="async" onError={(event) => (event.currentTarget.style.visibility = "hidden")} />}
        <span class="name">{chosen && "✓ "}{image.name}</span>
        <span class="state">
          <i class={`dot ${image.problem ? "missing" : image.state}`} aria-hidden="true" />
          {image.problem ? "cannot be read" : busy ? "finding cells…" : stateOf(image)}
        </span>
      </button>
      <span class="away">
        <Button kind="quiet" icon="close" label="Take out of the project" onClick={() => (leaving.value = image)} />
      </span>
    </li>
  );
}

function TakeOut({ session }: { session: Session }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const image = leaving.value;
  const close = () => dialog.current?.close();
  useEffect(() => {
    if (image) dialog.current?.showModal();
  }, [image]);
  return (
    <dialog ref={dialog} class="question" aria-label="Take an image out" onClose={() => (leaving.value = null)} onClick={(event) => event.target === dialog.current && close()}>
      {image && (
        <>
          <header><h2>Take this image out of the project?</h2></header>
          <div class="section-body">
            <p><b>{image.name}</b> leaves the list. Its file stays where it is, and your corrections are kept: adding the same file again brings them back.</p>
            <div class="row">
              <Button onClick={close}>Keep it</Button>
              <Button kind="danger" icon="trash" onClick={() => { void session.removeImage(image.id); close(); }}>Take it out</Button>
            </div>
          </div>
        </>
      )}
    </dialog>
  );
}

/** Short enough for the list: that cells were found is told by their number. */
function stateOf({ again, objects, state }: ImageInfo): string {
  if (again && state === "new") return "to be labelled again";
  if (objects === 0) return STATES[state];
  return state === "predicted" ? plural(objects, "cell") : `${plural(objects, "cell")} · ${STATES[state]}`;
}

export function ImageList({ session }: { session: Session }) {
  const input = useRef<HTMLInputElement>(null);
  const images = session.images.value;
  const shown = session.listed.value;
  const { box, first, last, onScroll } = useRows(shown.length, ROW);
  // Follow what is opened by a key or elsewhere.
  useEffect(() => {
    const [view, y] = [box.current!, ROW * shown.findIndex(({ id }) => id === session.imageId.value)];
    if (y >= 0) view.scrollTop = Math.min(y, Math.max(view.scrollTop, y + ROW - view.clientHeight));
  }, [session.imageId.value, session.wanted.value, session.wantedState.value, shown.length > 0]);
  const own = images.filter((image) => !image.again);
  const done = own.filter((image) => image.state === "done").length;
  return (
    <nav class="left" aria-label="Images">
      <div class="head">
        <div class="row">
          <div class="grow full"><Button icon="add" onClick={() => input.current?.click()} hint="Or drop image files anywhere onto the page">Add images</Button></div>
          <input ref={input} type="file" multiple hidden aria-label="Image files" onChange={(event) => { void session.addImages([...(event.currentTarget.files ?? [])]); event.currentTarget.value = ""; }} />
        </div>
        {images.length > 0 && (
          <div class="row">
            <input type="search" class="grow" placeholder="Search" aria-label="Search images by name" value={session.wanted.value} onInput={(event) => (session.wanted.value = event.currentTarget.value)} />
            <div style={{ width: "84px" }}>
              <Select
                hideLabel label="Show images that are" value={session.wantedState.value} onChange={(value) => (session.wantedState.value = value as ImageState | "all")}
                options={[{ value: "all", label: "All" }, ...(["new", "predicted", "corrected", "done"] as const).map((value) => ({ value, label: STATES[value] }))]}
              />
            </div>
          </div>
        )}
      </div>
      {images.length === 0 && session.project.value && (
        <Empty title="No images yet" icon="images">Add images with the button above, or drop files onto the page. TIFF, PNG, JPEG, OME-Zarr and more.</Empty>
      )}
      {images.length > 0 && shown.length === 0 && <Empty title="Nothing found" icon="search">No image fits. Clear the search, or show all states.</Empty>}
      <div class="images" ref={box} onScroll={onScroll}>
        <ul style={{ paddingTop: `${first * ROW}px`, paddingBottom: `${Math.max(0, shown.length - last) * ROW}px` }}>
          {shown.slice(first, last).map((image, i) => <Row key={image.id} session={session} image={image} place={first + i + 1} of={shown.length} />)}
        </ul>
      </div>
      {images.length > 0 && (
        <div class="foot2">
          <span>{picked.value.size ? `${picked.value.size} chosen` : `${done} of ${own.length} done`}</span>
          {picked.value.size > 0 && <Button kind="quiet" onClick={() => (picked.value = new Set())}>Choose none</Button>}
        </div>
      )}
      <TakeOut session={session} />
    </nav>
  );
}
