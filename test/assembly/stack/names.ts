import { DEFAULT_WORKSPACE, type WorkspaceId } from '../../../functions/kernel/ids.ts';
import { cloudName } from '../../../functions/platform/aws/names.ts';
import { DEPLOYED } from '../../../statemachines/resources.ts';

/** `sf-default0-train-1` and an execution's `default0-train-1` are `train-1` of `default0`; a written machine, `stillflow-..`, is shared by all workspaces. */
export function splitName(name: string): { workspace: WorkspaceId; own: string } {
  const [, workspace, own] = /^(?:sf-)?([a-z0-9]{8})-(.+)$/.exec(name) ?? [];
  if (workspace && own && !name.startsWith(DEPLOYED))
    return { workspace: workspace as WorkspaceId, own };
  return {
    workspace: DEFAULT_WORKSPACE,
    own: name.startsWith(DEPLOYED) ? name.slice(DEPLOYED.length) : name,
  };
}

export const nameOf = (workspace: string, own: string): string => cloudName(workspace, own);
