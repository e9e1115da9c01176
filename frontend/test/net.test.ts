// The browser's side of the wire, with a made-up browser.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RequestError } from "../src/core/http";
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

  it("is refused for good, or for now", () => {
    expect([404, 409, 507].every((status) => new RequestError(status, "").lasting)).toBe(true);
    expect([401, 403, 429, 500, 502, 503].some((status) => new RequestError(status, "").lasting)).toBe(false);
  });
});
