"use strict";
// One event stream for all tabs of a browser. It keeps no list of tabs: it tells a channel, and
// ends with the last tab.
importScripts("/static/stream.js");
const channel = new BroadcastChannel("meterprint");
meterprintStream((version) => channel.postMessage({ change: version }));
