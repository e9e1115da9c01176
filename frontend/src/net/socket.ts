// The one WebSocket: MessagePack both ways, comes back by itself.

import { decode, encode } from "@msgpack/msgpack";
import type { Transport } from "../core/session";
import { PROTOCOL, type FromServer, type ToServer } from "../core/wire";

export interface Receiver {
  connected(): void;
  disconnected(): void;
  /** After a failed attempt: the server answers, but does not know this browser; or it does, or nobody answers. */
  refused(yes: boolean): void;
  receive(message: FromServer): void;
}

const PING_MS = 5000;
const SILENCE_MS = 16_000; // a connection that says nothing for so long is dead, whatever the browser believes
const RETRY_MS = [250, 500, 1000, 2000, 4000];

export class Socket implements Transport {
  private socket: WebSocket | null = null;
  private receiver: Receiver | null = null;
  private attempts = 0;
  private heard = 0;

  constructor(
    private readonly url: string,
    private readonly client: string,
  ) {}

  start(receiver: Receiver): void {
    this.receiver = receiver;
    this.connect();
    setInterval(() => this.check(), PING_MS);
  }

  /** Sent when connected, else dropped: the session sends what matters again after `connected`. */
  send(message: ToServer): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(encode(message));
  }

  private check(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - this.heard > SILENCE_MS) this.socket.close();
    else this.send({ type: "ping", t: Date.now() });
  }

  private connect(): void {
    const socket = new WebSocket(this.url);
    let opened = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      this.attempts = 0;
      this.heard = Date.now();
      socket.send(encode({ type: "hello", protocol: PROTOCOL, client: this.client }));
      this.receiver?.connected();
    };
    socket.onmessage = (event) => {
      this.heard = Date.now();
      this.receiver?.receive(decode(event.data as ArrayBuffer) as FromServer);
    };
    socket.onclose = () => {
      this.receiver?.disconnected();
      if (!opened) void this.askWhy();
      const wait = RETRY_MS[Math.min(this.attempts++, RETRY_MS.length - 1)];
      setTimeout(() => this.connect(), wait);
    };
    this.socket = socket;
  }

  /** A browser does not say why it got no socket. One reason lasts until the user acts: a server that was started anew has another token. */
  private async askWhy(): Promise<void> {
    const page = new URL("./", this.url.replace(/^ws/, "http"));
    const answer = await fetch(page, { method: "HEAD", cache: "no-store" }).catch(() => null);
    if (this.socket?.readyState !== WebSocket.OPEN) this.receiver?.refused(answer?.status === 401 || answer?.status === 403);
  }
}
