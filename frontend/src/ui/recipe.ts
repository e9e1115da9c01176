// What is asked of the model: one recipe for the window, the image, and all images. Options are named as the command's.

import { computed, signal, type ReadonlySignal } from "@preact/signals";
import type { Session } from "../core/session";
import type { ChannelSettings } from "../core/state";

export type Target = "auto" | "cells" | "nuclei";

export const model = signal<string | null>(null); // null: the project's active one
export const target = signal<Target>("auto");
export const invert = signal(false);
export const channels = signal("auto"); // or the number of the one that the model sees

/** The channel that was chosen, where the open image has it and others beside it. */
export function chosenChannel(session: Session): ChannelSettings | undefined {
  const all = session.channels.value;
  return all.length > 1 ? all[Number(channels.value)] : undefined;
}

/** `many`: for other images too, in which a channel of the same name may have another number. */
export function recipe(session: Session, many = false): ReadonlySignal<Record<string, unknown>> {
  return computed(() => {
    const channel = chosenChannel(session);
    const ran = session.image.value?.limits ?? null; // before the first run, what is doubtful is the model's to say
    const limits = { ...session.limits(), ...(ran ? {} : { flow_threshold: null, min_score: null }) };
    const diameter = session.diameter.value;
    return {
      model: model.value ?? session.project.value?.model ?? "compact",
      diameter: diameter === null ? "auto" : String(Number(diameter.toFixed(1))),
      target: target.value,
      ...(channel && { channels: many && !/^\d+$|,/.test(channel.name) ? channel.name : channels.value }),
      ...(invert.value ? { invert: true } : {}),
      ...Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== null)),
    };
  });
}
