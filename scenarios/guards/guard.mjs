// A guard in Node.js (18.3 or later). node guard.mjs HOST PORT TIMES [unguarded]
import net from 'node:net';
import { once } from 'node:events';

const [host, port, times, unguarded] = process.argv.slice(2);
let connected = 0, caught = 0;
for (let i = 0; i < Number(times); i++) {
  const client = net.connect(Number(port), host);
  try {
    await once(client, 'connect');
  } catch {
    continue; // refused
  }
  const closed = once(client, 'close');
  if (!unguarded && client.localPort === client.remotePort && client.localAddress === client.remoteAddress) {
    client.resetAndDestroy(); // RST: leaves no TIME-WAIT
    caught++;
  } else {
    client.destroy();
    connected++;
  }
  await closed;
}
console.log(`${connected} connected, ${caught} caught`);
