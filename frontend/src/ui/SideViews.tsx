// A stack seen from the front and from the side, through the chosen cell or the middle of the picture.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { clipped, windowOf } from "../core/pyramid";
import { drawSection, type Section } from "../core/section";
import type { Session } from "../core/session";
import { channelLooks, classColors, COLOR_MODES } from "../core/shown";
import type { Box } from "../core/wire";
import { anisotropy } from "./recipe";
import { Check } from "./controls";
import { TERMS } from "./words";

const REST_MS = 200; // the picture moves, or cells change: ask once that is over
const TALLEST = 220; // CSS pixels

const shown = signal(false);

/** Row and column of the cut: of the only chosen cell that is in this plane, else of the middle of what is in sight. */
function crossing(session: Session): [y: number, x: number] {
  const { centre } = session.view.value;
  const [height, width] = session.image.value!.shape;
  const chosen = [...session.selection.value].map((id) => session.objects.get(id));
  const cell = chosen.length === 1 ? chosen[0] : undefined;
  const [y, x] = cell ? [(cell.y0 + cell.y1) / 2, (cell.x0 + cell.x1) / 2] : centre;
  return [Math.min(height - 1, Math.max(0, Math.floor(y))), Math.min(width - 1, Math.max(0, Math.floor(x)))];
}

function SideView({ session, axis, at, sight }: { session: Session; axis: "y" | "x"; at: number; sight: Box }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [section, setSection] = useState<Section | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const image = session.image.value!;
  // all that is drawn by is read here: what is read later, of that no change is told
  void session.channels.value;
  void session.objects.fatesVersion.value;
  const channels = channelLooks(session);
  const [style, invert, ratio] = [session.style.value, session.prefs.value.invertImage, session.pixelRatio.value];
  const colors = classColors(session);
  const time = Math.floor(session.plane.value / image.z);
  const asked = `${image.id} ${time} ${at} ${channels.map(({ channel }) => channel).join(",")} ${image.rev} ${session.objects.version.value}`;
  useEffect(() => {
    let current = true;
    const rest = setTimeout(() => {
      session.section(axis, at).then(
        (found) => current && (setSection(found), setProblem(null)),
        (error: Error) => current && setProblem(error.message),
      );
    }, REST_MS);
    return () => {
      current = false;
      clearTimeout(rest);
    };
  }, [axis, asked]);
  const [first, last] = axis === "y" ? [sight[1], sight[3]] : [sight[0], sight[2]];
  const step = anisotropy.value ?? image.z_step;
  const draw = (): void => {
    const element = canvas.current;
    if (!element || !section || section.channels.length !== channels.length) return;
    const most = element.parentElement!.clientWidth;
    // all of what is in sight, and all planes
    const scale = Math.max((last - first) / most, (section.planes * step) / TALLEST) / ratio;
    const [width, height] = [Math.ceil((last - first) / scale), Math.ceil((section.planes * step) / scale)];
    const view = {
      from: first, scale, step, width, height, here: session.plane.value % image.z, channels, invert,
      labels: style.visible
        ? {
            state: session.look.bytes, colorMode: COLOR_MODES[style.color], fill: style.fill ? style.opacity : 0,
            outline: style.outline ? style.outlineOpacity : 0, reach: scale * ratio * style.outlineWidth, classColors: colors,
          }
        : null,
    };
    Object.assign(element, { width, height });
    Object.assign(element.style, { width: `${width / ratio}px`, height: `${height / ratio}px` });
    element.getContext("2d")!.putImageData(new ImageData(drawSection(section, view), width, height), 0, 0);
  };
  useEffect(() => {
    const frame = requestAnimationFrame(draw); // what objects look like is known by then
    return () => cancelAnimationFrame(frame);
  });
  const go = (event: MouseEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    session.setZ(Math.min(image.z - 1, Math.floor(((event.clientY - box.top) / box.height) * image.z)));
  };
  const [name, where] = axis === "y" ? ["From the front", `row ${at}`] : ["From the side", `column ${at}`];
  return (
    <div class="field">
      <div class="field-head"><span>{name}</span><span class="value">{where}</span></div>
      {problem ? <p class="note" role="status">{problem}</p> : <canvas ref={canvas} class="section-view" role="img" aria-label={`${name}: ${where}, planes from top to bottom`} onClick={go} />}
    </div>
  );
}

export function SideViews({ session }: { session: Session }) {
  const image = session.image.value!;
  const sight = clipped(windowOf(session.view.value), image.shape);
  const [y, x] = crossing(session);
  return (
    <>
      <Check label="Show the stack from the side" hint={TERMS.side} checked={shown.value} onChange={(on) => (shown.value = on)} />
      {shown.value && sight && (
        <>
          <SideView session={session} axis="y" at={y} sight={sight} />
          <SideView session={session} axis="x" at={x} sight={sight} />
          <p class="note">Planes from top to bottom; a click goes to one.</p>
        </>
      )}
    </>
  );
}
