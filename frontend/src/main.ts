import { effect } from "@preact/signals-core";
import { h, render } from "preact";
import { randomId } from "./core/ids";
import { Session } from "./core/session";
import { Stage } from "./gl/stage";
import { fromAddress, toAddress } from "./net/address";
import { BrowserStore, FetchHttp } from "./net/http";
import { Socket } from "./net/socket";
import { Controls } from "./tools/controls";
import { App } from "./ui/App";

const http = new FetchHttp(document.baseURI);
const socket = new Socket(http.url("ws").replace(/^http/, "ws"), randomId());
const stage = new Stage();
const session = new Session(socket, http, new BrowserStore(), stage, fromAddress(location.search));
stage.attach(session);
new Controls(session, stage.canvas);
effect(() => toAddress(session));

window.addEventListener("beforeunload", (event) => {
  if (session.unsaved.peek() > 0) event.preventDefault(); // the browser asks whether to leave
});

let leave: (() => void) | null = null;
/** App gives the element that is to hold the picture, once it is there. */
function hold(element: HTMLElement | null): void {
  leave?.();
  leave = element && stage.mount(element);
}

render(h(App, { session, stage: hold }), document.getElementById("app") as HTMLElement);
socket.start(session);

declare global {
  interface Window {
    /** For tests, and for the curious at the browser's console. */
    cellbrook: { session: Session; stage: Stage };
  }
}
window.cellbrook = { session, stage };
