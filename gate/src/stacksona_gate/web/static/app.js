// The pages work without this file. With it they follow what happens, take keys, and keep what was typed.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const signedIn = document.body.hasAttribute("data-signed-in");
  const thread = byId("thread");
  const announce = (text) => { byId("announce").textContent = text; };

  // --- Times -------------------------------------------------------------------------------------------------------

  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function duration(seconds) {
    for (const [unit, name] of UNITS) if (seconds >= unit) return `${Math.floor(seconds / unit)} ${name}`;
    return "0 s";
  }

  function showTimes() {
    for (const time of document.querySelectorAll("time[data-relative]")) {
      const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
      const text = duration(time.dataset.relative === "until" ? seconds : -seconds);
      if (time.textContent !== text) time.textContent = text;
      if (thread && time.dataset.relative === "until" && seconds <= 0) moved("The time for this is over.");
    }
  }

  // --- Looking again -----------------------------------------------------------------------------------------------

  async function fetchPage() {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (response.redirected) return location.reload(); // signed out: the server knows where to go
    if (!response.ok) return null;
    return new DOMParser().parseFromString(await response.text(), "text/html");
  }

  // What somebody works in stays as it is: a field, an open text, a selection.
  function isInUse(region) {
    const selection = getSelection();
    const selects = selection && !selection.isCollapsed && region.contains(selection.anchorNode);
    return selects || (document.activeElement !== document.body && region.contains(document.activeElement));
  }

  function replaceRegions(fresh) {
    for (const region of document.querySelectorAll("[data-live]")) {
      const newer = fresh.getElementById(region.id);
      if (!newer || isInUse(region)) continue;
      const opened = [...region.querySelectorAll("details")].map((one) => one.open);
      region.replaceChildren(...newer.childNodes);
      region.querySelectorAll("details").forEach((one, index) => { if (opened[index]) one.open = true; });
    }
  }

  // Row by row, so that the focused one keeps the focus and the rest keeps its place.
  function replaceRows(list, newer) {
    const known = new Map([...list.children].map((row) => [row.id, row]));
    let arrived = 0;
    [...newer.children].forEach((row, index) => {
      const old = known.get(row.id);
      if (!old) arrived += 1;
      if (old) known.delete(row.id);
      const kept = old ? updated(old, row) : row;
      if (list.children[index] !== kept) list.insertBefore(kept, list.children[index] || null);
    });
    for (const gone of known.values()) leave(gone);
    return arrived;
  }

  function updated(old, row) {
    const focused = old.contains(document.activeElement);
    old.className = row.className;
    if (old.innerHTML !== row.innerHTML) old.replaceChildren(...row.childNodes);
    if (focused) old.querySelector("a.open").focus({ preventScroll: true });
    return old;
  }

  function leave(row) {
    const next = row.contains(document.activeElement) && (row.nextElementSibling || row.previousElementSibling);
    row.remove();
    if (next) next.querySelector("a.open").focus({ preventScroll: true });
  }

  async function refreshList() {
    const fresh = await fetchPage();
    const list = byId("threads");
    if (!fresh || !fresh.getElementById("threads")) return;
    const arrived = replaceRows(list, fresh.getElementById("threads"));
    replaceRegions(fresh);
    document.title = fresh.title;
    showTimes();
    if (arrived) announce(arrived === 1 ? "One new request" : `${arrived} new requests`);
  }

  async function refreshThread() {
    const response = await fetch(`/inbox/${thread.dataset.thread}/state`, { redirect: "error" });
    if (!response.ok) return;
    const now = await response.json();
    if (now.version === thread.dataset.version) return;
    if (String(now.revision) !== thread.dataset.revision && now.status === "pending_review") {
      return moved(`The agent sent revision ${now.revision}.`);
    }
    if (now.status !== thread.dataset.status) return moved(`This was decided meanwhile: ${now.state.toLowerCase()}.`);
    thread.dataset.version = now.version;
    const fresh = await fetchPage();
    if (!fresh) return;
    replaceRegions(fresh);
    showTimes();
    announce("This thread was updated");
  }

  // What would be decided is no longer what is on the page.
  function moved(text) {
    const banner = byId("moved");
    if (banner.dataset.text === text) return;
    banner.dataset.text = text;
    const link = document.createElement("a");
    link.className = "button";
    link.href = location.pathname;
    link.textContent = "Look at it as it is now";
    const words = document.createElement("p");
    const strong = document.createElement("strong");
    strong.textContent = text;
    words.append(strong, " What you typed is kept. ", link);
    banner.replaceChildren(words);
    banner.hidden = false;
    document.body.classList.add("has-moved");
    for (const button of document.querySelectorAll("[name=verdict], .claiming button")) button.disabled = true;
  }

  // One look at a time; what comes meanwhile asks for one more.
  let looking = false;
  let again = false;

  async function look() {
    if (looking) { again = true; return; }
    looking = true;
    try {
      do {
        again = false;
        await (thread ? refreshThread() : byId("threads") ? refreshList() : null);
      } while (again);
    } catch {
      // The network is away; the stream or the next look will tell.
    } finally {
      looking = false;
    }
  }

  // --- One stream for all tabs -------------------------------------------------------------------------------------

  // Browsers give one host six connections: the visible tab that holds the lock listens for all of them.
  const POLL_HIDDEN = 60_000;
  const POLL_WITHOUT_STREAM = 10_000;
  const JOIN_AGAIN = 15_000;
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("stacksona-inbox") : null;
  let release = null;
  let wanted = null;
  let listening = false;

  function tell() {
    look();
    if (channel) channel.postMessage("changed");
  }

  function listen() {
    return new Promise((resolve) => {
      const source = new EventSource("/inbox/stream");
      const stop = () => { source.close(); listening = false; release = null; resolve(); };
      source.onopen = () => { listening = true; tell(); };
      source.onerror = () => {
        listening = false;
        if (source.readyState !== EventSource.CLOSED) return; // it comes back by itself
        stop();
        look();
        setTimeout(join, JOIN_AGAIN);
      };
      source.addEventListener("changed", tell);
      source.addEventListener("over", () => { stop(); location.reload(); });
      release = stop;
    });
  }

  function join() {
    if (wanted || document.hidden) return;
    const mine = new AbortController();
    wanted = mine;
    const held = navigator.locks ? navigator.locks.request("stacksona-stream", { signal: mine.signal }, listen) : listen();
    held.catch(() => {}).then(() => { if (wanted === mine) wanted = null; });
  }

  function part() {
    if (wanted) wanted.abort();
    wanted = null;
    if (release) release();
  }

  function follow() {
    if (channel) channel.onmessage = look;
    const turn = () => {
      if (document.hidden) return part();
      join();
      look();
    };
    document.addEventListener("visibilitychange", turn);
    addEventListener("pagehide", part);
    addEventListener("pageshow", (event) => { if (event.persisted) turn(); });
    join();
    let last = Date.now();
    setInterval(() => {
      const told = listening || (channel && !release); // by the stream, or by the tab that has it
      if (Date.now() - last < (document.hidden || told ? POLL_HIDDEN : POLL_WITHOUT_STREAM)) return;
      last = Date.now();
      look();
    }, 5000);
  }

  // --- Keys --------------------------------------------------------------------------------------------------------

  const KEYS_OFF = "stacksona-keys-off";

  function stored(action) {
    try { return action(); } catch { return null; } // storage may be switched off
  }

  function move(step) {
    const links = [...document.querySelectorAll("#threads a.open")];
    if (!links.length) return;
    const at = links.findIndex((link) => link.closest("li").contains(document.activeElement));
    const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1);
    links[next].focus();
    links[next].closest("li").scrollIntoView({ block: "nearest" });
  }

  function open() {
    const link = document.activeElement.closest && document.activeElement.closest("li.row a.open");
    if (link) link.click();
  }

  // Goes to a button and says what Enter will do: a key alone never decides.
  function ready(id, words) {
    const button = byId(id);
    if (!button || button.disabled) return;
    button.focus();
    const hint = byId("ready");
    hint.textContent = words;
    hint.hidden = false;
    announce(words);
    button.addEventListener("blur", () => { hint.hidden = true; }, { once: true });
  }

  function goTo(id) {
    const field = byId(id);
    if (!field) return;
    const details = field.closest("details");
    if (details) details.open = true;
    field.focus();
    field.scrollIntoView({ block: "center" });
  }

  function showHelp() {
    const help = byId("help");
    if (help && !help.open) help.showModal();
  }

  const KEYS = {
    j: () => move(1),
    k: () => move(-1),
    o: open,
    u: () => { if (thread) location.href = "/inbox"; },
    "/": () => { goTo("q"); if (byId("q")) byId("q").select(); },
    a: () => ready("approve", "Press Enter to approve."),
    r: () => ready("reject", "Press Enter to reject."),
    c: () => goTo("message"),
    e: () => goTo("edited"),
    n: () => goTo("note"),
    "?": showHelp,
  };

  function isTyping(target) {
    return target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
  }

  function onKey(event) {
    if (event.key === "Escape" && isTyping(event.target)) return event.target.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && !"jk".includes(event.key)) return;
    if (event.isComposing || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (stored(() => localStorage.getItem(KEYS_OFF)) && event.key !== "?") return;
    const action = KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  function setUpKeys() {
    document.addEventListener("keydown", onKey);
    const box = byId("use-keys");
    box.checked = !stored(() => localStorage.getItem(KEYS_OFF));
    box.addEventListener("change", () => stored(() =>
      box.checked ? localStorage.removeItem(KEYS_OFF) : localStorage.setItem(KEYS_OFF, "1")));
    for (const button of document.querySelectorAll("[data-help]")) {
      button.hidden = false;
      button.addEventListener("click", showHelp);
    }
  }

  // --- What was typed ----------------------------------------------------------------------------------------------

  function keepDraft() {
    const field = document.querySelector("textarea[data-draft]");
    const done = document.querySelector("[data-done]");
    const name = thread && `stacksona-draft-${document.body.dataset.signedIn}-${thread.dataset.thread}`;
    if (done) stored(() => sessionStorage.removeItem(name));
    if (!field) return;
    if (field.value) stored(() => sessionStorage.setItem(name, field.value));
    else if (!done) field.value = stored(() => sessionStorage.getItem(name)) || "";
    field.addEventListener("input", () => stored(() => sessionStorage.setItem(name, field.value)));
  }

  // A second press must not send a form twice; the browser's back button brings the form back to life.
  function sendOnce() {
    document.addEventListener("submit", (event) => {
      const form = event.target;
      if (form.method === "dialog") return;
      if (form.dataset.sent) return event.preventDefault();
      if (form.method === "post") form.dataset.sent = "1";
    });
    addEventListener("pageshow", () => document.querySelectorAll("form").forEach((form) => delete form.dataset.sent));
  }

  function setUpCopying() {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(button.dataset.copy);
        announce("Copied");
        const words = button.textContent;
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = words; }, 1500);
      });
    }
  }

  // The one-time code is in the fragment, which no server and no log gets to see.
  function takeSetupCode() {
    const field = document.querySelector("[data-from-fragment]");
    if (!field || location.hash.length < 2) return;
    field.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
    byId("email").focus();
  }

  takeSetupCode();
  sendOnce();
  if (signedIn) {
    keepDraft();
    setUpKeys();
    setUpCopying();
    showTimes();
    setInterval(showTimes, 10_000);
    if (thread || byId("threads")) follow();
  }
})();
