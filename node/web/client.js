/**
 * A client of `chinwag.v1`: keeps one WebSocket to any node, comes back when it breaks, and holds
 * what it has seen of each conversation.
 *
 *     import { Client } from "/assets/client.js";
 *     const client = new Client({ url: "ws://127.0.0.1:8080/ws", user: "@alice" });
 *     client.addEventListener("message", ({ detail }) => console.log(detail.from, detail.body));
 *     client.start();
 *     client.send("@bob", "hi");
 *
 * What it takes care of, so that a page need not:
 * - Sends get a nonce and are repeated with it until they are answered: stored once, shown once.
 * - After a break it waits (exponential backoff, full jitter), says `hello` with `resume`, and fills
 *   every conversation that was opened, without gaps and without doubles.
 * - A node's `bye` is obeyed: its delay, the other nodes that it names, and 4009 (the same device
 *   is used elsewhere) ends it.
 *
 * Events (`CustomEvent`, facts in `detail`):
 *   state      { state, error? }  "connecting" | "online" | "waiting" | "stopped"
 *   change     { of }             what is held of a conversation, or waits to be sent, has changed
 *   message    the message        a message that was not held before, except those of `history`
 *   presence, receipt, signal, resumed, bye, …   as the node pushed them
 *
 * It knows nothing of a page: no DOM, no storage.
 */

/** A refusal: `code` as in the protocol, or "disconnected" where no answer can come any more. */
export class ChinwagError extends Error {
  constructor({ code, message, retry_after_ms }) {
    super(message || code);
    this.name = "ChinwagError";
    this.code = code;
    this.retryAfterMs = retry_after_ms;
  }
}

const SUBPROTOCOL = "chinwag.v1";
/** Waiting after a break: a random time up to FIRST, doubled at each failure, at most LONGEST. */
const BACKOFF_FIRST_MS = 400;
const BACKOFF_LONGEST_MS = 8_000;
/** A quiet connection is asked for a sign of life that often, and given up when none comes. */
const PING_EVERY_MS = 20_000;
const PING_PATIENCE_MS = 10_000;
/** A connection that is not open by then is given up. */
const CONNECT_PATIENCE_MS = 10_000;
/** An unavailable message is tried again by itself so many times before a person is asked. */
const TRIES = 4;
/** Ids that one resume window describes at most, by the protocol. */
const WINDOW_MAX = 1000;
/** Events that arrive at two nodes at once may be ordered either way within that time. */
const OVERLAP_MS = 120_000;
/** Incomplete answers are asked for again after that, then after twice that, and so on up to LONGEST. */
const AGAIN_FIRST_MS = 500;
const AGAIN_LONGEST_MS = 10_000;
const PAGE = 50;
const PAGE_MAX = 200;

const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LOWEST_ID = "0".repeat(26);

/** A ULID: 48 bits of Unix milliseconds, then `tail`, an 80-bit number. */
function ulid(unixMs, tail) {
  let bits = (BigInt(Math.max(0, Math.floor(unixMs))) << 80n) | tail;
  let text = "";
  for (let i = 0; i < 26; i++) {
    text = CROCKFORD[Number(bits & 31n)] + text;
    bits >>= 5n;
  }
  return text;
}

/** A nonce made now, by a clock that is `offset` milliseconds behind the node's. */
export function newNonce(offset = 0) {
  const random = crypto.getRandomValues(new Uint8Array(10));
  return ulid(Date.now() + offset, random.reduce((bits, byte) => (bits << 8n) | BigInt(byte), 0n));
}

function decode(id) {
  return [...id].reduce((bits, digit) => (bits << 5n) | BigInt(CROCKFORD.indexOf(digit)), 0n);
}

/** The Unix milliseconds in an id. */
export function timeOf(id) {
  return Number(decode(id) >> 80n);
}

const U64 = (1n << 64n) - 1n;

function splitmix64(x) {
  x = (x + 0x9e3779b97f4a7c15n) & U64;
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & U64;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & U64;
  return x ^ (x >> 31n);
}

/** An id's share in the digest of a window. */
export function mix(id) {
  const bits = decode(id);
  return splitmix64((bits >> 64n) ^ splitmix64(bits & U64));
}

