// The table of models: sort by a column, filter by name, pin rows to the top; and the card of one model.
const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  Object.entries(attributes).forEach(([key, value]) => value === true ? made.setAttribute(key, "") : value !== false && made.setAttribute(key, value));
  made.append(...children);
  return made;
};
const arrow = key => state.sort.key !== key ? "" : state.sort.down ? " \u25be" : " \u25b4";
const sortBy = key => change({ sort: { key, down: state.sort.key === key ? !state.sort.down : true } });
const ordered = () => {
  const { key, down } = state.sort, found = shownModels();
  const value = model => key === "name" ? model.label : cell(model.name, key)[0] ?? -Infinity;
  if (key) found.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (down ? -1 : 1));
  return [...found.filter(model => state.pins.has(model.name)), ...found.filter(model => !state.pins.has(model.name))];
};
const head = columns => element("tr", {},
  element("th", { scope: "col", class: "pin" }, element("span", { class: "spoken" }, "Pin")),
  ...[{ key: "name", label: "Model" }, ...columns].map(column => {
    const button = element("button", { type: "button", "data-key": column.key }, column.label + arrow(column.key));
    button.addEventListener("click", () => sortBy(column.key));
    const sorted = state.sort.key === column.key ? (state.sort.down ? "descending" : "ascending") : "none";
    return element("th", { scope: "col", "aria-sort": sorted }, button, ...(column.where ? [element("small", {}, column.where)] : []));
  }));
const heat = change => Math.max(-1, Math.min(1, (change ?? 0) / 0.4));
const scoreCell = (model, column) => {
  const found = cell(model.name, column.key), warmth = column.kind === "base" ? 0 : heat(found[3]);
  const made = element("td", warmth ? { class: warmth > 0 ? "up" : "down" } : {},
    element("b", {}, number(found[0], column)), element("small", {}, interval(found, column)));
  if (warmth) made.style.setProperty("--heat", Math.abs(warmth).toFixed(2));
  return made;
};
const swatch = mark => {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.background = mark.color;
  return made;
};
const bodyRow = (model, columns) => {
  const pinned = state.pins.has(model.name);
  const button = element("button", { type: "button", class: "pin", "aria-pressed": pinned, "aria-label": `Pin ${model.label}`, "data-pin": model.name }, pinned ? "\u25c6" : "\u25c7");
  button.addEventListener("click", () => pin(model.name));
  const chosen = model.chosen ? [" ", element("span", { class: "tag" }, "chosen")] : [];
  const made = element("tr", { class: `${model.kind}${pinned ? " pinned" : ""}${state.focus === model.name ? " focus" : ""}`, "data-model": model.name },
    element("td", { class: "pin" }, button),
    element("th", { scope: "row" }, swatch(model.mark), model.label, ...chosen),
    ...columns.map(column => scoreCell(model, column)));
  made.addEventListener("click", event => { if (!event.target.closest("button")) change({ focus: model.name }); });
  return made;
};
const drawTable = () => {
  const table = document.getElementById("models"), columns = shownColumns(), rows = ordered();
  const focused = document.activeElement?.dataset ?? {}, within = table.contains(document.activeElement);
  table.tHead.replaceChildren(head(columns));
  table.tBodies[0].replaceChildren(...rows.map(model => bodyRow(model, columns)));
  document.getElementById("shown").textContent = `${rows.length} of ${Object.keys(data.scores[state.split]).length} models, ${data.splits[state.split]}`;
  if (within) {
    const [key, value] = focused.pin ? ["pin", focused.pin] : ["key", focused.key];
    [...table.querySelectorAll(`[data-${key}]`)].find(button => button.dataset[key] === value)?.focus();
  }
};

const copy = async (text, button) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", {}, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
};
const commandLine = text => {
  const button = element("button", { type: "button", class: "copy", "aria-label": `Copy: ${text}` }, "copy");
  button.addEventListener("click", () => copy(text, button));
  return element("div", { class: "command" }, element("code", {}, text), button);
};
const drawCard = () => {
  const card = document.getElementById("card"), model = models.get(state.focus);
  if (!model || !scoresOf(model.name)) return;
  const list = shownColumns().map(column => {
    const found = cell(model.name, column.key);
    return element("div", {}, element("dt", {}, column.task ? `${column.task}: ${column.label}` : column.label),
      element("dd", {}, element("b", {}, number(found[0], column)), ` ${interval(found, column)}`));
  });
  const button = element("button", { type: "button", class: "copy" }, state.pins.has(model.name) ? "unpin" : "pin");
  button.addEventListener("click", () => pin(model.name));
  card.replaceChildren(
    element("h3", {}, swatch(model.mark), model.label, " ", button),
    ...(model.coefficients ? [element("p", { class: "quiet" }, `Coefficients: ${model.coefficients}`)] : []),
    element("p", { class: "quiet" }, `Scores, ${data.splits[state.split]}`),
    element("dl", {}, ...list), ...model.commands.map(commandLine));
};
