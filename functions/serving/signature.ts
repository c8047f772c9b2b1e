import { parse } from 'yaml';
import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import type { Blobs } from '../platform/ports.ts';
import { LIMITS, type Signature } from './model.ts';

/** A column `{type, name, required}` or a tensor `{type: 'tensor', name, 'tensor-spec': {dtype, shape}}`. */
const Field = z.object({
  type: z.string(),
  name: z.string().optional(),
  'tensor-spec': z.object({ dtype: z.string(), shape: z.array(z.int()) }).optional(),
});
const Fields = z.array(Field).max(2000);
const MLmodel = z.object({
  signature: z
    .object({ inputs: z.string().nullish(), outputs: z.string().nullish() })
    .nullish()
    .catch(undefined),
});

function readFields(text: string | null | undefined): z.infer<typeof Fields> | undefined {
  if (!text) return [];
  try {
    return Fields.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** From the text of an MLmodel file, or undefined where it has none that serving understands. */
export function readSignature(text: string): Signature | undefined {
  let document: unknown;
  try {
    document = parse(text, { maxAliasCount: 0, schema: 'core' });
  } catch {
    return undefined;
  }
  const { signature } = MLmodel.safeParse(document).data ?? {};
  const inputs = readFields(signature?.inputs);
  if (!inputs?.length) return undefined;
  const tensor = (field: z.infer<typeof Field>, index: number) => ({
    name: field.name ?? '',
    type: field['tensor-spec']?.dtype ?? field.type,
    shape: field['tensor-spec']?.shape ?? [-1],
    index,
  });
  const plain = (fields: z.infer<typeof Fields>) =>
    fields.map(tensor).map(({ index, ...rest }) => ({ ...rest, name: rest.name || `${index}` }));
  return {
    kind: inputs[0]?.type === 'tensor' ? 'tensors' : 'columns',
    inputs: plain(inputs),
    outputs: plain(readFields(signature?.outputs) ?? []),
  };
}

/** The signature of the model at `uri` (as `Blobs.locate` words it); undefined also where it lies in no blob of ours. */
export async function signatureAt(
  blobs: Blobs,
  call: Call,
  uri: string,
): Promise<Signature | undefined> {
  const path = blobs.pathOf(call, uri);
  if (path === undefined) return undefined;
  const found = await blobs.get(call, `${path.replace(/\/$/, '')}/MLmodel`);
  if (!found) return undefined;
  if (found.sizeBytes > LIMITS.mlmodelBytes) {
    await found.body.cancel();
    return undefined;
  }
  return readSignature(await new Response(found.body).text());
}
