"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function drawTrend(box) {
    const points = (box.dataset.trend || "").split(",").filter(Boolean).map((p) => p.split(":").map(Number));
    if (points.length < 2 || !window.uPlot) return;
    box.replaceChildren();
    const target = Number(box.dataset.target);
    const times = points.map((p) => p[0]);
    const series = [{}, { stroke: css("--data"), width: 2, points: { size: 6, fill: css("--data") } }];
    const data = [times, points.map((p) => p[1])];
    if (target > 0) {
      series.push({ stroke: css("--data2"), width: 1.5, dash: [8, 4], points: { show: false } });
      data.push(times.map(() => target));
    }
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line") }, ticks: { show: false }, size: 36, font: "12px sans-serif" };
    new window.uPlot({
      width: box.clientWidth, height: 110, padding: [8, 10, 0, 0], legend: { show: false }, cursor: { show: false },
      scales: { y: { range: (_, low, high) => [Math.min(low, target || low) * 0.8, Math.max(high, target || high) * 1.15] } },
      axes: [{ show: false }, axis], series,
    }, data, box);
  }

  function drawAll(root) {
    root.querySelectorAll(".trend").forEach(drawTrend);
  }

  function busy(card) {
    return card.contains(document.activeElement) && document.activeElement.matches("input, select");
  }

  async function refresh() {
    for (const card of document.querySelectorAll("[data-line]")) {
      if (busy(card)) continue;
      const answer = await fetch(`/fragments/line/${encodeURIComponent(card.dataset.line)}`);
      if (!answer.ok) continue;
      const holder = document.createElement("template");
      holder.innerHTML = await answer.text();
      const fresh = holder.content.firstElementChild;
      card.replaceWith(fresh);
      drawAll(fresh);
      if (window.htmx) window.htmx.process(fresh);
    }
  }

  let waiting = false;
  function changed() {
    if (waiting || document.hidden) return;
    waiting = true;
    setTimeout(() => { waiting = false; refresh().catch(() => {}); }, 300);
  }

  function stream(heard) {
    const source = new EventSource("/events");
    source.addEventListener("change", heard);
  }

  // Where there are no shared workers, the tab that holds the lock hears the stream for all.
  function shareByChannel() {
    if (!window.BroadcastChannel || !navigator.locks) { stream(changed); return; }
    const channel = new BroadcastChannel("meterprint");
    channel.onmessage = changed;
    navigator.locks.request("meterprint-events", () => new Promise(() => {
      stream(() => { channel.postMessage("change"); changed(); });
    }));
  }

  function shareByWorker() {
    const port = new SharedWorker("/static/events.worker.js").port;
    port.onmessage = changed;
    port.start();
    window.addEventListener("pagehide", () => port.postMessage("bye"));
    window.addEventListener("pageshow", () => port.postMessage("hello"));
  }

  function grow() {
    for (const age of document.querySelectorAll(".ago")) age.textContent = String(Number(age.textContent) + 1);
  }

  function listen() {
    if (!document.querySelector("[data-line]")) return;
    if (window.SharedWorker) shareByWorker(); else shareByChannel();
    setInterval(changed, 5000);
    setInterval(grow, 1000);
    document.addEventListener("visibilitychange", changed);
  }

  document.addEventListener("DOMContentLoaded", () => { drawAll(document); listen(); });
  window.addEventListener("resize", () => drawAll(document));
})();
