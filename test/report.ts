import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: {
    name: string;
    status: string;
    message: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
  }[];
}

/**
 * Adds up what the suites of `.ci/run` reported. A step without a report counts as one test by its exit code; a step
 * that failed though its report shows no failure counts as one failed test, as does a file that could not be loaded.
 */
const folder = process.argv[2] ?? 'reports';
let passed = 0;
let failed = 0;
const skipped: string[] = [];
const steps = readdirSync(folder).filter((file) => file.endsWith('.exit.json'));
for (const file of steps) {
  const { name, exit } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
    name: string;
    exit: number;
  };
  let report: Report | undefined;
  try {
    report = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'));
  } catch {
    report = undefined;
  }
  if (!report) {
    if (exit === 0 && name === 'check') passed += 1;
    else {
      failed += 1;
      console.log(`FAILED ${name}: exit ${exit}, no report`);
    }
    continue;
  }
  let failures = report.numFailedTests;
  for (const result of report.testResults) {
    if (
      result.status === 'failed' &&
      !result.assertionResults.some((one) => one.status === 'failed')
    ) {
      failures += 1;
      console.log(`FAILED ${result.name}: ${result.message.slice(0, 500)}`);
    }
    for (const one of result.assertionResults) {
      if (one.status === 'failed')
        console.log(`FAILED ${name}: ${one.fullName}\n  ${one.failureMessages[0]?.slice(0, 800)}`);
      if (one.status === 'pending' || one.status === 'skipped' || one.status === 'todo')
        skipped.push(`${name}: ${one.fullName}`);
    }
  }
  if (exit !== 0 && failures === 0) {
    failures = 1;
    console.log(`FAILED ${name}: exit ${exit} though its report shows no failure`);
  }
  passed += report.numPassedTests;
  failed += failures;
}
if (steps.length === 0) failed += 1;
for (const line of skipped) console.log(`skipped ${line}`);
console.log(`${skipped.length} skipped`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