/** The messages of a page of history; other events are not shown yet. */
function messagesOf({ events }) {
  return events.map(({ message }) => message).filter((message) => message !== undefined);
}

/** Refusals that pass: the same command may succeed a little later. */
const PASSING = ["unavailable", "timeout", "rate_limited", "internal"];

/** What is held of one conversation: every message from `oldest` on, and what waits to be sent. */
export class Conversation {
  constructor(of) {
    this.of = of;
    /** Messages by rising id. */
    this.messages = [];
    /** Own messages without an answer yet, or refused: { nonce, body, state, error? }. */
    this.outgoing = [];
    /** A first page was loaded: `messages` has no gaps from its first one on. */
    this.loaded = false;
    /** Older messages may exist. */
    this.more = true;
    /** False: not enough nodes could be asked for the last page. */
    this.complete = true;
    /** Nothing at or below it is known to be missing. */
    this.upto = undefined;
    this.byNonce = new Map();
  }

  /** Takes a message in its place. False where it is held already. */
  insert(message) {
    const name = `${message.from} ${message.nonce}`;
    const twin = this.byNonce.get(name);
    if (twin && JSON.stringify(twin.body) === JSON.stringify(message.body)) {
      if (twin.id <= message.id) return false;
      this.drop(twin.id);
      this.place(message, name);
      return false;
    }
    return this.place(message, name);
  }

  place(message, name) {
    let at = this.messages.length;
    while (at > 0 && this.messages[at - 1].id > message.id) at--;
    if (at > 0 && this.messages[at - 1].id === message.id) return false;
    this.messages.splice(at, 0, message);
    this.byNonce.set(name, message);
    return true;
  }

  drop(id) {
    this.messages = this.messages.filter((message) => message.id !== id);
  }

  /** False: between it and what is held there may be others, which an older page will bring. */
  adjoins(message) {
    return !this.more || this.messages.length === 0 || this.messages[0].id < message.id;
  }

  get newest() {
    return this.messages.at(-1)?.id;
  }

  /** As `resume` describes it; undefined where nothing is held. */
  window() {
    if (!this.loaded) return undefined;
    const upto = this.upto ?? LOWEST_ID;
    const held = this.messages.filter((message) => message.id <= upto);
    const whole = !this.more && held.length <= WINDOW_MAX;
    const kept = held.slice(-WINDOW_MAX);
    const after = whole ? LOWEST_ID : kept.shift()?.id;
    if (!after || kept.length === 0) return { upto };
    const digest = kept.reduce((sum, message) => sum ^ mix(message.id), 0n);
    return {
      after,
      upto,
      count: kept.length,
      digest: digest.toString(16).padStart(16, "0"),
    };
  }
}

/** See the top of this file. */
export class Client extends EventTarget {
  /**
   * @param {object} options
   * @param {string} options.url complete, `ws://…/ws`
   * @param {string} options.user with its @
   * @param {string} [options.device] a named device has one session in the whole mesh; left out, the
   *   node makes one up, and this client keeps it until it is stopped
   */
  constructor({ url, user, device }) {
    super();
    this.url = url;
    this.user = user;
    this.device = device;
    this.state = "stopped";
    /** The answer to the latest `hello`. */
    this.welcome = undefined;
    this.conversations = new Map();
    this.watched = new Set();
    this.urls = [url];
    this.failures = 0;
    this.offset = 0;
    this.nextId = 1;
    this.requests = new Map();
  }

  /** Connects, and stays connected. */
  start() {
    if (this.state !== "stopped") return;
    this.urls = [this.url];
    this.failures = 0;
    this.connect();
  }

  /** Disconnects for good: the node is told that this device is gone. */
  stop() {
    this.end(undefined);
  }

  /** Tries at once where it waits for the next try: the network is back, say. */
  hurry() {
    if (this.state === "waiting") this.connect();
  }

  /** Sends a command; resolves to what the node answered, rejects with a `ChinwagError`. */
  request(command, fields = {}) {
    if (this.state !== "online") {
      return Promise.reject(new ChinwagError({ code: "disconnected", message: "not connected" }));
    }
    return this.ask(command, fields);
  }

