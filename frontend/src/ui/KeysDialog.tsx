// The list of keys, made from the key table.

import { useEffect, useRef } from "preact/hooks";
import type { Session } from "../core/session";
import { GESTURES, KEYS, printed, type KeyGroup } from "../tools/keys";
import { Button } from "./controls";
import { MAC } from "./words";

const SHORT: Record<string, string> = { Left: "←", Right: "→", Up: "↑", Down: "↓", PageUp: "PgUp", PageDown: "PgDn", Escape: "Esc" };
/** The parts of a key as printed on this machine's keyboard. */
export const parts = (key: string): string[] =>
  key === "+" ? ["+"] : printed(key, MAC).split("+").map((part) => SHORT[part] ?? part);

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
                  {group === "Classes" && <div><dt><span><kbd>1</kbd> to <kbd>9</kbd></span></dt><dd>This class for the selected cells, and for new ones</dd></div>}
                  {KEYS.filter((binding) => binding.group === group && !/^class_[1-9]$/.test(binding.id)).map((binding) => (
                    <div key={binding.id}>
                      <dt>{binding.keys.map((key) => <span key={key}>{parts(key).map((part) => <kbd key={part}>{part}</kbd>)}</span>)}</dt>
                      <dd>{binding.words}</dd>
                    </div>
                  ))}
                  {GESTURES.filter((gesture) => gesture.group === group).map((gesture) => (
                    <div key={gesture.gesture} class="gesture"><dt>{gesture.gesture}</dt><dd>{gesture.words}</dd></div>
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
