/**
 * The chat page: a name, the conversations, the open one. Everything about the protocol is in
 * client.js; whatever other people wrote becomes text nodes, never markup.
 */
import { Client, timeOf } from "./client.js";

const NAME = /^@[A-Za-z0-9._:-]{1,64}$/;
const NAME_HELP = "A name has 1 to 64 letters (A–Z), digits or . _ - :";
const REMEMBERED = "chinwag.user";
/** An incomplete list of conversations is asked for again after that. */
const AGAIN_MS = 5_000;
/** Messages of one author closer than that stand together. */
const GROUP_MS = 5 * 60_000;
/** Typing is told that often, and shown that long after it was told. */
const TYPING_EVERY_MS = 3_000;
const TYPING_SHOWN_MS = 5_000;
const DAY_MS = 24 * 60 * 60_000;
/** Closer to the end than that, the log follows new messages. */
const NEAR_END_PX = 120;

/** Every element of the page that has an id, by that id in camel case. */
const ui = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((found) => [
    found.id.replace(/-(.)/g, (_, letter) => letter.toUpperCase()),
    found,
  ]),
);

let client;
/** The open conversation's name. */
let current;
/** Of each conversation its last message, unread messages, and own read mark. */
let listed = new Map();
let presence = new Map();
/** Up to where others have read. */
let seen = new Map();
let drafts = new Map();
const typing = new Map();
let lastTyping = 0;
let refreshTimer;
/** Why the client stopped by itself. */
let stoppedBy;

// ---- small things