  /** What is held of a conversation. */
  conversation(of) {
    if (!this.conversations.has(of)) this.conversations.set(of, new Conversation(of));
    return this.conversations.get(of);
  }

  /** Sends a message, now or as soon as there is a connection, until it is answered. */
  send(to, body) {
    const outgoing = { to, body, nonce: newNonce(this.offset), state: "sending", tries: 0 };
    this.conversation(to).outgoing.push(outgoing);
    this.transmit(outgoing);
    this.changed(to);
    return outgoing;
  }

  /** Tries a refused message again, under the same nonce. */
  retry(outgoing) {
    Object.assign(outgoing, { state: "sending", tries: 0, error: undefined });
    this.transmit(outgoing);
    this.changed(outgoing.to);
  }

  /** Forgets a message that was refused. */
  discard(outgoing) {
    const conversation = this.conversation(outgoing.to);
    conversation.outgoing = conversation.outgoing.filter((other) => other !== outgoing);
    this.changed(outgoing.to);
  }

  /** Loads a conversation's newest page, and with each further call an older one. */
  async load(of) {
    const conversation = this.conversation(of);
    const before = conversation.loaded ? conversation.messages[0]?.id : undefined;
    const page = await this.request("history", { of, before, limit: PAGE });
    for (const message of messagesOf(page)) {
      this.settle(conversation, message);
      conversation.insert(message);
    }
    conversation.more = page.more;
    conversation.complete = page.complete !== false;
    conversation.loaded = true;
    if (before === undefined) {
      conversation.upto = conversation.complete ? conversation.newest : conversation.messages[0]?.id;
      if (!conversation.complete) this.fill(conversation);
    }
    this.changed(of);
    return conversation;
  }

  /** Presence of these users arrives as `presence` events, also after a reconnect. */
  watch(users) {
    const fresh = users.filter((user) => !this.watched.has(user));
    const room = (this.welcome?.limits?.watch ?? 500) - this.watched.size;
    const taken = fresh.slice(0, Math.max(0, room));
    taken.forEach((user) => this.watched.add(user));
    if (taken.length > 0 && this.state === "online") this.askPresence(taken);
  }

  // ---- the connection

  connect() {
    clearTimeout(this.timer);
    this.enter("connecting");
    const socket = new WebSocket(this.urls[0], SUBPROTOCOL);
    this.socket = socket;
    this.welcomed = false;
    this.bye = undefined;
    this.refusal = undefined;
    socket.onopen = () => this.sayHello();
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onclose = ({ code }) => {
      if (this.socket === socket) this.onClose(code);
    };
    this.timer = setTimeout(() => this.giveUp(), CONNECT_PATIENCE_MS);
  }

  async sayHello() {
    const windows = [...this.conversations.values()]
      .map((conversation) => [conversation.of, conversation.window()])
      .filter(([, window]) => window !== undefined);
    // With nothing held, `resume` would send everything that is unread: the list of conversations is
    // the better start.
    const resume = windows.length > 0 ? Object.fromEntries(windows) : undefined;
    this.resuming = resume && new Map(windows.map(([of, window]) => [of, { window, got: new Set() }]));
    try {
      const welcome = await this.ask("hello", { user: this.user, device: this.device, resume });
      this.onWelcome(welcome);
    } catch (error) {
      if (error.code !== "disconnected") this.refusal = error;
    }
  }

  onWelcome(welcome) {
    clearTimeout(this.timer);
    this.welcome = welcome;
    this.device = welcome.device;
    this.offset = welcome.time - Date.now();
    this.failures = 0;
    this.welcomed = true;
    this.enter("online");
    for (const conversation of this.conversations.values()) {
      conversation.outgoing
        .filter((outgoing) => outgoing.state === "sending")
        .forEach((outgoing) => this.transmit(outgoing));
    }
    if (this.watched.size > 0) this.askPresence([...this.watched]);
    this.heard();
  }

