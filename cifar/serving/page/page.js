// State of the page: models, chosen model, current image, and pictures of its answer by class.
const $ = (id) => document.getElementById(id);
const TESTED = {"test/accuracy": "test accuracy", "test/mean_iou": "mean IoU in test", "test/map": "mAP in test"};
const SHARE = new Intl.NumberFormat("en", {style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1});
const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1%" : SHARE.format(share));
let models = [], model, file, drawings = new Map(), shown = null, leaving = new AbortController();

class Trouble extends Error {
  constructor(title, message, isPassing = false) {
    super(message);
    Object.assign(this, {title, isPassing});
  }
}

// Title and message by status code; without a message, that of the answer is shown.
const TROUBLES = {
  401: ["A token is required", "Ask the operator of this service for one."],
  404: ["This model is no longer available", "Reload this page to see the available models."],
  408: ["The upload took too long", "The connection may be slow; try a smaller image."],
  413: ["This image is too large"],
  415: ["This is not a PNG or JPEG image", "Convert it to PNG or JPEG and try again."],
  422: ["This file cannot be read", "It is damaged, or has more than 8 bits per channel. Try another one."],
  503: ["The service is busy", "Try again in a moment."],
};

async function ask(path, image, signal) {
  const token = sessionStorage.getItem("token"), headers = token ? {authorization: `Bearer ${token}`} : {};
  const body = image && new FormData();
  body?.append("image", image);
  let response;
  try {
    response = await fetch(path, {method: body ? "POST" : "GET", body, headers, signal});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The service does not answer", "It may have been stopped, or the network is unreachable.", true);
  }
  if (response.ok) return response.json();
  const {error} = await response.json().catch(() => ({}));
  $("token").hidden = response.status !== 401;
  const [title, message] = TROUBLES[response.status] ?? ["Something went wrong"];
  throw new Trouble(title, message ?? error ?? `The status code was ${response.status}.`, [408, 503].includes(response.status));
}

// Run `work` and show its errors; temporary ones with a button to try again.
async function attempt(work) {
  $("error").replaceChildren();
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Trouble)) throw error;
    const parts = [element("b", error.title), element("p", sentence(error.message))];
    if (error.isPassing) {
      parts.push(element("button", "Try again"));
      parts[2].onclick = () => attempt(work);
    }
    $("error").replaceChildren(...parts);
  }
}

function element(tag, text = "", className = "") {
  return Object.assign(document.createElement(tag), {textContent: text, className});
}

// Format an error line of the service as a sentence with readable numbers.
function sentence(text) {
  const readable = text.replace(/\d{5,}/g, (digits) => Number(digits).toLocaleString("en"));
  return readable[0].toUpperCase() + readable.slice(1) + (readable.endsWith(".") ? "" : ".");
}

const isClassifier = () => ["classification", "multilabel"].includes(model.task);
const query = (more = {}) => `?${new URLSearchParams({model: model.name, ...more})}`;

async function start() {
  ({models} = await ask("v1/models"));
  $("models").replaceChildren(...models.map(({name}) => new Option(name)));
  $("pick").hidden = models.length === 1;
  await choose(models[0]);
}

async function choose(chosen) {
  model = chosen;
  const {name, class_names: classes, image_shape: [height, width], metrics, run} = model;
  const tested = Object.keys(TESTED).find((metric) => metric in metrics);
  const facts = [`${classes.length} classes`, tested && `${percent(metrics[tested])} ${TESTED[tested]}`, `run ${run.slice(0, 8)}`]
    .filter(Boolean).map((fact) => fact.replaceAll(" ", "\u00a0"));
  $("about").replaceChildren(...(models.length > 1 ? [] : [element("b", name), " · "]), facts.join(" · "));
  $("frame").style.setProperty("--shape", isClassifier() ? `${width} / ${height}` : "1");
  $("frame").style.setProperty("--fit", isClassifier() ? "cover" : "contain");
  $("drawn").textContent = isClassifier() ? "Why" : "Found";
  document.querySelector(`[value=${isClassifier() ? "photo" : "picture"}]`).checked = true;
  if (file) await look(file);
  const {examples} = await ask(`examples${query()}`);
  $("examples").hidden = !examples.length;
  $("examples").lastElementChild.replaceChildren(...examples.map(({b64}, number) => {
    const button = element("button"), item = element("li");
    button.append(Object.assign(new Image(), {src: `data:image/png;base64,${b64}`, alt: `Test image ${number + 1}`}));
    button.onclick = () => attempt(() => look(blob(b64)));
    item.append(button);
    return item;
  }));
}

const blob = (b64) => new Blob([Uint8Array.from(atob(b64), (letter) => letter.charCodeAt(0))], {type: "image/png"});

