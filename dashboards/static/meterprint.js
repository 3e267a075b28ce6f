"use strict";
// Keeps a page fresh: cards of lines with trend and age of the data, states of agents and of the
// site. What is being typed stays; a site that does not answer is said to be lost.
(() => {
  const POLL = 2500;
  const CALM = 300;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function drawTrend(box) {
    const points = (box.dataset.trend || "").split(",").filter(Boolean).map((p) => p.split(":").map(Number));
    box.replaceChildren();
    if (!points.length || !window.uPlot) return;
    const target = Number(box.dataset.target);
    if (points.length === 1) points.push([points[0][0] + 60, null]);
    const times = points.map((p) => p[0]);
    const series = [{}, { stroke: css("--data"), width: 2, points: { size: 6, fill: css("--data") } }];
    const data = [times, points.map((p) => p[1])];
    if (target > 0) {
      series.push({ stroke: css("--data2"), width: 1.5, dash: [8, 4], points: { show: false } });
      data.push(times.map(() => target));
    }
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line") }, ticks: { show: false }, size: 44, font: "12px sans-serif" };
    new window.uPlot({
      width: box.clientWidth, height: 110, padding: [8, 10, 4, 0], legend: { show: false }, cursor: { show: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high, target || high) * 1.15] } },
      axes: [{ show: false }, axis], series,
    }, data, box);
  }

  function show(root) {
    root.querySelectorAll("[data-age]").forEach((box) => { box.born ??= performance.now(); });
    root.querySelectorAll(".trend").forEach(drawTrend);
  }

  function inWords(age, words) {
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (age >= 2 * size) return `${Math.floor(age / size)} ${words[name]}`;
    }
    return `${age} ${words.s}`;
  }

  function tick() {
    for (const box of document.querySelectorAll("[data-age]")) {
      const age = Number(box.dataset.age) + Math.floor((performance.now() - box.born) / 1000);
      box.textContent = inWords(age, box.dataset);
      const card = box.closest("[data-line]");
      if (card) card.classList.toggle("stale", age > Number(box.dataset.limit));
    }
  }

  function take(card, fresh) {
    card.classList.toggle("stale", fresh.classList.contains("stale"));
    const live = fresh.querySelector(".live");
    card.querySelector(".live").replaceWith(live);
    show(live);
    const form = card.querySelector("form");
    const next = fresh.querySelector("form");
    if (form.dataset.key === next.dataset.key) return;
    form.replaceWith(next);
    if (window.htmx) window.htmx.process(next);
  }

  async function ask(path) {
    const answer = await fetch(path);
    if (answer.status === 401) location.reload();
    return answer.ok ? answer.text() : null;
  }

  async function refreshCards() {
    for (const card of document.querySelectorAll("[data-line]")) {
      if (card.querySelector(".live").contains(document.activeElement)) continue;
      const text = await ask(`/fragments/line/${encodeURIComponent(card.dataset.line)}`);
      if (text === null) continue;
      const holder = document.createElement("template");
      holder.innerHTML = text;
      if (card.isConnected) take(card, holder.content.firstElementChild);
    }
  }

  async function refreshParts() {
    for (const part of document.querySelectorAll("[data-fragment]")) {
      if (part.contains(document.activeElement)) continue;
      const text = await ask(part.dataset.fragment);
      if (text !== null && text.trim() !== part.innerHTML.trim()) part.innerHTML = text;
    }
  }

  async function refresh() {
    const lost = document.querySelector(".lost");
    try {
      await refreshCards();
      await refreshParts();
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
  }

  let waiting = false;
  function changed() {
    if (waiting || document.hidden) return;
    waiting = true;
    setTimeout(() => { waiting = false; refresh(); }, CALM);
  }

  function start() {
    show(document);
    if (!document.querySelector("[data-line], [data-fragment]")) return;
    meterprintChanges(changed);
    setInterval(changed, POLL);
    setInterval(tick, 1000);
    document.addEventListener("visibilitychange", changed);
    document.addEventListener("htmx:after:swap", () => show(document));
  }

  document.addEventListener("DOMContentLoaded", start);
  window.addEventListener("resize", () => document.querySelectorAll(".trend").forEach(drawTrend));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.querySelectorAll(".trend").forEach(drawTrend));
})();