  onClose(code) {
    clearTimeout(this.timer);
    clearTimeout(this.pulse);
    this.socket = undefined;
    this.resuming = undefined;
    const pending = [...this.requests.values()];
    this.requests.clear();
    const error = new ChinwagError({ code: "disconnected", message: "the connection broke" });
    pending.forEach(({ reject }) => reject(error));
    if (code === 4009) return this.end(new ChinwagError({ code: "replaced" }));
    if ((code === 4001 || code === 4003) && !PASSING.includes(this.refusal?.code)) {
      return this.end(this.refusal ?? new ChinwagError({ code: "unauthenticated" }));
    }
    this.wait();
  }

  wait() {
    let delay = Math.random() * Math.min(BACKOFF_LONGEST_MS, BACKOFF_FIRST_MS * 2 ** this.failures);
    if (this.bye) {
      delay = this.bye.reconnect_after_ms ?? delay;
      const others = (this.bye.try ?? []).filter((url) => this.mayUse(url) && url !== this.url);
      // The others first: this node is about to be gone. Its own URL stays the last resort.
      this.urls = [...others, this.url];
      this.failures = 0;
      this.bye = undefined;
    } else if (!this.welcomed && this.urls.length > 1) {
      // Another node may not take pages of this one: it was worth one try.
      this.urls.shift();
    } else {
      this.failures++;
    }
    this.enter("waiting");
    this.timer = setTimeout(() => this.connect(), delay);
  }

  /** A page loaded securely may not connect insecurely. */
  mayUse(url) {
    return url.startsWith("wss:") || !this.url.startsWith("wss:");
  }

  end(error) {
    clearTimeout(this.timer);
    clearTimeout(this.pulse);
    const socket = this.socket;
    this.socket = undefined;
    socket?.close(1000);
    this.requests.forEach(({ reject }) => reject(new ChinwagError({ code: "disconnected" })));
    this.requests.clear();
    this.enter("stopped", error);
  }

  giveUp() {
    const socket = this.socket;
    // A dead network lets a socket close only after minutes.
    socket.onclose = socket.onmessage = socket.onopen = null;
    socket.close();
    this.onClose(1006);
  }

  /** Something came: the next sign of life is due later. */
  heard() {
    clearTimeout(this.pulse);
    this.pulse = setTimeout(() => {
      this.pulse = setTimeout(() => this.giveUp(), PING_PATIENCE_MS);
      this.ask("ping", {}).catch(() => {});
    }, PING_EVERY_MS);
  }

  enter(state, error) {
    this.state = state;
    this.emit("state", { state, error });
  }

  // ---- frames

  ask(command, fields) {
    const id = this.nextId++;
    this.socket.send(JSON.stringify({ id, [command]: fields }));
    return new Promise((resolve, reject) => this.requests.set(id, { resolve, reject }));
  }

  receive(frame) {
    if (this.state === "online") this.heard();
    for (const line of frame.split("\n")) {
      if (line !== "") this.receiveObject(JSON.parse(line));
    }
  }

  receiveObject(object) {
    if ("id" in object) {
      const request = this.requests.get(object.id);
      this.requests.delete(object.id);
      if (object.error) request?.reject(new ChinwagError(object.error));
      else request?.resolve(object.ok);
      return;
    }
    const [name] = Object.keys(object);
    const fact = object[name];
    if (name === "message") this.onMessage(fact);
    else if (name === "resumed") this.onResumed(fact);
    else if (name === "bye") this.bye = fact;
    if (name !== "message") this.emit(name, fact);
  }

  onMessage(message) {
    const conversation = this.conversation(message.in);
    const resumed = this.resuming?.get(message.in);
    resumed?.got.add(message.id);
    this.settle(conversation, message);
    if (conversation.loaded && conversation.adjoins(message)) {
      if (!conversation.insert(message)) return this.changed(message.in);
      if (!resumed && !conversation.filling) conversation.upto = conversation.newest;
      this.changed(message.in);
    }
    this.emit("message", message);
  }

  /** A message that comes back by another way than its own reply has been stored. */
  settle(conversation, { from, nonce }) {
    if (from !== this.user) return;
    conversation.outgoing = conversation.outgoing.filter((outgoing) => outgoing.nonce !== nonce);
  }

