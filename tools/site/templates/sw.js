// Keeps the whole folder, so that it works without the network once it was loaded. The list is made with the folder:
// another list is another VERSION, which takes over when the last page of this one has been closed.
const VERSION = "{{ version }}";
const FILES = {{ files }};

const ours = `selfconn ${registration.scope} `;

addEventListener("install", (event) => {
  const requests = FILES.map((path) => new Request(path, { cache: "no-cache" }));
  event.waitUntil(caches.open(ours + VERSION).then((cache) => cache.addAll(requests)));
});

addEventListener("activate", (event) => {
  const old = (name) => name.startsWith(ours) && name !== ours + VERSION;
  const cleared = caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name))));
  event.waitUntil(cleared.then(() => clients.claim()));
});

addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith(registration.scope)) return;
  const kept = caches.open(ours + VERSION).then((cache) => cache.match(event.request, { ignoreSearch: true }));
  event.respondWith(kept.then((answer) => answer || fetch(event.request)));
});
