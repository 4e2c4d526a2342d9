/**
 * The mesh as this node sees it, asked for every second.
 *
 * The page itself notes when a state changes, so that a node that dies is seen to die: the API says
 * what is, not since when.
 */

const EVERY_MS = 1000;
/** An answer that takes longer counts as none. */
const PATIENCE_MS = 4000;

const $ = (id) => document.getElementById(id);
const states = { alive: "Alive", suspect: "Suspect", down: "Down", left: "Left" };
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** Node → its latest state, and when this page saw it change. */
const changes = new Map();
let lastAnswer;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("data-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [days, hours, minutes] = [86_400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  if (days > 0) return `${days} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  if (minutes > 0) return `${minutes} min ${seconds % 60} s`;
  return `${seconds} s`;
}

function count(number) {
  return typeof number === "number" ? number.toLocaleString() : "–";
}

function roundTrip(ms) {
  if (typeof ms !== "number") return "–";
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;
}

function noteChange({ node, state }) {
  const known = changes.get(node);
  if (!known) changes.set(node, { state });
  else if (known.state !== state) changes.set(node, { state, at: Date.now() });
  return changes.get(node).at;
}

function cells(member, self) {
  const at = noteChange(member);
  const node = element("code", { title: member.node }, `…${member.node.slice(-8)}`);
  const state = element("span", { className: "state" }, states[member.state] ?? member.state);
  const since = at ? element("span", { className: "since" }, `since ${clock.format(at)} (${span(Date.now() - at)})`) : "";
  const gone = member.state === "down" || member.state === "left";
  let link = member.link ? "direct" : "through another node";
  if (self) link = "this node";
  else if (!member.link && member.state !== "alive") link = "none";
  return [
    ["Node", "", node, self ? element("span", { className: "self" }, "this node") : ""],
    ["State", "", element("span", {}, state, since)],
    ["Link", "", link],
    ["Users", "number", count(member.routes)],
    ["Round trip", "number", self || !member.link ? "–" : roundTrip(member.rtt_ms)],
    ["Up for", "", gone || !member.epoch ? "–" : span(Date.now() - member.epoch)],
    ["Version", "", member.version ?? "–"],
    ["Address", "address", [member.address ?? []].flat().join(", ") || "–"],
  ];
}

function row(member, self) {
  const made = element("tr", { "data-testid": "mesh-member", "data-node": member.node, "data-state": member.state });
  for (const [label, className, ...content] of cells(member, self)) {
    made.append(element("td", { className, "data-label": label }, ...content));
  }
  return made;
}

function total(name, value) {
  const id = name.toLowerCase().replace(/ /g, "-");
  return element("div", {}, element("dt", {}, name), element("dd", { "data-testid": `total-${id}` }, value));
}

function show(mesh) {
  const self = ({ node }) => node === mesh.node;
  const members = [...mesh.members].sort((a, b) => self(b) - self(a) || (a.node < b.node ? -1 : 1));
  const alive = members.filter(({ state }) => state === "alive").length;
  $("facts").hidden = false;
  setText($("mesh-name"), mesh.mesh);
  setText($("node"), `as node …${mesh.node.slice(-8)} sees it`);
  $("node").title = mesh.node;
  $("totals").replaceChildren(
    total("Nodes alive", `${alive} of ${members.length}`),
    total("Sessions here", count(mesh.sessions)),
    total("Users routed", count(mesh.routes)),
    ...(mesh.under_replicated ? [total("Under-replicated", count(mesh.under_replicated))] : []),
    total("Up for", mesh.epoch ? span(Date.now() - mesh.epoch) : "–"),
    total("Version", mesh.version ?? "–"),
  );
  $("members").replaceChildren(...members.map((member) => row(member, self(member))));
}

function setStatus(state, text, error = "") {
  $("status").dataset.state = state;
  setText($("status"), text);
  $("facts").dataset.stale = String(error !== "");
  $("error").hidden = error === "";
  setText($("error"), error);
}

async function ask() {
  const reply = await fetch("/api/mesh", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (reply.status === 403) {
    return setStatus("stopped", "Closed", "This address is for clients: the mesh is shown only where the node's operator looks. Start the node with --admin-listen (127.0.0.1:8081, for instance) and open /mesh there.");
  }
  if (!reply.ok) return setStatus("stopped", "No answer", `The node answered with status ${reply.status}.`);
  show(await reply.json());
  lastAnswer = Date.now();
  setStatus("online", "Live");
}

async function loop() {
  try {
    await ask();
  } catch {
    const since = lastAnswer ? ` since ${clock.format(lastAnswer)}; the table shows what it said last` : "";
    setStatus("stopped", "No answer", `This node does not answer${since}. Trying again every second.`);
  }
  setTimeout(loop, EVERY_MS);
}

loop();
