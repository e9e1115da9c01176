// A channel's brightness: how often each value occurs, and the window of values that is shown, to be dragged.

import { useMemo, useRef } from "preact/hooks";
import type { Session } from "../core/session";
import type { ChannelSettings } from "../core/state";
import { RangeSlider, TextField } from "./controls";
import { TERMS } from "./words";

const NEAR = 9; // CSS pixels from an edge of the window that take hold of it
const WIDEST = 2.5; // of the automatic window: a few hot pixels must not press everything into a corner

type Hold = { edge: "low" | "high" | "both"; from: number; low: number; high: number };

/** What the axis spans: from the darkest value to well above the automatic window, or as far as was chosen. */
function axisOf(session: Session, index: number, { low, high, min, max }: ChannelSettings): [number, number] {
  const auto = session.image.value?.channels[index];
  const end = auto ? auto.low + WIDEST * (auto.high - auto.low) : max;
  return [Math.min(min, low), Math.max(high, Math.min(max, end))];
}

export function Levels(props: { session: Session; index: number; channel: ChannelSettings }) {
  const { session, index, channel } = props;
  const { low, high, gamma } = channel;
  const [first, last] = axisOf(session, index, channel);
  const span = last - first || 1;
  const picture = session.picture.value;
  const ready = session.loading.value === 0;
  const counts = useMemo(() => picture?.histogram(index, first, last) ?? null, [picture, index, first, last, ready]);
  const hold = useRef<Hold | null>(null);
  const step = span > 20 ? 1 : span / 500;
  const set = (a: number, b: number) => session.setChannel(index, { low: a, high: Math.max(b, a + step) });
  const round = (value: number) => (step === 1 ? Math.round(value) : value);

  const at = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    return { value: first + (span * (event.clientX - box.left)) / box.width, near: (NEAR * span) / box.width };
  };
  const down = (event: PointerEvent) => {
    const { value, near } = at(event);
    const [a, b] = [Math.abs(value - low), Math.abs(value - high)];
    const inside = value > low && value < high && Math.min(a, b) > near;
    hold.current = { edge: inside ? "both" : a < b ? "low" : "high", from: value, low, high };
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    if (!inside) move(event);
  };
  const move = (event: PointerEvent) => {
    const grip = hold.current;
    if (!grip) return;
    const value = Math.max(first, Math.min(last, at(event).value));
    if (grip.edge === "low") set(round(Math.min(value, high - step)), high);
    else if (grip.edge === "high") set(low, round(Math.max(value, low + step)));
    else {
      const by = Math.max(first - grip.low, Math.min(last - grip.high, value - grip.from));
      set(round(grip.low + by), round(grip.high + by));
    }
  };

  const x = (value: number) => (100 * (value - first)) / span;
  const curve = Array.from({ length: 17 }, (_, i) => `${x(low + ((high - low) * i) / 16)},${40 - 40 * (i / 16) ** gamma}`).join(" ");
  return (
    <div class="levels">
      <div data-hint={`${TERMS.levels} Double-click: automatic.`}>
        <svg
          viewBox="0 0 100 40" preserveAspectRatio="none" aria-hidden="true" style={{ "--ink": channel.color }}
          onPointerDown={down} onPointerMove={move} onPointerUp={() => (hold.current = null)} onPointerCancel={() => (hold.current = null)}
          onDblClick={() => session.autoContrast(index)}
        >
          <rect class="window" x={x(low)} y="0" width={Math.max(0, x(high) - x(low))} height="40" />
          {counts && <path class="bars" d={bars(counts, (value) => x(value))} />}
          <polyline class="response" points={`0,40 ${curve} 100,0`} />
          {[low, high].map((value, i) => <line key={i} class="edge" x1={x(value)} x2={x(value)} y1="0" y2="40" />)}
        </svg>
        <RangeSlider label={channel.name} low={low} high={high} min={first} max={last} step={step} onInput={set} />
      </div>
      <div class="row ends">
        <Value label={`${channel.name}: value shown black`} value={low} onChange={(value) => set(value, Math.max(high, value + step))} />
        <span class="note grow">black</span>
        <span class="note">brightest</span>
        <Value label={`${channel.name}: value shown at full brightness`} value={high} onChange={(value) => set(Math.min(low, value - step), value)} />
      </div>
    </div>
  );
}

function Value(props: { label: string; value: number; onChange: (value: number) => void }) {
  return (
    <TextField
      type="number" step="any" aria-label={props.label} value={Number(props.value.toPrecision(5))}
      onChange={(text) => text !== "" && props.onChange(Number(text))}
    />
  );
}

/** Heights are logarithms: a rare bright cell is seen beside millions of dark pixels. */
function bars(found: { counts: readonly number[]; first: number; width: number }, x: (value: number) => number): string {
  const top = Math.log1p(Math.max(1, ...found.counts));
  return found.counts
    .map((count, i) => {
      if (count === 0) return "";
      const [left, right] = [x(found.first + i * found.width), x(found.first + (i + 1) * found.width)];
      return `M${left.toFixed(2)} 40V${(40 - (38 * Math.log1p(count)) / top).toFixed(2)}H${Math.min(100, right).toFixed(2)}V40Z`;
    })
    .join("");
}
