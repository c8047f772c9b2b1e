/** What the demo says, to people: one line a happening, with the seconds since it began. */
export interface Teller {
  line(text: string): void;
  /** Goes on in the line that is open, or opens one. */
  part(text: string): void;
  table(rows: readonly (readonly string[])[]): void;
  seconds(): number;
}

const MARGIN = 8;

export function teller(write: (text: string) => void): Teller {
  const began = performance.now();
  const seconds = () => Math.round((performance.now() - began) / 100) / 10;
  let open = false;
  const close = () => {
    if (open) write('\n');
    open = false;
  };
  return {
    seconds,
    line(text) {
      close();
      const at = `${seconds().toFixed(1)} s`.padStart(MARGIN);
      write(`${at}  ${text.replaceAll('\n', `\n${' '.repeat(MARGIN + 2)}`)}\n`);
    },
    part(text) {
      write(open ? `, ${text}` : `${' '.repeat(MARGIN + 4)}${text}`);
      open = true;
    },
    table(rows) {
      close();
      const widths = (rows[0] ?? []).map((_, column) =>
        Math.max(...rows.map((row) => row[column]?.length ?? 0)),
      );
      const drawn = rows.map((row) =>
        row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '),
      );
      drawn.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '));
      write(`\n${drawn.map((row) => row.trimEnd()).join('\n')}\n\n`);
    },
  };
}
