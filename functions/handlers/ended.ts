import { busOf, settingsOf } from '../platform/aws/platform.ts';
import { ending } from './heard.ts';

const bus = busOf(settingsOf());

/** Tells the end of an execution, which Step Functions puts on the account's own bus, on ours. */
export async function handler(event: Parameters<typeof ending>[0]): Promise<void> {
  const told = ending(event);
  if (told) await bus.publish([told]);
}
