"use strict";
// Tells a tab of changes. All tabs of a browser share one event stream: a shared worker holds it;
// where there is none, the tabs choose one of them that is visible. Without channels a tab polls.
function meterprintChanges(changed) {
  if (!window.BroadcastChannel) return;
  const channel = new BroadcastChannel("meterprint");
  if (window.SharedWorker) {
    channel.onmessage = () => changed();
    meterprintChanges.worker = new SharedWorker("/static/events.worker.js");
    return;
  }
  const BEAT = 1000;
  const SILENT = 3 * BEAT;
  const me = Math.random();
  let close = null;
  let heard = performance.now() - SILENT + BEAT * me;
  const lead = () => {
    close = meterprintStream((version) => { changed(); channel.postMessage({ change: version }); });
    channel.postMessage({ leader: me });
  };
  const resign = (tell) => {
    if (!close) return;
    close();
    close = null;
    if (tell) channel.postMessage({ resigned: true });
  };
  channel.onmessage = ({ data }) => {
    if (data.resigned) heard = -Infinity;
    if (data.leader !== undefined) {
      heard = performance.now();
      if (data.leader > me) resign(false);
    }
    if (data.change !== undefined) changed();
  };
  setInterval(() => {
    if (close) channel.postMessage({ leader: me });
    else if (!document.hidden && performance.now() - heard > SILENT) lead();
  }, BEAT);
  document.addEventListener("visibilitychange", () => { if (document.hidden) resign(true); });
  window.addEventListener("pagehide", () => resign(true));
}
