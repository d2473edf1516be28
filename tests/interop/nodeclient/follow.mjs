// Follows a resource with the official JavaScript client and says, one JSON line each, what it saw.
//
//   node follow.mjs list KUBECONFIG              ConfigMaps of all namespaces, in pages of 5
//   node follow.mjs watch KUBECONFIG PATH RV     Watch, begun again at the last resourceVersion whenever it ends
//   node follow.mjs informer KUBECONFIG PATH     makeInformer, started again 100 ms after it fails
//   node follow.mjs dashboard KUBECONFIG PATH RV
//                                                A WebSocket as a dashboard in a browser opens it, and again
//                                                at the newest resourceVersion whenever it closes
//
// The last three end when standard input does; the informer with its cache's contents.
import { CoreV1Api, KubeConfig, Watch, makeInformer } from '@kubernetes/client-node';
import WebSocket from 'ws';

const [what, kubeconfig, path, from] = process.argv.slice(2);
const config = new KubeConfig();
config.loadFromFile(kubeconfig);
const api = config.makeApiClient(CoreV1Api);

const say = (line) => console.log(JSON.stringify(line));
const key = (object) => `${object.metadata.namespace}/${object.metadata.name}`;
const versions = (objects) => Object.fromEntries(objects.map((one) => [key(one), one.metadata.resourceVersion]));
const pause = () => new Promise((resolve) => setTimeout(resolve, 100));
let ended = false;

async function list() {
  const found = [];
  let _continue;
  do {
    const page = await api.listConfigMapForAllNamespaces({ limit: 5, _continue });
    found.push(...page.items);
    _continue = page.metadata._continue;
  } while (_continue);
  say({ event: 'objects', objects: versions(found) });
}

async function watch() {
  let resourceVersion = from;
  while (!ended) {
    await new Promise((done) => {
      const told = (type, object) => {
        if (type === 'ERROR') return say({ event: 'failed', error: JSON.stringify(object) });
        resourceVersion = object.metadata.resourceVersion;
        if (type !== 'BOOKMARK') say({ event: type, key: key(object), rv: resourceVersion });
      };
      const query = { resourceVersion, allowWatchBookmarks: true };
      new Watch(config).watch(path, query, told, done).then(() => say({ event: 'connected' }));
    });
    await pause();
  }
}

// A browser can send no header of its own, so the token goes as a subprotocol; it always sends its Origin.
// What a dashboard does with a frame: parse it, and drop what is no newer than its list.
async function dashboard() {
  const cluster = config.getCurrentCluster();
  const token = Buffer.from(config.getCurrentUser().token).toString('base64url');
  const protocols = ['base64.binary.k8s.io', `base64url.bearer.authorization.k8s.io.${token}`];
  const options = { origin: 'http://localhost:4466', ca: Buffer.from(cluster.caData, 'base64') };
  let newest = BigInt(from);
  while (!ended) {
    await new Promise((done) => {
      const url = `${cluster.server.replace('https', 'wss')}${path}?watch=1&resourceVersion=${newest}`;
      const socket = new WebSocket(url, protocols, options);
      socket.on('open', () => say({ event: 'connected', protocol: socket.protocol }));
      socket.on('message', (data, binary) => {
        const { type, object } = JSON.parse(data);
        if (type === 'ERROR' || binary) return say({ event: 'failed', error: String(data) });
        const version = BigInt(object.metadata.resourceVersion);
        if (version <= newest) return say({ event: 'old', key: key(object) });
        newest = version;
        say({ event: type, key: key(object), rv: object.metadata.resourceVersion });
      });
      socket.on('error', (error) => say({ event: 'broken', error: String(error) }));
      socket.on('close', (code) => done(say({ event: 'closed', code })));
    });
    await pause();
  }
}

async function informer() {
  const informer = makeInformer(config, path, () => api.listConfigMapForAllNamespaces());
  for (const event of ['add', 'update', 'delete']) {
    informer.on(event, (object) => say({ event, key: key(object), rv: object.metadata.resourceVersion }));
  }
  informer.on('connect', () => say({ event: 'connected' }));
  informer.on('error', async () => {
    await pause();
    if (!ended) informer.start();
  });
  await informer.start();
  say({ event: 'synced' });
  return () => {
    say({ event: 'objects', objects: versions(informer.list()) });
    informer.stop();
  };
}

const atEnd = await { list, watch: async () => void watch(), dashboard: async () => void dashboard(), informer }[what]();
if (what === 'list') process.exit(0);
process.stdin.on('end', () => {
  ended = true;
  atEnd?.();
  setTimeout(() => process.exit(0), 50);
});
process.stdin.resume();
