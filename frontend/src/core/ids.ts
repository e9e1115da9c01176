// Names and numbers for what is made here.

/** A name that nobody else gives. `crypto.randomUUID` is missing on pages without HTTPS, so this spells it out. */
export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Object ids that the server set aside for this page, so that drawing never waits. */
export class IdPool {
  private readonly ranges: { next: number; last: number }[] = [];
  private asked = false;
  private highest = 0;

  constructor(private readonly ask: (count: number) => void) {}

  /** Ids grow. What is offered again, as after a lost connection, may have been used in edits that wait. */
  add(first: number, last: number): void {
    this.asked = false;
    const next = Math.max(first, this.highest + 1, 1);
    if (next > last) return;
    this.ranges.push({ next, last });
    this.highest = last;
  }

  /** Connection lost: what was asked for will not come. */
  askAgain(): void {
    this.asked = false;
  }

  get left(): number {
    return this.ranges.reduce((sum, { next, last }) => sum + last - next + 1, 0);
  }

  /** A fresh id, or null when all are used up and no more can be had now. */
  take(): number | null {
    if (this.left < 256 && !this.asked) {
      this.asked = true;
      this.ask(1024);
    }
    while (this.ranges.length > 0 && this.ranges[0].next > this.ranges[0].last) this.ranges.shift();
    return this.ranges.length > 0 ? this.ranges[0].next++ : null;
  }
}
