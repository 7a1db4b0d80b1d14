"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const SAMPLES = DATA.samples;
  const POSITION = new Map(SAMPLES.map((sample, index) => [sample.id, index]));
  const DECISIONS = { keep: "Keep", reject: "Reject", unsure: "Unsure", wrong_label: "Wrong label" };
  const DECISION_KEYS = { k: "keep", r: "reject", u: "unsure", w: "wrong_label", x: "" };
  const REVIEWED = "review"; // the reason of what the gates kept and a person took out
  const LAYER_KEYS = { p: "planned", l: "label", c: "change", b: "before", i: "whole" };
  const FILTERS = ["defect", "verdict", "reason", "review", "low", "high", "sort"];
  const SORTS = {
    "order of the plan": (a, b) => a - b,
    "score, highest first": by("score", -1),
    "score, lowest first": by("score", 1),
    "label fits planned mask worst": by("iou", 1),
    "farthest from the references": by("distance", -1),
    "faintest": by("contrast", 1),
    "largest": by("area", -1),
    "smallest": by("area", 1),
  };
  const CAPTION_PX = 40, GAP_PX = 14;

  const layers = { planned: false, label: false, change: false, before: false, whole: false };
  let shown = SAMPLES.map((_, index) => index);
  let cursor = null; // a place in `shown`: the tile that keys act on
  let open = null;

  function by(key, sign) {
    const value = (index) => SAMPLES[index][key] ?? Infinity * sign;
    return (a, b) => sign * (value(a) - value(b)) || a - b;
  }

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function picture(sample, kind) {
    return `pictures/${sample.picture}-${kind}.webp`;
  }

  const words = (name) => name.replaceAll("_", " ");
  const figure = (value) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(3))));

  /* Review: decisions by sample id, kept in this browser until they are saved as a file. */
  const reviews = {
    key: `defectfill review ${DATA.key}`,
    made: {},
    load() {
      try {
        this.made = JSON.parse(localStorage.getItem(this.key)) ?? {};
      } catch {
        this.made = {};
      }
      for (const sample of SAMPLES) if (this.made[sample.id]) this.put(sample, this.made[sample.id]);
    },
    store() {
      try {
        localStorage.setItem(this.key, JSON.stringify(this.made));
      } catch {
        byId("progress").textContent = "This browser keeps nothing: save before you leave.";
      }
    },
    of(sample) {
      return this.made[sample.id]?.decision || sample.applied;
    },
    note(sample) {
      return this.made[sample.id]?.note ?? sample.note;
    },
    /* Keep what differs from what was applied to the dataset. */
    put(sample, { decision, note }) {
      if ((decision || sample.applied) === sample.applied && note === sample.note) delete this.made[sample.id];
      else this.made[sample.id] = { decision, note };
    },
    set(sample, decision) {
      this.put(sample, { decision, note: this.note(sample) });
      this.store();
    },
    annotate(sample, note) {
      this.put(sample, { decision: this.made[sample.id]?.decision ?? "", note });
      this.store();
    },
    /* The samples that review.csv tells of: a note alone is none of its rows. */
    get told() {
      return SAMPLES.filter((sample) => this.made[sample.id] && this.of(sample));
    },
    csv() {
      const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      const lines = this.told.map((each) => [each.id, this.of(each), this.note(each)].map(cell).join(","));
      return ["id,decision,note", ...lines, ""].join("\n");
    },
  };

  function showProgress() {
    const count = SAMPLES.filter((sample) => reviews.of(sample)).length;
    const notes = SAMPLES.filter((sample) => !reviews.of(sample) && reviews.note(sample)).length;
    const alone = notes ? `, ${notes} with a note but no decision` : "";
    byId("progress").textContent = (count ? `${count} of ${SAMPLES.length} reviewed` : "none reviewed yet") + alone;
    byId("apply").hidden = byId("save").disabled = !reviews.told.length;
  }

  /* What a decision does to the dataset. */
  function effect(sample) {
    const decision = reviews.of(sample), out = DATA.taken_out.includes(decision), wasOut = sample.reason === REVIEWED;
    if (sample.reason && !wasOut) return "The gates keep it out whatever you decide; a decision tells how far they agree with you.";
    if (!decision) return "";
    if (out) return wasOut ? "It was taken out of the dataset." : "It leaves the dataset once the review is applied.";
    return wasOut ? "It comes back into the dataset once the review is applied." : "It stays in the dataset.";
  }

  function say(text) {
    for (const box of document.querySelectorAll(".message")) box.textContent = text;
  }

  function save() {
    const address = URL.createObjectURL(new Blob([reviews.csv()], { type: "text/csv;charset=utf-8" }));
    element("a", { href: address, download: "review.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  /* Filters and order. */
  function passes(sample) {
    const [defect, verdict, reason, review] = FILTERS.slice(0, 4).map((name) => byId(name).value);
    const low = byId("low").valueAsNumber, high = byId("high").valueAsNumber;
    return (
      (!defect || sample.defect === defect) &&
      (!verdict || (verdict === "kept") === !sample.reason) &&
      (!reason || sample.reason === reason) &&
      (!review || (review === "none" ? !reviews.of(sample) : reviews.of(sample) === review)) &&
      !(sample.score < low) &&
      !(sample.score > high)
    );
  }

  function refilter() {
    const order = SORTS[byId("sort").value];
    shown = SAMPLES.map((_, index) => index).filter((index) => passes(SAMPLES[index])).sort(order);
    cursor = null;
    byId("count").textContent = `${shown.length} of ${SAMPLES.length} shown`;
    byId("none").hidden = shown.length > 0;
    grid.renew();
    showAddress();
  }

  /* The address of the samples as they are filtered and sorted, to be sent or kept. */
  function showAddress() {
    if (!byId("samples").classList.contains("current") || dialog.open) return;
    const values = new URLSearchParams();
    for (const name of FILTERS) {
      const { value } = byId(name);
      if (value && value !== Object.keys(SORTS)[0]) values.set(name, value);
    }
    history.replaceState(null, "", String(values) ? `#samples?${values}` : "#samples");
  }

  function setFilters(values) {
    for (const name of FILTERS) {
      const control = byId(name);
      control.value = values.get(name) ?? (name === "sort" ? Object.keys(SORTS)[0] : "");
      if (control.selectedIndex === -1) control.selectedIndex = 0;
    }
    refilter();
  }

  function fillFilters() {
    const reasons = [...new Set(SAMPLES.map((sample) => sample.reason).filter(Boolean))];
    byId("defect").append(...DATA.defects.map((name) => element("option", { value: name }, name)));
    byId("reason").append(...reasons.map((name) => element("option", { value: name }, words(name))));
    byId("sort").append(...Object.keys(SORTS).map((name) => element("option", {}, name)));
    byId("filters").open = window.innerWidth > 760;
    for (const name of FILTERS) byId(name).addEventListener("change", refilter);
    for (const name of ["low", "high"]) byId(name).addEventListener("input", refilter);
    byId("size").addEventListener("change", () => grid.renew());
    byId("reset").addEventListener("click", () => setFilters(new URLSearchParams()));
  }

  /* One picture with its layers. */
  function outlines(sample) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${sample.side} ${sample.side}`);
    svg.setAttribute("aria-hidden", "true");
    for (const kind of ["planned", "label"].filter((name) => layers[name])) {
      for (const part of ["case", ""]) {
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.setAttribute("d", sample[kind]);
        path.setAttribute("class", `${part} ${kind}`);
        svg.append(path);
      }
    }
    return svg;
  }

  function verdict(sample) {
    const kind = sample.reason ? "rejected" : "kept";
    return element("b", { class: kind }, sample.reason ? `✕ ${words(sample.reason)}` : "✓ kept");
  }

  function frame(sample) {
    const made = element("span", { class: "frame" });
    if (sample.picture === null) {
      made.append(element("span", { class: "gone" }, "image not kept on this machine"));
    } else {
      const kind = layers.before ? "before" : "after";
      made.append(element("img", { src: picture(sample, kind), alt: sample.id, decoding: "async" }));
      if (layers.change && !layers.before) made.append(element("img", { src: picture(sample, "change"), alt: "" }));
      made.append(outlines(sample));
    }
    const decision = reviews.of(sample), staysOut = decision === "keep" && sample.reason && sample.reason !== REVIEWED;
    const text = staysOut ? "Keep, stays out" : (DECISIONS[decision] ?? decision);
    if (decision) made.append(element("span", { class: `badge ${decision}` }, text));
    return made;
  }

  function tile(sample) {
    const made = element("a", { class: "tile", href: `#sample/${encodeURIComponent(sample.id)}` }, frame(sample));
    const score = element("span", { class: "score", title: "selection score" }, element("i", {}, "score "), figure(sample.score));
    made.append(element("span", { class: "caption" }, verdict(sample), ...(sample.score === null ? [] : [score])));
    return made;
  }

  /* The grid holds only the rows that are in view. */
  const grid = {
    box: byId("grid"),
    tiles: new Map(),
    columns: 1,
    side: 100,
    waiting: false,
    measure() {
      const wanted = Number(byId("size").value), width = this.box.clientWidth;
      const least = Math.min(wanted, (width - GAP_PX) / 2);
      this.columns = Math.max(1, Math.floor((width + GAP_PX) / (least + GAP_PX)));
      this.side = (width - GAP_PX * (this.columns - 1)) / this.columns;
      this.box.style.height = `${Math.ceil(shown.length / this.columns) * this.row}px`;
    },
    get row() {
      return this.side + CAPTION_PX;
    },
    renew() {
      const focused = this.box.contains(document.activeElement);
      for (const made of this.tiles.values()) made.remove();
      this.tiles.clear();
      this.draw();
      if (focused) this.tiles.get(cursor)?.firstChild.focus({ preventScroll: true });
    },
    draw() {
      if (!this.box.clientWidth) return;
      this.measure();
      const top = window.scrollY - (this.box.getBoundingClientRect().top + window.scrollY);
      const first = Math.max(0, (Math.floor(top / this.row) - 1) * this.columns);
      const last = Math.min(shown.length, (Math.ceil((top + window.innerHeight) / this.row) + 1) * this.columns);
      for (const [place, made] of this.tiles) {
        if (place < first || place >= last) {
          made.remove();
          this.tiles.delete(place);
        }
      }
      for (let place = first; place < last; place++) if (!this.tiles.has(place)) this.add(place);
      for (const [place, made] of this.tiles) this.put(place, made);
    },
    add(place) {
      const made = element("div", { role: "listitem", "aria-setsize": shown.length, "aria-posinset": place + 1 });
      made.append(tile(SAMPLES[shown[place]]));
      made.classList.toggle("at", place === cursor);
      this.tiles.set(place, made);
      const after = [...this.tiles.keys()].filter((other) => other > place).sort((a, b) => a - b)[0];
      this.box.insertBefore(made, after === undefined ? null : this.tiles.get(after));
    },
    put(place, made) {
      const column = place % this.columns, row = Math.floor(place / this.columns);
      made.style.width = `${this.side}px`;
      made.style.transform = `translate(${column * (this.side + GAP_PX)}px, ${row * this.row}px)`;
    },
    soon() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.draw();
      });
    },
    refresh(index) {
      const place = shown.indexOf(index), made = this.tiles.get(place);
      if (!made) return;
      const focused = made.contains(document.activeElement);
      made.replaceChildren(tile(SAMPLES[index]));
      if (focused) made.firstChild.focus({ preventScroll: true });
    },
    mark(place) {
      cursor = place;
      for (const [other, made] of this.tiles) made.classList.toggle("at", other === place);
    },
    /* The lower end of what lies over the grid, in the window. */
    get head() {
      const bars = [...document.querySelectorAll(".masthead, .toolbar")];
      return Math.max(0, ...bars.map((bar) => bar.getBoundingClientRect().bottom));
    },
    firstInView() {
      const rows = Math.max(Math.ceil((this.head - this.box.getBoundingClientRect().top - GAP_PX) / this.row), 0);
      return Math.min(rows * this.columns, shown.length - 1);
    },
    focus(place) {
      if (place < 0 || place >= shown.length || !this.box.clientWidth) return;
      this.mark(place);
      const top = this.box.getBoundingClientRect().top + Math.floor(place / this.columns) * this.row;
      const head = this.head;
      if (top < head) window.scrollBy(0, top - head - GAP_PX);
      else if (top + this.row > window.innerHeight) window.scrollBy(0, top + this.row - window.innerHeight + GAP_PX);
      this.draw();
      this.tiles.get(place)?.firstChild.focus({ preventScroll: true });
    },
  };

  /* One sample, large. */
  const dialog = byId("detail"), viewer = byId("viewer");

  function showSample(index) {
    open = index;
    const sample = SAMPLES[index], place = shown.indexOf(index);
    grid.mark(place < 0 ? null : place);
    byId("detail-title").textContent = sample.id;
    byId("place").textContent = place < 0 ? "" : `${place + 1} of ${shown.length}`;
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place < 0 || place >= shown.length - 1;
    byId("said").replaceChildren(verdict(sample), document.createTextNode(` · ${sample.defect}`));
    byId("said").append(...explanation(sample).map((text) => element("span", {}, text)));
    byId("note").value = reviews.note(sample);
    byId("gates").replaceChildren(...DATA.limits[sample.defect].map((limit) => gate(sample, limit)));
    byId("references").replaceChildren(...references(sample.defect));
    byId("candidates").replaceChildren(...candidates(sample));
    byId("origin").replaceChildren(...origin(sample));
    showDecision();
    showPictures();
    if (dialog.open) return;
    dialog.showModal();
    byId("detail-title").focus();
  }

  function showPictures() {
    const sample = SAMPLES[open], there = sample.picture !== null;
    for (const kind of ["after", "before", "change"]) {
      const image = viewer.querySelector(`.${kind}`);
      image.hidden = !there;
      if (there) image.src = picture(sample, kind);
    }
    viewer.querySelector(".after").alt = there ? `Result ${sample.id}` : "";
    const svg = viewer.querySelector("svg");
    svg.setAttribute("viewBox", `0 0 ${sample.side ?? 1} ${sample.side ?? 1}`);
    for (const kind of ["planned", "label"]) {
      for (const path of svg.querySelectorAll(`.${kind}`)) path.setAttribute("d", sample[kind] ?? "");
    }
    const source = DATA.sources[sample.source], [left, top, right, bottom] = sample.window;
    const ratio = layers.whole ? source.width / source.height : 1;
    viewer.querySelector(".whole").src = `pictures/source-${sample.source}.webp`;
    for (const [name, value] of Object.entries({
      ratio, aspect: ratio, left: percent(left, source.width), top: percent(top, source.height),
      width: percent(right - left, source.width), height: percent(bottom - top, source.height),
    })) viewer.style.setProperty(`--${name}`, value);
    viewer.classList.toggle("wide", layers.whole);
    for (const name of ["planned", "label", "change"]) viewer.classList.toggle(`show-${name}`, layers[name]);
    cut(byId("slider").value);
  }

  const percent = (part, whole) => `${(100 * part) / whole}%`;

  function cut(value) {
    byId("slider").value = value;
    viewer.style.setProperty("--cut", `${value}%`);
    viewer.querySelector(".left").hidden = viewer.querySelector(".divider").hidden = Number(value) === 0;
    viewer.querySelector(".right").hidden = Number(value) === 100;
  }

  const valueOf = (sample, { key, position }) => (position === null ? sample[key] : sample[key]?.[position]);

  /* The right end of a gauge: all that is allowed fits in, and nearly all that was measured. */
  function reach(defect, limit) {
    if (limit.reach === undefined) {
      const values = SAMPLES.filter((sample) => sample.defect === defect).map((sample) => valueOf(sample, limit) ?? 0);
      values.sort((a, b) => a - b);
      limit.reach = 1.1 * Math.max(limit.high ?? 0, limit.low ?? 0, values[Math.floor(0.95 * values.length)] ?? 0) || 1;
    }
    return limit.reach;
  }

  /* The reason for which a figure speaks against a sample; null where it is within its range. */
  function against(sample, limit) {
    const value = valueOf(sample, limit) ?? null;
    if (value === null) return null;
    if ((limit.low !== null && value < limit.low) || (limit.key === "drawn" && value === 0)) return limit.reasons[0];
    return limit.high !== null && value > limit.high ? limit.reasons.at(-1) : null;
  }

  /* A verdict in plain words, with the figure that decided it. */
  function explanation(sample) {
    if (!sample.reason) return [];
    const limit = DATA.limits[sample.defect].find((each) => against(sample, each) === sample.reason);
    const plain = DATA.words[sample.reason] ?? words(sample.reason), help = DATA.remedies[sample.reason];
    const value = limit && valueOf(sample, limit), isLow = limit && (value < limit.low || limit.high === null);
    const range = limit && (isLow ? `at least ${figure(limit.low)}` : `at most ${figure(limit.high)}`);
    const lines = [limit ? `${plain}: ${limit.label} ${figure(value)}, allowed ${range}` : plain];
    return help ? [...lines, `what helps where it is common: ${help}`] : lines;
  }

  /* The real ones, as the overview shows them. */
  function references(defect) {
    const strip = [...document.querySelectorAll(".references")].find((each) => each.dataset.defect === defect);
    return [...strip.children].map((each) => each.cloneNode(true));
  }

  function gate(sample, limit) {
    const { label, low, high } = limit, value = valueOf(sample, limit), reason = against(sample, limit);
    const most = reach(sample.defect, limit);
    const at = (x) => Math.min(Math.max((100 * x) / most, 0), 100);
    const gauge = element("span", { class: "gauge" }, element("i"), element("b"));
    gauge.firstChild.style.left = `${at(low ?? 0)}%`;
    gauge.firstChild.style.right = `${100 - at(high ?? most)}%`;
    gauge.lastChild.style.left = `${at(value ?? 0)}%`;
    gauge.lastChild.hidden = value === null || value === undefined;
    const range = low === null ? `≤ ${figure(high)}` : high === null ? `≥ ${figure(low)}` : `${figure(low)} – ${figure(high)}`;
    const row = element("tr", {}, element("th", { scope: "row" }, label));
    row.append(element("td", {}, gauge), element("td", {}, range));
    row.append(element("td", {}, `${reason ? (reason === sample.reason ? "✕ " : "○ ") : ""}${figure(value)}`));
    if (reason) {
      row.firstChild.append(element("small", {}, DATA.words[reason] ?? words(reason)));
      row.className = reason === sample.reason ? "out decides" : "out";
    }
    return row;
  }

  function candidates(sample) {
    const most = Math.max(...sample.scores.filter((score) => score !== null), 1e-9);
    return sample.scores.map((score, number) => {
      const chosen = number === sample.chosen;
      const text = score === null ? "dropped early" : figure(score);
      const made = element("li", chosen ? { class: "chosen" } : {}, `${number + 1}: ${text}${chosen ? " ✓" : ""}`);
      made.style.setProperty("--share", `${(100 * (score ?? 0)) / most}%`);
      return made;
    });
  }

  function origin(sample) {
    const facts = {
      source: DATA.sources[sample.source].path,
      window: sample.window.join(", "),
      prompt: sample.prompt,
      seed: sample.seed,
      "mask by": sample.sampler,
      "mask area": `${figure(100 * sample.area)} % of the image`,
      "mask width": sample.cells === null ? "" : `${figure(sample.cells)} latent cells`,
      "label against planned mask": `IoU ${figure(sample.iou)}`,
    };
    const known = Object.entries(facts).filter(([, value]) => value);
    return known.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  }

  function showDecision() {
    const sample = SAMPLES[open], decision = reviews.of(sample);
    for (const button of document.querySelectorAll(".decide [aria-pressed]")) {
      button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
    }
    byId("take-back").disabled = !decision;
    say(effect(sample));
  }

  function decide(decision) {
    if (!dialog.open && !grid.tiles.has(cursor)) return grid.focus(cursor ?? grid.firstInView()); // show it first
    const index = dialog.open ? open : shown[cursor], sample = SAMPLES[index];
    const made = reviews.made[sample.id]?.decision, same = made === decision;
    reviews.set(sample, same ? "" : decision);
    grid.refresh(index);
    showProgress();
    if (dialog.open) showDecision();
    else say("");
    if (!decision && !made && sample.applied) {
      say(`${DECISIONS[sample.applied]} is applied to the dataset: decide otherwise to change it (Unsure leaves it to the gates).`);
    }
    if (same || !decision) return;
    if (dialog.open) step(1);
    else grid.focus(cursor + 1);
  }

  function writeNote() {
    const place = cursor ?? grid.firstInView();
    if (!dialog.open && shown.length) go(`#sample/${encodeURIComponent(SAMPLES[shown[place]].id)}`);
    byId("note").focus();
  }

  function noted(event) {
    reviews.annotate(SAMPLES[open], event.target.value);
    showProgress();
  }

  function step(by) {
    const next = shown[shown.indexOf(open) + by];
    if (shown.includes(open) && next !== undefined) go(`#sample/${encodeURIComponent(SAMPLES[next].id)}`);
  }

  function toggle(name) {
    layers[name] = !layers[name];
    for (const button of document.querySelectorAll(`[data-layer="${name}"]`)) {
      button.setAttribute("aria-pressed", String(layers[name]));
    }
    if (name === "before") cut(layers.before ? 100 : 0);
    if (dialog.open) showPictures();
    if (name !== "whole") grid.renew();
  }

  /* The address: #overview, #samples?reason=..., #sample/<id>. */
  function go(hash) {
    history.replaceState(null, "", hash);
    route();
  }

  function route() {
    const [path, query] = location.hash.slice(1).split("?");
    const [part, id] = path.split("/");
    const index = part === "sample" ? POSITION.get(decoded(id)) : undefined;
    showPart(part === "sample" ? "samples" : part);
    if (query !== undefined) setFilters(new URLSearchParams(query));
    if (index !== undefined) return showSample(index);
    if (dialog.open) dialog.close();
    say(part === "sample" ? `No sample here has the id ${decoded(id)}.` : "");
    if (part === "samples") showAddress();
  }

  function decoded(text = "") {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  function showPart(name) {
    const parts = [...document.querySelectorAll("main > section")];
    const current = parts.find((part) => part.id === name) ?? parts[0];
    const changed = !current.classList.contains("current");
    for (const part of parts) part.classList.toggle("current", part === current);
    for (const link of document.querySelectorAll("nav a")) {
      if (link.hash === `#${current.id}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (changed) window.scrollTo(0, 0);
    grid.draw();
  }

  function closed() {
    const place = shown.indexOf(open);
    if (location.hash.startsWith("#sample/")) showAddress();
    if (place >= 0) grid.focus(place);
  }

  /* Keys. */
  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input:not([type=range]), select, textarea")) return;
    const key = event.key.toLowerCase();
    const moved = dialog.open ? moveInDialog(event) : moveInGrid(event.key);
    if (moved || samplesKey(key)) event.preventDefault();
  }

  function samplesKey(key) {
    if (!byId("samples").classList.contains("current")) return false;
    if (key in DECISION_KEYS) decide(DECISION_KEYS[key]);
    else if (key === "n") writeNote();
    else if (key in LAYER_KEYS) toggle(LAYER_KEYS[key]);
    else return false;
    return true;
  }

  function moveInDialog(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.matches("input[type=range]")) return false;
    step(by);
    return true;
  }

  function moveInGrid(key) {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns }[key];
    if (!by || !byId("samples").classList.contains("current") || !shown.length) return false;
    const fresh = !grid.box.contains(document.activeElement);
    grid.focus(fresh ? (cursor ?? grid.firstInView()) : Math.min(Math.max(cursor + by, 0), shown.length - 1));
    return true;
  }

  function dragged(event) {
    if (event.type === "pointerdown") viewer.setPointerCapture(event.pointerId);
    else if (!viewer.hasPointerCapture(event.pointerId)) return;
    const box = viewer.querySelector(".patch").getBoundingClientRect();
    cut(Math.min(Math.max((100 * (event.clientX - box.left)) / box.width, 0), 100));
  }

  function showFirstResults() {
    for (const strip of document.querySelectorAll(".first-results")) {
      const own = SAMPLES.filter((sample) => sample.defect === strip.dataset.defect);
      const kept = own.filter((sample) => !sample.reason);
      strip.append(...kept.slice(0, 12).map(tile));
      if (!kept.length) strip.append(element("p", {}, "none was kept"));
      const ofReason = new Map(own.filter((sample) => sample.reason && sample.picture !== null).map((sample) => [sample.reason, sample]));
      const rejected = strip.closest(".defect").querySelector(".first-rejected");
      rejected.append(...[...ofReason.values()].map(tile));
      rejected.parentElement.hidden = !ofReason.size;
    }
  }

  function measureHead() {
    const height = document.querySelector(".masthead").offsetHeight;
    document.documentElement.style.setProperty("--masthead", `${height}px`);
  }

  function listen() {
    window.addEventListener("hashchange", route);
    for (const kind of ["scroll", "resize"]) window.addEventListener(kind, () => grid.soon(), { passive: true });
    new ResizeObserver(() => grid.soon()).observe(grid.box);
    new ResizeObserver(measureHead).observe(document.querySelector(".masthead"));
    document.addEventListener("keydown", pressed);
    grid.box.addEventListener("focusin", (event) => {
      const made = event.target.closest("[role=listitem]");
      for (const [place, other] of grid.tiles) if (other === made) grid.mark(place);
    });
    dialog.addEventListener("close", closed);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    byId("close").addEventListener("click", () => dialog.close());
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    byId("save").addEventListener("click", save);
    byId("slider").addEventListener("input", (event) => cut(event.target.value));
    byId("note").addEventListener("input", noted);
    byId("note").addEventListener("keydown", (event) => event.key === "Enter" && byId("detail-title").focus());
    for (const kind of ["pointerdown", "pointermove"]) viewer.addEventListener(kind, dragged);
    for (const button of document.querySelectorAll("[data-layer]")) {
      button.addEventListener("click", () => toggle(button.dataset.layer));
    }
    for (const button of document.querySelectorAll("[data-decision]")) {
      button.addEventListener("click", () => decide(button.dataset.decision));
    }
  }

  document.documentElement.classList.add("scripted");
  measureHead(); // before the browser scrolls to the address's part
  reviews.load();
  fillFilters();
  showFirstResults();
  listen();
  setFilters(new URLSearchParams());
  showProgress();
  route();
})();
