// The bar of controls: which data, task, metrics and models are shown.
const fill = (select, entries, chosen) => {
  select.replaceChildren(...entries.map(([value, label]) => element("option", { value, selected: value === chosen }, label)));
};
const metricOptions = () => {
  const found = shownColumns(), words = found.map(title);
  const twice = word => words.indexOf(word) !== words.lastIndexOf(word);
  return found.map((column, i) => [column.key, twice(words[i]) ? `${words[i]} (${column.where})` : words[i]]);
};
const drawControls = () => {
  const keys = shownColumns().map(column => column.key);
  if (!keys.includes(state.across)) state.across = keys[0];
  if (!keys.includes(state.up)) state.up = keys[1] ?? keys[0];
  fill(document.getElementById("across"), metricOptions(), state.across);
  fill(document.getElementById("up"), metricOptions(), state.up);
};
const chip = group => {
  const box = element("input", { type: "checkbox", checked: true, "data-group": group.key });
  box.addEventListener("change", () => {
    box.checked ? state.hidden.delete(group.key) : state.hidden.add(group.key);
    change({});
  });
  return element("label", { class: "chip" }, box, element("span", {}, swatch(group), group.label));
};
const startControls = () => {
  const on = (id, event, values) => document.getElementById(id).addEventListener(event, e => change(values(e.target.value)));
  fill(document.getElementById("split"), Object.entries(data.splits), state.split);
  fill(document.getElementById("task"), [["", "all tasks"], ...data.tasks.map(task => [task, task])], "");
  document.getElementById("chips").append(...data.groups.map(chip));
  on("split", "change", split => ({ split }));
  on("across", "change", across => ({ across }));
  on("up", "change", up => ({ up }));
  on("filter", "input", filter => ({ filter }));
  document.getElementById("task").addEventListener("change", event => { state.task = event.target.value; drawControls(); change({}); });
  document.getElementById("unpin").addEventListener("click", () => { state.pins.clear(); change({}); });
  drawControls();
};
