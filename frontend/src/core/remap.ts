// Which object an id stands for: merging and deleting change an entry here, and no pixel.
//
// What is shown, and what the server has, is `resolve(pixel)`. An id that comes back (undo) must first be written out of
// the pixels that it was joined with: `forget` says where they lie.

import type { Box } from "./wire";

interface Joined {
  target: number; // 0: deleted
  box: Box; // where its pixels lie
}

export class Remap {
  private readonly joined = new Map<number, Joined>();
  private readonly followers = new Map<number, Set<number>>(); // target -> ids joined into it

  /** Told of ids whose texel is no longer what it was. */
  constructor(private readonly changed: (ids: readonly number[]) => void) {}

  resolve(id: number): number {
    let joined = this.joined.get(id);
    while (joined !== undefined) {
      id = joined.target;
      joined = this.joined.get(id);
    }
    return id;
  }

  has(id: number): boolean {
    return this.joined.has(id);
  }

  join(id: number, target: number, box: Box): void {
    if (this.resolve(target) === id) return; // they are one already
    this.unlink(id);
    this.link(id, { target, box });
    this.changed(this.family(id));
  }

  /** An edit was refused: the pixels with this id are its own again. */
  release(id: number): void {
    if (!this.joined.has(id)) return;
    this.unlink(id);
    this.changed(this.family(id));
  }

  /** The id is about to have pixels of its own again. Returns where old ones must first be rewritten, and to what. */
  forget(id: number): { target: number; box: Box } | null {
    const joined = this.joined.get(id);
    if (joined === undefined) return null;
    const target = this.resolve(id);
    const family = this.family(id);
    for (const follower of [...(this.followers.get(id) ?? [])]) {
      const { box } = this.joined.get(follower) as Joined;
      this.unlink(follower);
      this.link(follower, { target, box });
    }
    this.unlink(id);
    this.changed(family);
    return { target, box: joined.box };
  }

  private link(id: number, joined: Joined): void {
    this.joined.set(id, joined);
    const siblings = this.followers.get(joined.target) ?? new Set();
    this.followers.set(joined.target, siblings.add(id));
  }

  private unlink(id: number): void {
    const joined = this.joined.get(id);
    if (joined === undefined) return;
    this.followers.get(joined.target)?.delete(id);
    this.joined.delete(id);
  }

  /** An id and all that were joined into it. */
  private family(id: number): number[] {
    const family = [id];
    for (const member of family) family.push(...(this.followers.get(member) ?? []));
    return family;
  }
}
