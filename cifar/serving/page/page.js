// State of the page: models, chosen model, current image, of how many, what is sent of it, and pictures of its answer by class.
const $ = (id) => document.getElementById(id);
const METRICS = {accuracy: "test accuracy", mean_iou: "mean IoU in test", map: "mAP in test", f1_micro: "F1 in test"};
const TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;
const MAX_NAMES = 4;  // in the title of an answer
const MAX_PIXELS = 2 ** 22, MAX_BYTES = 2 ** 21;  // of an image that is sent as it is
const SHARE = new Intl.NumberFormat("en", {style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1});
const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1%" : SHARE.format(share));
let models = [], model, file, offered = 1, sent, drawings = new Map(), shown = null, leaving = new AbortController();

class Trouble extends Error {
  constructor(title, message, isPassing = false) {
    super(message);
    Object.assign(this, {title, isPassing});
  }
}

// Title and message by status code; without a message, that of the answer is shown.
const TROUBLES = {
  404: ["This model is no longer available", "Reload this page to see the available models."],
  408: ["The upload took too long", "The connection may be slow; try a smaller image."],
  413: ["This image is too large"],
  415: ["This is not an image that the browser shows", "Try another one."],
  422: ["This file cannot be read", "It is damaged, or has more than 8 bits per channel. Try another one."],
  503: ["The service is busy"],
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
  if (response.status === 401) throw askForToken(token);
  const [title, message] = TROUBLES[response.status] ?? ["Something went wrong"];
  throw new Trouble(title, message ?? error ?? `The status code was ${response.status}.`, [408, 503].includes(response.status));
}

// Show the form for a token, and return the error that says why.
function askForToken(refused) {
  sessionStorage.removeItem("token");
  $("token").hidden = false;
  const title = refused ? "This token is not valid" : "A token is required";
  return new Trouble(title, "Ask the operator of this service for one.");
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
  const {name, class_names: names, image_shape: [height, width], main_metric: metric, metrics, run} = model;
  const value = metrics[`test/${metric}`], classes = names.filter((other) => other !== "background").length;
  const tested = Number.isFinite(value) && `${percent(value)} ${METRICS[metric] ?? `${metric.replaceAll("_", " ")} in test`}`;
  const facts = [classes === 1 ? "1 class" : `${classes} classes`, tested, `run ${run.slice(0, 8)}`]
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
    button.onclick = () => take([blob(b64)]);
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
  sent = await preview(given);
  if (file !== given || !model) return;  // another image was given, or the models are not known yet
  $("answer").classList.add("waiting");
  try {
    const began = performance.now();
    const {answer} = await ask(`predict${query()}`, sent, leaving.signal);
    showAnswer(answer, performance.now() - began);
    await view();
  } catch (error) {
    if (error.name !== "AbortError") clear();
    throw error;
  } finally {
    $("answer").classList.remove("waiting");
  }
}

// Show an image, and return what is sent of it.
async function preview(given) {
  const photo = $("photo");
  $("picture").hidden = true;
  const isImage = await display(given);
  photo.hidden = !isImage;
  $("empty").hidden = isImage;
  photo.className = photo.naturalWidth < 200 ? "small" : "";
  const copy = isImage ? await sendable(given, photo) : given;
  if (copy !== given && given === file) await display(copy);
  return copy;
}

// Show an image; false if the browser cannot.
function display(image) {
  URL.revokeObjectURL($("photo").src);
  $("photo").src = URL.createObjectURL(image);
  return $("photo").decode().then(() => true, () => false);
}

// The image itself, or a copy of one that is large, transparent, or of another format than PNG and JPEG.
async function sendable(given, photo) {
  const head = new Uint8Array(await given.slice(0, 26).arrayBuffer());
  const isJPEG = head[0] === 0xff && head[1] === 0xd8, isPNG = head[0] === 0x89 && head[1] === 0x50;
  const isOpaque = isJPEG || (isPNG && [0, 2].includes(head[25]));  // gray or color, without alpha or palette
  const pixels = photo.naturalWidth * photo.naturalHeight, isLarge = pixels > MAX_PIXELS || given.size > MAX_BYTES;
  if ((isOpaque && !isLarge) || !pixels) return given;
  const scale = Math.min(1, Math.sqrt(MAX_PIXELS / pixels)), canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(scale * photo.naturalWidth));
  canvas.height = Math.max(1, Math.floor(scale * photo.naturalHeight));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  const copy = await new Promise((done) => canvas.toBlob(done, isLarge ? "image/jpeg" : "image/png", 0.92));
  return copy ?? given;
}

function clear() {
  $("said").replaceChildren();
  $("classes").replaceChildren();
  $("beneath").hidden = true;
}

function showAnswer(answer, milliseconds) {
  const rows = answer.map((entry) => ({name: entry.class, value: entry.probability ?? entry.score ?? entry.share}))
    .filter(({name}) => isClassifier() || name !== "background").sort((one, other) => other.value - one.value);
  const [...found] = new Set(rows.map(({name}) => name)), more = found.length - MAX_NAMES;
  const names = found.slice(0, MAX_NAMES).join(", ") + (more > 0 ? ` and ${more} more` : "");
  const predicted = answer.filter((entry) => entry.predicted).map((entry) => entry.class).join(", ");
  const isSingle = model.task === "classification";
  const title = isSingle ? rows[0].name : isClassifier() ? predicted || "None of the classes" : names || "Nothing found";
  const detail = isClassifier() ? (isSingle ? `${percent(rows[0].value)} confidence · ` : "") : names && ("share" in answer[0] ? "shares of the image · " : "scores · ");
  const first = offered > 1 ? ` · the first of ${offered} images` : "";
  const time = `answered in ${Math.max(1, Math.round(milliseconds))} ms`;
  $("said").replaceChildren(element("b", title), element("span", `${detail}${time}${first}`));
  $("classes").replaceChildren(...rows.map(row));
  $("beneath").hidden = false;
  document.querySelector("fieldset").hidden = !rows.length;
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
  const isDrawn = $("classes").hasChildNodes() && document.querySelector("[name=view]:checked").value === "picture";
  const {image_shape: [height, width]} = model;
  if (!isDrawn) {
    $("picture").hidden = true;
    const hint = isClassifier() ? " Select a class to see why." : "";
    $("caption").textContent = `The model's input has ${width}\u00a0×\u00a0${height} pixels.${hint}`;
  } else {
    if (!drawings.has(shown)) drawings.set(shown, await ask(`explain${query(shown ? {class: shown} : {})}`, sent, leaving.signal));
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
  const scale = element("span", "none "), best = $("classes").querySelector(".name").textContent;
  scale.append(element("i"), name === best ? " strongest" : ` as strong as for ${best}`);
  $("caption").replaceChildren(element("span", `Evidence for ${name} (Grad-CAM, ${heat[0].length}\u00a0×\u00a0${heat.length})`), scale);
}

function take(files) {
  if (!files.length) return;
  offered = files.length;
  attempt(() => look(files[0]));
}

// Take what is dropped: a file, or from another page its image, which browsers do not let this page load.
function drop({files, types}) {
  if (files.length || !types.includes("text/uri-list")) return take(files);
  return attempt(() => {
    throw new Trouble("This image is on another page", "Copy it there and paste it here, or save it and drop the file.");
  });
}

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
  const token = event.target.querySelector("input").value.trim();
  attempt(() => {
    if (!TOKEN.test(token)) throw askForToken(token);
    sessionStorage.setItem("token", token);
    $("token").hidden = true;
    return start();
  });
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
  drop(event.dataTransfer);
};
attempt(start);
