import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Stack, type StackProps } from 'aws-cdk-lib';
import { CfnStateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import type { Construct } from 'constructs';
import type { App } from '../functions/app.ts';
import { DEPLOYED, functionName, WRITTEN } from '../statemachines/resources.ts';
import { roomGrants } from './api.ts';
import { ROOT } from './bundle.ts';
import type { DataStack } from './data.ts';
import { OurFunction, seconds } from './function.ts';
import type { PassedRoles } from './grants.ts';

export interface WorkflowsProps extends StackProps {
  readonly data: DataStack;
  readonly roles: PassedRoles;
  readonly rooms: App['rooms'];
  readonly environment: Readonly<Record<string, string>>;
}

export const writtenText = (name: string): string =>
  readFileSync(join(ROOT, 'statemachines', `${name}.asl.json`), 'utf8');

/** The machines that people wrote, and the functions that machines invoke. Generated machines come at run time. */
export class WorkflowsStack extends Stack {
  constructor(scope: Construct, id: string, props: WorkflowsProps) {
    super(scope, id, props);
    for (const name of WRITTEN)
      new CfnStateMachine(this, name, {
        stateMachineName: `${DEPLOYED}${name}`,
        stateMachineType: 'STANDARD',
        roleArn: props.roles.machine.roleArn,
        definitionString: JSON.stringify(JSON.parse(writtenText(name))),
      });
    for (const [room, { tasks }] of Object.entries(props.rooms))
      for (const task of Object.keys(tasks))
        new OurFunction(this, `task-${task}`, {
          entry: `functions/${room}/handler.ts`,
          exported: 'task',
          environment: { ...props.environment, STILLFLOW_TASK: task },
          grants: roomGrants(this, props.data, props.roles, room),
          timeout: seconds(60),
          functionName: functionName(task),
        });
  }
}
