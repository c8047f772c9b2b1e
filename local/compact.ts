/** What is one token whatever is in it: templates are walked apart, since they hold code. */
const STRING = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/y;
const COMMENT = /\/\/[^\n]*|\/\*[\s\S]*?\*\//y;
const REGEX = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const WORD = /[\w$]+/y;
const BLANK = /\s+/y;
/** Behind one of these a slash begins a regular expression, not a division. */
const BEFORE_REGEX = /(^|[=(,:[!&|?{};+])$|\breturn$/;

/**
 * JavaScript without comments and without the blanks that nothing needs. Every statement must end in its semicolon (as
 * our formatter writes it), for line breaks go too. test/web/files.test.ts holds the result to esbuild's own reading.
 */
export function compactScript(text: string): string {
  let out = '';
  let blank = false;
  let at = 0;
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  const put = (token: string) => {
    // What the formatter sets before an end and the language does not ask for.
    if ((token === '}' && /[;,]$/.test(out)) || (/^[)\]]$/.test(token) && /[^[,],$/.test(out)))
      out = out.slice(0, -1);
    const [last = '', first = ''] = [out.at(-1), token[0]];
    const words = /[\w$]/.test(last) && /[\w$]/.test(first);
    if (blank && (words || (last === first && '+-'.includes(first)))) out += ' ';
    blank = false;
    out += token;
    at += token.length;
  };
  while (at < text.length) {
    const gone = match(BLANK) ?? match(COMMENT);
    if (gone !== undefined) {
      blank = true;
      at += gone.length;
      continue;
    }
    const regex = text[at] === '/' && BEFORE_REGEX.test(out) ? match(REGEX) : undefined;
    const template = text[at] === '`' ? text.slice(at, endOfTemplate(text, at)) : undefined;
    put(match(STRING) ?? template ?? regex ?? match(WORD) ?? text.charAt(at));
  }
  return out;
}

/** Just behind the template that begins at `from`, with all that stands in its `${}`. */
function endOfTemplate(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '`') {
    if (text[at] === '\\') at += 2;
    else if (text.startsWith('${', at)) at = endOfHole(text, at + 2);
    else at += 1;
  }
  return at + 1;
}

function endOfHole(text: string, from: number): number {
  let [at, depth] = [from, 1];
  while (at < text.length && depth > 0) {
    STRING.lastIndex = at;
    const string = STRING.exec(text)?.[0];
    if (string) at += string.length;
    else if (text[at] === '`') at = endOfTemplate(text, at);
    else {
      if (text[at] === '{') depth += 1;
      if (text[at] === '}') depth -= 1;
      at += 1;
    }
  }
  return at;
}

/** A style sheet without comments and blanks; none of its strings holds a blank beside one of these signs. */
export const compactStyle = (text: string): string =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\s+/g, ' ')
    .replace(/ ?([{};,>]) ?/g, '$1')
    .replace(/: /g, ':')
    .replaceAll(';}', '}')
    .replace(/([ :,(-])0\./g, '$1.')
    .trim();

/** Markup with one blank where there are many. */
export const compactMarkup = (text: string): string => text.replace(/\s*\n\s*/g, '\n');
