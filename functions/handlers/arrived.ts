import { busOf, settingsOf } from '../platform/aws/platform.ts';
import { arrival } from './heard.ts';

const bus = busOf(settingsOf());

/** Tells a file that was put into the bucket past us, which S3 puts on the account's own bus, on ours. */
export async function handler(event: Parameters<typeof arrival>[0]): Promise<void> {
  const told = arrival(event);
  if (told) await bus.publish([told]);
}
