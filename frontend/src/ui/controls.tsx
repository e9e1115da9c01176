// The page's few controls. Native elements underneath, so that keyboard, pen and screen reader work without further code.

import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { Icon, type IconName } from "./icons";
import { MAC, MOD } from "./words";

type Children = { children?: ComponentChildren };

export function Button(props: {
  onClick?: (event: MouseEvent) => void;
  kind?: "plain" | "primary" | "danger" | "quiet";
  icon?: IconName;
  disabled?: boolean;
  hint?: string;
  pressed?: boolean;
  label?: string; // for buttons that show an icon only
  keys?: string;
  children?: ComponentChildren;
}) {
  const { kind = "plain", icon, hint, label, keys, children } = props;
  const told = [hint ?? (children ? "" : label), keys && `(${keys.replace("Ctrl", MOD)})`].filter(Boolean).join(" ");
  return (
    <button
      type="button"
      class={`button ${kind} ${children ? "" : "square"}`}
      onClick={props.onClick}
      disabled={props.disabled ?? false}
      aria-pressed={props.pressed}
      aria-label={children ? undefined : label}
      aria-keyshortcuts={keys && /^[\w+]+$/.test(keys) ? keys.replace("Ctrl", MAC ? "Meta" : "Control") : undefined}
      data-hint={told || undefined}
    >
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** A label, its control and, on hover and focus, one line that explains the term. */
export function Field(props: { label: string; hint?: string; value?: ComponentChildren; for?: string } & Children) {
  return (
    <div class="field" data-hint={props.hint}>
      <div class="field-head">
        <label for={props.for}>{props.label}</label>
        {props.value !== undefined && <span class="value">{props.value}</span>}
      </div>
      {props.children}
    </div>
  );
}

type SliderProps = {
  label: string;
  hint?: string;
  value: number;
  min: number;
  max: number;
  step: number;
  onInput: (value: number) => void;
  onChange?: (value: number) => void; // on release
  show?: (value: number) => string;
  note?: ComponentChildren;
  disabled?: boolean;
};

export function Slider(props: SliderProps) {
  const id = useId();
  const { value, min, max, show = String } = props;
  return (
    <Field label={props.label} hint={props.hint} value={props.note ?? show(value)} for={id}>
      <input
        id={id}
        type="range"
        min={min}
        max={max}
        step={props.step}
        value={value}
        disabled={props.disabled ?? false}
        aria-valuetext={show(value)}
        aria-description={props.hint}
        style={{ "--at": `${(100 * (value - min)) / (max - min || 1)}%` }}
        onInput={(event) => props.onInput(Number(event.currentTarget.value))}
        onChange={(event) => props.onChange?.(Number(event.currentTarget.value))}
      />
    </Field>
  );
}

/** Two thumbs on one track. */
export function RangeSlider(props: {
  label: string;
  low: number;
  high: number;
  min: number;
  max: number;
  step: number;
  color?: string;
  onInput: (low: number, high: number) => void;
}) {
  const { low, high, min, max, step, label } = props;
  const at = (value: number) => `${(100 * (value - min)) / (max - min || 1)}%`;
  return (
    <div class="range2" style={{ "--a": at(low), "--b": at(high), ...(props.color ? { "--bar": props.color } : {}) }}>
      <input
        type="range" aria-label={`${label}: black at`} min={min} max={max} step={step} value={low}
        onInput={(event) => props.onInput(Math.min(Number(event.currentTarget.value), high - step), high)}
      />
      <input
        type="range" aria-label={`${label}: full brightness at`} min={min} max={max} step={step} value={high}
        onInput={(event) => props.onInput(low, Math.max(Number(event.currentTarget.value), low + step))}
      />
    </div>
  );
}

export function Choice<T extends string>(props: {
  label: string;
  value: T;
  options: readonly { value: T; label: string; hint?: string }[];
  onChange: (value: T) => void;
  hint?: string;
  hideLabel?: boolean;
}) {
  const id = useId();
  return (
    <div class="field" data-hint={props.hint} role="radiogroup" aria-label={props.label}>
      {!props.hideLabel && <div class="field-head"><span>{props.label}</span></div>}
      <div class="segmented">
        {props.options.map((option) => (
          <label key={option.value} class={option.value === props.value ? "on" : ""} data-hint={option.hint}>
            <input
              type="radio" name={id} value={option.value} checked={option.value === props.value}
              onChange={() => props.onChange(option.value)}
            />
            <span>{option.label}</span>
          </label>
        ))}
      </div>
    </div>
  );
}

export function Select(props: {
  label: string;
  value: string;
  options: readonly { value: string; label: string }[];
  onChange: (value: string) => void;
  hint?: string;
  hideLabel?: boolean;
  disabled?: boolean;
}) {
  const id = useId();
  const control = (
    <select
      id={id} value={props.value} disabled={props.disabled ?? false} aria-description={props.hint}
      aria-label={props.hideLabel ? props.label : undefined}
      onChange={(event) => props.onChange(event.currentTarget.value)}
    >
      {props.options.map((option) => <option key={option.value} value={option.value}>{option.label}</option>)}
    </select>
  );
  if (props.hideLabel) return control;
  return <Field label={props.label} hint={props.hint} for={id}>{control}</Field>;
}

/** What is being typed stays, whatever is told meanwhile, until it is taken or left. */
export function TextField(props: {
  value: string | number;
  onChange: (text: string) => void;
  type?: "text" | "number";
  id?: string;
  class?: string;
  min?: string;
  step?: string;
  placeholder?: string;
  maxLength?: number;
  "aria-label"?: string;
  "aria-description"?: string;
}) {
  const { value, onChange, type = "text", ...rest } = props;
  const [typed, setTyped] = useState<string | null>(null);
  return (
    <input
      {...rest} type={type as "text"} value={typed ?? value} onInput={(event) => setTyped(event.currentTarget.value)} onBlur={() => setTyped(null)}
      onChange={(event) => {
        setTyped(null);
        onChange(event.currentTarget.value);
      }}
    />
  );
}

export function Check(props: { label: string; checked: boolean; onChange: (on: boolean) => void; hint?: string; note?: ComponentChildren; disabled?: boolean }) {
  return (
    <label class="check" data-hint={props.hint}>
      <input
        type="checkbox" checked={props.checked} disabled={props.disabled ?? false} aria-description={props.hint}
        onChange={(event) => props.onChange(event.currentTarget.checked)}
      />
      <span>{props.label}</span>
      {props.note !== undefined && <span class="value">{props.note}</span>}
    </label>
  );
}

export function Section(props: { title: string; aside?: ComponentChildren; hint?: string; folded?: boolean } & Children) {
  const [first] = useState(props.folded); // later the user folds and unfolds
  if (first !== undefined)
    return (
      <details class="section" open={!first}>
        <summary data-hint={props.hint}><h2>{props.title}</h2>{props.aside}</summary>
        <div class="section-body">{props.children}</div>
      </details>
    );
  return (
    <section class="section" aria-label={props.title}>
      <header data-hint={props.hint}><h2>{props.title}</h2>{props.aside}</header>
      <div class="section-body">{props.children}</div>
    </section>
  );
}

/** What a panel shows when it has nothing to show: what this is, and what to do. */
export function Empty(props: { title: string; icon?: IconName } & Children) {
  return (
    <div class="empty">
      {props.icon && <Icon name={props.icon} size={28} />}
      <strong>{props.title}</strong>
      <p>{props.children}</p>
    </div>
  );
}

export function Keys(props: { keys: string }) {
  return <>{props.keys.split("+").map((key) => <kbd key={key}>{key}</kbd>)}</>;
}
