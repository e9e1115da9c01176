// Edits that are shown but not yet confirmed. They are sent at once while connected, and all again, in their order, after
// every lost connection, until the server has answered; it knows an `op_id` that it has seen, so nothing is done twice.

import { computed, signal, type ReadonlySignal } from "@preact/signals-core";
import type { PaintRule } from "./labels";
import type { Runs } from "./runs";
import type { Box, Edit } from "./wire";

/** Pixels that an edit writes, as long as the server may not know of them. */
export interface Painted {
  plane: number;
  runs: Runs;
  rule: PaintRule;
}

export interface Joined {
  id: number;
  box: Box; // where its pixels were
}

export interface Pending {
  edit: Edit;
  painted: readonly Painted[];
  joined: readonly Joined[]; // what it merged away or deleted
  fresh: readonly number[]; // ids that got their first pixels, if it wrote any
}

export class Outbox {
  readonly count: ReadonlySignal<number>;
  private readonly edits = signal<ReadonlyMap<string, Pending>>(new Map());

  constructor(private readonly send: (edit: Edit) => void) {
    this.count = computed(() => this.edits.value.size);
  }

  add(pending: Pending): void {
    this.edits.value = new Map(this.edits.peek()).set(pending.edit.op_id, pending);
    this.send(pending.edit);
  }

  /** The server has answered. */
  settle(op_id: string): Pending | null {
    const edits = new Map(this.edits.peek());
    const pending = edits.get(op_id) ?? null;
    edits.delete(op_id);
    this.edits.value = edits;
    return pending;
  }

  resend(): void {
    for (const { edit } of this.edits.peek().values()) this.send(edit);
  }

  *of(image: string): Generator<Pending> {
    for (const pending of this.edits.peek().values()) if (pending.edit.image === image) yield pending;
  }
}
