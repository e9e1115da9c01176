// The kinds of cells: names, colours, keys, which are shown, and which one new cells get.

import { useMemo } from "preact/hooks";
import type { Session } from "../core/session";
import type { ClassInfo } from "../core/wire";
import { Button, Check, TextField } from "./controls";
import { plural } from "./words";

// Okabe and Ito's colours, which colour-blind eyes can tell apart.
const PALETTE = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999", "#8c6bb1"];

export function ClassList({ session }: { session: Session }) {
  const classes = session.classes.value;
  const rows = session.objects.rows();
  const counts = useMemo(() => {
    const found = new Map<number, number>();
    for (const cell of rows) if (!cell.discarded) found.set(cell.class, (found.get(cell.class) ?? 0) + 1);
    return found;
  }, [rows]);
  const hidden = session.objects.hiddenClasses.value;
  const chosen = session.selection.value.size;
  const change = (id: number, part: Partial<ClassInfo>) =>
    session.setClasses(classes.map((item) => (item.id === id ? { ...item, ...part } : item)));
  const add = () => {
    const id = [1, 2, 3, 4, 5, 6, 7, 8, 9].find((free) => !classes.some((item) => item.id === free));
    if (id) session.setClasses([...classes, { id, name: `Class ${id}`, color: PALETTE[id - 1] }]);
  };
  return (
    <>
      {classes.length === 0 && <p class="note">No classes yet. Add one to sort cells into kinds, such as dividing and resting.</p>}
      <ul class="classes">
        {classes.map((item) => (
          <li key={item.id} class={session.activeClass.value === item.id ? "on" : ""}>
            <Button
              kind="quiet" pressed={session.activeClass.value === item.id}
              hint={chosen ? `Give this class to ${plural(chosen, "selected cell")}` : "New cells get this class"}
              onClick={() => session.chooseClass(session.activeClass.value === item.id && !chosen ? 0 : item.id)}
            ><kbd>{item.id}</kbd></Button>
            <input type="color" value={item.color} aria-label={`Colour of ${item.name}`} onChange={(e) => change(item.id, { color: e.currentTarget.value })} />
            <TextField value={item.name} aria-label={`Name of class ${item.id}`} maxLength={60} onChange={(name) => change(item.id, { name: name.trim() || item.name })} />
            <span class="note">{counts.get(item.id) ?? 0}</span>
            {!counts.get(item.id) && (
              <Button kind="quiet" icon="close" label={`Take ${item.name} away`} onClick={() => session.setClasses(classes.filter(({ id }) => id !== item.id))} />
            )}
            <Button kind="quiet" icon={hidden.has(item.id) ? "eyeoff" : "eye"} pressed={!hidden.has(item.id)} label={`Show ${item.name}`} onClick={() => session.toggleClass(item.id)} />
          </li>
        ))}
      </ul>
      {classes.length < 9 && <Button icon="add" kind="quiet" onClick={add}>Add a class</Button>}
      {classes.length > 0 && (
        <Check
          label="A click with Pick gives the class" checked={session.paintClass.value} hint="Sort many cells quickly: choose a class, then click its cells"
          onChange={(on) => (session.paintClass.value = on)} disabled={session.activeClass.value === 0}
        />
      )}
    </>
  );
}
