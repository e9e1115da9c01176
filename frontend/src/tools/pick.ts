import type { Point } from "../core/wire";
import { crossed } from "./lines";
import { distance, type Bench, type Modifiers, type Tool } from "./tool";

/**
 * Selects; a click on a discarded object brings it back; with class painting a click, or a stroke, gives the active class.
 * Dragging moves the picture; with Shift, or where `prefs.drag` is "tool", it selects what lies in a box.
 */
export class Pick implements Tool {
  readonly cursor = "default";
  private from: Point | null = null;
  private last: Point = [0, 0];
  private stroke: Point[] = []; // of class painting
  private boxing = false;
  private more = false; // Shift: to what is selected already
  private panning = false;

  constructor(
    private readonly bench: Bench,
    private readonly pan: (by: Point) => void,
  ) {}

  press(at: Point, { shift }: Modifiers): void {
    this.from = at;
    this.last = at;
    this.more = shift;
    this.boxing = shift || this.bench.session.prefs.value.drag === "tool";
    this.panning = false;
    this.stroke = [at];
  }

  drag(path: readonly Point[]): void {
    const { session } = this.bench;
    if (!this.from) return;
    this.last = path[path.length - 1];
    if (this.paints) {
      this.stroke.push(...path);
      session.preview.value = { kind: "path", points: [...this.stroke], closed: false };
    } else if (this.panning || this.moved) {
      if (this.boxing) {
        session.preview.value = { kind: "box", box: box(this.from, this.last) };
      } else {
        // The picture moves along, so that `from` stays under the pointer.
        this.panning = true;
        this.pan([this.last[0] - this.from[0], this.last[1] - this.from[1]]);
      }
    }
  }

  release(): void {
    const { from, last, boxing, more, panning, paints } = this;
    const moved = this.moved;
    this.cancel();
    if (!from || panning) return;
    if (paints) this.paintClass();
    else if (moved && boxing) this.selectBox(from, last, more);
    else this.click(from, more);
  }

  twice(): void {
    this.bench.session.zoomToFit();
  }

  cancel(): boolean {
    const begun = (this.boxing || this.paints) && this.from !== null;
    this.from = null;
    this.boxing = false;
    if (begun) this.bench.session.preview.value = { kind: "none" };
    return begun;
  }

  private get paints(): boolean {
    const { paintClass, activeClass } = this.bench.session;
    return paintClass.value && activeClass.value !== 0 && !this.more;
  }

  private get moved(): boolean {
    return this.from !== null && distance(this.from, this.last) > this.bench.length(3);
  }

  private click(at: Point, more: boolean): void {
    const { session } = this.bench;
    const id = this.bench.objectAt(at);
    if (session.objects.peek(id)?.discarded) session.accept([id]);
    session.select(id === 0 ? [] : [id], more ? "toggle" : "replace");
  }

  private selectBox(a: Point, b: Point, more: boolean): void {
    const [y0, x0, y1, x1] = box(a, b);
    const middles = this.bench.session.objects.reachable().filter((cell) => {
      const [y, x] = [(cell.y0 + cell.y1) / 2, (cell.x0 + cell.x1) / 2];
      return y >= y0 && y < y1 && x >= x0 && x < x1;
    });
    this.bench.session.select(middles.map(({ id }) => id), more ? "add" : "replace");
  }

  /** One edit for all that the stroke meets. */
  private paintClass(): void {
    const { session } = this.bench;
    const wrong = [...crossed(this.bench, this.stroke).keys()].filter((id) => {
      const cell = session.objects.peek(id);
      return cell !== undefined && cell.class !== session.activeClass.value;
    });
    if (wrong.length > 0) session.setClass(session.activeClass.value, wrong);
  }
}

function box(a: Point, b: Point): [number, number, number, number] {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
}
