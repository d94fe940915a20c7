"use strict";

const PEN = 22; // of 280, as thick as MNIST's strokes are in 28
const STEP = 10; // of the pen by keyboard
const QUIET_MS = 700; // without a stroke, before the answer is spoken

const find = (id) => document.getElementById(id);
const pad = find("pad");
const ink = pad.getContext("2d", { willReadFrequently: true });
const pen = { x: pad.width / 2, y: pad.height / 2, down: false };

let cards = [];
let pointer = null; // the one that draws
let waiting = false; // whether the drawing has changed since it was sent
let asking = false;
let drawing = 0; // counts cleared pads: an answer to the last drawing is none to this one
let speaking = 0;

// the drawing

function wipe() {
  ink.fillStyle = "#000";
  ink.fillRect(0, 0, pad.width, pad.height);
}

function clear() {
  wipe();
  drawing += 1;
  waiting = false;
  find("invitation").hidden = false;
  find("problem").hidden = true;
  clearTimeout(speaking);
  find("spoken").textContent = "Cleared.";
  find("verdict").textContent = "Every model reads as you draw.";
  picture(find("seen"), null);
  find("seen").setAttribute("aria-label", "Nothing is drawn yet");
  for (const card of cards) empty(card);
}

function stroke(from, to) {
  ink.strokeStyle = "#fff";
  ink.lineWidth = PEN;
  ink.lineCap = ink.lineJoin = "round";
  ink.beginPath();
  ink.moveTo(from.x, from.y);
  ink.lineTo(to.x + 0.01, to.y); // a line of no length would leave no dot
  ink.stroke();
  find("invitation").hidden = true;
  waiting = true;
  ask();
}

function place(event) {
  const frame = pad.getBoundingClientRect();
  return {
    x: ((event.clientX - frame.left) / frame.width) * pad.width,
    y: ((event.clientY - frame.top) / frame.height) * pad.height,
  };
}

pad.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button !== 0) return;
  pointer = { id: event.pointerId, at: place(event) };
  pad.setPointerCapture(event.pointerId);
  stroke(pointer.at, pointer.at);
  event.preventDefault();
});

pad.addEventListener("pointermove", (event) => {
  if (pointer === null || event.pointerId !== pointer.id) return;
  const passed = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const one of passed.length ? passed : [event]) {
    const to = place(one);
    stroke(pointer.at, to);
    pointer.at = to;
  }
});

for (const end of ["pointerup", "pointercancel"]) {
  pad.addEventListener(end, (event) => {
    if (pointer !== null && event.pointerId === pointer.id) pointer = null;
  });
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

pad.addEventListener("keydown", (event) => {
  const bounded = (value) => Math.min(Math.max(value, PEN / 2), pad.width - PEN / 2);
  if (event.key in WAYS) {
    const [right, down] = WAYS[event.key];
    const step = event.shiftKey ? STEP / 5 : STEP;
    const from = { x: pen.x, y: pen.y };
    pen.x = bounded(pen.x + right * step);
    pen.y = bounded(pen.y + down * step);
    if (pen.down) stroke(from, pen);
  } else if (event.key === " ") {
    pen.down = !pen.down;
    if (pen.down) stroke(pen, pen);
    find("pen-state").textContent = pen.down ? "Pen down" : "Pen up";
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clear();
  } else {
    return;
  }
  event.preventDefault();
  showPen();
});

function showPen() {
  const mark = find("pen");
  mark.hidden = !pad.matches(":focus-visible");
  mark.classList.toggle("down", pen.down);
  mark.style.left = `${(pen.x / pad.width) * 100}%`;
  mark.style.top = `${(pen.y / pad.height) * 100}%`;
}

pad.addEventListener("focus", showPen);
pad.addEventListener("blur", () => {
  pen.down = false;
  showPen();
});
find("clear").addEventListener("click", clear);

// the answers

function pixels() {
  const rgba = ink.getImageData(0, 0, pad.width, pad.height).data;
  let text = "";
  for (let at = 0; at < rgba.length; at += 4) text += String.fromCharCode(rgba[at]);
  return btoa(text);
}

async function ask() {
  if (asking || !waiting) return;
  asking = true;
  waiting = false;
  const asked = drawing;
  try {
    const reply = await fetch("answers", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ width: pad.width, height: pad.height, pixels: pixels() }),
    });
    if (!reply.ok) throw new Error(await reply.text());
    const found = await reply.json();
    if (asked === drawing) show(found);
  } catch (error) {
    if (asked === drawing) complain(error instanceof TypeError ? "The demo has ended; start it again." : error.message);
  } finally {
    asking = false;
    ask();
  }
}

function complain(text) {
  find("problem").textContent = text;
  find("problem").hidden = false;
}

function percent(share) {
  const text = (share * 100).toFixed(1);
  return `${text === "100.0" && share < 1 ? ">99.9" : text}%`;
}

function show(found) {
  find("problem").hidden = true;
  picture(find("seen"), found.seen);
  found.answers.forEach((answer, at) => fill(cards[at], answer, found.seen));
  const said = found.answers.filter((answer) => answer.top).map((answer) => answer.top[0].label);
  const counts = new Map();
  for (const label of said) counts.set(label, (counts.get(label) || 0) + 1);
  const [most, count] = [...counts].sort((a, b) => b[1] - a[1])[0] || [null, 0];
  find("verdict").textContent = verdict(most, count, said.length);
  find("seen").setAttribute("aria-label", "Your digit, scaled and centered, white on black");
  clearTimeout(speaking);
  speaking = setTimeout(() => speak(found.answers), QUIET_MS);
}

