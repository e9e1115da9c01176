// What is looked at, in the page's address: reloading, or sending the address, leads back to it.

import type { Session, Start } from "../core/session";

export function fromAddress(search: string): Start {
  const query = new URLSearchParams(search);
  const [y, x, zoom] = (query.get("at") ?? "").split(",").map(Number);
  return {
    image: query.get("image"),
    plane: Number(query.get("plane") ?? 0) || 0,
    view: zoom > 0 && Number.isFinite(y) && Number.isFinite(x) ? { centre: [y, x], zoom } : null,
  };
}

const QUIET_MS = 300; // browsers refuse too many changes of the address
let timer: ReturnType<typeof setTimeout> | undefined;

/** Called by an effect: follows the image, the plane and the view. */
export function toAddress(session: Session): void {
  const [image, plane, { centre, zoom }] = [session.imageId.value, session.plane.value, session.view.value];
  if (image === null) return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    const url = new URL(location.href);
    url.searchParams.set("image", image);
    url.searchParams.set("plane", String(plane));
    url.searchParams.set("at", [centre[0].toFixed(1), centre[1].toFixed(1), zoom.toPrecision(4)].join(","));
    history.replaceState(history.state, "", url);
  }, QUIET_MS);
}
