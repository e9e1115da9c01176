// What only the page's frame knows: which tab and sidebars are open. In the address, so that a link leads to the same place.

import { effect, signal } from "@preact/signals";
import type { Session } from "../core/session";

export const TABS = [
  { id: "view", name: "View", hint: "Channels, contrast, labels, classes" },
  { id: "find", name: "Find", hint: "Let the model find the cells; decide which to keep" },
  { id: "cells", name: "Cells", hint: "Every cell with its measurements" },
  { id: "teach", name: "Teach", hint: "Let the model learn from your corrections" },
  { id: "export", name: "Export", hint: "Files, many images, import, jobs" },
] as const;
export type Tab = (typeof TABS)[number]["id"];

const isTab = (name: string | null): name is Tab => TABS.some((tab) => tab.id === name);

export const tab = signal<Tab>("find");
export const leftOpen = signal(true);
export const rightOpen = signal(true);

/** Keep the open tab in the address's query beside whatever else lies there. */
export function followAddress(): () => void {
  const asked = new URLSearchParams(location.search).get("tab");
  if (isTab(asked)) tab.value = asked;
  return effect(() => {
    const url = new URL(location.href);
    if (url.searchParams.get("tab") === tab.value) return;
    url.searchParams.set("tab", tab.value);
    history.replaceState(history.state, "", url);
  });
}

/** Put the chosen theme on the document; "system" follows the machine. */
export function followTheme(session: Session): () => void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const wish = session.prefs.value.theme;
    document.documentElement.dataset.theme = wish === "system" ? (dark.matches ? "dark" : "light") : wish;
  };
  dark.addEventListener("change", apply);
  const stop = effect(apply);
  return () => {
    dark.removeEventListener("change", apply);
    stop();
  };
}