function verdict(label, count, models) {
  const most = `${label === "8" ? "an" : "a"} ${label}`;
  if (models === 0) return "No model has an answer.";
  if (models === 1) return `It reads ${most}.`;
  if (count === models) return `${models === 2 ? "Both" : `All ${models}`} read ${most}.`;
  return count * 2 > models ? `${count} of ${models} read ${most}.` : "They do not agree.";
}

function speak(answers) {
  const said = answers.map((answer, at) => {
    const best = answer.top ? `${answer.top[0].label}, ${percent(answer.top[0].probability)}` : "no answer";
    return `${cards[at].name}: ${best}.`;
  });
  find("spoken").textContent = `${find("verdict").textContent} ${said.join(" ")}`;
}

function make(id) {
  return find(id).content.firstElementChild.cloneNode(true);
}

function card(model, top) {
  const whole = make("model");
  whole.querySelector("h3").textContent = model.framework;
  const facts = [model.architecture];
  if (model.parameters !== null) facts.push(`${model.parameters.toLocaleString("en")} parameters`);
  const over = model.seeds > 1 ? `, mean of ${model.seeds} seeds` : "";
  facts.push(`${(model.val_accuracy * 100).toFixed(2)}% of validation right${over}`);
  whole.querySelector(".what").textContent = facts.join(" · ");
  const lines = Array.from({ length: top }, () => make("line"));
  whole.querySelector(".top").append(...lines);
  find("models").append(whole);
  return { whole, lines, name: `${model.framework} ${model.architecture}`, looks: [] };
}

function empty(one) {
  one.whole.querySelector(".best").textContent = "–";
  for (const line of one.lines) fillLine(line, "–", 0, "");
  for (const look of one.looks) look.remove();
  one.looks = [];
}

function fillLine(line, label, share, text) {
  line.querySelector(".label").textContent = label;
  line.querySelector(".bar span").style.width = `${share * 100}%`;
  line.querySelector(".share").textContent = text;
}

function fill(one, answer, seen) {
  if (answer.error) {
    empty(one);
    complain(answer.error);
    return;
  }
  const best = one.whole.querySelector(".best");
  best.textContent = answer.top[0].label;
  best.classList.toggle("unsure", answer.top[0].probability < 0.5);
  answer.top.forEach(({ label, probability }, at) => fillLine(one.lines[at], label, probability, percent(probability)));
  while (one.looks.length < answer.attention.length) {
    const look = make("look");
    one.whole.querySelector(".looks").append(look);
    one.looks.push(look);
  }
  answer.attention.forEach(({ layer, shares }, at) => {
    const canvas = one.looks[at].querySelector("canvas");
    picture(canvas, seen, shares);
    canvas.setAttribute("aria-label", `${layer}: looks most at the ${where(shares)}`);
    one.looks[at].querySelector("figcaption").textContent = layer;
  });
}

function where(shares) {
  const all = shares.flat();
  const most = all.indexOf(Math.max(...all));
  const name = (at, length, names) => names[Math.min(2, Math.floor((at / length) * 3))];
  const row = name(Math.floor(most / shares[0].length), shares.length, ["top", "middle", "bottom"]);
  return `${row} ${name(most % shares[0].length, shares[0].length, ["left", "center", "right"])}`;
}

// gray levels, under the shares of attention where they are given
function picture(canvas, rows, shares) {
  const area = canvas.getContext("2d");
  area.fillStyle = "#000";
  area.fillRect(0, 0, canvas.width, canvas.height);
  if (rows === null) return;
  cells(canvas, rows, (level) => `rgb(${level} ${level} ${level})`);
  if (!shares) return;
  const most = Math.max(...shares.flat());
  const color = getComputedStyle(document.documentElement).getPropertyValue("--attention");
  cells(canvas, shares, (share) => `rgb(${color} / ${(share / most) * 0.8})`);
}

function cells(canvas, rows, style) {
  const area = canvas.getContext("2d");
  const edge = (at, count, length) => Math.round((at / count) * length);
  rows.forEach((row, down) => {
    const top = edge(down, rows.length, canvas.height);
    const height = edge(down + 1, rows.length, canvas.height) - top;
    row.forEach((value, across) => {
      const left = edge(across, row.length, canvas.width);
      area.fillStyle = style(value);
      area.fillRect(left, top, edge(across + 1, row.length, canvas.width) - left, height);
    });
  });
}

async function start() {
  wipe();
  const reply = await fetch("models");
  if (!reply.ok) throw new Error(await reply.text());
  const about = await reply.json();
  const count = about.models.length;
  find("run").textContent = `${count === 1 ? "One model" : `${count} models`} of the run ${about.run}, trained on ${about.dataset}`;
  find("side").textContent = `${about.side} × ${about.side}`;
  find("seen").width = find("seen").height = about.side;
  cards = about.models.map((model) => card(model, about.top));
  find("legend").hidden = !about.models.some((model) => model.attends);
  clear();
  find("spoken").textContent = "";
}

start().catch((error) => complain(error.message));
