/** On all that is made at run time, as the stacks tag what they deploy: bills are told apart by them. */
export const tagsOf = (workspace: string): { Key: string; Value: string }[] => [
  { Key: 'stillflow', Value: 'run-time' },
  { Key: 'stillflow:workspace', Value: workspace },
];