/** An element with attributes and children; children that are text stay text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Puts these children into a parent, in this order, touching only what differs. */
function arrange(parent, children) {
  children.forEach((child, at) => {
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function paintAvatar(avatar, name) {
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  avatar.style.setProperty("--hue", hue);
  setText(avatar, name.slice(1, 2));
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const short = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

const dayOf = (ms) => new Date(ms).toDateString();

function dayText(ms) {
  if (dayOf(ms) === dayOf(Date.now())) return "Today";
  if (dayOf(ms) === dayOf(Date.now() - DAY_MS)) return "Yesterday";
  return (isRecent(ms) ? weekday : date).format(ms);
}

/** Shorter: a time today, a date otherwise. */
function momentText(ms) {
  if (dayOf(ms) === dayOf(Date.now())) return clock.format(ms);
  return (isRecent(ms) ? short : date).format(ms);
}

/** The year goes without saying. */
const isRecent = (ms) => Math.abs(Date.now() - ms) < 300 * DAY_MS;

function bodyText(body) {
  if (typeof body === "string") return body;
  if (typeof body?.text === "string") return body.text;
  return JSON.stringify(body, null, 1) ?? "";
}

function bodyNode(body) {
  const text = bodyText(body);
  const plain = typeof body === "string" || typeof body?.text === "string";
  return plain ? document.createTextNode(text) : element("pre", {}, text);
}

// ---- who

function showWelcome(error = "") {
  ui.app.hidden = true;
  ui.welcome.hidden = false;
  ui.nameError.textContent = error;
  ui.name.focus();
}

function signIn(user) {
  [listed, presence, seen, drafts] = [new Map(), new Map(), new Map(), new Map()];
  ui.welcome.hidden = true;
  ui.app.hidden = false;
  setText(ui.me, user);
  paintAvatar(ui.meAvatar, user);
  const secure = location.protocol === "https:";
  client = new Client({ url: `${secure ? "wss" : "ws"}://${location.host}/ws`, user });
  client.addEventListener("state", onState);
  client.addEventListener("change", ({ detail }) => detail.of === current && renderPane());
  client.addEventListener("message", ({ detail }) => onMessage(detail));
  client.addEventListener("presence", ({ detail }) => onPresence(detail));
  client.addEventListener("signal", ({ detail }) => onSignal(detail));
  client.addEventListener("receipt", ({ detail }) => onReceipt(detail));
  client.addEventListener("resumed", () => refreshSoon());
  client.start();
  renderList();
  route();
}

function signOut() {
  const leaving = client;
  client = undefined;
  leaving?.stop();
  localStorage.removeItem(REMEMBERED);
  history.replaceState(null, "", location.pathname);
  current = undefined;
  document.title = "Chinwag";
  showWelcome();
}

function onState({ target, detail: { state, error } }) {
  if (target !== client) return;
  const texts = { online: "Online", connecting: "Connecting…", waiting: "Reconnecting…", stopped: "Offline" };
  ui.status.dataset.state = state;
  setText(ui.status, texts[state]);
  if (state === "online") {
    localStorage.setItem(REMEMBERED, client.user);
    const { node, mesh } = client.welcome;
    setText(ui.node, `${mesh} · node …${node.slice(-6)}`);
    ui.node.title = node;
    refresh();
    if (current && !client.conversation(current).loaded) loadCurrent();
    else markRead();
  }
  if (state === "stopped" && error && error.code !== "replaced") {
    client = undefined;
    localStorage.removeItem(REMEMBERED);
    showWelcome(error.message);
    return;
  }
  stoppedBy = error;
  renderBanner();
  renderList();
  if (current) renderPresence();
}

// ---- conversations

async function refresh() {
  const asking = client;
  try {
    const { conversations, complete } = await asking.request("conversations", { limit: 500 });
    if (asking !== client) return;
    for (const { of, last, unread, read } of conversations) {
      const message = last?.message;
      const known = listed.get(of);
      const newer = known?.last?.id > message?.id ? known.last : message;
      listed.set(of, { of, last: newer, unread, read });
    }
    asking.watch([...listed.keys()].filter((of) => of.startsWith("@")));
    markRead();
    if (complete === false) refreshSoon(AGAIN_MS);
  } catch {
    // The next connection asks again.
  }
  renderList();
}

/** Counts may have changed in a way that only the node knows. */
function refreshSoon(delay = 300) {
  clearTimeout(refreshTimer);
  refreshTimer = setTimeout(() => client?.state === "online" && refresh(), delay);
}

function entry(of) {
  if (!listed.has(of)) listed.set(of, { of, unread: 0 });
  return listed.get(of);
}

function onMessage(message) {
  const item = entry(message.in);
  const mine = message.from === client.user;
  if (!mine) clearTyping(message.in);
  if (!item.last || message.id > item.last.id) {
    item.last = message;
    if (!mine) item.unread++;
  } else if (message.id !== item.last.id) {
    refreshSoon();
  }
  if (message.in.startsWith("@")) client.watch([message.in]);
  if (message.in === current) markRead();
  renderList();
}

function onReceipt({ in: of, user, read }) {
  if (user !== client.user) {
    if (!(seen.get(of) > read)) seen.set(of, read);
    if (of === current) renderPane();
    return;
  }
  const item = entry(of);
  if (!(item.read > read)) item.read = read;
  if (!item.last || item.read >= item.last.id) item.unread = 0;
  else refreshSoon();
  renderList();
}

function onPresence(fact) {
  presence.set(fact.user, fact);
  renderList();
  if (fact.user === current) renderPresence();
}

/** What is on the screen has been read. */
function markRead() {
  if (!current || document.visibilityState !== "visible" || client?.state !== "online") return;
  const upto = client.conversation(current).newest;
  const item = entry(current);
  if (!upto || item.read >= upto) return;
  item.unread = 0;
  item.read = upto;
  client.request("read", { of: current, upto }).catch(() => {
    // Not told, so the next chance is taken.
    item.read = undefined;
  });
  renderList();
}

function renderList() {
  const items = [...listed.values()].sort((a, b) => ((a.last?.id ?? "~") < (b.last?.id ?? "~") ? 1 : -1));
  const rows = new Map([...ui.conversations.children].map((row) => [row.dataset.of, row]));
  arrange(ui.conversations, items.map((item) => listRow(rows.get(item.of), item)));
  ui.noConversations.hidden = items.length > 0;
  ui.conversations.hidden = items.length === 0;
  const unread = items.reduce((sum, item) => sum + (item.unread ?? 0), 0);
  document.title = unread > 0 ? `(${unread}) Chinwag` : "Chinwag";
}

function listRow(row, { of, last, unread }) {
  row ??= element(
    "li",
    {},
    element(
      "button",
      { type: "button", onclick: () => open(of) },
      element("span", { className: "avatar", ariaHidden: "true" }),
      element("span", { className: "name" }),
      element("span", { className: "when" }),
      element("span", { className: "preview" }),
      element("span", { className: "unread" }),
    ),
  );
  const [avatar, name, when, preview, badge] = row.firstElementChild.children;
  row.dataset.of = of;
  row.dataset.testid = "conversation";
  row.dataset.unread = String(unread > 0);
  row.firstElementChild.setAttribute("aria-current", String(of === current));
  if (!avatar.lastElementChild) {
    paintAvatar(avatar, of);
    avatar.append(element("span", { className: "dot" }));
  }
  avatar.lastElementChild.dataset.presence = presenceKind(presence.get(of));
  setText(name, of === client?.user ? `${of} (notes)` : of);
  setText(when, last ? momentText(timeOf(last.id)) : "");
  const mine = last?.from === client?.user ? "You: " : "";
  setText(preview, last ? mine + bodyText(last.body).slice(0, 120) : "No messages yet");
  setText(badge, unread > 0 ? (unread > 999 ? "999+" : String(unread)) : "");
  badge.title = unread > 0 ? `${unread} unread` : "";
  badge.dataset.testid = "unread";
  return row;
}

// ---- the open conversation

function open(of) {
  location.hash = `#${of}`;
}

/** Shows what the address bar names. */
function route() {
  if (!client) return;
  const named = decodeURIComponent(location.hash.slice(1));
  const next = NAME.test(named) ? named : undefined;
  if (current) drafts.set(current, ui.composer.value);
  const before = current;
  current = next;
  ui.app.dataset.open = String(Boolean(next));
  ui.openPane.hidden = !next;
  ui.noPane.hidden = Boolean(next);
  renderList();
  if (!next) {
    const last = [...ui.conversations.children].find((row) => row.dataset.of === before);
    (last?.firstElementChild ?? ui.startName).focus();
    return;
  }
  ui.log.replaceChildren();
  setText(ui.paneName, next);
  paintAvatar(ui.paneAvatar, next);
  ui.composer.value = drafts.get(next) ?? "";
  fitComposer();
  client.watch([next]);
  renderPane("end");
  renderPresence();
  renderBanner();
  if (!matchMedia("(pointer: coarse)").matches) ui.composer.focus();
  if (!client.conversation(next).loaded) loadCurrent();
  else markRead();
}

async function loadCurrent() {
  const of = current;
  if (client?.state !== "online" || client.conversation(of).loading) return;
  client.conversation(of).loading = true;
  renderTop();
  try {
    await client.load(of);
    client.conversation(of).loadError = undefined;
    markRead();
  } catch (error) {
    client.conversation(of).loadError = error;
  } finally {
    client.conversation(of).loading = false;
    if (of === current) renderPane();
  }
}

function presenceKind(fact) {
  // Without a connection nothing is known.
  if (!fact || client?.state !== "online") return "";
  if (!fact.certain) return "unsure";
  return fact.online ? "online" : "offline";
}

function renderPresence() {
  const fact = presence.get(current);
  const kind = presenceKind(fact);
  const seenAt = fact?.last_seen ? `Last seen ${momentText(fact.last_seen)}` : "Offline";
  const unsure = fact?.online ? "Probably online" : "Not known: the node that knows cannot be reached";
  const texts = { "": "", online: "Online", offline: seenAt, unsure };
  ui.presence.dataset.presence = kind;
  setText(ui.presence, current === client.user ? "Notes to yourself" : texts[kind]);
}

function renderBanner() {
  const held = current && client?.conversations.get(current);
  let text = "";
  let action;
  if (client?.state === "stopped" && stoppedBy?.code === "replaced") {
    text = "This chat goes on in another window of the same device. ";
    action = element("button", { className: "link", onclick: () => client.start() }, "Use it here");
  } else if (client?.state === "waiting" || (client?.state === "connecting" && client.failures > 0)) {
    text = "No connection to the node. Trying again; what you write is sent as soon as it is back.";
  } else if (held?.complete === false) {
    text = "Not all nodes could be asked: older messages may be missing for now.";
  }
  ui.banner.hidden = text === "";
  ui.banner.dataset.kind = action ? "bad" : "doubt";
  if (ui.banner.textContent !== text || action) ui.banner.replaceChildren(text, ...(action ? [action] : []));
}

function renderTop() {
  const { loaded, loading, loadError, more, messages, outgoing } = client.conversation(current);
  const empty = messages.length === 0 && outgoing.length === 0;
  if (loadError && loadError.code !== "disconnected") {
    const again = element("button", { onclick: loadCurrent }, "Try again");
    ui.top.replaceChildren(`${loadError.message} `, again);
  } else if (!loaded || loading) {
    ui.top.replaceChildren(client.state === "online" ? "Loading…" : "");
  } else if (more) {
    ui.top.replaceChildren(element("button", { onclick: loadCurrent }, "Earlier messages"));
  } else if (current === client.user) {
    ui.top.replaceChildren("Notes to yourself: nobody else sees them.");
  } else {
    const begin = empty ? `Say hello to ${current}.` : `This is where you and ${current} began.`;
    ui.top.replaceChildren(begin);
  }
}

/** Draws the open conversation anew; rows that stay keep their place on the screen. */
function renderPane(where) {
  const { messages, outgoing } = client.conversation(current);
  const { scrollTop, scrollHeight, clientHeight } = ui.scroller;
  const fromEnd = scrollHeight - scrollTop;
  const follow = where === "end" || fromEnd - clientHeight < NEAR_END_PX;
  const atTop = scrollTop < NEAR_END_PX;

  const rows = new Map([...ui.log.children].map((row) => [row.dataset.key, row]));
  const waiting = outgoing.map((sent) => ({ ...sent, from: client.user, sent }));
  const all = [...messages, ...waiting];
  const lastSeen = messages.findLast((m) => m.from === client.user && m.id <= seen.get(current))?.id;
  const drawn = [];
  all.forEach((message, at) => {
    const ms = momentOf(message);
    const before = all[at - 1];
    if (!before || dayOf(momentOf(before)) !== dayOf(ms)) drawn.push(dayRow(rows, ms));
    const first = !before || !together(before, message);
    const last = !all[at + 1] || !together(message, all[at + 1]);
    drawn.push(messageRow(rows, message, { first, last, seen: Boolean(lastSeen) && message.id === lastSeen }));
  });
  arrange(ui.log, drawn);
  renderTop();
  if (follow) ui.scroller.scrollTop = ui.scroller.scrollHeight;
  else if (atTop) ui.scroller.scrollTop = ui.scroller.scrollHeight - fromEnd;
}

function momentOf(message) {
  return timeOf(message.id ?? message.nonce);
}

function together(a, b) {
  const near = momentOf(b) - momentOf(a) < GROUP_MS;
  return a.from === b.from && near && dayOf(momentOf(a)) === dayOf(momentOf(b));
}

function dayRow(rows, ms) {
  const key = `day ${dayOf(ms)}`;
  const row = rows.get(key) ?? element("li", { className: "day" });
  row.dataset.key = key;
  setText(row, dayText(ms));
  return row;
}

function messageRow(rows, message, place) {
  const key = `${message.from} ${message.nonce}`;
  let row = rows.get(key);
  if (!row) {
    const spoken = element("span", { className: "visually-hidden" }, `${message.from}: `);
    const bubble = element("div", { className: "bubble", dir: "auto" }, bodyNode(message.body));
    row = element("li", { className: "message" }, spoken, bubble, element("span", { className: "meta" }));
  }
  const own = message.from === client.user;
  Object.assign(row.dataset, {
    key,
    testid: "message",
    id: message.id ?? "",
    from: message.from,
    own: String(own),
    first: String(place.first),
    state: message.sent?.state ?? "sent",
  });
  row.title = new Date(momentOf(message)).toLocaleString();
  if (message.copies) row.title += `, kept on ${message.copies} disk${message.copies > 1 ? "s" : ""}`;
  drawMeta(row.lastElementChild, message, place);
  return row;
}

function drawMeta(meta, message, { last, seen: wasSeen }) {
  if (message.sent?.state === "failed") {
    const { sent } = message;
    const why = sent.error.code === "unavailable" ? "it may or may not have been kept" : sent.error.message;
    const retry = element("button", { className: "link", type: "button", onclick: () => client.retry(sent) }, "Retry");
    const discard = element("button", { className: "link", type: "button", onclick: () => client.discard(sent) }, "Discard");
    retry.dataset.testid = "retry";
    return meta.replaceChildren(`Not confirmed: ${why}. `, retry, " ", discard);
  }
  const time = clock.format(momentOf(message));
  const parts = [];
  if (message.sent) parts.push("Sending…");
  else if (last || message.late || wasSeen) parts.push(time);
  if (wasSeen) parts.push("seen");
  const late = element("span", { className: "late", title: "Held up on its way: a part of the mesh was cut off" }, " · arrived late");
  meta.replaceChildren(parts.join(" · "), ...(message.late ? [late] : []));
}

// ---- typing

function onSignal({ in: of, kind }) {
  if (kind !== "typing") return;
  clearTimeout(typing.get(of));
  typing.set(of, setTimeout(() => clearTyping(of), TYPING_SHOWN_MS));
  if (of === current) setText(ui.typing, `${of} is typing…`);
}

function clearTyping(of) {
  clearTimeout(typing.get(of));
  typing.delete(of);
  if (of === current) setText(ui.typing, "");
}

function tellTyping() {
  if (ui.composer.value === "" || Date.now() - lastTyping < TYPING_EVERY_MS) return;
  if (current === client.user) return;
  lastTyping = Date.now();
  client.request("signal", { to: current, kind: "typing" }).catch(() => {});
}

// ---- what people do

function fitComposer() {
  const { scrollTop, scrollHeight, clientHeight } = ui.scroller;
  const atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  ui.composer.style.height = "auto";
  ui.composer.style.height = `${Math.min(ui.composer.scrollHeight + 2, 152)}px`;
  if (atEnd) ui.scroller.scrollTop = ui.scroller.scrollHeight;
}

function submit(event) {
  event.preventDefault();
  const text = ui.composer.value.trim();
  if (!text || !current || !client) return;
  ui.composer.value = "";
  lastTyping = 0;
  fitComposer();
  client.send(current, text);
  renderPane("end");
  ui.composer.focus();
}

ui.welcomeForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const user = `@${ui.name.value.trim().replace(/^@/, "")}`;
  if (NAME.test(user)) signIn(user);
  else ui.nameError.textContent = NAME_HELP;
});

ui.startForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = ui.startName.value.trim();
  const of = `@${typed.replace(/^@/, "")}`;
  if (typed.startsWith("#")) ui.startError.textContent = "This node has no rooms yet.";
  else if (!NAME.test(of)) ui.startError.textContent = NAME_HELP;
  else {
    ui.startError.textContent = "";
    ui.startName.value = "";
    open(of);
  }
});

