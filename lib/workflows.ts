import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Stack, type StackProps } from 'aws-cdk-lib';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { CfnStateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import type { Construct } from 'constructs';
import type { App } from '../functions/app.ts';
import {
  DEPLOYED,
  functionName,
  WRITTEN,
  type WrittenMachine,
} from '../statemachines/resources.ts';
import { roomGrants } from './api.ts';
import type { DataStack } from './data.ts';
import { OurFunction, seconds } from './function.ts';
import type { PassedRoles } from './grants.ts';
import { ROOT } from './stage.ts';

export interface WorkflowsProps extends StackProps {
  readonly data: DataStack;
  readonly roles: PassedRoles;
  readonly rooms: App['rooms'];
  readonly environment: Readonly<Record<string, string>>;
}

export const writtenText = (name: string): string =>
  readFileSync(join(ROOT, 'statemachines', `${name}.asl.json`), 'utf8');

/** Whose tasks a written machine invokes: it is deployed with that room. */
const ROOM_OF: Readonly<Record<WrittenMachine, string>> = {
  retraining: 'loops',
  'deploy-endpoint': 'serving',
};

/** The machines that people wrote, and the functions that machines invoke. Generated machines come at run time. */
export class WorkflowsStack extends Stack {
  private readonly props: WorkflowsProps;
  private readonly declared = new Map<string, IFunction>();

  constructor(scope: Construct, id: string, props: WorkflowsProps) {
    super(scope, id, props);
    this.props = props;
    for (const name of WRITTEN.filter((one) => ROOM_OF[one] in props.rooms))
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
  /** The function of a room that CloudFormation calls for what a stack declares; one, made when first asked for. */
  declaring(room: string): IFunction {
    const known = this.declared.get(room);
    if (known) return known;
    const { data, roles, environment } = this.props;
    const { lambda } = new OurFunction(this, `declare-${room}`, {
      entry: `functions/${room}/handler.ts`,
      exported: 'declare',
      environment,
      grants: roomGrants(this, data, roles, room),
      timeout: seconds(60),
      functionName: functionName(`declare-${room}`),
    });
    this.declared.set(room, lambda);
    return lambda;
  }
}
