// The last line: what the tool does, what lies under the pointer, and that all is saved.

import type { Session } from "../core/session";
import { brief } from "./charts";
import { Icon } from "./icons";
import { TOOLS } from "./toolwords";
import { plural } from "./words";

function Saved({ session }: { session: Session }) {
  const waiting = session.unsaved.value;
  if (!session.project.value) return null;
  if (waiting === 0) return <span class="saved ok"><Icon name="check" size={14} />All changes saved</span>;
  return <span class="saved wait">{session.connection.value === "open" ? "Saving…" : `${plural(waiting, "change")} will be saved when the connection is back`}</span>;
}

function Under({ session }: { session: Session }) {
  const pointer = session.pointer.value;
  const image = session.image.value;
  if (!pointer || !image) return null;
  const cell = pointer.label ? session.objects.get(pointer.label) : undefined;
  const kind = cell?.class ? session.classes.value.find((item) => item.id === cell.class)?.name : undefined;
  return (
    <>
      <span>x <b>{Math.floor(pointer.at[1])}</b> y <b>{Math.floor(pointer.at[0])}</b></span>
      <span>{pointer.values.map((value, i) => <span key={i}>{i > 0 && " · "}<b>{Number.isNaN(value) ? "…" : brief(value)}</b></span>)}</span>
      {pointer.label > 0 && <span>cell <b>{pointer.label}</b>{kind ? ` ${kind}` : ""}{cell?.locked ? " (locked)" : ""}</span>}
    </>
  );
}

export function Foot({ session }: { session: Session }) {
  const known = TOOLS.find((item) => item.tool === session.tool.value);
  const image = session.image.value;
  return (
    <footer class="foot">
      <span class="says">{image && known ? <><b>{known.name}</b> {known.does}</> : ""}</span>
      <span class="spacer" />
      <Under session={session} />
      {session.adding.value > 0 && <span role="status">adding {plural(session.adding.value, "file")}…</span>}
      {session.loading.value > 0 && <span>loading…</span>}
      <span aria-live="polite"><Saved session={session} /></span>
    </footer>
  );
}
