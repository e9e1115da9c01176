// What is asked of the model: one recipe for the window, the image, and all images. Options are named as the command's.

import { computed, signal, type ReadonlySignal } from "@preact/signals";
import type { Session } from "../core/session";

export type Target = "auto" | "cells" | "nuclei";

export const model = signal<string | null>(null); // null: the project's active one
export const target = signal<Target>("auto");
export const invert = signal(false);
export const channels = signal("auto"); // "auto", or a list such as "0,2"

export function recipe(session: Session): ReadonlySignal<Record<string, unknown>> {
  return computed(() => {
    const ran = session.image.value?.limits ?? null; // before the first run, what is doubtful is the model's to say
    const limits = { ...session.limits(), ...(ran ? {} : { flow_threshold: null, min_score: null }) };
    const diameter = session.diameter.value;
    return {
      model: model.value ?? session.project.value?.model ?? "compact",
      diameter: diameter === null ? "auto" : String(Number(diameter.toFixed(1))),
      target: target.value,
      ...(channels.value === "auto" ? {} : { channels: channels.value }),
      ...(invert.value ? { invert: true } : {}),
      ...Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== null)),
    };
  });
}
