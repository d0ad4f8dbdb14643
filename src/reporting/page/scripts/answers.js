// Two models side by side, problem by problem. Texts arrive as escaped HTML in a compressed block.
const blocks = read("answers"), loaded = new Map(), waiting = new Map();
const unpack = async text => {
  const bytes = Uint8Array.from(atob(text), char => char.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
};
window.receiveAnswers = (benchmark, text) => waiting.get(benchmark)?.(text);
const fetchBlock = benchmark => new Promise((resolve, reject) => {
  if (!blocks[benchmark].endsWith(".js")) return resolve(blocks[benchmark]);
  waiting.set(benchmark, resolve);
  const script = element("script", { src: blocks[benchmark] });
  script.addEventListener("error", () => reject(new Error(`${blocks[benchmark]} is not beside this page`)));
  document.head.append(script);
});
const answersTo = async benchmark => {
  if (!loaded.has(benchmark)) loaded.set(benchmark, await unpack(await fetchBlock(benchmark)));
  return loaded.get(benchmark);
};
const STEP = 10;
const pair = { benchmark: "", first: "", second: "", outcome: "differ", search: "", most: STEP };
const html = (tag, attributes, text) => {
  const made = element(tag, attributes);
  made.innerHTML = text;
  return made;
};
const labelOf = name => models.get(name)?.label ?? name;
const mark = (found, block) => {
  if (!found) return ["not recorded", ""];
  if (block.program && (found.value === 0 || found.value === 1)) return found.value ? ["passes", "good"] : ["fails", "bad"];
  return [`${block.metric} ${(100 * found.value).toFixed(1)}`, ""];
};
const answerPart = (name, found, block) => {
  const [words, kind] = mark(found, block);
  return element("section", { "aria-label": `Answer of ${labelOf(name)}` },
    element("h3", {}, labelOf(name), " ", element("span", { class: `mark ${kind}` }, words)),
    html("pre", { tabindex: 0 }, found?.answer || "(not recorded)"));
};
const facts = (names, found) => {
  const list = element("dl", {}), add = (label, text) => text && list.append(
    element("div", {}, element("dt", {}, label), element("dd", {}, html("pre", { tabindex: 0 }, text))));
  const worse = found[0] && found[1] && found[0].value > found[1].value ? found[1] : found[0] ?? found[1];
  add("Failing input", worse?.input);
  add("Expected", worse?.expected);
  names.forEach((name, i) => add(`Got: ${labelOf(name)}`, found[i]?.got));
  return list;
};
const problem = (item, names, found, block, open) => element("details", { class: "card", open },
  element("summary", {}, element("span", { class: "item" }, item.id), " ",
    ...names.flatMap((name, i) => { const [words, kind] = mark(found[i], block); return [element("span", { class: "outcome" }, `${labelOf(name)} `), element("span", { class: `mark ${kind}` }, words), "  "]; })),
  element("h3", {}, "Prompt"), html("pre", { tabindex: 0 }, item.prompt),
  element("div", { class: "answers two" }, ...names.map((name, i) => answerPart(name, found[i], block))),
  facts(names, found));
const keeps = {
  all: () => true,
  differ: (a, b) => a?.value !== b?.value,
  first: (a, b) => (a?.value ?? -1) > (b?.value ?? -1),
  second: (a, b) => (a?.value ?? -1) < (b?.value ?? -1),
};
const plain = text => text.replace(/<[^>]*>/g, "").toLowerCase();
const drawProblems = async () => {
  const count = document.getElementById("problem-count"), list = document.getElementById("problem-list");
  const wanted = { ...pair };
  let block;
  try {
    block = await answersTo(wanted.benchmark);
  } catch (error) {
    count.textContent = error.message;
    return;
  }
  if (wanted.benchmark !== pair.benchmark) return;
  const names = [pair.first, pair.second], places = names.map(name => block.models.indexOf(name));
  const words = pair.search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = block.items.map(item => [item, places.map(place => item.answers[place])]).filter(([item, [a, b]]) =>
    keeps[pair.outcome](a, b)
    && words.every(word => plain([item.id, item.prompt, a?.answer ?? "", b?.answer ?? ""].join(" ")).includes(word)));
  const rest = block.left_out ? `; ${block.left_out} more problems are only in the run directories` : "";
  count.textContent = `${found.length} of ${block.items.length} problems${rest}`;
  list.replaceChildren(...found.slice(0, pair.most).map(([item, both], i) => problem(item, names, both, block, i === 0)));
  document.getElementById("more-problems").hidden = found.length <= pair.most;
};
const startAnswers = () => {
  const benchmarks = Object.keys(blocks);
  if (!benchmarks.length) return;
  const place = document.getElementById("two-models");
  place.hidden = false;
  const known = [...models.values()].filter(model => data.scores.test[model.name]).map(model => [model.name, model.label]);
  pair.benchmark = benchmarks[0];
  [pair.first, pair.second] = data.champions;
  fill(document.getElementById("first-model"), known, pair.first);
  fill(document.getElementById("second-model"), known, pair.second);
  fill(document.getElementById("benchmark"), benchmarks.map(name => [name, columnPlace(name)]), pair.benchmark);
  const on = (id, event, key) => document.getElementById(id).addEventListener(event, e => {
    Object.assign(pair, { [key]: e.target.value, most: STEP });
    drawProblems();
  });
  on("first-model", "change", "first");
  on("second-model", "change", "second");
  on("benchmark", "change", "benchmark");
  on("outcome", "change", "outcome");
  on("search", "input", "search");
  document.getElementById("more-problems").addEventListener("click", () => { pair.most += STEP; drawProblems(); });
  // Unpacking waits until the section is near: most readers never get there.
  new IntersectionObserver((entries, watcher) => {
    if (entries.some(entry => entry.isIntersecting)) { watcher.disconnect(); drawProblems(); }
  }, { rootMargin: "600px" }).observe(place);
};
const columnPlace = benchmark => data.columns.find(column => column.key.startsWith(`${benchmark} `))?.where ?? benchmark;
