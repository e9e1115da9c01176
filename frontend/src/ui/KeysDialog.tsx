// The list of keys, made from the key table.

import { useEffect, useRef } from "preact/hooks";
import type { Session } from "../core/session";
import { GESTURES, KEYS, printed, type KeyGroup } from "../tools/keys";
import { Button } from "./controls";

export const MAC = /Mac|iP(hone|ad)/.test(navigator.platform);
const ARROWS: Record<string, string> = { Left: "←", Right: "→", Up: "↑", Down: "↓" };
/** The parts of a key as printed on this machine's keyboard. */
export const parts = (key: string): string[] =>
  key === "+" ? ["+"] : printed(key, MAC).split("+").map((part) => ARROWS[part] ?? part);

const GROUPS: KeyGroup[] = ["Tools", "Correct", "Look", "Go", "Classes"];

export function KeysDialog({ session }: { session: Session }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = session.help.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} aria-label="Keys" onClose={() => (session.help.value = false)} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      {open && (
        <>
          <header><h2>Keys</h2><Button kind="quiet" icon="close" label="Close" keys="Escape" onClick={() => dialog.current?.close()} /></header>
          <div class="keylist">
            {GROUPS.map((group) => (
              <section key={group}>
                <h3>{group}</h3>
                <dl>
                  {KEYS.filter((binding) => binding.group === group).map((binding) => (
                    <>
                      <dt>{binding.keys.map((key, i) => <span key={key}>{i > 0 && " "}{parts(key).map((part) => <kbd key={part}>{part}</kbd>)}</span>)}</dt>
                      <dd>{binding.words}</dd>
                    </>
                  ))}
                  {GESTURES.filter((gesture) => gesture.group === group).map((gesture) => (
                    <><dt class="muted">{gesture.gesture}</dt><dd>{gesture.words}</dd></>
                  ))}
                </dl>
              </section>
            ))}
          </div>
        </>
      )}
    </dialog>
  );
}
