// The picture and what floats above it: options of the tool, scale bar, planes, zoom, and what to do while it is empty.

import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { anchorOf, pathOf } from "../core/regions";
import type { Session } from "../core/session";
import type { Point } from "../core/wire";
import { Button, Choice, Slider } from "./controls";
import { tab } from "./layout";
import { MODES, TOOLS } from "./toolwords";
import { length, roundLength } from "./words";

// Where the size circle lies: screen pixels from the middle of the stage.
const circleAt = signal<[x: number, y: number]>([0, 0]);

function Circle({ session }: { session: Session }) {
  const grip = useRef<{ x: number; y: number; at: [number, number] } | null>(null);
  const px = session.diameter.value;
  // It must not lie over what is being corrected.
  const tool = session.tool.value;
  if (px === null || !(tool === "measure" || (tool === "pick" && tab.value === "find" && session.selection.value.size === 0))) return null;
  const { width, height, zoom } = session.view.value;
  const um = session.image.value?.pixel_size_um ?? null;
  const radius = (px * zoom) / 2;
  const [x, y] = [width / 2 + circleAt.value[0], height / 2 + circleAt.value[1]];
  const resize = (event: PointerEvent) => {
    if (!event.buttons) return;
    const box = (event.currentTarget as Element).closest("svg")!.getBoundingClientRect();
    session.diameter.value = Math.max(2, (2 * Math.hypot(event.clientX - box.left - x, event.clientY - box.top - y)) / zoom);
  };
  const hold = (event: PointerEvent) => {
    event.stopPropagation();
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    grip.current = { x: event.clientX, y: event.clientY, at: circleAt.value };
  };
  const move = (event: PointerEvent) => {
    if (!event.buttons || !grip.current) return;
    const from = grip.current;
    circleAt.value = [from.at[0] + event.clientX - from.x, from.at[1] + event.clientY - from.y];
  };
  return (
    <g class="size">
      <circle class="halo" cx={x} cy={y} r={radius} />
      <circle class="ring" cx={x} cy={y} r={radius} />
      <circle class="edge" cx={x} cy={y} r={radius} onPointerDown={hold} onPointerMove={resize} />
      <circle
        class="grip" cx={x + radius} cy={y} r="6" onPointerDown={hold} onPointerMove={resize}
        tabIndex={0} role="slider" aria-label="Cell diameter in pixels" aria-valuenow={Math.round(px)} aria-valuemin={2} aria-valuemax={1000}
        onKeyDown={(event) => {
          const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
          if (!step) return;
          event.preventDefault();
          event.stopPropagation();
          session.diameter.value = Math.max(2, px + step);
        }}
      />
      <circle class="hub" cx={x} cy={y} r="5" onPointerDown={hold} onPointerMove={move} />
      <text x={x} y={y - radius - 8}>{length(px, um)}</text>
    </g>
  );
}

/** What people drew and named. Its paths are those of image pixels: moving and zooming changes nothing but a matrix. */
function Regions({ session }: { session: Session }) {
  const { centre, zoom, width, height } = session.view.value;
  const [left, top] = [width / 2 - centre[1] * zoom, height / 2 - centre[0] * zoom];
  const regions = session.regions.value;
  const shapes = useMemo(
    () => regions.flatMap(({ name, parts }, i) => parts.map(({ id, polygons }) => ({ id, name, tone: i % 6, d: pathOf(polygons), at: anchorOf(polygons) }))),
    [regions],
  );
  const chosen = session.regionName.value;
  return (
    <g class="regions">
      <g transform={`translate(${left} ${top}) scale(${zoom})`}>
        {shapes.map(({ id, name, tone, d }) => (
          <g key={id} class={`region tone${tone} ${name === chosen ? "on" : ""}`}><path class="under" d={d} /><path d={d} fill-rule="evenodd" /></g>
        ))}
      </g>
      {shapes.map(({ id, name, at: [y, x] }) => <text key={id} x={x * zoom + left} y={Math.max(14, y * zoom + top - 6)}>{name}</text>)}
    </g>
  );
}

