"use strict";
// One event stream for all tabs of a browser; it ends with the last tab.
const ports = new Set();
let source = null;

function open() {
  if (source) return;
  source = new EventSource("/events");
  source.addEventListener("change", (event) => {
    for (const port of ports) port.postMessage(event.data);
  });
}

self.onconnect = (event) => {
  const port = event.ports[0];
  ports.add(port);
  open();
  port.onmessage = (message) => {
    if (message.data === "hello") { ports.add(port); open(); }
    if (message.data === "bye") ports.delete(port);
    if (ports.size === 0 && source) { source.close(); source = null; }
  };
};
