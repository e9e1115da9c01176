// Every cell with its measurements: a histogram that selects, a table of which only the rows in sight exist.

import { signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Session } from "../core/session";
import type { Cell } from "../core/objects";
import { Fate } from "../core/state";
import { brief, ends, Histogram } from "./charts";
import { Button, Check, Empty, Section, Select } from "./controls";
import { RegionsSection } from "./RegionsSection";
import { useRows } from "./rows";
import { FATES, ORIGINS, plural, TERMS } from "./words";

const ROW = 24;
const key = signal("area");
const down = signal(false);
const measure = signal("area");
const range = signal<{ image: string; measure: string; ends: [number, number] } | null>(null); // says nothing of other images
const withHidden = signal(false);

interface Column {
  id: string;
  name: string;
  hint?: string;
  width: number;
  number: (cell: Cell) => number | null;
  text?: (cell: Cell) => string;
}

/** The columns of the object table, then whatever measurements the server has. */
function useColumns(session: Session): Column[] {
  const um = session.image.value?.pixel_size_um ?? null;
  const solid = session.image.value?.volume ?? false;
  const classes = session.classes.value;
  const table = session.measurements.value;
  return useMemo(() => {
    const columns: Column[] = [
      { id: "id", name: "No.", width: 50, number: (cell) => cell.id },
      { id: "area", name: `${solid ? "Here" : "Area"} ${um === null ? "px²" : "µm²"}`, hint: solid ? TERMS.here : TERMS.size, width: 80, number: (cell) => cell.area * (um ?? 1) ** 2 },
      { id: "score", name: "Score", hint: TERMS.score, width: 54, number: (cell) => cell.score },
      { id: "flow_error", name: "Shape", hint: TERMS.flow_error, width: 54, number: (cell) => cell.flow_error },
      { id: "origin", name: "By", hint: "Found by the model, corrected, or drawn by hand", width: 70, number: (cell) => ["auto", "edited", "manual"].indexOf(cell.origin), text: (cell) => ORIGINS[cell.origin] },
    ];
    if (classes.length)
      columns.push({ id: "class", name: "Class", width: 70, number: (cell) => cell.class, text: (cell) => classes.find((item) => item.id === cell.class)?.name ?? "" });
    if (table) {
      const ids = table.label ?? table.id ?? [];
      const place = new Map(ids.map((id, i) => [Number(id), i]));
      const regions = table.region;
      if (regions) {
        const names = [...new Set(regions)].sort();
        const of = (cell: Cell) => regions[place.get(cell.id) ?? -1] ?? "";
        columns.push({ id: "region", name: "Region", hint: TERMS.region, width: 84, number: (cell) => names.indexOf(of(cell)), text: (cell) => String(of(cell)) });
      }
      for (const [name, values] of Object.entries(table)) {
        if (["label", "id", "area", "score", "flow_error", "class", "origin", "region"].includes(name)) continue;
        if (!values.some((value) => typeof value === "number")) continue;
        columns.push({
          id: name, name: name.replaceAll("_", " "), width: 96,
          number: (cell) => {
            const value = values[place.get(cell.id) ?? -1];
            return typeof value === "number" ? value : null;
          },
        });
      }
    }
    return columns;
  }, [um, solid, classes, table]);
}

function Table(props: { session: Session; columns: Column[]; cells: readonly Cell[] }) {
  const { session, columns, cells } = props;
  const { box, first, last, onScroll } = useRows(cells.length, ROW);
  const selection = session.selection.value;
  const grid = { gridTemplateColumns: columns.map((column) => `${column.width}px`).join(" ") };
  // Follow a selection made in the picture.
  const only = selection.size === 1 ? [...selection][0] : 0;
  useEffect(() => {
    const row = only ? cells.findIndex((cell) => cell.id === only) : -1;
    const view = box.current;
    if (row < 0 || !view) return;
    const y = row * ROW;
    if (y < view.scrollTop || y + 2 * ROW > view.scrollTop + view.clientHeight - ROW) view.scrollTop = y - view.clientHeight / 3;
  }, [only]);
  const choose = (cell: Cell, event: MouseEvent | KeyboardEvent) => {
    session.select([cell.id], event.shiftKey || event.ctrlKey || event.metaKey ? "toggle" : "replace");
    // Move the picture only if the cell is not in sight.
    const { centre, zoom, width, height } = session.view.value;
    const [y, x] = [(cell.y0 + cell.y1) / 2, (cell.x0 + cell.x1) / 2];
    const margin = 0.46;
    if (Math.abs(y - centre[0]) * zoom > margin * height || Math.abs(x - centre[1]) * zoom > margin * width) session.centreOn([y, x]);
  };
  const onKey = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const now = cells.findIndex((cell) => selection.has(cell.id));
    const next = cells[Math.max(0, Math.min(cells.length - 1, now + step))];
    if (next) choose(next, event);
  };
  const sortBy = (id: string) => {
    if (key.value === id) down.value = !down.value;
    else key.value = id;
  };
  return (
    <div class="table fill" ref={box} role="grid" aria-label="Cells" aria-rowcount={cells.length + 1} tabIndex={0} onKeyDown={onKey} onScroll={onScroll}>
      <div class="thead" role="row" style={grid}>
        {columns.map((column) => (
          <div key={column.id} role="columnheader" aria-sort={key.value === column.id ? (down.value ? "descending" : "ascending") : "none"}>
            <button type="button" style={{ width: `${column.width}px` }} data-hint={column.hint ?? column.name} onClick={() => sortBy(column.id)}>
              {column.name}{key.value === column.id ? (down.value ? " ↓" : " ↑") : ""}
            </button>
          </div>
        ))}
      </div>
      <div class="tbody" role="rowgroup" style={{ height: `${cells.length * ROW}px` }}>
        {cells.slice(first, last).map((cell, i) => {
          const fate = session.objects.fate(cell.id);
          const gone = fate !== Fate.kept;
          return (
            <div
              key={cell.id} role="row" aria-rowindex={first + i + 2} aria-selected={selection.has(cell.id)} class={`tr ${gone ? "gone" : ""}`}
              style={{ ...grid, top: `${(first + i) * ROW}px` }} onClick={(event) => choose(cell, event)}
              title={gone ? `Hidden: ${FATES[fate]}` : undefined}
            >
              {columns.map((column) => {
                const number = column.number(cell);
                return <span key={column.id} role="gridcell">{column.text ? column.text(cell) : number === null ? "–" : column.id === "id" ? number : brief(number)}</span>;
              })}
            </div>
          );
        })}
      </div>
    </div>
  );
}