/** What the tool in hand draws: its path, box or circle, and the size of the brush under the pointer. */
function Above({ session }: { session: Session }) {
  const { centre, zoom, width, height } = session.view.value;
  const x = (point: Point) => (point[1] - centre[1]) * zoom + width / 2;
  const y = (point: Point) => (point[0] - centre[0]) * zoom + height / 2;
  const list = (points: Point[]) => points.map((point) => `${x(point)},${y(point)}`).join(" ");
  const preview = session.preview.value;
  const pointer = session.pointer.value;
  const tool = session.tool.value;
  return (
    <svg class="over" aria-hidden={session.diameter.value === null ? "true" : undefined}>
      {session.overlays.value.regions && <Regions session={session} />}
      {preview.kind === "path" && (preview.closed ? <polygon class="draw" points={list(preview.points)} /> : <polyline class="draw" points={list(preview.points)} />)}
      {preview.kind === "polygon" && (
        <>
          <polygon class="draw" points={list(preview.points)} />
          {preview.points.map((point, i) => <circle key={i} class={`corner ${i === preview.active ? "on" : ""}`} cx={x(point)} cy={y(point)} r="4.5" />)}
        </>
      )}
      {preview.kind === "box" && (
        <rect class="draw" x={x([0, preview.box[1]])} y={y([preview.box[0], 0])} width={(preview.box[3] - preview.box[1]) * zoom} height={(preview.box[2] - preview.box[0]) * zoom} />
      )}
      {preview.kind === "circle" && <circle class="draw" cx={x(preview.centre)} cy={y(preview.centre)} r={preview.radius * zoom} />}
      {pointer && (tool === "brush" || tool === "eraser") && (
        <>
          <circle class="halo" cx={x(pointer.at)} cy={y(pointer.at)} r={Math.max(1, (session.brushSize.value * zoom) / 2)} />
          <circle class="ring" cx={x(pointer.at)} cy={y(pointer.at)} r={Math.max(1, (session.brushSize.value * zoom) / 2)} />
        </>
      )}
      <Circle session={session} />
    </svg>
  );
}

function ScaleBar({ session }: { session: Session }) {
  const um = session.image.value?.pixel_size_um ?? null;
  const { width, text } = roundLength(session.view.value.zoom, um);
  return (
    <div class="glass scalebar" role="img" aria-label={`Scale bar: ${text}`} style={{ "--w": `${width}px` }}>
      {text}<div style={{ width: `${width}px` }} />
    </div>
  );
}

function Planes({ session }: { session: Session }) {
  const image = session.image.value!;
  if (image.z * image.t <= 1) return null;
  const z = session.plane.value % image.z;
  const t = Math.floor(session.plane.value / image.z);
  const slider = (name: string, value: number, count: number, set: (value: number) => void) => (
    <>
      <span>{name}</span>
      <input
        type="range" aria-label={`${name === "z" ? "Depth" : "Time"} plane`} min={0} max={count - 1} step={1} value={value}
        style={{ "--at": `${(100 * value) / Math.max(1, count - 1)}%` }} onInput={(event) => set(Number(event.currentTarget.value))}
      />
      <span class="num">{value + 1} / {count}</span>
    </>
  );
  return (
    <div class="glass planes">
      {image.z > 1 && slider("z", z, image.z, (value) => session.setZ(value))}
      {image.t > 1 && slider("t", t, image.t, (value) => session.setT(value))}
    </div>
  );
}

function ToolOptions({ session }: { session: Session }) {
  const tool = session.tool.value;
  const known = TOOLS.find((item) => item.tool === tool);
  const sized = tool === "brush" || tool === "eraser";
  const stack = (session.image.value?.z ?? 1) > 1;
  const through = session.inVolume.value;
  const chosen = session.selection.value.size;
  const away = session.objects.loaded.value ? [...session.selection.value].filter((id) => !session.objects.get(id)).length : 0;
  const drawing = session.preview.value.kind === "polygon";
  if (!sized && !known?.draws && !chosen && !drawing) return null;
  return (
    <div class="glass options" role="toolbar" aria-label="Options of the tool">
      {sized && <Slider label="Size" value={session.brushSize.value} min={1} max={100} step={1} onInput={(size) => session.setBrushSize(size)} show={(value) => `${value} px`} />}
      {known?.draws && <Choice hideLabel label="What drawing does to other cells" value={session.mode.value} options={MODES} onChange={(mode) => session.setMode(mode)} />}
      {drawing && <><Button keys="Enter" onClick={() => session.finish()}>Finish</Button><Button keys="Esc" onClick={() => session.cancel()}>Leave</Button></>}
      {chosen > 0 && (
        <div class="row">
          <span>{chosen} selected{away > 0 && `, ${away === chosen ? "in other planes" : `${away} in other planes`}`}</span>
          {chosen > 1 && <Button icon="merge" label="Merge into one" keys="Shift+M" onClick={() => session.mergeSelected()} />}
          <Button icon="lock" label="Lock or unlock: the model leaves locked cells alone" keys="L" onClick={() => session.toggleLock()} />
          {stack && <Button icon="copy" label="Copy to the next plane" keys="Shift+C" onClick={() => session.copyToNextPlane()} />}
          {through && <Button icon="planes" label="Fill the planes between two that show the cell" keys="Shift+F" onClick={() => session.fillBetween()} />}
          {through && session.plane.value % session.image.value!.z > 0 && <Button icon="cut" label="Cut between planes: from this one on it is another cell" keys="Shift+X" onClick={() => session.splitHere()} />}
          <Button icon="trash" label="Delete" keys="Delete" onClick={() => session.deleteSelected()} />
        </div>
      )}
    </div>
  );
}

