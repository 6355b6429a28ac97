// What becomes of a player when its kernel goes. For notebooks alone: the page of listening/page.py has no kernel.
// `kernel_gone` is a value of the model that Python doesn't have: nobody will ever answer.

const DOUBT = 4000; // ms without an answer after which the kernel is asked whether it still has this player
const LOST = ["dead", "restarting", "autorestarting"]; // states of a kernel after which its players are gone
const TAKEN_ALONG = ["answer", "mixer", "pictures", "overlay", "loop", "regions", "whole", "band"];
const ALONE_NOW = "The kernel is gone: this page answers by itself. To get Python back, run the cell again.";

/** Note in the model when its kernel is gone. Returns a function that ends this. */
function attend(model) {
  const kernel = model.widget_manager?.kernel, events = ["change:regions", "change:whole"];
  let timer = 0;
  const lose = () => model.set("kernel_gone", true);
  const heed = (_, status) => LOST.includes(status) && lose();
  const ask = async () => {
    const { regions, whole } = model.get("answer");
    if (same([regions, whole], [model.get("regions"), model.get("whole")])) return;
    // A busy kernel answers later. One that somebody else has started anew doesn't know this player.
    const { content } = await kernel.requestCommInfo({ target_name: "jupyter.widget" });
    if (content.comms && !Object.hasOwn(content.comms, model.get("_key"))) lose();
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => ask().catch(() => {}), DOUBT); // no reply: `heed` is told why
  };
  model.on("comm_live_update", lose);
  if (kernel) {
    for (const event of events) model.on(event, wait);
    kernel.statusChanged.connect(heed);
  }
  return () => {
    clearTimeout(timer);
    model.off("comm_live_update", lose);
    if (!kernel) return;
    for (const event of events) model.off(event, wait);
    kernel.statusChanged.disconnect(heed);
  };
}

/** The page goes on where the player was, and answers what Python didn't. */
async function handOver(model, frame) {
  const state = Object.fromEntries(TAKEN_ALONG.map((name) => [name, model.get(name)]));
  const found = () => frame.contentDocument?.getElementById("sop-page")?.sop;
  while (frame.isConnected && !found()) await new Promise((done) => setTimeout(done, 50));
  found()?.model.set(state);
  found()?.model.save_changes();
}

/** A notebook keeps an `offline` player as a page. As long as there is a kernel, the live player takes the page's place, wherever
 *  it is shown. Returns a function that ends this. */
function stand(model) {
  const live = new Map(); // what is in a place: the page's frame, the player's element, a function that closes it
  const leave = (place) => {
    const { frame, el, close } = live.get(place);
    live.delete(place);
    close();
    el.remove();
    place.append(frame);
    return frame;
  };
  const look = () => {
    for (const place of live.keys()) if (!place.isConnected) leave(place);
    if (model.get("kernel_gone")) return;
    for (const frame of document.querySelectorAll(`[data-sop-page="${model.get("_key")}"] > iframe`)) {
      const place = frame.parentNode, el = element("div", "live", place);
      frame.remove();
      live.set(place, { frame, el, close: render({ model, el }) });
    }
  };
  const yielded = () => {
    for (const place of live.keys()) {
      element("div", "alone", place, { textContent: ALONE_NOW, role: "status" });
      handOver(model, leave(place));
    }
  };
  const observer = new MutationObserver(look);
  observer.observe(document.body, { childList: true, subtree: true });
  model.on("change:kernel_gone", yielded);
  look();
  return () => {
    observer.disconnect();
    model.off("change:kernel_gone", yielded);
    for (const place of live.keys()) leave(place);
  };
}

/** Once for a player, however many views it has. */
function initialize({ model }) {
  const ends = [attend(model), stand(model)];
  return () => ends.forEach((end) => end());
}

export default { initialize, render };
