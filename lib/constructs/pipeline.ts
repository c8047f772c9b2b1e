import { ArnFormat, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import { CfnStateMachine, CfnStateMachineVersion } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import { documentOf, type PipelineDefinition } from '../../functions/definitions.ts';
import { compile } from '../../functions/pipelines/compiler/compile.ts';
import { readDocument } from '../../functions/pipelines/document.ts';
import { DEPLOYED, isWritten } from '../../statemachines/resources.ts';
import { declare } from './declare.ts';
import type { Stillflow } from './stillflow.ts';

export interface PipelineProps extends PipelineDefinition {
  readonly stillflow: Stillflow;
  /** `demand-forecast`: its machine is `stillflow-demand-forecast`, and clients find it by this name. */
  readonly name: string;
}

/**
 * A pipeline that is deployed with the stack: compiled at synth by the compiler that compiles uploads, into a machine of
 * a fixed name that the console shows. Each change publishes a version, runs that began keep to theirs, and old ones
 * stay. `kfp.Client` lists it, runs it by name and shows its runs like any other's.
 *
 * @example
 * new Pipeline(stack, 'Forecast', { stillflow, name: 'demand-forecast', file: 'demand-forecast.yaml' });
 */
export class Pipeline extends Construct {
  readonly name: string;
  readonly machineName: string;
  readonly machineArn: string;
  /** Of the version that is deployed now. */
  readonly machineVersionArn: string;
  /** As `kfp.Client` names it. */
  readonly pipelineId: string;
  readonly versionId: string;

  constructor(scope: Construct, id: string, { stillflow, name, ...definition }: PipelineProps) {
    super(scope, id);
    if (!/^[a-z0-9](-?[a-z0-9])*$/.test(name) || name.length > 60)
      throw new Error(`pipeline '${name}': a name is up to 60 of a-z, 0-9 and single dashes`);
    if (isWritten(name))
      throw new Error(`pipeline '${name}': the product has a machine of that name itself`);
    const text = documentOf(name, definition);
    const { pipeline, platform } = readDocument(text);
    const compiled = compiledBy(name, pipeline, platform);
    this.name = name;
    this.machineName = `${DEPLOYED}${name}`;
    const machine = new CfnStateMachine(this, 'Machine', {
      stateMachineName: this.machineName,
      stateMachineType: 'STANDARD',
      roleArn: stillflow.machineRoleArn,
      definitionString: JSON.stringify(compiled.definition),
    });
    // A version is replaced by the next one; what began with it goes on.
    const version = new CfnStateMachineVersion(this, 'Version', {
      stateMachineArn: machine.ref,
      stateMachineRevisionId: machine.attrStateMachineRevisionId,
    });
    version.applyRemovalPolicy(RemovalPolicy.RETAIN);
    const declared = declare(this, 'Declared', {
      ...{ stillflow, room: 'pipelines', kind: 'pipeline', name },
      declaration: {
        document: text,
        ...(definition.description === undefined ? {} : { description: definition.description }),
      },
      machineVersion: version.ref,
    });
    this.machineArn = machine.ref;
    this.machineVersionArn = version.ref;
    this.pipelineId = declared.getAttString('pipelineId');
    this.versionId = declared.getAttString('versionId');
  }

  /** Lets a principal look at the machine and its executions in the console; runs are started by the API. */
  grantRead(grantee: IGrantable): Grant {
    const executions = Stack.of(this).formatArn({
      service: 'states',
      resource: 'execution',
      resourceName: `${this.machineName}:*`,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    return Grant.addToPrincipal({
      grantee,
      actions: ['states:DescribeStateMachine', 'states:ListExecutions'],
      resourceArns: [this.machineArn],
    }).combine(
      Grant.addToPrincipal({
        grantee,
        actions: ['states:DescribeExecution', 'states:GetExecutionHistory'],
        resourceArns: [executions],
      }),
    );
  }
}

/** What the compiler refuses, with the pipeline's name in front. */
function compiledBy(name: string, pipeline: unknown, platform: unknown) {
  try {
    return compile(pipeline, platform);
  } catch (cause) {
    throw new Error(`pipeline '${name}': ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
}
