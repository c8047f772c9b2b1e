import { relay } from '../platform/aws/bus.ts';
import { busOf, settingsOf } from '../platform/aws/platform.ts';

/** First of the two readers of the table's stream: events to the bus. */
export const handler = relay(busOf(settingsOf()));
