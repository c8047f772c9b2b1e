import {
  ApplicationAutoScalingClient,
  DeregisterScalableTargetCommand,
  PutScalingPolicyCommand,
  RegisterScalableTargetCommand,
} from '@aws-sdk/client-application-auto-scaling';
import {
  CloudWatchClient,
  DeleteAlarmsCommand,
  PutMetricAlarmCommand,
} from '@aws-sdk/client-cloudwatch';
import type { Scaled, ScalingRequests } from './hosting.ts';

/** How many copies an endpoint has by its load: loaded on first use, since most endpoints are serverless. */
export interface Scaling {
  /** Idempotent: names are the same for the same endpoint. */
  put(requests: ScalingRequests): Promise<void>;
  /** Idempotent. Policies, and the alarms that they made, go with the target. */
  remove(scaled: Scaled, wakeAlarm?: string): Promise<void>;
}

export function awsScaling(
  autoscaling = new ApplicationAutoScalingClient({}),
  cloudwatch = new CloudWatchClient({}),
): Scaling {
  return {
    async put({ target, load, wake }) {
      await autoscaling.send(new RegisterScalableTargetCommand(target));
      await autoscaling.send(new PutScalingPolicyCommand(load));
      if (!wake) return;
      const { PolicyARN } = await autoscaling.send(new PutScalingPolicyCommand(wake.policy));
      const AlarmActions = PolicyARN === undefined ? [] : [PolicyARN];
      await cloudwatch.send(new PutMetricAlarmCommand({ ...wake.alarm, AlarmActions }));
    },

    async remove(scaled, wakeAlarm) {
      if (wakeAlarm !== undefined)
        await orAbsent(() => cloudwatch.send(new DeleteAlarmsCommand({ AlarmNames: [wakeAlarm] })));
      await orAbsent(() => autoscaling.send(new DeregisterScalableTargetCommand(scaled)));
    },
  };
}

const ABSENT = ['ObjectNotFoundException', 'ResourceNotFound', 'ResourceNotFoundException'];

async function orAbsent(act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof Error && ABSENT.includes(error.name))) throw error;
  }
}
