// Go to a place in an image, opening the image first if need be.

import { effect } from "@preact/signals";
import type { Session } from "../core/session";
import type { Box } from "../core/wire";

export interface Place {
  image: string;
  plane: number;
  box: Box;
}

export function jump(session: Session, { image, plane, box }: Place): void {
  if (session.imageId.value !== image) session.openImage(image);
  if (session.plane.value !== plane) session.setPlane(plane);
  let stop = (): void => undefined;
  let done = false;
  stop = effect(() => {
    if (session.imageId.value !== image) done = true; // the user has gone elsewhere meanwhile
    else if (session.picture.value !== null && session.plane.value === plane) {
      done = true;
      const { width, height, zoom } = session.view.peek();
      const size = Math.max(40, box[2] - box[0], box[3] - box[1]);
      session.zoomBy(Math.min(width, height) / (3 * size) / zoom);
      session.centreOn([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]);
    }
    if (done) queueMicrotask(() => stop());
  });
}