ui.startName.addEventListener("input", () => (ui.startError.textContent = ""));
ui.composerForm.addEventListener("submit", submit);
ui.composer.addEventListener("input", () => {
  fitComposer();
  tellTyping();
});
ui.composer.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && current) location.hash = "";
});
ui.conversations.addEventListener("keydown", (event) => {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target.closest("li")?.[step];
  if (!next) return;
  event.preventDefault();
  next.firstElementChild.focus();
});
ui.back.addEventListener("click", () => (location.hash = ""));
ui.leave.addEventListener("click", signOut);
ui.scroller.addEventListener("scroll", () => {
  if (!current || !client) return;
  const { loaded, more, loadError } = client.conversation(current);
  if (ui.scroller.scrollTop < 40 && loaded && more && !loadError) loadCurrent();
});
window.addEventListener("hashchange", route);
window.addEventListener("online", () => client?.hurry());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  client?.hurry();
  markRead();
});
window.addEventListener("beforeunload", (event) => {
  const waits = [...(client?.conversations.values() ?? [])].some(({ outgoing }) => outgoing.length > 0);
  if (waits) event.preventDefault();
});
window.addEventListener("pagehide", () => client?.stop());
// A page that the browser kept aside comes back without its connection.
window.addEventListener("pageshow", ({ persisted }) => persisted && client?.start());

const remembered = localStorage.getItem(REMEMBERED);
if (NAME.test(remembered ?? "")) signIn(remembered);
else showWelcome();