/** What the server cannot give of the picture: said in its place, or beside the parts that are there. */
function Missing({ session }: { session: Session }) {
  const image = session.picture.value?.image;
  const refusal = image?.refusal.value ?? null;
  void session.loading.value; // tiles come
  const part = image?.resident().next().done === false;
  useEffect(() => {
    if (refusal && part) session.notify("error", `A part of the picture cannot be shown: ${refusal}`);
  }, [refusal, part]);
  if (!refusal || part) return null;
  return (
    <div class="center"><div class="card" role="alert">
      <h2>This picture cannot be shown</h2><p>{refusal}</p>
      <Button onClick={() => image?.retry()}>Try again</Button>
    </div></div>
  );
}

function Welcome({ session }: { session: Session }) {
  const project = session.project.value;
  const input = useRef<HTMLInputElement>(null);
  if (session.blind.value)
    return (
      <div class="center"><div class="card" role="alert">
        <h2>The picture cannot be drawn here</h2><p>{session.blind.value}</p>
        <p class="muted">A current Firefox, Chrome, Edge or Safari with hardware acceleration switched on (in the browser's settings) shows it. Nothing of your data is affected.</p>
      </div></div>
    );
  if (!project)
    return <div class="center" role="status"><p class="muted" style={{ color: "#c9cfd6" }}>Connecting to the server…</p></div>;
  const problem = session.image.value?.problem;
  if (problem) return <div class="center"><div class="card" role="alert"><h2>{session.image.value!.name} cannot be shown</h2><p>{problem}</p></div></div>;
  if (session.image.value) return null;
  if (session.images.value.length > 0)
    return <div class="center"><div class="card"><h2>Choose an image</h2><p>The images of this project are in the list at the left; D and A go to the next and the one before.</p></div></div>;
  return (
    <div class="center"><div class="card">
      <h2>Start with an image</h2>
      <ol><li>Add images with this button, or drop files here.</li><li>Press <b>Find cells</b> at the right.</li><li>Correct what is wrong, and take the measurements with you.</li></ol>
      <input ref={input} type="file" multiple hidden aria-label="Image files" onChange={(event) => { void session.addImages([...(event.currentTarget.files ?? [])]); event.currentTarget.value = ""; }} />
      <Button kind="primary" icon="add" onClick={() => input.current?.click()}>Add images…</Button>
      <p class="note">TIFF, OME-TIFF, PNG, JPEG and more. The files stay on the machine where Cellbrook runs.</p>
    </div></div>
  );
}

export function Stage(props: { session: Session; hold: (element: HTMLElement | null) => void }) {
  const { session } = props;
  const image = session.image.value;
  const shown = image !== null && !image.problem && session.blind.value === null;
  return (
    <main class="stage" aria-label="Picture">
      <div class="picture" ref={props.hold} hidden={!shown} />
      {shown && (
        <>
          <Above session={session} />
          <Missing session={session} />
          <ToolOptions session={session} />
          {session.overlays.value.scaleBar && <ScaleBar session={session} />}
          <Planes session={session} />
          <div class="glass zoombox" role="toolbar" aria-label="Zoom">
            <Button kind="quiet" label="Farther" keys="-" onClick={() => session.zoomBy(0.8)}>−</Button>
            <Button kind="quiet" hint="As large as the data: one pixel is one pixel" onClick={() => session.zoomBy(1 / session.view.value.zoom)}><span class="zoom">{percent(session.view.value.zoom)}</span></Button>
            <Button kind="quiet" label="Closer" keys="+" onClick={() => session.zoomBy(1.25)}>+</Button>
            <Button kind="quiet" icon="fit" label="Whole image" keys="Home" onClick={() => session.zoomToFit()} />
          </div>
        </>
      )}
      <Welcome session={session} />
    </main>
  );
}

const percent = (zoom: number) => `${zoom < 0.1 ? (100 * zoom).toFixed(1) : Math.round(100 * zoom)} %`;
