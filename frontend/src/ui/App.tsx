// The page's frame: see design/0006-page.md for what lies where, and why.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Session } from "../core/session";
import { dropped } from "../net/drop";
import { keysOf } from "../tools/keys";
import { CellsPanel } from "./CellsPanel";
import { ExportPanel } from "./ExportPanel";
import { FindPanel } from "./FindPanel";
import { Foot } from "./Foot";
import { Icon } from "./icons";
import { ImageList } from "./ImageList";
import { KeysDialog } from "./KeysDialog";
import { followAddress, followTheme, leftOpen, rightOpen, tab, TABS } from "./layout";
import { LostBanner, Notices, Tooltip } from "./Notices";
import { followModel } from "./recipe";
import { Stage } from "./Stage";
import "./styles.css";
import { TeachPanel } from "./TeachPanel";
import { TOOLS } from "./toolwords";
import { TopBar } from "./TopBar";
import { ViewPanel } from "./ViewPanel";

const PANELS = { view: ViewPanel, find: FindPanel, cells: CellsPanel, teach: TeachPanel, export: ExportPanel };

function Rail({ session }: { session: Session }) {
  const off = session.image.value === null;
  // One stop for the Tab key; up and down walk through the tools.
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const buttons = [...(event.currentTarget as Element).querySelectorAll("button")];
    buttons[(buttons.indexOf(document.activeElement as HTMLButtonElement) + step + buttons.length) % buttons.length]?.focus();
  };
  return (
    <nav class="rail" aria-label="Tools">
      <div role="toolbar" aria-label="Tools" aria-orientation="vertical" onKeyDown={onKey}>
        {TOOLS.map(({ tool, name, icon, does, first }) => {
          const on = session.tool.value === tool;
          return (
            <button
              key={tool} type="button" class={`tool ${first ? "first" : ""}`} aria-label={name} aria-pressed={on} disabled={off} tabIndex={on ? 0 : -1}
              data-hint={`${name} (${keysOf(tool).join(", ")}): ${does}`} onClick={() => session.setTool(tool)}
            >
              <Icon name={icon} size={20} /><small aria-hidden="true">{keysOf(tool)[0]}</small>
            </button>
          );
        })}
      </div>
    </nav>
  );
}

function Right({ session }: { session: Session }) {
  const Panel = PANELS[tab.value];
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = TABS[(TABS.findIndex((item) => item.id === tab.value) + step + TABS.length) % TABS.length];
    tab.value = next.id;
    document.getElementById(`tab-${next.id}`)?.focus();
  };
  return (
    <aside class="right" aria-label="Panels">
      <div class="tabs" role="tablist" aria-label="Panels" onKeyDown={onKey}>
        {TABS.map((item) => (
          <button
            key={item.id} id={`tab-${item.id}`} type="button" role="tab" aria-selected={tab.value === item.id} aria-controls="panel"
            tabIndex={tab.value === item.id ? 0 : -1} data-hint={item.hint} onClick={() => (tab.value = item.id)}
          >{item.name}</button>
        ))}
      </div>
      <div class="panel" id="panel" role="tabpanel" aria-labelledby={`tab-${tab.value}`} tabIndex={-1}><Panel session={session} /></div>
    </aside>
  );
}

export function App({ session, stage }: { session: Session; stage: (element: HTMLElement | null) => void }) {
  const page = useRef<HTMLDivElement>(null);
  const [over, setOver] = useState(false);
  useEffect(() => followTheme(session), []);
  useEffect(() => followModel(session), []);
  useEffect(() => followAddress(), []);
  const files = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  return (
    <div
      class="page" ref={page}
      onDragOver={(event) => { if (files(event)) { event.preventDefault(); setOver(true); } }}
      onDragLeave={(event) => event.relatedTarget === null && setOver(false)}
      onDrop={(event) => {
        if (!files(event)) return;
        event.preventDefault();
        setOver(false);
        void dropped(event.dataTransfer!).then(async ({ files, inside, left }) => {
          await session.addImages(files, left);
          await session.addImages(inside, [], true);
        });
      }}
    >
      <TopBar session={session} />
      <LostBanner session={session} />
      {leftOpen.value && <ImageList session={session} />}
      <Rail session={session} />
      <Stage session={session} hold={stage} />
      {rightOpen.value && <Right session={session} />}
      <Foot session={session} />
      <Notices session={session} />
      <KeysDialog session={session} />
      <Tooltip />
      {over && <div class="drop" role="status">Drop image files to add them</div>}
    </div>
  );
}
