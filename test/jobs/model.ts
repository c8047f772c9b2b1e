import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

/**
 * A model server for tests: `node model.ts FOLDER READY`. FOLDER/model.json says who it is and how it behaves:
 * `{name, broken?, until?, slots?}`; `until` is a file that must exist before it is ready; `work:MS` takes one of its
 * slots (1) for so long, and waits for one. Each start adds its pid to FOLDER/starts.
 */
const [folder = '', ready = ''] = process.argv.slice(2);
const model = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as {
  name: string;
  broken?: boolean;
  until?: string;
  slots?: number;
};
let free = model.slots ?? 1;
const waiting: (() => void)[] = [];
function work(ms: number, done: () => void) {
  if (free === 0) return void waiting.push(() => work(ms, done));
  free -= 1;
  setTimeout(() => {
    free += 1;
    done();
    waiting.shift()?.();
  }, ms);
}
appendFileSync(join(folder, 'starts'), `${process.pid}\n`);
console.log(`loading ${model.name}`);
if (model.broken) {
  console.error('cannot load: no such estimator');
  process.exit(1);
}
while (model.until && !existsSync(model.until))
  await new Promise((resolve) => setTimeout(resolve, 10));

const server = createServer((request, response) => {
  if (request.url === '/ping') return void response.end('\n');
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString();
    if (body === 'crash') process.exit(3);
    if (body === 'bad') {
      response.writeHead(400, { 'content-type': 'application/json' });
      return response.end('{"error_code":"BAD_REQUEST","message":"bad"}');
    }
    if (body.startsWith('work:'))
      return work(Number(body.slice(5)), () => response.end(model.name));
    if (body.startsWith('wait:')) {
      const look = setInterval(() => {
        if (!existsSync(body.slice(5))) return;
        clearInterval(look);
        response.end(model.name);
      }, 10);
      return undefined;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    return response.end(
      JSON.stringify({
        name: model.name,
        type: request.headers['content-type'],
        body,
        pid: process.pid,
      }),
    );
  });
});
process.on('SIGTERM', () => server.close(() => process.exit(0)));
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  writeFileSync(`${ready}.part`, JSON.stringify({ port }));
  renameSync(`${ready}.part`, ready);
});
