"use strict";
// One event stream for all tabs of a browser.
const ports = new Set();
const source = new EventSource("/events");
source.addEventListener("change", (event) => {
  for (const port of ports) port.postMessage(event.data);
});
self.onconnect = (event) => ports.add(event.ports[0]);
