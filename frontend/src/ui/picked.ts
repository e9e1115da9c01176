// Images chosen in the list for work on several at once.

import { signal } from "@preact/signals";

export const picked = signal<ReadonlySet<string>>(new Set());

export function toggle(id: string): void {
  const next = new Set(picked.value);
  if (!next.delete(id)) next.add(id);
  picked.value = next;
}
