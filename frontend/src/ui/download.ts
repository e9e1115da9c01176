// Files to take along: the server makes them, which may take a while and may not be possible.

import { signal } from "@preact/signals";
import type { Session } from "../core/session";

/** Addresses of the files that are being made. */
export const making = signal<ReadonlySet<string>>(new Set());

/** Fetch a file and give it to the browser, or say why there is none: behind a link nobody would hear of it. */
export async function download(session: Session, url: string, name: string): Promise<void> {
  making.value = new Set([...making.value, url]);
  try {
    const answer = await fetch(url, { credentials: "same-origin" });
    if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
    give(await answer.blob(), nameOf(answer.headers.get("content-disposition") ?? "") ?? name);
  } catch (error) {
    session.notify("error", `${name} could not be made`, error instanceof TypeError ? "the server does not answer: try again when it is back" : (error as Error).message);
  }
  making.value = new Set([...making.value].filter((other) => other !== url));
}

function give(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after the click
}

/** The file's name as the server has it; letters beyond ASCII come percent-encoded. */
export function nameOf(disposition: string): string | null {
  const coded = /filename\*=utf-8''([^;]+)/i.exec(disposition)?.[1];
  return coded ? decodeURIComponent(coded) : (/filename="([^"]+)"/.exec(disposition)?.[1] ?? null);
}
