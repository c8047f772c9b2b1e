import {
  Composer,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  type ScalarTag,
  type YAMLMap,
} from 'yaml';
import type { Json } from '../kernel/json.ts';

/** What a text may cost: its time and memory grow with its tokens, and with what its aliases stand for. */
export interface YamlLimits {
  readonly documents: number;
  /** Marks, blanks, line ends and values, as the scanner takes them off the text. */
  readonly tokens: number;
  /** All values with every alias written out: 16 bytes each, and the length of texts and names. */
  readonly valueBytes: number;
  readonly depth: number;
}

/** Says what is wrong with the text, and where; a sentence without its stop. */
export class YamlRefusal extends Error {
  /** The text is of a kind that we read, and there is too much of it. */
  readonly tooMuch: boolean;
  constructor(message: string, tooMuch = false) {
    super(message);
    this.name = 'YamlRefusal';
    this.tooMuch = tooMuch;
  }
}

const VALUE_BYTES = 16;

/** `010` is eight, as for the Go server's reader; YAML 1.2 alone would say ten. */
const octal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?0[0-7]+$/,
  resolve: (text) => Number.parseInt(text, 8),
};

/**
 * The documents of a text as plain values, each part looked at once: the package's own check for keys that occur
 * twice, and its way to resolve an alias, look through all that came before. Tags construct nothing, and keys that
 * name a prototype are refused. Throws `YamlRefusal`.
 */
export function readYaml(text: string, limits: YamlLimits): Json[] {
  try {
    return read(text, limits);
  } catch (error) {
    // Scanner and composer go down by recursion, and tell of a full stack by this error.
    if (error instanceof RangeError) throw tooDeep(limits);
    throw error;
  }
}

const tooDeep = ({ depth }: YamlLimits) => new YamlRefusal(`it nests deeper than ${depth} levels`);

function read(text: string, limits: YamlLimits): Json[] {
  const lines = new LineCounter();
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `at line ${line}, column ${col}`;
  };
  return composed(text, limits, lines).map((document) => {
    const [error] = document.errors;
    if (error?.message.startsWith('Maximum call stack')) throw tooDeep(limits);
    if (error) throw new YamlRefusal(`it is not YAML: ${error.message} ${place(error.pos[0])}`);
    const [warning] = document.warnings;
    if (warning) throw new YamlRefusal(`${warning.message} ${place(warning.pos[0])}`);
    return valuesOf(document, limits, place);
  });
}

function composed(text: string, limits: YamlLimits, lines: LineCounter): Document.Parsed[] {
  const parser = new Parser(lines.addNewLine);
  const composer = new Composer({
    customTags: (tags) => [octal, ...tags],
    uniqueKeys: false,
    prettyErrors: false,
  });
  const documents: Document.Parsed[] = [];
  const keep = (found: Iterable<Document.Parsed>) => {
    for (const document of found) {
      documents.push(document);
      if (documents.length > limits.documents)
        throw new YamlRefusal(`the file holds more than ${limits.documents} documents`);
    }
  };
  let tokens = 0;
  lines.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    tokens += 1;
    if (tokens > limits.tokens)
      throw new YamlRefusal(`it has more than ${limits.tokens} YAML tokens`, true);
    for (const token of parser.next(lexeme)) keep(composer.next(token));
  }
  for (const token of parser.end()) keep(composer.next(token));
  keep(composer.end());
  return documents;
}

/** Something that an anchor names, and its size. `undefined` while it is being read. */
type Anchored = { readonly value: Json; readonly size: number } | undefined;

function valuesOf(document: Document.Parsed, limits: YamlLimits, place: (at: number) => string) {
  const anchors = new Map<string, Anchored>();
  let size = 0;
  const spend = (bytes: number) => {
    size += bytes;
    if (size > limits.valueBytes)
      throw new YamlRefusal(
        `with its aliases written out it has more than ${limits.valueBytes} bytes`,
      );
  };

  function take(node: unknown, depth: number): Json {
    if (node === null || node === undefined) return null;
    if (depth > limits.depth) throw tooDeep(limits);
    if (isAlias(node)) return aliased(node);
    const { anchor } = node as { anchor?: string };
    if (anchor === undefined) return plain(node, depth);
    anchors.set(anchor, undefined);
    const before = size;
    const value = plain(node, depth);
    anchors.set(anchor, { value, size: size - before });
    return value;
  }

  function aliased({ source, range }: { source: string; range?: readonly number[] | null }): Json {
    const found = anchors.get(source);
    if (!found) {
      const what = anchors.has(source) ? 'itself' : 'nothing before it';
      throw new YamlRefusal(`the alias '${source}' stands for ${what} ${place(range?.[0] ?? 0)}`);
    }
    spend(found.size);
    return found.value;
  }

  function plain(node: unknown, depth: number): Json {
    spend(VALUE_BYTES);
    if (isSeq(node)) return node.items.map((item) => take(item, depth + 1));
    if (isMap(node)) return mapping(node, depth);
    if (isScalar(node)) {
      if (typeof node.value === 'string') spend(node.value.length);
      return scalar(node.value);
    }
    throw new YamlRefusal('it holds something that is no mapping, list, text, number or truth');
  }

  function mapping(node: YAMLMap, depth: number): Json {
    const fields: { [name: string]: Json } = {};
    for (const { key, value } of node.items) {
      const name = take(key, depth + 1);
      const at = () => place((key as { range?: readonly number[] } | null)?.range?.[0] ?? 0);
      if (typeof name === 'object' && name !== null)
        throw new YamlRefusal(`it holds a field whose name is no text ${at()}`);
      const text = String(name ?? '');
      if (text === '__proto__') throw new YamlRefusal("it holds a field named '__proto__'");
      if (Object.hasOwn(fields, text))
        throw new YamlRefusal(`it names the field '${text.slice(0, 100)}' twice ${at()}`);
      fields[text] = take(value, depth + 1);
    }
    return fields;
  }
  return take(document.contents, 0);
}

function scalar(value: unknown): Json {
  if (typeof value === 'number' && !Number.isFinite(value))
    throw new YamlRefusal('it holds a number that is not finite');
  if (typeof value === 'bigint') return Number(value);
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return value;
  throw new YamlRefusal('it holds something that is no mapping, list, text, number or truth');
}
