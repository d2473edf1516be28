// Follows a resource with the official JavaScript client and says, one JSON line each, what it saw.
//
//   node follow.mjs list KUBECONFIG              ConfigMaps of all namespaces, in pages of 5
//   node follow.mjs watch KUBECONFIG PATH RV     Watch, begun again at the last resourceVersion whenever it ends
//   node follow.mjs informer KUBECONFIG PATH     makeInformer, started again 100 ms after it fails
//
// The last two end when standard input does; the informer with its cache's contents.
import { CoreV1Api, KubeConfig, Watch, makeInformer } from '@kubernetes/client-node';

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

const atEnd = await { list, watch: async () => void watch(), informer }[what]();
if (what === 'list') process.exit(0);
process.stdin.on('end', () => {
  ended = true;
  atEnd?.();
  setTimeout(() => process.exit(0), 50);
});
process.stdin.resume();
