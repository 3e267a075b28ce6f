"use strict";
// Opens the event stream and keeps it open; `tell` hears every change. Returns what closes it.
function meterprintStream(tell) {
  const RETRY = 2000;
  let source = null;
  let ended = false;
  const open = () => {
    if (ended) return;
    source = new EventSource("/events");
    source.addEventListener("change", (event) => tell(event.data));
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(open, RETRY);
    };
  };
  open();
  return () => { ended = true; source.close(); };
}
