// The canvas: tells the renderer what the session shows, and draws when something has changed, never otherwise.

import { effect } from "@preact/signals-core";
import { MOST_BOXES } from "../core/look";
import type { Rgb } from "../core/palette";
import type { Capacity, Screen } from "../core/picture";
import type { Pyramid, Tile } from "../core/pyramid";
import type { Session } from "../core/session";
import { channelLooks, classColors, COLOR_MODES } from "../core/shown";
import type { TileArray, TileListener } from "../core/tiles";
import { TILE, type Box } from "../core/wire";
import { NoWebGL2, Renderer, type Frame } from "./renderer";
import { sent, type PagedTexture } from "./textures";

const BACKGROUND: Rgb = [22, 24, 27];

export class Stage implements Screen {
  readonly canvas = document.createElement("canvas");
  private readonly renderer: Renderer | null;
  /** Why there is none. */
  readonly blind: string | null = null;
  /** Frames drawn since the start, and texels sent to the card. */
  frames = 0;
  readonly sent = sent;
  private session: Session | null = null;
  private scheduled = false;
  /** What must be drawn anew: boxes of the image, or null for the window. */
  private dirty: Box[] | null = [];
  private colors: readonly Rgb[] = [];

  readonly image = this.listener<Uint8Array | Uint16Array>((renderer) => renderer.image, true);
  readonly labels = this.listener<Uint32Array>((renderer) => renderer.labels, true);
  readonly candidates = this.listener<Uint32Array>((renderer) => renderer.candidates, false);
  readonly field = this.listener<Uint16Array>((renderer) => renderer.field, false);

  constructor() {
    this.canvas.className = "canvas";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("aria-label", "Image with its cells");
    this.canvas.setAttribute("aria-description", "Tab goes to the next doubtful cell, Escape leaves the picture, ? lists the keys");
    this.canvas.setAttribute("role", "application");
    try {
      this.renderer = new Renderer(this.canvas);
    } catch (error) {
      if (!(error instanceof NoWebGL2)) throw error;
      this.renderer = null;
      this.blind = error.message;
    }
    // A lost context takes every texture with it; the page's state is in the address and at the server.
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => location.reload());
  }

  get mostLayers(): number {
    return (this.gl?.getParameter(WebGL2RenderingContext.MAX_ARRAY_TEXTURE_LAYERS) as number | undefined) ?? 256;
  }

  get gl(): WebGL2RenderingContext | null {
    return this.renderer?.gl ?? null;
  }

  open(pyramid: Pyramid, channels: number, bits: 8 | 16, capacity: Capacity): void {
    this.renderer?.open(pyramid, channels, bits, capacity);
    this.invalidate();
  }

  remapped(ids: readonly number[], resolve: (id: number) => number): void {
    this.renderer?.setRemap(ids, resolve);
    this.invalidate();
  }

  /** Follow a session from now on. */
  attach(session: Session): void {
    this.session = session;
    session.blind.value = this.blind;
    effect(() => {
      void session.objects.fatesVersion.value;
      const changed = session.look.update(session.imageId.value, session.objects, session.selection.value);
      this.renderer?.setState(session.look.bytes, changed?.ids ?? null);
      if (!changed?.boxes) this.invalidate();
      else for (const box of changed.boxes) this.invalidate(box);
    });
    effect(() => {
      this.colors = classColors(session); // only then are they sent anew
      this.invalidate();
    });
    effect(() => {
      for (const read of [session.view, session.channels, session.style, session.overlays, session.prefs, session.picture]) void read.value;
      void session.pixelRatio.value;
      this.invalidate();
    });
  }

  /** Put the canvas into an element and keep its size. */
  mount(element: HTMLElement): () => void {
    element.append(this.canvas);
    Object.assign(this.canvas.style, { display: "block", width: "100%", height: "100%", touchAction: "none", outline: "none" });
    const observer = new ResizeObserver(() => this.resize(element));
    observer.observe(element);
    this.resize(element);
    return () => {
      observer.disconnect();
      this.canvas.remove();
    };
  }

  /** Draw with the next frame: a box of the image, or the whole window. */
  invalidate(box?: Box): void {
    if (!this.renderer) return;
    if (box === undefined) this.dirty = null;
    else if (this.dirty && this.dirty.push(box) > MOST_BOXES) this.dirty = null;
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      const boxes = this.dirty;
      this.scheduled = false;
      this.dirty = [];
      this.draw(boxes);
    });
  }

  draw(boxes: readonly Box[] | null = null): void {
    if (!this.renderer || !this.session) return;
    this.frames++;
    this.renderer.draw(this.frame(this.session), boxes);
  }

  private resize(element: HTMLElement): void {
    const { clientWidth: width, clientHeight: height } = element;
    const ratio = window.devicePixelRatio || 1;
    if (!this.session || width === 0 || height === 0) return;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const before = this.session.view.peek();
    this.session.pixelRatio.value = ratio;
    this.session.view.value = { ...before, width, height };
    if (before.width <= 1 && !this.session.placed) this.session.zoomToFit();
    this.draw(); // at once: a canvas that was resized is blank
  }

  private frame(session: Session): Frame {
    const view = session.view.peek();
    const ratio = session.pixelRatio.peek();
    const style = session.style.peek();
    const overlays = session.overlays.peek();
    const picture = session.picture.peek();
    const zoom = view.zoom * ratio;
    return {
      corner: [view.centre[0] - this.canvas.height / 2 / zoom, view.centre[1] - this.canvas.width / 2 / zoom],
      zoom,
      background: BACKGROUND,
      channels: picture ? channelLooks(session) : [],
      invert: session.prefs.peek().invertImage,
      showLabels: style.visible && picture !== null,
      ghosts: overlays.ghosts,
      colorMode: COLOR_MODES[style.color],
      fill: style.fill && !overlays.cellprob && !overlays.flows ? style.opacity : 0, // colours of the overlay alone
      outline: style.outline ? style.outlineOpacity : 0,
      outlineWidth: style.outlineWidth * ratio,
      classColors: this.colors,
      overlay: overlays.flows ? 2 : overlays.cellprob ? 1 : 0,
    };
  }

  /** Of a texture that has coarser levels even zeros hide something: what the coarser ones say. */
  private listener<T extends TileArray>(texture: (renderer: Renderer) => PagedTexture, levels: boolean): TileListener<T> {
    const tell = (tile: Tile, box: Box, change: (texture: PagedTexture) => void): void => {
      if (!this.renderer) return;
      const pages = texture(this.renderer);
      const before = pages.has(tile);
      change(pages);
      if (!levels && !before && !pages.has(tile)) return;
      const step = 2 ** tile.level;
      const [y, x] = [tile.ty * TILE, tile.tx * TILE];
      this.invalidate([(y + box[0]) * step, (x + box[1]) * step, (y + box[2]) * step, (x + box[3]) * step]);
    };
    const whole: Box = [0, 0, TILE, TILE];
    return {
      loaded: (tile: Tile, data: T | null) => tell(tile, whole, (pages) => pages.put(tile, data)),
      written: (tile: Tile, data: T, box: Box) => tell(tile, box, (pages) => pages.write(tile, data, box)),
      evicted: (tile: Tile) => tell(tile, whole, (pages) => pages.drop(tile)),
    };
  }
}