export function CellsPanel({ session }: { session: Session }) {
  const columns = useColumns(session);
  const rows = session.objects.rows();
  void session.objects.fatesVersion.value;
  const chosen = columns.find((column) => column.id === measure.value) ?? columns[1];
  const sort = columns.find((column) => column.id === key.value) ?? columns[1];
  const image = session.image.value;
  const measured = session.measured.value;
  const marked = range.value?.image === image?.id && range.value?.measure === chosen.id ? range.value.ends : null;
  useEffect(() => {
    if (image && !measured && rows.length) void session.loadMeasurements();
  }, [image?.id, session.plane.value, measured, rows.length > 0]);
  const visible = rows.filter((cell) => withHidden.value || session.objects.fate(cell.id) === Fate.kept);
  const fates = session.objects.fatesVersion.value;
  const values = useMemo(() => {
    const found: number[] = [];
    for (const cell of visible) {
      const value = chosen.number(cell);
      if (value !== null) found.push(value);
    }
    return found;
  }, [rows, chosen, fates, withHidden.value]);
  const [low, high] = useMemo(() => {
    const [low, high] = ends(values);
    return low < high ? [low, high] : [low - 1, low + 1];
  }, [values]);
  const listed = useMemo(() => {
    const within = marked ? visible.filter((cell) => { const v = chosen.number(cell); return v !== null && v >= marked[0] && v <= marked[1]; }) : visible;
    const sign = down.value ? -1 : 1;
    return [...within].sort((a, b) => sign * ((sort.number(a) ?? Infinity) - (sort.number(b) ?? Infinity)) || a.id - b.id);
  }, [rows, chosen, sort, down.value, marked, fates, withHidden.value]);
  if (!image) return <Empty title="No image is open" icon="images">Choose one at the left, or drop image files onto the page.</Empty>;
  if (rows.length === 0 && !session.objects.loaded.value && !image.problem)
    return <Empty title="The cells are on their way" icon="cells">If they do not come, a notice says why.</Empty>;
  if (rows.length === 0)
    return (
      <>
        <Empty title="No cells yet" icon="cells">Find them in the tab Find, draw some with Outline (O) or Brush (B), or import labels in the tab Export.</Empty>
        <RegionsSection session={session} key={image.id} />
      </>
    );
  const brush = (next: [number, number] | null) => {
    range.value = next && { image: image.id, measure: chosen.id, ends: next };
    session.select(next ? visible.filter((cell) => { const v = chosen.number(cell); return v !== null && v >= next[0] && v <= next[1]; }).map((cell) => cell.id) : []);
  };
  const selected = session.selection.value.size;
  return (
    <>
      <Section title="Measurements" aside={<span class="note">{plural(listed.length, "cell")}</span>}>
        <Select
          hideLabel label="Measurement" value={chosen.id} options={columns.filter((column) => !column.text && column.id !== "id").map((column) => ({ value: column.id, label: column.name }))}
          onChange={(id) => { measure.value = id; key.value = id; brush(null); }}
        />
        {values.length > 0 && <Histogram values={values} low={low} high={high} label={chosen.name} brush={marked} onBrush={brush} />}
        <div class="row">
          <span class="note grow">{marked ? `${brief(marked[0])} to ${brief(marked[1])}` : "Drag over the bars to select cells."}</span>
          {marked && <Button kind="quiet" onClick={() => brush(null)}>Show all</Button>}
        </div>
        <Check label="List hidden cells too" checked={withHidden.value} onChange={(on) => (withHidden.value = on)} />
      </Section>
      <RegionsSection session={session} key={image.id} />
      <div class="section-body">
        <span class="note">{selected ? `${plural(selected, "cell")} selected` : "Click a row to go there; Shift-click for more."}</span>
        <div class="row" role="toolbar" aria-label="Selected cells">
          <Button icon="lock" label="Lock or unlock: the model leaves locked cells alone" keys="L" disabled={!selected} onClick={() => session.toggleLock()} />
          <Button icon="merge" label="Merge into one" keys="Shift+M" disabled={selected < 2} onClick={() => session.mergeSelected()} />
          <Button icon="trash" label="Delete" keys="Delete" disabled={!selected} onClick={() => session.deleteSelected()} />
          <span class="spacer" />
          <Button hint="The lowest score first (Tab in the picture)" onClick={() => session.nextDoubtful(1)}>Next doubtful cell</Button>
        </div>
      </div>
      <Table session={session} columns={columns} cells={listed} />
    </>
  );
}
