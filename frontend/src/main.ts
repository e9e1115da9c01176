import { h, render } from "preact";
import { Session } from "./core/session";
import { BrowserStore, FetchHttp } from "./net/http";
import { Socket } from "./net/socket";
import { App } from "./ui/App";

const http = new FetchHttp(document.baseURI);
const socket = new Socket(http.url("ws").replace(/^http/, "ws"), crypto.randomUUID());
const session = new Session(socket, http, new BrowserStore());
socket.start(session);

// App gives the element that is to hold the picture, once it is there.
const stage = (element: HTMLElement | null): void => void element;
render(h(App, { session, stage }), document.getElementById("app") as HTMLElement);