  // ---- resume

  onResumed({ in: conversations, complete }) {
    const resuming = this.resuming ?? new Map();
    this.resuming = undefined;
    for (const [of, { window, got }] of resuming) {
      const conversation = this.conversation(of);
      const { more = false, count } = conversations[of] ?? {};
      if (count !== undefined && !more && complete) this.prune(conversation, window, got);
      if (more || !complete) this.fill(conversation);
      else conversation.upto = conversation.newest ?? conversation.upto;
      this.changed(of);
    }
  }

  /** The window was sent anew: what was not sent is gone. */
  prune(conversation, { after, upto }, got) {
    conversation.messages = conversation.messages.filter(
      ({ id }) => got.has(id) || !(after < id && id <= upto),
    );
  }

  /** Reads on from the last place known to be without gaps. */
  async fill(conversation) {
    if (conversation.filling) return;
    conversation.filling = true;
    try {
      const overlap = Math.max(0, timeOf(conversation.upto ?? LOWEST_ID) - OVERLAP_MS);
      const from = ulid(overlap, 0n);
      for (let again = AGAIN_FIRST_MS; !(await this.readOn(conversation, from)); ) {
        await new Promise((done) => setTimeout(done, again));
        again = Math.min(2 * again, AGAIN_LONGEST_MS);
      }
      conversation.upto = conversation.newest ?? conversation.upto;
      conversation.complete = true;
      this.changed(conversation.of);
    } catch {
      // The next resume names the old `upto` and starts over.
    } finally {
      conversation.filling = false;
    }
  }

  /** Reads everything behind an id. False: some page was incomplete. */
  async readOn({ of }, after) {
    let complete = true;
    for (;;) {
      const page = await this.request("history", { of, after, limit: PAGE_MAX });
      messagesOf(page).forEach((message) => this.onMessage(message));
      complete &&= page.complete !== false;
      const last = Object.values(page.events.at(-1) ?? {})[0];
      if (!page.more || !last) return complete;
      after = last.id;
    }
  }

  // ---- sends

  async transmit(outgoing) {
    if (this.state !== "online") return;
    const { to, body, nonce } = outgoing;
    try {
      this.checkSize(to, body, nonce);
      const { id, copies } = await this.ask("send", { to, body, nonce });
      this.onSent(outgoing, { in: to, id, from: this.user, body, nonce, copies });
    } catch (error) {
      this.onRefused(outgoing, error);
    }
  }

  /** A node closes the connection over a frame that is too large: such a one is never sent. */
  checkSize(to, body, nonce) {
    const { frame = Infinity, body: most = Infinity } = this.welcome?.limits ?? {};
    const bytes = (value) => new TextEncoder().encode(JSON.stringify(value)).length;
    if (bytes(body) > most || bytes({ id: this.nextId, send: { to, body, nonce } }) > frame) {
      throw new ChinwagError({
        code: "too_large",
        message: `the message is larger than ${Math.floor(most / 1024)} KiB`,
      });
    }
  }

  onSent(outgoing, message) {
    const conversation = this.conversation(outgoing.to);
    this.settle(conversation, message);
    if (conversation.loaded) {
      conversation.insert(message);
      if (!this.resuming && !conversation.filling) conversation.upto = conversation.newest;
    }
    this.changed(outgoing.to);
    this.emit("message", message);
  }

  onRefused(outgoing, error) {
    // It is sent again with the next connection.
    if (error.code === "disconnected") return;
    outgoing.tries++;
    if (PASSING.includes(error.code) && outgoing.tries < TRIES) {
      const delay = error.retryAfterMs ?? Math.random() * 1000 * 2 ** outgoing.tries;
      setTimeout(() => this.transmit(outgoing), delay);
      return;
    }
    Object.assign(outgoing, { state: "failed", error });
    this.changed(outgoing.to);
  }

  askPresence(users) {
    this.ask("watch", { users })
      .then(({ presence }) => presence.forEach((fact) => this.emit("presence", fact)))
      .catch(() => {
        // A watch is asked for again with the next connection.
      });
  }

  changed(of) {
    this.emit("change", { of });
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
