// Parts of the picture that were drawn and named, and how many cells are in each.

import { useRef } from "preact/hooks";
import type { Session } from "../core/session";
import type { Region } from "../core/wire";
import { brief } from "./charts";
import { Button, Check, Section, TextField } from "./controls";
import { download, making } from "./download";
import { area, plural, TERMS } from "./words";

/** "34 cells · 1,250 µm² · 27,200 per mm² · 12 % covered", of what is known. */
function told({ objects, area_px, objects_per_mm2, covered }: Region, um: number | null): string {
  if (objects === undefined || area_px === undefined) return "being counted…";
  const parts = [plural(objects, "cell"), area(area_px, um)];
  if (objects_per_mm2 !== undefined) parts.push(`${brief(objects_per_mm2)} per mm²`);
  if (covered !== undefined) parts.push(`${Math.round(100 * covered)} % covered`);
  return parts.join(" · ");
}

export function RegionsSection({ session }: { session: Session }) {
  const input = useRef<HTMLInputElement>(null);
  const regions = session.regions.value;
  const image = session.image.value!;
  const chosen = session.regionName.value;
  const drawing = session.tool.value === "region";
  const grown = session.regionGrown.value;
  const link = (kind: "regions" | "region_outlines", what: string) => {
    const url = session.exportUrl(kind, image.id);
    return { disabled: making.value.has(url), onClick: () => void download(session, url, `${what} of ${image.name}`) };
  };
  return (
    <Section title="Regions" folded={regions.length === 0 && !drawing} hint={TERMS.region} aside={regions.length > 0 && <span class="note">{plural(regions.length, "region")}</span>}>
      {regions.length === 0 && <p class="note">Draw parts of the picture, such as a tumour and what is around it, to count the cells in each.</p>}
      <ul class="areas">
        {regions.map((region, i) => (
          <li key={region.parts[0].id} class={`tone${i % 6} ${chosen === region.name ? "on" : ""}`}>
            <Button kind="quiet" icon="fit" label={`Show ${region.name}`} onClick={() => session.zoomToRegion(region.name)} />
            <TextField value={region.name} aria-label={`Name of region ${i + 1}`} maxLength={200} onChange={(name) => session.renameRegion(region.name, name)} />
            <Button kind="quiet" icon="pick" label={`Select the cells in ${region.name}`} onClick={() => void session.selectInRegion(region.name)} />
            <Button kind="quiet" icon="add" pressed={drawing && grown === region.name} label={`Draw another part of ${region.name}`} onClick={() => session.beginRegion(region.name)} />
            <Button kind="quiet" icon="trash" label={`Take ${region.name} away`} onClick={() => session.deleteRegion(region.name)} />
            <span class="note">{told(region, image.pixel_size_um)}</span>
          </li>
        ))}
      </ul>
      <div class="row wrap">
        <Button icon="region" keys="R" pressed={drawing && grown === null} onClick={() => session.beginRegion(null)}>Draw a region</Button>
        <input ref={input} type="file" hidden accept=".geojson,.json,.zip,.roi,.tif,.tiff,.png,.bmp,.npy" aria-label="File with regions"
          onChange={(event) => { const file = event.currentTarget.files?.[0]; if (file) void session.importRegions(file); event.currentTarget.value = ""; }} />
        <Button icon="upload" hint="GeoJSON of QuPath, ImageJ ROIs, or an image of the regions' numbers" onClick={() => input.current?.click()}>Bring in…</Button>
      </div>
      {regions.length > 0 && (
        <>
          <div class="row wrap">
            <Button icon="download" hint="CSV: one row a region; opens in Excel, R, Python" {...link("regions", "Regions")}>Table</Button>
            <Button icon="download" hint="GeoJSON: opens in QuPath, and comes in here again" {...link("region_outlines", "Outlines of regions")}>Outlines</Button>
          </div>
          <div class="row wrap">
            <Button icon="pick" hint="To delete them, or to give them a class" onClick={() => void session.selectInRegion("")}>Select cells outside</Button>
          </div>
          <Check label="Show them in the picture" checked={session.overlays.value.regions} onChange={(on) => session.setOverlays({ regions: on })} />
        </>
      )}
    </Section>
  );
}
