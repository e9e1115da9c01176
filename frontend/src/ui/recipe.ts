// What is asked of the model: one recipe for the window, the image, and all images. Options are named as the command's.

import { computed, effect, signal, type ReadonlySignal } from "@preact/signals";
import type { Session } from "../core/session";

export type Target = "auto" | "cells" | "nuclei";

export const model = signal<string | null>(null); // null: the project's
export const target = signal<Target>("auto");
export const invert = signal(false);
export const anisotropy = signal<number | null>(null); // distance of planes in pixels; null: as the file says
export const channels = signal<readonly number[]>([]); // those that the model sees; none: it is left to the program

/** The model that looks for cells next. */
export const chosenModel = (session: Session): string => model.value ?? session.project.value?.model ?? "compact";

/** Another model that is put to use, as after a training, takes the place of one that was chosen here. */
export function followModel(session: Session): () => void {
  const used = computed(() => session.project.value?.model);
  return effect(() => {
    void used.value;
    model.value = null;
  });
}

/** Whether a threshold goes with the next run: chosen by a person, or as that model had it. Else what is doubtful is the model's to say. */
export function isGiven(session: Session, threshold: "flow_error" | "score"): boolean {
  const image = session.image.value;
  return session.byHand.value.has(threshold) || (image?.limits != null && image.model === chosenModel(session));
}

/** The channels that were chosen, where the open image has them and others beside them. */
export function chosenChannels(session: Session): number[] {
  const count = session.channels.value.length;
  return count > 1 ? channels.value.filter((channel) => channel < count) : [];
}

/** `many`: for other images too, in which a channel of the same name may have another number. */
export function recipe(session: Session, many = false): ReadonlySignal<Record<string, unknown>> {
  return computed(() => {
    const chosen = chosenChannels(session);
    const names = chosen.map((channel) => session.channels.value[channel].name);
    const telling = new Set(names).size === names.length && !names.some((name) => /^\d+$|[,=]/.test(name));
    const limits = session.limits();
    if (!isGiven(session, "flow_error")) limits.flow_threshold = null;
    if (!isGiven(session, "score")) limits.min_score = null;
    const diameter = session.diameter.value;
    const volume = many ? (session.through.value ?? session.inVolume.value) : session.inVolume.value;
    if (volume !== (session.image.value?.volume ?? false)) limits.max_size_fraction = null; // of another size
    return {
      model: chosenModel(session),
      diameter: diameter === null ? "auto" : String(Number(diameter.toFixed(1))),
      target: target.value,
      ...(chosen.length > 0 && { channels: (many && telling ? names : chosen).join(",") }),
      ...(invert.value ? { invert: true } : {}),
      ...(volume && { volume, ...(anisotropy.value !== null && { anisotropy: anisotropy.value }) }),
      ...Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== null)),
    };
  });
}
