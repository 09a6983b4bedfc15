"use strict";

const at = (id) => document.getElementById(id);
const drop = at("drop");
const file = at("file");
let shown = null; // the address of the preview, to be given back
let asked = 0; // number of the newest question: an older answer that comes late is not shown

function say(status, problem = "") {
  at("status").textContent = status;
  at("problem").textContent = problem;
}

async function classify(image) {
  const number = ++asked;
  say(`Classifying ${image.name || "the image"} …`);
  at("result").hidden = true;
  const headers = { "content-type": image.type || "application/octet-stream" };
  if (at("key").value) headers.authorization = `Bearer ${at("key").value}`;
  const began = performance.now();
  try {
    const response = await fetch("classify?top=5", { method: "POST", headers, body: image });
    const answer = await response.json();
    if (number !== asked) return;
    if (response.ok) return show(image, answer, performance.now() - began);
    say("", `Not classified: ${answer.error}`);
    if (response.status === 401) askKey();
  } catch (error) {
    if (number === asked) say("", `Not classified: the server does not answer (${error.message})`);
  }
}

function show(image, answer, milliseconds) {
  at("bars").replaceChildren(...answer.predictions.map(bar));
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(image);
  at("preview").src = shown;
  at("preview").alt = image.name ? `Your image, ${image.name}` : "Your image";
  const { prepare, compute } = answer.milliseconds;
  at("latency").textContent =
    `${milliseconds.toFixed(0)} ms from here and back; of these ${prepare.toFixed(1)} ms reading the image, ` +
    `${compute.toFixed(1)} ms in ${answer.name} (version ${answer.version}).`;
  at("result").hidden = false;
  const best = answer.predictions[0];
  say(`Done. Likeliest: ${best.label}, ${percent(best.probability)}.`);
}

function bar(guess) {
  const row = document.createElement("tr");
  const label = document.createElement("th");
  label.scope = "row";
  label.textContent = guess.label;
  const progress = document.createElement("progress");
  progress.value = guess.probability;
  progress.setAttribute("aria-hidden", "true"); // the number beside it says the same
  const number = document.createElement("span");
  number.className = "number";
  number.textContent = percent(guess.probability);
  const cell = document.createElement("td");
  cell.append(progress, number);
  row.append(label, cell);
  return row;
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

function askKey() {
  at("key-row").hidden = false;
  at("key").focus();
}

function first(files) {
  if (files.length) {
    last = files[0];
    classify(last);
  }
}

let last = null; // what was chosen, dropped or pasted last, to be sent again with a key

file.addEventListener("change", () => first(file.files));
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // or the browser would open the file
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, () => drop.classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  first(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => first(event.clipboardData.files));
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (last) classify(last);
});
