// Two small pictures of numbers: a histogram one can brush, and lines over steps. Plain SVG.

import { useMemo, useRef } from "preact/hooks";

const LARGE = [[999.5e6, 1e9, "G"], [999_500, 1e6, "M"], [10_000, 1e3, "k"]] as const;

export const brief = (value: number): string => {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const large = LARGE.find(([from]) => size >= from);
  if (large) return `${(value / large[1]).toPrecision(3)}${large[2]}`;
  return size >= 100 || Number.isInteger(value) ? value.toFixed(0) : size >= 1 ? value.toFixed(1) : value.toPrecision(2);
};

/** The least and the greatest of many numbers, of `low` and `high` too; a call with as many arguments would overflow the stack. */
export function ends(values: readonly number[], low = Infinity, high = -Infinity): [low: number, high: number] {
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

export function bins(values: ArrayLike<number>, low: number, high: number, count: number): number[] {
  const found = new Array<number>(count).fill(0);
  const scale = count / (high - low || 1);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value >= low && value <= high) found[Math.min(count - 1, Math.floor((value - low) * scale))]!++;
  }
  return found;
}

/** Bars of how often each value occurs. With onBrush a stretch of them can be marked by dragging. */
export function Histogram(props: {
  values: ArrayLike<number>;
  low: number;
  high: number;
  label: string;
  brush?: [number, number] | null;
  onBrush?: (range: [number, number] | null) => void;
  marks?: number[];
}) {
  const { values, low, high, brush, onBrush } = props;
  const counts = useMemo(() => bins(values, low, high, 60), [values, low, high]);
  const tallest = Math.max(1, ...counts);
  const start = useRef<number | null>(null);
  const at = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    return low + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (high - low);
  };
  const x = (value: number) => (60 * (value - low)) / (high - low || 1);
  const move = (event: PointerEvent) => {
    if (start.current === null) return;
    const here = at(event);
    onBrush?.([Math.min(start.current, here), Math.max(start.current, here)]);
  };
  return (
    <div class={`histogram ${onBrush ? "brushable" : ""}`}>
      <svg
        viewBox="0 0 60 24" preserveAspectRatio="none" role="img"
        aria-label={`${props.label}: ${values.length} values from ${brief(low)} to ${brief(high)}`}
        onPointerDown={onBrush && ((event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          start.current = at(event);
        })}
        onPointerMove={onBrush && move}
        onPointerUp={onBrush && ((event) => {
          if (start.current !== null && Math.abs(at(event) - start.current) < (high - low) / 100) onBrush(null);
          start.current = null;
        })}
      >
        {brush && <rect class="brush" x={x(brush[0])} y="0" width={Math.max(0.3, x(brush[1]) - x(brush[0]))} height="24" />}
        {counts.map((count, i) => {
          const height = count ? Math.max(0.7, (24 * count) / tallest) : 0;
          const middle = low + ((i + 0.5) * (high - low)) / 60;
          const off = brush && (middle < brush[0] || middle > brush[1]);
          return <rect key={i} class={off ? "off" : "bar"} x={i + 0.08} y={24 - height} width="0.84" height={height} />;
        })}
        {props.marks?.map((mark) => <line key={mark} x1={x(mark)} x2={x(mark)} y1="0" y2="24" class="mark" />)}
      </svg>
      <div class="axis"><span>{brief(low)}</span><span>{brief(high)}</span></div>
    </div>
  );
}

export type Line = { name: string; kind: "a" | "b"; points: (number | null)[] };

/** A single point is drawn too: as a line to itself, whose round ends are a dot. */
function pathOf(points: readonly (number | null)[], steps: number, low: number, high: number): string {
  const places = points.flatMap((p, i) => (p === null ? [] : [`${(200 * i) / (steps - 1)},${59 - (58 * (p - low)) / (high - low || 1)}`]));
  return (places.length === 1 ? [...places, ...places] : places).join(" ");
}

/** Lines over steps, each between its own smallest and largest value or within `range`. */
export function Lines(props: { lines: Line[]; label: string; range?: [number, number]; unit?: (value: number) => string }) {
  const { lines, unit = brief } = props;
  const all = lines.flatMap((line) => line.points.filter((p): p is number => p !== null && Number.isFinite(p)));
  const [low, high] = props.range ?? ends(all, 0, 1e-9);
  const steps = Math.max(2, ...lines.map((line) => line.points.length));
  return (
    <figure class="lines">
      <svg viewBox="0 0 200 60" preserveAspectRatio="none" role="img" aria-label={props.label}>
        {[0, 0.5, 1].map((part) => <line key={part} class="grid" x1="0" x2="200" y1={1 + 58 * part} y2={1 + 58 * part} />)}
        {lines.map((line) => (
          <polyline
            key={line.name} class={`curve ${line.kind}`} vector-effect="non-scaling-stroke"
            points={pathOf(line.points, steps, low, high)}
          />
        ))}
      </svg>
      <figcaption>
        {lines.map((line) => {
          const last = line.points.filter((p) => p !== null).at(-1);
          return <span key={line.name} class={`key ${line.kind}`}>{line.name} <b>{last == null ? "–" : unit(last)}</b></span>;
        })}
      </figcaption>
    </figure>
  );
}
