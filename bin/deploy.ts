import { App } from 'aws-cdk-lib';
import { stillflow } from '../lib/stillflow.ts';

try {
  const app = new App();
  stillflow(app);
  app.synth();
} catch (error) {
  process.stderr.write(`stillflow: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
