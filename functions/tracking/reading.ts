/** From here on bytes go to Blobs, with a pointer item. */
export const BLOCK_BYTES = 300 * 1024;

export async function wholeOf(body: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(body).arrayBuffer());
}
