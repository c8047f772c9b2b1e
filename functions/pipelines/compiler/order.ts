import type { Task } from './ir.ts';
import { refuse } from './refusal.ts';

/** The tasks that a task waits for: those it lists, and those it reads from. */
export function neighbours(task: Task): string[] {
  return [
    ...task.dependentTasks,
    ...Object.values(task.inputs.parameters).flatMap(
      (input) => input.taskOutputParameter?.producerTask ?? [],
    ),
    ...Object.values(task.inputs.artifacts).flatMap(
      (input) => input.taskOutputArtifact?.producerTask ?? [],
    ),
  ];
}

/** Names so that each comes after what it waits for. Throws `invalid` with the cycle's path. */
export function inOrder(tasks: Readonly<Record<string, Task>>, path: readonly string[]): string[] {
  const done = new Set<string>();
  const open: string[] = [];
  const visit = (name: string): void => {
    if (done.has(name)) return;
    if (open.includes(name)) {
      const cycle = [...open.slice(open.indexOf(name)), name].join(' -> ');
      throw refuse(`task '${[...path, name].join('/')}'`, `waits for itself: ${cycle}.`);
    }
    open.push(name);
    const task = tasks[name];
    if (task) for (const other of neighbours(task)) visit(other);
    open.pop();
    if (task) done.add(name);
  };
  for (const name of Object.keys(tasks)) visit(name);
  return [...done];
}
