// The scores of the page, what the reader has selected, and the rows that follow from it.
const read = id => JSON.parse(document.getElementById(id).textContent);
const data = read("scores");
const columns = new Map(data.columns.map((column, i) => [column.key, { ...column, place: i }]));
const groups = new Map(data.groups.map(group => [group.key, group]));
const models = new Map(data.models.map(model => [model.name, { ...model, mark: groups.get(model.group) }]));
const state = {
  split: data.grid,
  task: "",
  across: data.axes[0] ?? "average",
  up: data.axes[1] ?? "average",
  hidden: new Set(),
  pins: new Set(),
  focus: "",
  sort: { key: "", down: true },
  filter: "",
};
const listeners = [];
const change = values => { Object.assign(state, values); listeners.forEach(tell => tell()); };

// Numbers as in the static tables: scores on 0-100, averages in percent with their sign.
const MINUS = "\u2212";
const signed = (value, decimals) => {
  const text = Math.abs(value).toFixed(decimals);
  return Number(text) ? (value > 0 ? "+" : MINUS) + text : text;
};
const number = (value, column) =>
  value === null ? "\u2013" : column.key === "average" ? signed(100 * value, 2) + "%" : (100 * value).toFixed(column.decimals);
const interval = ([, low, high], column) =>
  low === null || high === null ? "" : column.key === "average"
    ? `${signed(100 * low, 1)} to ${signed(100 * high, 1)}` : `${number(low, column)}\u2013${number(high, column)}`;
const title = column => column.key === "average" ? "average change, %" : `${column.task}: ${column.label}`;

const scoresOf = name => data.scores[state.split][name];
const cell = (name, key) => scoresOf(name)[columns.get(key).place];
const shownColumns = () => data.columns.filter(column => !state.task || !column.task || column.task === state.task);
const shownModels = () => {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return [...models.values()].filter(model =>
    scoresOf(model.name) && (state.pins.has(model.name)
      || (!state.hidden.has(model.group) && words.every(word => model.label.toLowerCase().includes(word)))));
};
const hundred = value => value === null ? null : 100 * value;
const chartRows = () => shownModels().map(model => {
  const [x, xLow, xHigh] = cell(model.name, state.across).map(hundred);
  const [y, yLow, yHigh] = cell(model.name, state.up).map(hundred);
  const spoken = `${model.label}: ${[state.across, state.up].map(key => {
    const column = columns.get(key);
    return `${title(column)} ${number(cell(model.name, key)[0], column)}`;
  }).join(", ")}`;
  const alone = model.kind !== "merge" && !model.front;
  return {
    name: model.name, label: model.label, weight: model.weight, x, xLow, xHigh, y, yLow, yHigh, spoken,
    front: model.front, alone, chosen: model.chosen,
    ringed: state.pins.has(model.name) || state.focus === model.name,
    color: model.mark.color, symbol: model.mark.symbol, dash: model.mark.dash,
    size: model.kind === "mix" ? (alone || model.chosen ? 170 : 80) : alone ? 110 : 52,
  };
}).filter(row => row.x !== null && row.y !== null);