// Show an image and the model's answer; cancel requests for another image.
async function look(given) {
  leaving.abort();
  leaving = new AbortController();
  file = given;
  drawings = new Map();
  shown = null;
  await preview();
  $("answer").classList.add("waiting");
  try {
    const began = performance.now();
    const {answer} = await ask(`predict${query()}`, file, leaving.signal);
    showAnswer(answer, performance.now() - began);
    await view();
  } catch (error) {
    if (error.name !== "AbortError") clear();
    throw error;
  } finally {
    $("answer").classList.remove("waiting");
  }
}

async function preview() {
  const photo = $("photo");
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  $("picture").hidden = true;
  const isImage = await photo.decode().then(() => true, () => false);
  photo.hidden = !isImage;
  $("empty").hidden = isImage;
  photo.className = photo.naturalWidth < 200 ? "small" : "";
}

function clear() {
  $("said").replaceChildren();
  $("classes").replaceChildren();
  $("beneath").hidden = true;
}

function showAnswer(answer, milliseconds) {
  const rows = answer.map((entry) => ({name: entry.class, value: entry.probability ?? entry.score ?? entry.share}))
    .filter(({name}) => isClassifier() || name !== "background");
  const names = [...new Set(rows.map(({name}) => name))].join(", ");
  const predicted = answer.filter((entry) => entry.predicted).map((entry) => entry.class).join(", ");
  const isSingle = model.task === "classification";
  const title = isSingle ? rows[0].name : isClassifier() ? predicted || "None of the classes" : names || "Nothing found";
  const detail = isClassifier() ? (isSingle ? `${percent(rows[0].value)} confidence · ` : "") : names && ("share" in answer[0] ? "shares of the image · " : "scores · ");
  $("said").replaceChildren(element("b", title), element("span", `${detail}answered in ${Math.max(1, Math.round(milliseconds))} ms`));
  $("classes").replaceChildren(...rows.map(row));
  $("beneath").hidden = false;
}

function row({name, value}) {
  const item = element("li"), bar = element("span", "", "bar"), fill = element("i");
  const line = element(isClassifier() ? "button" : "div");
  fill.style.width = `${100 * value}%`;
  bar.append(fill);
  line.append(element("span", name, "name"), element("span", percent(value), "value"), bar);
  if (isClassifier()) {
    line.title = `Explain ${name}`;
    line.onclick = () => {
      shown = name;
      document.querySelector("[value=picture]").checked = true;
      attempt(view);
    };
  }
  item.append(line);
  return item;
}

// Show the image or the picture of the answer, whichever is selected.
async function view() {
  const isDrawn = document.querySelector("[name=view]:checked").value === "picture";
  const {image_shape: [height, width]} = model;
  if (!isDrawn) {
    $("picture").hidden = true;
    const hint = isClassifier() ? " Select a class to see why." : "";
    $("caption").textContent = `The model's input has ${width}\u00a0×\u00a0${height} pixels.${hint}`;
  } else {
    if (!drawings.has(shown)) drawings.set(shown, await ask(`explain${query(shown ? {class: shown} : {})}`, file, leaving.signal));
    const {picture, class: name, heat} = drawings.get(shown);
    $("picture").src = `data:image/png;base64,${picture.b64}`;
    $("picture").className = isClassifier() ? "small" : "";
    $("picture").alt = isClassifier() ? `Heat map of ${name}` : "Predictions drawn on the image";
    $("picture").hidden = false;
    explain(name, heat);
  }
  for (const button of $("classes").querySelectorAll("button")) {
    const isPressed = isDrawn && button.firstChild.textContent === drawings.get(shown).class;
    button.setAttribute("aria-pressed", isPressed);
  }
}

function explain(name, heat) {
  if (!isClassifier()) return $("caption").replaceChildren("Predictions drawn on the image.");
  if (!heat.flat().some(Boolean)) return $("caption").replaceChildren(`No part of the image supports ${name}.`);
  const scale = element("span", `Evidence for ${name}: low `);
  scale.append(element("i"), " high");
  $("caption").replaceChildren(scale, element("span", `Grad-CAM, ${heat[0].length}\u00a0×\u00a0${heat.length}`));
}

const take = (files) => files[0] && attempt(() => look(files[0]));
for (const input of [$("file"), $("camera")]) {
  input.onchange = () => {
    take([...input.files]);
    input.value = "";
  };
}
$("empty").onclick = () => $("file").click();
for (const radio of document.querySelectorAll("[name=view]")) radio.onchange = () => attempt(view);
$("models").onchange = () => attempt(() => choose(models[$("models").selectedIndex]));
$("token").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", event.target.querySelector("input").value);
  $("token").hidden = true;
  attempt(start);
};
document.onpaste = (event) => take(event.clipboardData.files);
document.ondragover = (event) => {
  event.preventDefault();
  $("frame").classList.add("over");
};
document.ondragleave = (event) => event.relatedTarget || $("frame").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  $("frame").classList.remove("over");
  take(event.dataTransfer.files);
};
attempt(start);
