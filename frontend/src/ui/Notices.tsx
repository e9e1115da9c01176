// What the page has to say: in the window, with what to do, until it is closed. And the line of explanation on hover or focus.

import { useEffect, useState } from "preact/hooks";
import type { Session } from "../core/session";
import { Button } from "./controls";
import { Icon } from "./icons";
import { plural } from "./words";

export function Notices({ session }: { session: Session }) {
  const notices = session.notices.value.slice(-4);
  // What is only good to know goes by itself.
  useEffect(() => {
    const timers = notices.filter((notice) => notice.level === "info").map((notice) => setTimeout(() => session.dismiss(notice.id), 6000));
    return () => timers.forEach(clearTimeout);
  }, [session.notices.value]);
  const [toCome, of] = [session.adding.value, session.addingOf.value];
  return (
    <div class="notices" role="log" aria-live="polite" aria-label="Messages">
      {toCome > 0 && toCome < of && (
        <div class="notice info" role="progressbar" aria-live="off" aria-label="Adding images" aria-valuenow={of - toCome} aria-valuemin={0} aria-valuemax={of}>
          <Icon name="info" /><p>Adding images: {(of - toCome).toLocaleString("en")} of {plural(of, "file")}</p>
        </div>
      )}
      {notices.map((notice) => (
        <div key={notice.id} class={`notice ${notice.level}`} role={notice.level === "error" ? "alert" : undefined}>
          <Icon name={notice.level === "info" ? "info" : "warn"} />
          <p>{notice.message}</p>
          <Button kind="quiet" icon="close" label="Close this message" onClick={() => session.dismiss(notice.id)} />
          {notice.hint && <p class="hint">{notice.hint}</p>}
        </div>
      ))}
    </div>
  );
}

export function LostBanner({ session }: { session: Session }) {
  const state = session.connection.value;
  const waiting = session.unsaved.value;
  if (state === "outdated")
    return (
      <div class="banner lost" role="alert">
        <Icon name="warn" /><span>Cellbrook was updated while this page was open. What you did is saved.</span>
        <Button onClick={() => location.reload()}>Load the new page</Button>
      </div>
    );
  if (state !== "lost") return null;
  if (session.shutOut.value)
    return (
      <div class="banner lost" role="alert">
        <Icon name="link" />
        <span>
          <b>The server was started anew.</b> Open the address that it printed in another tab of this browser: then this page goes on by itself.
          {waiting > 0 && ` ${plural(waiting, "change")} ${waiting === 1 ? "waits" : "wait"} here: do not close this page.`}
        </span>
      </div>
    );
  return (
    <div class="banner lost" role="alert">
      <Icon name="link" />
      <span>
        <b>Connection lost; trying again.</b> Nothing is lost: go on drawing
        {waiting ? `, ${plural(waiting, "change")} will be sent when it is back.` : "."} Does <kbd>cellbrook serve</kbd> still run?
      </span>
    </div>
  );
}

/** One tooltip for the page: whatever has `data-hint` is explained on hover, and on focus from the keyboard. */
export function Tooltip() {
  const [shown, show] = useState<{ text: string; box: DOMRect } | null>(null);
  useEffect(() => {
    let timer = 0;
    const at = (target: EventTarget | null, wait: number) => {
      clearTimeout(timer);
      const element = target instanceof Element ? target.closest<HTMLElement>("[data-hint]") : null;
      if (!element) return show(null);
      timer = window.setTimeout(() => show({ text: element.dataset.hint!, box: element.getBoundingClientRect() }), wait);
    };
    const over = (event: PointerEvent) => event.pointerType !== "touch" && event.buttons === 0 && at(event.target, 500);
    const focus = (event: FocusEvent) => event.target instanceof Element && event.target.matches(":focus-visible") && at(event.target, 250);
    const away = () => at(null, 0);
    const escape = (event: KeyboardEvent) => event.key === "Escape" && away();
    document.addEventListener("pointerover", over);
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", focus);
    document.addEventListener("focusout", away);
    document.addEventListener("keydown", escape);
    document.addEventListener("scroll", away, true);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("pointerover", over);
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", focus);
      document.removeEventListener("focusout", away);
      document.removeEventListener("keydown", escape);
      document.removeEventListener("scroll", away, true);
    };
  }, []);
  if (!shown) return null;
  const { box } = shown;
  const width = 280;
  const side = box.width < 60 && box.left < 300; // beside the tools, below everything else
  const left = side ? box.right + 8 : Math.max(8, Math.min(box.left, innerWidth - width - 8));
  const below = box.bottom + 6 < innerHeight - 60;
  const style = side ? { left, top: box.top } : below ? { left, top: box.bottom + 6 } : { left, bottom: innerHeight - box.top + 6 };
  return <div class="tooltip" role="tooltip" style={Object.fromEntries(Object.entries(style).map(([k, v]) => [k, `${v}px`]))}>{shown.text}</div>;
}
