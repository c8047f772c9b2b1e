import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { openBrowser } from './chromium.ts';
import { runState, shellPipeline, startRun } from './pipelines.ts';

const ended = (state: string) => state === 'SUCCEEDED' || state === 'FAILED';
const HOSTILE = '<img src=x onerror="document.title=1">';
let server: ChildServer;
let browser: Awaited<ReturnType<typeof openBrowser>>;

/** A tab that keeps what went wrong in it. */
async function open(path = '/', on = browser): Promise<{ page: Page; wrong: string[] }> {
  const page = await on.context.newPage();
  const wrong: string[] = [];
  page.on('console', (line) => {
    if (line.type() === 'error' || line.type() === 'warning') wrong.push(line.text());
  });
  page.on('pageerror', (error) => wrong.push(error.message));
  page.on('requestfailed', (request) => wrong.push(`failed: ${request.url()}`));
  page.on('response', (answer) => {
    if (answer.status() >= 400) wrong.push(`${answer.status()} ${answer.url()}`);
  });
  await page.goto(server.url + path);
  await page.waitForFunction(() => document.querySelector('#status')?.className !== '');
  return { page, wrong };
}

const put = async (path: string, body: unknown) => {
  const answer = await fetch(server.url + path, {
    method: 'PUT',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(answer.status).toBeLessThan(300);
};

beforeAll(async () => {
  server = await startServer();
  browser = await openBrowser();
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

test('a server on which nothing has run says what to do, without an error', async () => {
  const { page, wrong } = await open();
  expect(await page.getByRole('heading', { name: 'Nothing has run yet' }).isVisible()).toBe(true);
  expect(await page.locator('#lines').textContent()).toContain(
    `export MLFLOW_TRACKING_URI=${server.url}`,
  );
  expect(await page.locator('#lines').textContent()).toContain(`kfp.Client(host="${server.url}")`);
  expect(await page.locator('#bench').isVisible()).toBe(false);
  expect(wrong).toEqual([]);
  await page.close();
});

test('the machine lights up while its pipeline runs, step by step', async () => {
  const spec = shellPipeline('lights', [
    { name: 'first', command: 'sleep 2' },
    { name: 'second', command: 'sleep 2', after: ['first'] },
  ]);
  const id = await startRun(server.url, 'a run that lights up', spec);
  // The address that the kfp client prints.
  const { page, wrong } = await open(`/#/runs/details/${id}`);
  const step = (name: string) => page.locator(`#graph [aria-label^="${name}:"]`);
  await page.waitForSelector('#graph [aria-label="first: running"]', { timeout: 20_000 });
  expect(await step('second').getAttribute('aria-label')).toBe('second: not reached yet');
  expect(await page.locator('#status').textContent()).toBe('1 running');
  await page.waitForSelector('#graph [aria-label="second: running"]', { timeout: 20_000 });
  expect(await step('first').getAttribute('aria-label')).toBe('first: succeeded');
  await page.waitForSelector('#graph [aria-label="Run succeeded: succeeded"]', { timeout: 20_000 });
  await page.waitForFunction(
    () => document.querySelector('#spoken')?.textContent === 'a run that lights up: succeeded',
    undefined,
    { timeout: 20_000 },
  );
  expect(await page.locator('#graph .edge.taken').count()).toBeGreaterThanOrEqual(4);
  expect(wrong).toEqual([]);
  await page.close();
});

describe('with all that a server can hold', () => {
  beforeAll(async () => {
    const series = [HOSTILE, 'all routes'].map((name, at) => ({
      name,
      actual: [10, 20, null],
      forecast: [11, 19, 21 + at],
      naive: [9, 25, 20],
    }));
    await put('/api/data/forecast/2013-06.json', {
      drop: '2013-06',
      days: ['2013-06-01', '2013-06-02', '2013-06-03'],
      series,
      wape: { model: 0.04, naive: 0.05 },
      version: 1,
    });
    await put('/api/data/forecast/2013-07.json', {
      drop: HOSTILE,
      days: ['2013-07-01', HOSTILE],
      series,
      wape: { model: 0.06, naive: 0.05 },
      version: HOSTILE,
    });
    await put('/api/data/forecast/no.json', ['not', 'a', 'drop']);
    const failing = shellPipeline('failing', [
      { name: 'good', command: 'true' },
      { name: 'bad', command: `echo '${HOSTILE}' >&2; exit 3`, after: ['good'] },
      { name: 'after', command: 'true', after: ['bad'] },
    ]);
    const id = await startRun(server.url, HOSTILE, failing);
    expect(await runState(server.url, id, ended)).toBe('FAILED');
    const form = new FormData();
    form.append('uploadfile', new Blob([JSON.stringify(failing)]), 'failing.yaml');
    const uploaded = await fetch(`${server.url}/apis/v2beta1/pipelines/upload?name=failing`, {
      method: 'POST',
      body: form,
    });
    expect(uploaded.status).toBe(200);
    const asked = await fetch(`${server.url}/api/retrainings`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({
        pipeline: 'failing',
        gate: { model: 'm', metric: 'wape', direction: 'lower' },
      }),
    });
    expect(asked.status, await asked.clone().text()).toBe(200);
    const { id: retraining } = (await asked.json()) as { id: string };
    const deadline = Date.now() + 30_000;
    for (let state = 'running'; state === 'running'; ) {
      const answer = await fetch(`${server.url}/api/retrainings/${retraining}`);
      ({ state } = (await answer.json()) as { state: string });
      if (Date.now() > deadline) throw new Error('the retraining has not ended');
      await new Promise((done) => setTimeout(done, 100));
    }
    const mlflow = (path: string, body: unknown) =>
      fetch(`${server.url}/api/2.0/mlflow/${path}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
    await mlflow('registered-models/create', { name: 'demand' });
    for (const source of ['s3://a/1', 's3://a/2'])
      await mlflow('model-versions/create', { name: 'demand', source });
    await mlflow('registered-models/alias', { name: 'demand', alias: 'champion', version: '1' });
  });

  test('texts that look like markup are texts', async () => {
    const { page, wrong } = await open();
    await page.waitForSelector('#graph svg');
    expect(await page.locator('img, iframe, object').count()).toBe(0);
    expect(await page.title()).toBe('Stillflow');
    expect(await page.locator('#runs').textContent()).toContain('<img');
    await page.locator('#drops button').first().click();
    expect(await page.locator('#forecasts').textContent()).toContain(HOSTILE);
    expect(await page.locator('#series option').first().textContent()).toBe(HOSTILE);
    expect(wrong).toEqual([]);
    await page.close();
  });

  test('a run that failed shows the step and its last words', async () => {
    const { page } = await open();
    await page.locator('#runs button', { hasText: '<img' }).first().click();
    await page.waitForSelector('#graph [aria-label="bad: failed"][aria-pressed="true"]');
    expect(await page.locator('#detail').textContent()).toContain('exit code 3');
    expect(await page.locator('#graph [aria-label="after: skipped"]').count()).toBe(1);
    expect(page.url()).toContain('#/runs/');
    await page.close();
  });

  test('a retraining has a machine of its own, and says why it ended', async () => {
    const { page, wrong } = await open();
    await page.locator('#retrainings button').first().click();
    await page.waitForSelector('#graph [aria-label="Refused: failed"]');
    expect(await page.locator('#retrainings tbody').textContent()).toContain('bad:');
    expect(wrong).toEqual([]);
    await page.close();
  });

  test('an alias that moves stands at its new version', async () => {
    const { page } = await open();
    const row = page.locator('#versions tr', { hasText: 'champion' });
    expect(await row.textContent()).toContain('demand1champion');
    await fetch(`${server.url}/api/2.0/mlflow/registered-models/alias`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ name: 'demand', alias: 'champion', version: '2' }),
    });
    await page.reload();
    await page.waitForSelector('#versions .chip');
    expect(await row.textContent()).toContain('demand2champion');
    await page.close();
  });

  test('works by keyboard alone', async () => {
    const { page } = await open();
    await page.waitForSelector('#graph svg');
    const focused = () =>
      page.evaluate(
        () =>
          `${document.activeElement?.id} ${document.activeElement?.closest('[id]')?.id} ${document.activeElement?.getAttribute('aria-label') ?? ''}`,
      );
    const tabTo = async (what: string) => {
      for (let tabs = 0; tabs < 40; tabs++) {
        await page.keyboard.press('Tab');
        if ((await focused()).includes(what)) return;
      }
      throw new Error(`Tab never comes to ${what}`);
    };
    await tabTo(' runs ');
    const first = await page.evaluate(() => document.activeElement?.textContent);
    await page.keyboard.press('ArrowDown');
    expect(await page.evaluate(() => document.activeElement?.textContent)).not.toBe(first);
    await page.keyboard.press('Enter');
    await page.waitForFunction(
      () => document.activeElement?.getAttribute('aria-current') === 'true',
    );
    await page.locator('#runs button', { hasText: 'lights up' }).focus();
    await page.keyboard.press('Enter');
    await page.waitForSelector('#graph [aria-label="first: succeeded"]');
    await tabTo(' graph first');
    await page.keyboard.press('ArrowDown');
    expect(await focused()).toContain('second');
    await page.keyboard.press('Enter');
    expect(await page.locator('#detail h3').textContent()).toBe('second');
    const outline = await page.evaluate(
      () => getComputedStyle(document.activeElement?.querySelector('.box') as Element).strokeWidth,
    );
    expect(Number.parseFloat(outline)).toBeGreaterThan(3);
    await page.keyboard.press('Escape');
    expect(await page.locator('#detail h3').textContent()).toContain('lights up');
    await tabTo('series ');
    await tabTo(' chart ');
    await page.keyboard.press('ArrowRight');
    expect(await page.locator('#reading').textContent()).toContain('actual 10');
    await page.keyboard.press('?');
    expect(await page.locator('dialog').isVisible()).toBe(true);
    await page.keyboard.press('Escape');
    expect(await page.locator('dialog').isVisible()).toBe(false);
    await page.close();
  });

  test.each([360, 768, 1600])('fits a window %i pixels wide', async (width) => {
    const { page } = await open();
    await page.setViewportSize({ width, height: 800 });
    await page.waitForSelector('#graph svg');
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
    await page.close();
  });

  test('nothing that stays the same is drawn again', async () => {
    const { page } = await open();
    await page.waitForSelector('#graph svg');
    await page.evaluate(() => {
      for (const part of document.querySelectorAll('#graph svg, #chart svg, table, #runs li'))
        part.classList.add('kept');
    });
    const rounds = page.waitForResponse((answer) => answer.url().includes('/api/endpoints'));
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await rounds;
    await page.waitForResponse((answer) => answer.url().includes('/api/data?'));
    expect(
      await page
        .locator(
          '#graph svg:not(.kept), #chart svg:not(.kept), #runs li:not(.kept), table:not(.kept)',
        )
        .count(),
    ).toBe(0);
    await page.close();
  });

  test.each([false, true])('words can be read on their ground (dark: %s)', async (dark) => {
    const own = await openBrowser({ dark });
    try {
      const { page } = await open('/', own);
      await page.waitForSelector('#graph svg');
      const low = await page.evaluate(lowContrast);
      expect(low).toEqual([]);
    } finally {
      await own.close();
    }
  });
});

test('a server that goes away is said calmly, and found again when it is back', async () => {
  const { page } = await open();
  const { port } = new URL(server.url);
  await server.kill();
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await page.waitForFunction(() =>
    document.querySelector('#status')?.textContent?.startsWith('server unreachable'),
  );
  server = await startServer({ data: server.data, port: Number(port) });
  await page.waitForFunction(
    () => document.querySelector('#status')?.className === 'idle',
    undefined,
    { timeout: 30_000 },
  );
  expect(await page.locator('#runs button').count()).toBeGreaterThan(0);
  await page.close();
});

test('a server that asks for a token takes it from the browser, typed in or in the address', async () => {
  const locked = await startServer({ data: `${server.data}-locked` }).then(async (first) => {
    const made = await fetch(`${first.url}/api/tokens`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ name: 'me', role: 'admin' }),
    });
    const { token } = (await made.json()) as { token: string };
    await first.stop({ keep: true });
    return { token, server: await startServer({ data: first.data, args: ['--auth'] }) };
  });
  try {
    const refused = await fetch(`${locked.server.url}/`);
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
      401,
      expect.stringContaining('Basic'),
    ]);
    for (const asked of [false, true]) {
      const own = await openBrowser();
      if (asked) await own.context.setHTTPCredentials({ username: 'me', password: locked.token });
      const page = await own.context.newPage();
      const { host } = new URL(locked.server.url);
      await page.goto(asked ? locked.server.url : `http://me:${locked.token}@${host}/`);
      await page.waitForFunction(() => document.querySelector('#status')?.className === 'idle');
      await own.close();
    }
  } finally {
    await locked.server.stop();
  }
});

/** In the page: every visible text whose contrast with what lies behind it is under WCAG's AA. */
function lowContrast(): string[] {
  const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour: string): number[] => {
    if (!paint) return [0, 0, 0, 0];
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour: number[]) => {
    const [r = 0, g = 0, b = 0] = colour.slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (from: Element): number[] => {
    const box = from.closest('.node')?.querySelector(':scope > .box');
    if (box) return rgba(getComputedStyle(box).fill);
    for (let at: Element | null = from; at; at = at.parentElement) {
      const ground = rgba(getComputedStyle(at).backgroundColor);
      if (ground[3] === 255) return ground;
    }
    return [255, 255, 255, 255];
  };
  const found: string[] = [];
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = words.nextNode(); text; text = words.nextNode()) {
    const element = text.parentElement;
    if (
      !element ||
      !text.textContent?.trim() ||
      element.closest('.hidden, [hidden], dialog, title, noscript')
    )
      continue;
    const style = getComputedStyle(element);
    const ink = rgba(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${text.textContent.trim().slice(0, 40)}`);
  }
  return found;
}
