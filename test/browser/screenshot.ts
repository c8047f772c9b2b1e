import { join, resolve } from 'node:path';
import { openBrowser } from './chromium.ts';

/**
 * The page as the README shows it: `npm run screenshot -- URL` of a server on which the demo has played.
 */
const [, , url = 'http://127.0.0.1:5000'] = process.argv;
const out = resolve(join(import.meta.dirname, '../../docs/page.png'));
const browser = await openBrowser({ width: 1280, height: 1266 });
try {
  const page = await browser.context.newPage();
  await page.goto(url);
  await page.waitForSelector('#graph svg');
  await page.waitForFunction(() => document.querySelector('#status')?.className !== '');
  await page.screenshot({ path: out, animations: 'disabled' });
  console.log(`${out} shows ${url}`);
} finally {
  await browser.close();
}
