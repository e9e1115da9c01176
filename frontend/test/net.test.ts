// The browser's side of the wire, with a made-up browser.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RequestError } from "../src/core/http";
import { FOLDER } from "../src/core/wire";
import { dropped } from "../src/net/drop";
import { FetchHttp } from "../src/net/http";
import { Socket } from "../src/net/socket";
import { opened, stroke } from "./fake";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a server that was started anew", () => {
  /** Attempts end as `fits` says, the page is answered with `status`; 0 for nobody there. */
  class Browser {
    static fits = false;
    static OPEN = 1;
    readyState = 0;
    onopen = (): void => undefined;
    onclose = (): void => undefined;
    send = (): void => undefined;

    constructor() {
      setTimeout(() => {
        this.readyState = Browser.fits ? 1 : 3;
        if (Browser.fits) this.onopen();
        else this.onclose();
      });
    }
  }

  it.each([[403, true], [401, true], [0, false], [200, false], [502, false]])("refuses the page with %d: it says so (%s), and goes on once it has the cookie", async (status, told) => {
    const { session } = await opened();
    const asked = vi.fn((_page: URL) => (status ? Promise.resolve({ status }) : Promise.reject(new TypeError("Failed to fetch"))));
    vi.stubGlobal("WebSocket", Browser);
    vi.stubGlobal("fetch", asked);
    Browser.fits = false;
    new Socket("wss://hub.example.org/user/anna/ws", "c").start(session);
    await vi.advanceTimersByTimeAsync(1);
    session.document?.paint(7, stroke(20, 100, 130, 9), "keep");
    expect([session.connection.value, session.shutOut.value, session.unsaved.value]).toEqual(["lost", told, 1]);
    expect(asked.mock.lastCall?.[0].href).toBe("https://hub.example.org/user/anna/");
    Browser.fits = true;
    await vi.advanceTimersByTimeAsync(5000);
    expect([session.connection.value, session.shutOut.value]).toEqual(["connecting", false]);
  });
});

describe("a request", () => {
  it("that nobody answers is told in words", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    await expect(new FetchHttp("http://localhost/").json("api/project")).rejects.toThrow("The server does not answer; try again when it is back");
  });

  it("with a file that cannot be read says which, and is not sent", async () => {
    const sent = vi.fn();
    vi.stubGlobal("fetch", sent);
    const folder = { name: "day 1", slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException("NotReadableError")) }) } as unknown as File;
    await expect(new FetchHttp("http://localhost/").upload("api/images", [folder])).rejects.toThrow("day 1 cannot be read");
    expect(sent).not.toHaveBeenCalled();
  });

  it("is refused for good, or for now", () => {
    expect([404, 409, 507].every((status) => new RequestError(status, "").lasting)).toBe(true);
    expect([401, 403, 429, 500, 502, 503].some((status) => new RequestError(status, "").lasting)).toBe(false);
  });
});

describe("what is dropped", () => {
  const file = (name: string) => ({ isFile: true, name, file: (found: (file: File) => void, failed: (error: Error) => void) => (name === "gone.tif" ? failed(new Error()) : found(new File([name], name))) });
  /** A browser gives a few entries at a time, in no order. */
  const folder = (name: string, ...inside: { name: string }[]) => ({
    isFile: false,
    name,
    createReader: () => {
      const left = [...inside];
      return { readEntries: (found: (entries: unknown[]) => void) => found(left.splice(-2)) };
    },
  });
  const drop = (...entries: unknown[]) => dropped({ items: entries.map((entry) => ({ kind: "file", webkitGetAsEntry: () => entry, getAsFile: () => new File([], "of a page.png") })) } as unknown as DataTransfer);

  it("is read through all folders, but for hidden files", async () => {
    const { files, inside, left } = await drop(file("one.png"), null, folder("day 1", file("10.tif"), file("9.tif"), file(".DS_Store"), folder("well", file("a.tif")), file("gone.tif")));
    expect(files.map(({ name }) => name)).toEqual(["of a page.png", "one.png"]);
    expect(inside.map(({ name }) => name)).toEqual(["9.tif", "10.tif", "a.tif"]);
    expect(left).toEqual(["gone.tif: cannot be read"]);
  });

  it("and is an OME-Zarr folder is one file, with all that is in it", async () => {
    const { files, inside, left } = await drop(folder("a.ome.zarr", folder("0", file("é"), folder("c", file(".zarray"))), file("zarr.json")), folder("days", folder("plate", file("0"), file(".zattrs"))));
    expect([files, inside].map((some) => some.map(({ name, type }) => [name, type]))).toEqual([[["a.ome.zarr", FOLDER]], [["plate", FOLDER]]]);
    expect(left).toEqual([]);
    expect(await files[0].text()).toBe(`[["0/é",2],["0/c/.zarray",7],["zarr.json",9]]\né.zarrayzarr.json`);
  });

  it("and is no image, though it is called so, or empty, or cannot be read whole, is named", async () => {
    const { files, inside, left } = await drop(folder("a.ome.zarr", file("0")), folder("b.zarr", file("zarr.json"), file("gone.tif")), folder("c.zarr"));
    expect([...files, ...inside]).toEqual([]);
    expect(left.map((text) => text.split(":").slice(0, 2).join())).toEqual(["a.ome.zarr, is no OME-Zarr image", "b.zarr, cannot be read", "c.zarr, is no OME-Zarr image"]);
    expect((await drop(folder("empty", folder("nothing")))).left).toEqual(["empty: there is no file in it"]);
  });
});
