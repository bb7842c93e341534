"use strict";
(() => {
  // Everything that comes from the image enters the page as text, never as markup.
  const data = JSON.parse(document.getElementById("data").textContent);
  const image = data.image, packages = image.packages, kinds = data.kinds;
  const SVG = "http://www.w3.org/2000/svg";
  const $ = (id) => document.getElementById(id);
  const fill = (node, properties, children) => {
    for (const [key, value] of Object.entries(properties || {})) {
      if (key === "onclick") node.addEventListener("click", value);
      else if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) node.append(child);
    return node;
  };
  const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
  const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);
  const number = (value) => value.toLocaleString("en-US");
  const size = (bytes) => {
    if (bytes < 1024) return bytes + " B";
    const units = ["KiB", "MiB", "GiB", "TiB"];
    let unit = -1, value = bytes;
    do { value /= 1024; unit += 1; } while (value >= 1023.95 && unit < 3);
    return (value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)) + " " + units[unit];
  };
  const percent = (part, whole) => (whole ? (part * 100 / whole).toFixed(1) + " %" : "");
  const show = (id) => { $(id).hidden = false; };
  const isManifest = image.origin.kind === "manifest";

  // The files: [directory, name, size, type and permissions, owner, package or -1, kind, link's target]
  const TYPES = { f: "file", h: "hard link", l: "symlink", d: "directory", c: "device", b: "device", p: "pipe" };
  const files = data.files.map(([directory, name, bytes, mode, owner, owned, kind, link]) => ({
    path: data.directories[directory] + name, bytes, type: mode[0], mode: mode.slice(1), owner: data.owners[owner], owned, kind, link,
  }));
  for (const file of files) file.key = (file.path + "\n" + file.owner + "\n" + file.mode).toLowerCase();

  // ---- head
  $("kicker").textContent = image.origin.path;
  const os = image.os_release;
  $("system").textContent = [os.PRETTY_NAME || os.NAME || "", image.arch || ""].filter(Boolean).join(" · ");
  const figure = (name, value, more) => $("figures").append(h("div", null, h("dt", null, name), h("dd", null, value, more ? h("small", null, " " + more) : null)));
  figure("Packages", number(packages.length));
  figure(isManifest ? "Members" : "Files", number(isManifest ? image.totals.members : image.totals.files), isManifest ? null : "of " + number(image.totals.members) + " members");
  figure("Unpacked", size(image.totals.bytes));
  if (image.origin.bytes !== null) figure("Tarball", size(image.origin.bytes), image.origin.format);
  figure("Kernel", image.kernels.length ? image.kernels[0] : "none", image.kernels.length > 1 ? "and " + (image.kernels.length - 1) + " more" : null);
  if (image.built) figure("Built in", image.built.steps.reduce((sum, step) => sum + step[1], 0).toFixed(1) + " s");

  // ---- findings
  if (data.findings) {
    show("findings");
    const box = $("findings-list");
    if (!data.findings.length) box.append(h("div", null, h("span", { class: "pill good" }, "fit"), "All checks of osimg verify passed."));
    for (const finding of data.findings) {
      const bad = finding.severity === "error";
      box.append(h("div", { class: "finding" },
        h("div", null, h("span", { class: "pill " + (bad ? "bad" : "warn") }, finding.severity), h("b", null, finding.name)),
        h("p", null, finding.message),
        finding.why ? h("p", { class: "soft" }, finding.why) : null,
        finding.paths.length ? h("details", null, h("summary", { class: "soft" }, finding.count === 1 ? "1 file" : number(finding.count) + " files"), h("ul", { class: "list mono" }, finding.paths.map((path) => h("li", null, path)), finding.count > finding.paths.length ? h("li", { class: "soft" }, `and ${number(finding.count - finding.paths.length)} more`) : null)) : null,
        finding.fix ? h("p", { class: "soft" }, "Fix: " + finding.fix) : null));
    }
  }

  // ---- map of sizes
  // Squarified treemap: Bruls, Huizing, van Wijk (2000).
  const squarify = (items, x, y, width, height) => {
    const total = items.reduce((sum, item) => sum + item.bytes, 0), cells = [];
    if (!total || width <= 0 || height <= 0) return cells;
    const scale = width * height / total;
    let rest = items.map((item) => ({ item, area: item.bytes * scale })), start = 0;
    const worst = (row, sum, side) => {
      const sq = side * side, all = sum * sum;
      return Math.max(sq * row[0].area / all, all / (sq * row[row.length - 1].area));
    };
    while (start < rest.length) {
      const side = Math.min(width, height);
      let row = [rest[start]], sum = rest[start].area, next = start + 1;
      while (next < rest.length) {
        const longer = [...row, rest[next]];
        if (worst(longer, sum + rest[next].area, side) > worst(row, sum, side)) break;
        row = longer; sum += rest[next].area; next += 1;
      }
      const depth = sum / side;
      let along = 0;
      for (const { item, area } of row) {
        const length = area / depth;
        cells.push(width >= height ? { item, x, y: y + along, w: depth, h: length } : { item, x: x + along, y, w: length, h: depth });
        along += length;
      }
      if (width >= height) { x += depth; width -= depth; } else { y += depth; height -= depth; }
      start = next;
    }
    return cells;
  };

  const counted = files.filter((file) => file.type === "f" && file.bytes > 0);
  const kindSums = kinds.map(() => 0);
  for (const file of counted) kindSums[file.kind] += file.bytes;
  const dominant = (sums) => { let best = 11; for (let k = 0; k < sums.length; k += 1) if (sums[k] > (sums[best] || 0)) best = k; return best; };

  const byPackage = () => {
    const sums = new Map();
    for (const file of counted) {
      if (!sums.has(file.owned)) sums.set(file.owned, { bytes: 0, files: 0, kinds: kinds.map(() => 0) });
      const sum = sums.get(file.owned);
      sum.bytes += file.bytes; sum.files += 1; sum.kinds[file.kind] += file.bytes;
    }
    if (!files.length) packages.forEach((p, at) => { if (p.size) sums.set(at, { bytes: p.size, files: 0, kinds: [] }); });
    return [...sums].map(([at, sum]) => ({
      name: at < 0 ? "no package" : packages[at].name, bytes: sum.bytes, files: sum.files, kind: at < 0 ? 11 : files.length ? dominant(sum.kinds) : 3,
      open: () => choosePackage(at),
    }));
  };
  const tree = (() => {
    const node = (name, path) => ({ name, path, bytes: 0, files: 0, kinds: kinds.map(() => 0), below: new Map() });
    const root = node("/", "/");
    for (const file of counted) {
      let at = root;
      const parts = file.path.split("/").slice(1);
      parts.forEach((part, depth) => {
        at.bytes += file.bytes; at.files += 1; at.kinds[file.kind] += file.bytes;
        const path = (at.path === "/" ? "" : at.path) + "/" + part;
        if (!at.below.has(part)) at.below.set(part, node(part, path));
        at = at.below.get(part);
        if (depth === parts.length - 1) { at.bytes += file.bytes; at.files += 1; at.kinds[file.kind] += file.bytes; }
      });
    }
    return root;
  })();
  let mode = files.length ? "package" : "package", directory = [tree], lit = null;
  const byFolder = () => [...directory[directory.length - 1].below.values()].map((node) => ({
    name: node.name + (node.below.size ? "/" : ""), bytes: node.bytes, files: node.files, kind: dominant(node.kinds),
    open: () => { if (node.below.size) { directory.push(node); draw(); } else chooseText(node.path); },
  }));

  const tip = $("tip");
  const showTip = (event, lines) => {
    tip.replaceChildren(...lines.map((line, at) => h(at ? "div" : "b", null, line)));
    tip.hidden = false;
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8), y = event.clientY + 18;
    tip.style.transform = `translate(${Math.max(8, x)}px,${y + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : y}px)`;
  };
  const cut = (text, width) => {
    const most = Math.floor((width - 14) / 7.3);
    return text.length <= most ? text : most < 4 ? "" : text.slice(0, most - 1) + "…";
  };
  function draw() {
    const width = Math.max(240, $("map").clientWidth), height = width < 600 ? 380 : 440;
    let items = (mode === "package" ? byPackage() : byFolder()).filter((item) => item.bytes > 0).sort((a, b) => b.bytes - a.bytes);
    const total = items.reduce((sum, item) => sum + item.bytes, 0);
    // Items thinner than a line are merged.
    const least = total * 24 / (width * height), small = items.filter((item) => item.bytes < least);
    if (small.length > 1) {
      items = items.filter((item) => item.bytes >= least);
      items.push({ name: small.length + " smaller", bytes: small.reduce((sum, item) => sum + item.bytes, 0), files: small.reduce((sum, item) => sum + item.files, 0), kind: 11, open: null });
      items.sort((a, b) => b.bytes - a.bytes);
    }
    const picture = s("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "list" });
    for (const { item, x, y, w, h: tall } of squarify(items, 0, 0, width, height)) {
      const label = `${item.name}, ${size(item.bytes)}`;
      const cell = s("g", { tabindex: item.open && w * tall > 900 ? "0" : null, role: "listitem", "aria-label": label, class: lit !== null && lit !== item.kind ? "dim" : null },
        s("rect", { class: "k" + item.kind, x, y, width: w, height: tall, rx: 3 }));
      if (tall > 18 && w > 40) {
        const name = cut(item.name, w);
        if (name) cell.append(s("text", { x: x + 7, y: y + 16 }, name));
        if (name && tall > 36 && w > 62) cell.append(s("text", { class: "size", x: x + 7, y: y + 31 }, size(item.bytes)));
      }
      cell.addEventListener("pointermove", (event) => showTip(event, [item.name, `${size(item.bytes)}, ${percent(item.bytes, total)}`, item.files ? `${number(item.files)} files, mostly ${kinds[item.kind]}` : ""].filter(Boolean)));
      cell.addEventListener("pointerleave", () => { tip.hidden = true; });
      if (item.open) {
        cell.addEventListener("click", () => { tip.hidden = true; item.open(); });
        cell.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); item.open(); } });
      }
      picture.append(cell);
    }
    $("map").replaceChildren(picture);
    const crumbs = $("crumbs");
    crumbs.replaceChildren();
    if (mode === "directory") directory.forEach((node, at) => {
      const last = at === directory.length - 1;
      crumbs.append(last ? h("b", null, node.name) : h("button", { type: "button", onclick: () => { directory = directory.slice(0, at + 1); draw(); } }, node.name), last ? " " : node.name === "/" ? " " : " / ");
    });
    crumbs.append(mode === "directory" ? `${size(total)}; click a directory to enter it` : files.length ? `${size(total)} in ${number(items.length)} cells; click one for its files` : `${size(total)}, as the packages say of themselves`);
    for (const button of $("map-mode").children) button.setAttribute("aria-pressed", button.dataset.mode === mode);
    for (const button of $("legend").children) button.setAttribute("aria-pressed", lit === Number(button.dataset.kind));
  }
  if (packages.length || files.length) {
    show("space");
    if (files.length) {
      for (const [name, label] of [["package", "By package"], ["directory", "By directory"]]) $("map-mode").append(h("button", { type: "button", "data-mode": name, onclick: () => { mode = name; draw(); } }, label));
      kinds.map((name, at) => [name, at]).filter(([, at]) => kindSums[at] > 0).sort((a, b) => kindSums[b[1]] - kindSums[a[1]]).forEach(([name, at]) => $("legend").append(
        h("button", { type: "button", "data-kind": at, title: "Show only these", onclick: () => { lit = lit === at ? null : at; draw(); } }, h("i", { class: "swatch k" + at }), name, h("small", null, size(kindSums[at])))));
    } else $("map-mode").hidden = true;
    draw();
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  }

  // ---- timeline
  if (image.built && image.built.steps.length) {
    show("build");
    const { steps, started, osimg, package_manager: manager, warnings } = image.built;
    const total = steps.reduce((sum, step) => sum + step[1], 0) || 1;
    const box = h("div", { class: "steps" });
    let before = 0;
    for (const [name, seconds] of steps) {
      const rect = s("rect", { x: (before * 1000 / total).toFixed(2), y: 0, width: Math.max(3, seconds * 1000 / total).toFixed(2), height: 16, rx: 2 });
      box.append(h("div", { class: "step" }, h("span", null, name), s("svg", { class: "bar", viewBox: "0 0 1000 16", preserveAspectRatio: "none", "aria-hidden": "true" }, rect), h("span", { class: "num" }, seconds.toFixed(seconds < 1 ? 3 : 1) + " s")));
      before += seconds;
    }
    $("timeline").append(box, h("p", { class: "note" }, `osimg ${osimg} with ${manager}` + (started ? `, started ${new Date(started * 1000).toISOString().replace("T", " ").slice(0, 16)} UTC` : "")));
    if (warnings.length) $("timeline").append(h("ul", { class: "list note" }, warnings.map((line) => h("li", null, h("span", { class: "pill warn" }, "warning"), line))));
  }

  // ---- tables: only visible rows exist
  const ROW = 32;
  class Table {
    constructor(box, columns, rows, noun, order) {
      Object.assign(this, { columns, rows, noun, sort: order, keep: () => true, seen: rows });
      const template = (narrow) => columns.filter((c) => !narrow || !c.optional).map((c) => (narrow ? c.narrow : c.width)).join(" ");
      this.buttons = columns.map((column, at) => h("button", { type: "button", class: (column.number ? "num " : "") + (column.optional ? "optional" : ""), onclick: () => this.by(at) }, column.name));
      this.body = h("div");
      this.view = h("div", { class: "rows", tabindex: "0" }, this.body);
      this.foot = h("div", { class: "table-foot", "aria-live": "polite" });
      box.append(h("div", { class: "table-head" }, this.buttons), this.view, this.foot);
      box.style.setProperty("--columns", template(false));
      box.style.setProperty("--narrow", template(true));
      this.view.addEventListener("scroll", () => this.paint(), { passive: true });
      new ResizeObserver(() => this.paint()).observe(this.view);
      this.update();
    }
    by(at) {
      this.sort = { at, down: this.sort.at === at ? !this.sort.down : Boolean(this.columns[at].number) };
      this.update();
    }
    filter(keep) { this.keep = keep; this.update(); }
    update() {
      const column = this.columns[this.sort.at], sign = this.sort.down ? -1 : 1;
      this.seen = this.rows.filter(this.keep);
      const value = column.value;
      this.seen.sort((a, b) => { const x = value(a), y = value(b); return x < y ? -sign : x > y ? sign : 0; });
      this.buttons.forEach((button, at) => {
        const mine = at === this.sort.at;
        button.setAttribute("aria-pressed", mine);
        button.textContent = this.columns[at].name + (mine ? (this.sort.down ? " ↓" : " ↑") : "");
      });
      this.body.style.height = this.seen.length * ROW + "px";
      this.view.scrollTop = 0;
      const all = this.rows.length, found = this.seen.length;
      const bytes = this.seen.reduce((sum, row) => sum + (row.type === "f" || row.type === undefined ? row.bytes : 0), 0);
      this.foot.textContent = `${found === all ? number(all) : number(found) + " of " + number(all)} ${this.noun}, ${size(bytes)}`;
      this.paint();
    }
    paint() {
      const first = Math.max(0, Math.floor(this.view.scrollTop / ROW) - 8), last = Math.min(this.seen.length, first + Math.ceil(this.view.clientHeight / ROW) + 16);
      const rows = [];
      for (let at = first; at < last; at += 1) {
        const row = h("div", { class: "row" }, this.columns.map((column) => {
          const cell = column.cell(this.seen[at]);
          return h("span", { class: [column.number ? "num" : "", column.class || "", column.optional ? "optional" : ""].join(" ").trim(), title: typeof cell === "string" ? cell : cell.title || null }, cell.node || cell);
        }));
        row.style.top = at * ROW + "px";
        rows.push(row);
      }
      this.body.replaceChildren(...rows);
    }
  }
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
  const soon = (action) => { let timer = 0; return () => { clearTimeout(timer); timer = setTimeout(action, 90); }; };

  let fileTable = null, chosen = null, chosenType = null;
  const refilter = () => {
    const wanted = words($("file-search").value);
    fileTable.filter((file) => (chosen === null || file.owned === chosen) && (chosenType === null || chosenType(file)) && wanted.every((word) => file.key.includes(word)));
    drawFilters();
  };
  const special = [
    ["no package", (file) => file.owned < 0],
    ["setuid or setgid", (file) => file.type !== "d" && /[sS]/.test(file.mode)],
    ["world-writable", (file) => file.type !== "l" && file.mode[7] === "w"],
    ["symlinks", (file) => file.type === "l"],
    ["devices and pipes", (file) => "cbp".includes(file.type)],
  ].map(([name, test]) => ({ name, test, count: files.filter(test).length })).filter((filter) => filter.count);
  function drawFilters() {
    const box = $("file-filters");
    box.replaceChildren();
    if (chosen !== null) box.append(h("button", { class: "chip", type: "button", "aria-pressed": "true", onclick: () => { chosen = null; refilter(); } }, (chosen < 0 ? "no package" : packages[chosen].name) + " ×"));
    for (const filter of special) {
      const on = chosenType === filter.test;
      box.append(h("button", { class: "chip", type: "button", "aria-pressed": on, onclick: () => { chosenType = on ? null : filter.test; refilter(); } }, `${filter.name} `, h("span", { class: on ? "" : "soft" }, number(filter.count))));
    }
  }
  function choosePackage(at) {
    if (!fileTable) { if (at >= 0) { $("package-search").value = packages[at].name; $("package-search").dispatchEvent(new Event("input")); $("packages").scrollIntoView(); } return; }
    chosen = at; chosenType = null; $("file-search").value = "";
    refilter();
    $("files").scrollIntoView();
  }
  function chooseText(text) {
    chosen = null; chosenType = null; $("file-search").value = text;
    refilter();
    $("files").scrollIntoView();
  }
  if (packages.length) {
    show("packages");
    const rows = packages.map((p, at) => ({ ...p, at, bytes: p.size, count: p.files, key: [p.name, p.evr, p.arch, p.license, p.vendor, p.repository, p.reason, p.summary, p.source].filter(Boolean).join("\n").toLowerCase() }));
    const columns = [
      { name: "Name", width: "minmax(0,2.2fr)", narrow: "minmax(0,1.4fr)", value: (p) => p.name, cell: (p) => ({ node: h("button", { type: "button", onclick: () => choosePackage(p.at) }, p.name), title: p.summary || p.name }) },
      { name: "Version", width: "minmax(0,1.7fr)", narrow: "minmax(0,1fr)", value: (p) => p.evr, cell: (p) => p.evr },
      { name: "Size", width: "84px", narrow: "78px", number: true, value: (p) => p.bytes, cell: (p) => size(p.bytes) },
      { name: "Files", width: "64px", number: true, optional: true, value: (p) => p.count, cell: (p) => (p.count ? number(p.count) : "") },
      { name: "Licence", width: "minmax(0,1.4fr)", optional: true, class: "soft", value: (p) => p.license, cell: (p) => p.license },
      { name: "Repository", width: "minmax(0,1fr)", optional: true, class: "soft", value: (p) => p.repository || "", cell: (p) => p.repository || "" },
      { name: "Reason", width: "minmax(0,.8fr)", optional: true, class: "soft", value: (p) => p.reason || "", cell: (p) => p.reason || "" },
    ].filter((column) => !((column.name === "Repository" || column.name === "Reason") && !image.built) && !(column.name === "Files" && isManifest));
    const table = new Table($("package-table"), columns, rows, "packages", { at: 2, down: true });
    $("package-search").addEventListener("input", soon(() => { const wanted = words($("package-search").value); table.filter((row) => wanted.every((word) => row.key.includes(word))); }));
  }
  if (files.length) {
    show("files");
    fileTable = new Table($("file-table"), [
      { name: "Path", width: "minmax(0,4fr)", narrow: "minmax(0,1fr)", class: "mono path", value: (f) => f.path, cell: (f) => { const text = f.path + (f.type === "l" ? " → " + f.link : ""); return { node: h("bdi", null, text), title: text }; } },
      { name: "Size", width: "84px", narrow: "78px", number: true, value: (f) => f.bytes, cell: (f) => (f.type === "f" ? size(f.bytes) : h("span", { class: "soft", title: TYPES[f.type] }, TYPES[f.type])) },
      { name: "Mode", width: "96px", optional: true, class: "mono", value: (f) => f.mode, cell: (f) => f.mode },
      { name: "Owner", width: "minmax(0,1fr)", optional: true, value: (f) => f.owner, cell: (f) => f.owner },
      { name: "Package", width: "minmax(0,1.2fr)", optional: true, value: (f) => (f.owned < 0 ? "" : packages[f.owned].name), cell: (f) => (f.owned < 0 ? h("span", { class: "soft" }, "none") : { node: h("button", { type: "button", onclick: () => choosePackage(f.owned) }, packages[f.owned].name), title: packages[f.owned].nevra }) },
    ], files.map((file) => file), "members", { at: 0, down: false });
    $("file-search").addEventListener("input", soon(refilter));
    drawFilters();
  }

  // ---- cards
  const card = (box, title, node) => $(box).append(h("div", { class: "card" }, h("h3", null, title), node));
  const list = (rows) => h("ul", { class: "list tall" }, rows.map((row) => h("li", null, row)));
  if (!isManifest) {
    card("trust-cards", `Setuid, setgid, capabilities (${image.privileged.length})`, image.privileged.length ? list(image.privileged.map((p) => [
      h("span", { class: "mono" }, p.path), " ", p.powers.map((power) => h("span", { class: "pill" + (power === "setuid" ? " warn" : "") }, power)), h("span", { class: "soft" }, `${p.mode} ${p.owner} · ${p.package || "no package"}`)])) : h("p", { class: "note" }, "None."));
    const open = image.users.filter((user) => user.login || user.ssh_keys || user.password === "set" || user.password === "empty"), closed = image.users.filter((user) => !open.includes(user));
    card("trust-cards", `Users (${image.users.length})`, list([...open.map((user) => [h("b", null, user.name), h("span", { class: "soft" }, ` ${user.uid} ${user.shell} `),
      h("span", { class: "pill" + (user.password === "empty" ? " bad" : user.password === "set" ? " warn" : "") }, "password " + user.password), user.ssh_keys ? h("span", { class: "pill warn" }, user.ssh_keys + " ssh keys") : null]),
      ...(closed.length ? [h("span", { class: "soft" }, `${closed.length} cannot log in: ${closed.map((user) => user.name).join(", ")}`)] : [])]));
    const enabled = image.services.filter((unit) => unit.state === "enabled"), fixed = image.services.filter((unit) => unit.state !== "enabled");
    card("trust-cards", `Enabled units (${enabled.length})`, list([...enabled.map((unit) => [h("b", null, unit.unit), h("span", { class: "soft" }, " " + unit.wanted_by.join(", "))]),
      ...(fixed.length ? [h("details", null, h("summary", { class: "soft" }, `${fixed.length} started by default`), h("span", { class: "soft" }, fixed.map((unit) => unit.unit).join(", ")))] : [])]));
  }
  if (image.keys.length) card("trust-cards", `Keys (${image.keys.length})`, list(image.keys.map((key) => [h("span", { class: "pill" }, key.kind), h("span", { class: "mono" }, key.name)])));
  if ($("trust-cards").children.length) show("trust");

  show("identity");
  const facts = h("dl", { class: "facts" });
  const fact = (name, value) => { if (value) facts.append(h("dt", null, name), h("dd", null, value)); };
  fact("Image", [image.name, image.version].filter(Boolean).join(" "));
  fact("System", [os.PRETTY_NAME, os.ID && `(${os.ID} ${os.VERSION_ID || ""})`].filter(Boolean).join(" "));
  fact("Architecture", image.arch);
  fact("Kernels", image.kernels.join(", ") || "none");
  fact("rpmdb", image.rpmdb);
  fact("SELinux", image.policy ? `${image.policy.name}, ${image.policy.mode}; ${number(image.totals.labels)} of ${number(image.totals.members)} members labelled` : isManifest ? `${number(image.totals.labels)} of ${number(image.totals.members)} members labelled` : "no policy");
  fact("machine-id", image.machine_id);
  if (image.origin.bytes !== null) fact("Tarball", `${size(image.origin.bytes)} ${image.origin.format}, ${size(image.origin.tar_bytes || 0)} as tar`);
  fact("SHA-256", image.origin.sha256 ? h("span", { class: "mono" }, image.origin.sha256) : null);
  card("identity-cards", "The image", facts);
  if (image.built && image.built.recipe[1]) card("identity-cards", image.built.recipe[0] || "Recipe", h("div", { class: "tall" }, h("pre", null, image.built.recipe[1])));
  if (image.unowned.length) card("identity-cards", `Not owned by a package (${number(data.unowned)})`, list(image.unowned.map((share) => [h("span", { class: "mono" }, share.name), h("span", { class: "soft" }, " " + size(share.bytes))])));

  for (const section of document.querySelectorAll("main section:not([hidden])")) $("nav").append(h("a", { href: "#" + section.id }, section.querySelector("h2").textContent));
  document.documentElement.dataset.ready = "yes";
})();
