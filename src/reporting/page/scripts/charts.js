// The trade-off plane and the sweep, redrawn with every selection.
const muted = "var(--muted)", rule = "var(--rule)";
const axis = { labelColor: muted, titleColor: muted, gridColor: rule, domainColor: rule, tickColor: rule,
  labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal", titlePadding: 8 };
const options = {
  renderer: "svg", actions: false, ast: true, tooltip: false,
  config: { background: "transparent", font: getComputedStyle(document.body).fontFamily, axis, view: { stroke: null }, legend: { labelColor: muted, titleColor: muted },
    header: { labelColor: muted, titleColor: muted }, text: { fontSize: 11 } },
};
const views = {};
const put = (view, name, rows) => view.data(name, rows);

const followPointer = view => {
  view.addEventListener("pointermove", (event, item) => {
    const name = item?.datum?.name;
    if (name && name !== state.focus) change({ focus: name });
  });
  view.addEventListener("click", (event, item) => { if (item?.datum?.name) pin(item.datum.name); });
};
const pin = name => {
  state.pins.has(name) ? state.pins.delete(name) : state.pins.add(name);
  change({ focus: name });
};
const drawPlane = () => {
  const view = views.plane, rows = chartRows();
  const named = rows.filter(row => row.alone || row.chosen || row.ringed);
  view.signal("across", title(columns.get(state.across))).signal("up", title(columns.get(state.up)));
  put(view, "points", rows);
  put(view, "bars", named.filter(row => row.xLow !== null && row.yLow !== null));
  const coefficients = rows.filter(row => row.front && !row.chosen && !row.ringed && [0.1, 0.5, 0.9].includes(row.weight))
    .map(row => ({ ...row, label: String(row.weight), fontSize: 9 }));
  put(view, "labels", [...named.map(row => ({ ...row, fontSize: 11.5 })), ...coefficients]);
  view.runAsync();
};
const drawSweep = () => {
  const view = views.sweep, rows = chartRows();
  put(view, "points", rows.filter(row => row.front));
  put(view, "bars", rows.filter(row => row.front && row.ringed && row.yLow !== null));
  put(view, "levels", rows.filter(row => row.alone));
  view.runAsync();
  const heading = document.getElementById("sweep-title");
  heading.textContent = `${title(columns.get(state.up))} by coefficient of ${data.tasks[0]}`;
};
const embed = async (id, spec) => {
  const { view } = await vegaEmbed(document.getElementById(id), spec, options);
  return view;
};
const fit = (view, box, ratio, most) => {
  const set = () => {
    const width = Math.max(260, box.clientWidth - 8);
    view.width(width).height(Math.min(most, Math.max(280, width * ratio))).runAsync();
  };
  new ResizeObserver(set).observe(box);
  set();
};
const startCharts = async () => {
  views.plane = await embed("plane", read("plane-spec"));
  followPointer(views.plane);
  listeners.push(drawPlane);
  drawPlane();
  fit(views.plane, document.getElementById("plane"), 0.72, 470);
  if (data.models.some(model => model.kind === "merge" && model.weight !== null)) {
    views.sweep = await embed("sweep", read("sweep-spec"));
    followPointer(views.sweep);
    listeners.push(drawSweep);
    drawSweep();
  }
};
