// How the picture looks: channels, labels, what the model saw, and the classes.

import type { Session } from "../core/session";
import { MOST_CHANNELS, type ChannelSettings, type LabelColor } from "../core/state";
import { ClassList } from "./ClassList";
import { Button, Check, Choice, Empty, Field, Section, Select, Slider, TextField } from "./controls";
import { Levels } from "./Levels";
import { SideViews } from "./SideViews";
import { channelName, TERMS } from "./words";

function Channel(props: { session: Session; index: number; channel: ChannelSettings }) {
  const { session, index, channel } = props;
  const set = (change: Partial<ChannelSettings>) => session.setChannel(index, change);
  return (
    <div class="channel">
      <div class="row">
        <input type="checkbox" checked={channel.visible} aria-label={`Show ${channel.name}`} onChange={(e) => set({ visible: e.currentTarget.checked })} />
        <input type="color" value={channel.color} aria-label={`Colour of ${channel.name}`} onInput={(e) => set({ color: e.currentTarget.value })} />
        <span class="name" title={channel.name}>{channelName(channel.name, session.channels.value.length)}</span>
        <Button kind="quiet" hint="Choose black and full brightness from the picture" onClick={() => session.autoContrast(index)}>Auto</Button>
      </div>
      {channel.visible && (
        <>
          <Levels session={session} index={index} channel={channel} />
          <Slider
            label="Gamma" hint={TERMS.gamma} value={channel.gamma} min={0.2} max={3} step={0.05}
            onInput={(gamma) => set({ gamma })} show={(value) => value.toFixed(2)}
          />
        </>
      )}
    </div>
  );
}

const COLORS: { value: LabelColor; label: string }[] = [
  { value: "distinct", label: "Each cell its own" },
  { value: "class", label: "Class" },
  { value: "quality", label: "Score" },
  { value: "single", label: "One for all" },
];

const SIZE_OF = "It holds for all images of the project; left empty, each has what its file says.";

export function ViewPanel({ session }: { session: Session }) {
  const style = session.style.value;
  const overlays = session.overlays.value;
  const prefs = session.prefs.value;
  const image = session.image.value;
  if (!image)
    return <Empty title="No image is open" icon="images">Choose one at the left, or drop image files onto the page.</Empty>;
  return (
    <>
      <Section title="Channels" aside={<Button kind="quiet" keys="Shift+A" hint="Choose black and full brightness of every channel from the picture" onClick={() => session.autoContrast()}>Auto all</Button>}>
        {session.channels.value.filter((channel) => channel.visible).length > MOST_CHANNELS && (
          <p class="note" role="status">Only the first {MOST_CHANNELS} of the channels you chose are drawn. Hide some to see the others.</p>
        )}
        {session.channels.value.map((channel, i) => <Channel key={i} session={session} index={i} channel={channel} />)}
      </Section>
      {image.z > 1 && <Section title="Stack"><SideViews session={session} /></Section>}
      <Section title="Cells in the picture">
        <div class="row wrap">
          <Button icon={style.visible ? "eye" : "eyeoff"} pressed={style.visible} keys="Space" hint="Show the cells" onClick={() => session.setStyle({ visible: !style.visible })}>Show</Button>
          <Button pressed={style.fill} keys="X" hint="Fill the cells with colour" onClick={() => session.setStyle({ fill: !style.fill })}>Fill</Button>
          <Button pressed={style.outline} keys="Z" hint="Draw their outlines" onClick={() => session.setStyle({ outline: !style.outline })}>Outline</Button>
        </div>
        <Slider label="Fill" value={style.opacity} min={0} max={1} step={0.05} onInput={(opacity) => session.setStyle({ opacity })} show={(v) => `${Math.round(100 * v)} %`} disabled={!style.fill || overlays.cellprob || overlays.flows} />
        <Slider label="Outline width" value={style.outlineWidth} min={1} max={4} step={1} onInput={(outlineWidth) => session.setStyle({ outlineWidth })} show={(v) => `${v} px`} disabled={!style.outline} />
        <Select label="Colour" hint="All colours can be told apart by colour-blind eyes" value={style.color} options={COLORS} onChange={(color) => session.setStyle({ color: color as LabelColor })} />
      </Section>
      <Section title="Classes" hint="Name kinds of cells; keys 1 to 9 give a kind to the selected cells">
        <ClassList session={session} />
      </Section>
      <Section title="Pixel size" folded={image.pixel_size_um !== null}>
        <Field label="µm per pixel" for="pixel-size">
          <TextField
            id="pixel-size" type="number" min="0" step="any" value={image.pixel_size_um ?? ""} aria-description={SIZE_OF}
            onChange={(text) => session.setPixelSize(text === "" ? null : Number(text))}
          />
        </Field>
        <p class="note">{image.pixel_size_um === null ? "Unknown, so lengths and areas are in pixels. " : ""}{SIZE_OF}</p>
      </Section>
      <Section title="What the model saw" folded={!(overlays.cellprob || overlays.flows)}>
        <Check label="Where it sees cells" hint={TERMS.probability} checked={overlays.cellprob} onChange={(cellprob) => session.setOverlays({ cellprob, flows: false })} />
        <Check label="Directions" hint={TERMS.flows} checked={overlays.flows} onChange={(flows) => session.setOverlays({ flows, cellprob: false })} />
        <p class="note">{image.state === "new" ? "There is something to see once cells were found." : "Meanwhile cells are outlined, not filled."}</p>
      </Section>
      <Section title="Habits" folded>
        <Check label="Scale bar" checked={overlays.scaleBar} onChange={(scaleBar) => session.setOverlays({ scaleBar })} />
        <Check label="Dark on bright" hint="Show the picture inverted; the data stay as they are" checked={prefs.invertImage} onChange={(invertImage) => session.setPrefs({ invertImage })} />
        <Choice label="Wheel" value={prefs.wheel} options={[{ value: "zoom", label: "zooms" }, { value: "pan", label: "moves" }]} onChange={(wheel) => session.setPrefs({ wheel })} hint="On a touchpad, two fingers; pinching always zooms" />
        <Choice label="Dragging with Pick" value={prefs.drag} options={[{ value: "tool", label: "selects" }, { value: "pan", label: "moves" }]} onChange={(drag) => session.setPrefs({ drag })} />
      </Section>
    </>
  );
}
