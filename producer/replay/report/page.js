"use strict";
// Every text on this page that came from a user or a flow is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  // What would be obeyed instead of shown, or not be seen at all: control characters, marks that reorder or hide text.
  const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

  const make = (name, className, ...children) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };
  const say = (into, text) => {
    let from = 0;
    for (const found of text.matchAll(UNSEEN)) {
      if (found.index > from) into.append(text.slice(from, found.index));
      const code = found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
      into.append(make("span", "ctl", "U+" + code));
      from = found.index + 1;
    }
    into.append(text.slice(from));
    return into;
  };
  const told = (name, className, text) => say(make(name, className), text);
  const duration = (ms) => ms < 10 ? ms.toFixed(1) + " ms" : ms < 999.5 ? Math.round(ms) + " ms"
    : ms < 120000 ? +(ms / 1000).toPrecision(3) + " s" : +(ms / 60000).toPrecision(3) + " min";

  // Themes: what the system says, unless chosen here. Nothing is stored.
  const themes = [...document.querySelectorAll(".themes button")];
  const theme = (chosen) => {
    if (chosen === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = chosen;
    for (const each of themes) each.setAttribute("aria-pressed", String(each.value === chosen));
  };
  for (const each of themes) each.addEventListener("click", () => theme(each.value));
  theme("auto");

  const filters = [
    ["all", "All", () => true],
    ["failed", "Failing now", (item) => item.after.failed && !(item.before && item.before.failed)],
    ["mended", "Answered again", (item) => !item.after.failed && item.before && item.before.failed],
    ["rerouted", "Other route", (item) => item.rerouted],
    ["did", "Other tools or sources", (item) => item.did.length > 0],
    ["unexpected", "Not as expected", (item) => item.asExpected === false],
    ["different", "Other words", (item) => item.same === "different"],
    ["far", "Other meaning", (item) => item.similarity !== null && item.similarity < 0.6],
    ["slower", "Slower × 1.5", (item) => factor(item) >= 1.5],
  ];
  const orders = {
    change: (one, other) => one.place - other.place,
    likeness: (one, other) => (one.similarity ?? 2) - (other.similarity ?? 2) || one.place - other.place,
    slower: (one, other) => factor(other) - factor(one) || one.place - other.place,
    number: (one, other) => one.number - other.number,
  };
  const time = (outcome) => outcome ? outcome.flow ?? outcome.total : null;
  const factor = (item) => {
    if (item.after.failed) return 0;
    const bothFlow = item.before && item.before.flow !== null && item.after.flow !== null;
    const [old, now] = bothFlow ? [item.before.flow, item.after.flow] : [item.before && item.before.total, item.after.total];
    return old && now ? now / old : 0;
  };

  const marks = (item) => {
    const found = [];
    if (item.after.failed) found.push(["mark-bad", (item.before && item.before.failed ? "still fails: " : "fails: ") + (item.after.errorType || item.after.state)]);
    else if (item.before && item.before.failed) found.push(["mark-good", "answered again"]);
    if (item.rerouted) found.push(["mark-warn", (item.before.route || "?") + " → " + (item.after.route || "?")]);
    else if (item.after.route) found.push(["", item.after.route]);
    for (const [what, before, now] of item.did)
      found.push(["mark-warn", what + ": " + (before.join(", ") || "none") + " → " + (now.join(", ") || "none")]);
    if (item.asExpected === false) found.push(["mark-warn", "not as expected"]);
    const slower = factor(item);
    if (slower >= 1.5) found.push(["", "× " + slower.toPrecision(2) + " as long"]);
    if (slower && slower <= 0.67) found.push(["", "in " + Math.round(slower * 100) + " % of the time"]);
    for (const [label, now, old] of item.scores)
      if (now !== old) found.push([old !== null && now < old ? "mark-bad" : "", label + " " + (old === null ? "" : old.toFixed(2) + " → ") + now.toFixed(2)]);
    return found;
  };

  const row = (item) => {
    const question = told("span", "question", item.question);
    question.dir = "auto";
    const what = make("span", "what", ...marks(item).map(([className, text]) => told("span", className, text)));
    const gauge = make("span", "gauge");
    if (item.similarity !== null) {
      const level = make("i", item.similarity < 0.5 ? "far" : item.similarity < 0.85 ? "near" : "");
      level.style.width = Math.round(item.similarity * 100) + "%";
      gauge.append(make("b", "", item.similarity.toFixed(2)), make("span", "meter", level), item.same === "exact" ? "the same" : "alike");
    }
    const details = make("details", "item", make("summary", "", question, what, gauge));
    details.addEventListener("toggle", () => {
      if (details.open && !details.querySelector(".body")) details.append(body(item));
    });
    return details;
  };

  const side = (item, which, title) => {
    const outcome = item[which];
    const head = make("header", "", make("b", "", title));
    const answer = make("div", "answer");
    answer.dir = "auto";
    if (!outcome) { answer.classList.add("none"); answer.append("nothing recorded"); return make("div", "side", head, answer); }
    if (outcome.route) head.append(told("span", "", outcome.route));
    if (outcome.confidence !== null) head.append(make("span", "num", (outcome.confidence * 100).toFixed(0) + " % sure"));
    if (time(outcome) !== null) head.append(make("span", "num", duration(time(outcome))));
    if (outcome.firstToken !== null) head.append(make("span", "num", "first token " + duration(outcome.firstToken)));
    if (outcome.tokens !== null) head.append(make("span", "num", outcome.tokens.toLocaleString("en") + " tokens"));
    if (outcome.cost !== null) head.append(make("span", "num", outcome.cost));
    if (outcome.cached) head.append(make("span", "", "from the cache"));
    if (outcome.score !== null) head.append(make("span", "num", "rated " + outcome.score));
    if (outcome.failed) { answer.classList.add("error"); say(answer, (outcome.errorType || outcome.state) + ": " + outcome.error); }
    else if (!outcome.characters) { answer.classList.add("none"); answer.append(outcome.state === "classified" ? "classified only" : "no text"); }
    else written(answer, item, which);
    if (outcome.cut) head.append(make("span", "mark-warn", "cut: " + outcome.characters.toLocaleString("en") + " characters in all"));
    return make("div", "side", head, answer);
  };
  const written = (into, item, which) => {
    if (!item.diff) return say(into, item[which].text);
    const own = which === "before" ? "-" : "+";
    for (const [kind, text] of item.diff) {
      if (kind === "=") say(into, text);
      else if (which === "both" || kind === own) into.append(told(kind === "-" ? "del" : "ins", "", text));
    }
    return into;
  };

  const body = (item) => {
    const made = make("div", "body");
    if (item.question.length > 100 || item.question.includes("\n")) {
      const whole = told("p", "whole", item.question);
      whole.dir = "auto";
      made.append(whole);
    }
    const sides = make("div", "sides", side(item, "after", "Now"));
    if (data.against !== "nothing") sides.prepend(side(item, "before", data.before));
    made.append(sides);
    const below = make("div", "below");
    if (item.diff) {
      const single = make("button", "", "Show in one text");
      single.type = "button";
      let one = null;
      single.addEventListener("click", () => {
        if (!one) {
          one = written(make("div", "answer one"), item, "both");
          one.dir = "auto";
          one = make("div", "side", one);
          made.insertBefore(one, below);
        }
        const showOne = !sides.hidden;
        sides.hidden = showOne;
        one.hidden = !showOne;
        single.textContent = showOne ? "Show side by side" : "Show in one text";
      });
      below.append(single);
    }
    if (item.expected !== null && data.against !== "expected") below.append(told("span", "", "expected: " + item.expected));
    for (const [label, , , comment] of item.scores) if (comment) below.append(told("span", "", label + ": " + comment));
    if (item.after.reason) below.append(told("span", "", item.after.reason));
    below.append(told("span", "", "id " + item.id));
    for (const [address, words] of [[item.link, "Open the trace"], [item.linkBefore, "and the one before"]]) {
      if (!address) continue;
      const link = make("a", "", words);
      link.href = address; link.target = "_blank"; link.rel = "noopener noreferrer";
      below.append(link);
    }
    if (item.query) below.append(told("code", "", "flywheel trace " + item.query));
    made.append(below);
    return made;
  };

  const items = data.items;
  items.forEach((item, place) => { item.place = place; item.row = row(item); item.find = [item.question, item.id, item.after.route, item.before && item.before.route, item.after.errorType, item.expected, item.diff ? item.diff.map(([, text]) => text).join("") : item.after.text].join("\n").toLowerCase(); });
  const list = document.getElementById("list"), search = document.getElementById("search"), order = document.getElementById("order");
  const nothing = document.getElementById("nothing"), shown = document.getElementById("shown");
  let filter = filters[0];
  const chips = document.getElementById("chips");
  for (const each of filters) {
    const count = items.filter(each[2]).length;
    if (!count && each[0] !== "all") continue;
    const chip = make("button", "", each[1], make("b", "", String(count)));
    chip.type = "button";
    chip.setAttribute("aria-pressed", String(each === filter));
    chip.addEventListener("click", () => {
      filter = each;
      for (const other of chips.children) other.setAttribute("aria-pressed", String(other === chip));
      show();
    });
    chips.append(chip);
  }
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = items.filter((item) => filter[2](item) && words.every((word) => item.find.includes(word)));
    found.sort(orders[order.value]);
    list.replaceChildren(...found.map((item) => item.row));
    nothing.hidden = found.length > 0;
    shown.textContent = found.length === items.length ? "" : found.length + " of " + items.length + " shown";
  };
  search.addEventListener("input", show);
  order.addEventListener("change", show);
  show();
})();
