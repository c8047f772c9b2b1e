import type { IncomingMessage } from 'node:http';
import { type Access, AwsError, arnOf } from './access.ts';
import type { Account, Resource } from './account.ts';
import { answerWith, bodyUpTo, eventOf, type OpenFronts, say, streamTo } from './front.ts';
import type { FunctionSpec } from './functions.ts';
import { ACCOUNT, REGION } from './intrinsics.ts';
import { type Host, SYNC_BYTES } from './lambda.ts';
import { credentialOf, signedBy } from './sigv4.ts';
import { type Fields, fields, number, text, texts } from './values.ts';

/** Real limits of HTTP APIs. Source: API Gateway developer guide, "Quotas for HTTP APIs". */
const BODY_BYTES = 10 * 1024 * 1024;
const HEADER_BYTES = 10_240;
const LONGEST_MS = 30_000;

interface Route {
  readonly key: string;
  readonly method: string;
  readonly parts: readonly string[];
  readonly greedy: boolean;
  readonly resource: Resource;
}

/** Full matches before greedy ones, the more literal first, a method by name before ANY, `$default` last. */
export function routesOf(resources: readonly Resource[]) {
  const routes = resources.map((resource): Route => {
    const key = text(resource.properties['RouteKey']);
    const [method = '', path = ''] = key.split(' ');
    const parts = path.split('/').slice(1);
    return { key, method, parts, greedy: /^\{\w+\+\}$/.test(parts.at(-1) ?? ''), resource };
  });
  const literals = ({ parts }: Route) => parts.filter((part) => !part.startsWith('{')).length;
  const rank = (route: Route) => [
    route.key === '$default' ? 0 : 1,
    route.greedy ? 0 : 1,
    literals(route),
    route.parts.length,
    route.method === 'ANY' ? 0 : 1,
  ];
  const sorted = [...routes].sort((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    const at = left.findIndex((value, index) => value !== right[index]);
    return at < 0 ? 0 : (right[at] ?? 0) - (left[at] ?? 0);
  });
  return (
    method: string,
    path: string,
  ): { route: Route; parameters: Record<string, string> } | undefined => {
    const asked = path.split('/').slice(1);
    for (const route of sorted) {
      if (route.key !== '$default' && route.method !== 'ANY' && route.method !== method) continue;
      const parameters = route.key === '$default' ? {} : parametersOf(route, asked);
      if (parameters) return { route, parameters };
    }
    return undefined;
  };
}

function parametersOf(
  { parts, greedy }: Route,
  asked: readonly string[],
): Record<string, string> | undefined {
  const fixed = greedy ? parts.slice(0, -1) : parts;
  if (
    greedy
      ? asked.length <= fixed.length || asked[fixed.length] === ''
      : asked.length !== fixed.length
  )
    return undefined;
  const found: Record<string, string> = {};
  for (const [at, part] of fixed.entries()) {
    const value = asked[at] ?? '';
    if (part.startsWith('{')) found[part.slice(1, -1)] = decoded(value);
    else if (part !== value) return undefined;
  }
  const last = parts.at(-1);
  if (greedy && last) found[last.slice(1, -2)] = asked.slice(fixed.length).join('/');
  return found;
}

/** HTTP APIs hand paths on decoded once; what is no encoding stays as it is. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

interface Parts {
  readonly account: Account;
  readonly access: Access;
  readonly host: Host;
  readonly fronts: OpenFronts;
}

/** API Gateway's HTTP APIs: routes, integrations and authorizers of the templates. */
export function serveApis({ account, access, host, fronts }: Parts): void {
  const gateway = access.service('apigateway.amazonaws.com');
  const refs = (type: string, id: string) => account.of(type).find(({ ref }) => ref === id);

  function functionOf(arn: string, sourceArn: string): FunctionSpec {
    const spec = host.find(arn);
    if (!spec) throw new Error(`an API leads to ${arn}, which is not there`);
    access.check(gateway, {
      action: 'lambda:InvokeFunction',
      resource: arn,
      context: { 'aws:sourcearn': sourceArn },
    });
    return spec;
  }

  async function authorize(
    route: Route,
    apiId: string,
    request: IncomingMessage,
    event: Record<string, unknown>,
    body: Buffer,
    source: string,
  ): Promise<{ status: number; authorizer?: unknown }> {
    const kind = text(route.resource.properties['AuthorizationType']) || 'NONE';
    if (kind === 'NONE') return { status: 200 };
    if (kind === 'AWS_IAM') return signedCaller(access, request, body, source);
    const id = text(route.resource.properties['AuthorizerId']);
    const authorizer = refs('AWS::ApiGatewayV2::Authorizer', id);
    if (kind !== 'CUSTOM' || !authorizer)
      throw new Error(`${route.resource.at} asks for ${kind}, which is not supported`);
    const { properties } = authorizer;
    if (
      properties['AuthorizerPayloadFormatVersion'] !== '2.0' ||
      properties['EnableSimpleResponses'] !== true
    )
      throw new Error(`${authorizer.at} must have format 2.0 and simple responses`);
    if (number(properties['AuthorizerResultTtlInSeconds'], 300) !== 0)
      throw new Error(`${authorizer.at} keeps its answers, which npm run stack does not`);
    const identity = texts(properties['IdentitySource']).map((one) => sourceValue(one, request));
    if (identity.some((one) => one === undefined)) return { status: 401 };
    const arn =
      /functions\/(arn:[^/]+)\/invocations/.exec(text(properties['AuthorizerUri']))?.[1] ?? '';
    const spec = functionOf(arn, arnOf('execute-api', `${apiId}/authorizers/${id}`));
    const { body: _body, isBase64Encoded: _encoded, ...about } = event;
    const asked = { ...about, type: 'REQUEST', routeArn: source, identitySource: identity };
    const { error, body: said } = await host.invoke(spec, Buffer.from(JSON.stringify(asked)));
    if (error) return { status: 500 };
    const { isAuthorized, context } = fields(JSON.parse(said.toString()));
    return isAuthorized === true
      ? { status: 200, authorizer: { lambda: context ?? {} } }
      : { status: 403 };
  }

  for (const api of account.of('AWS::ApiGatewayV2::Api')) {
    const choose = routesOf(
      account
        .of('AWS::ApiGatewayV2::Route')
        .filter(({ properties }) => properties['ApiId'] === api.ref),
    );
    const staged = account
      .of('AWS::ApiGatewayV2::Stage')
      .some(
        ({ properties }) =>
          properties['ApiId'] === api.ref && properties['StageName'] === '$default',
      );
    fronts.serve(api.at, async (request, response) => {
      const { method = 'GET', url = '/' } = request;
      const path = url.replace(/\?.*$/s, '');
      if (request.rawHeaders.join('').length + url.length > HEADER_BYTES)
        return say(response, 431, 'Request Header Fields Too Large');
      const chosen = staged ? choose(method, path) : undefined;
      if (!chosen) return say(response, 404, 'Not Found');
      const body = await bodyUpTo(request, BODY_BYTES);
      if (!body) {
        response.setHeader('connection', 'close');
        return say(response, 413, 'Request Entity Too Large');
      }
      const { route, parameters } = chosen;
      const about = { routeKey: route.key, apiId: api.ref, path: decoded(path), parameters };
      const source = arnOf('execute-api', `${api.ref}/$default/${method}${path}`);
      const { status, authorizer } = await authorize(
        route,
        api.ref,
        request,
        eventOf(request, body, about),
        body,
        source,
      );
      if (status !== 200) return say(response, status, REFUSED[status] ?? 'Internal Server Error');
      const integration = refs(
        'AWS::ApiGatewayV2::Integration',
        text(route.resource.properties['Target']).split('/')[1] ?? '',
      );
      if (!integration) throw new Error(`${route.resource.at} has no integration`);
      const spec = functionOf(text(integration.properties['IntegrationUri']), source);
      const event = Buffer.from(JSON.stringify(eventOf(request, body, { ...about, authorizer })));
      if (event.length > SYNC_BYTES) return say(response, 413, 'Request Entity Too Large');
      const late = new Promise<'late'>((resolve) => {
        setTimeout(
          () => resolve('late'),
          number(integration.properties['TimeoutInMillis'], LONGEST_MS),
        ).unref();
      });
      const ended = await Promise.race([host.invoke(spec, event), late]);
      if (ended === 'late') return say(response, 503, 'Service Unavailable');
      if (ended.error) return say(response, 500, 'Internal Server Error');
      answerWith(response, ended.body);
    });
  }
  for (const url of account.of('AWS::Lambda::Url'))
    serveUrl(url, { account, access, host, fronts });
}

const REFUSED: Readonly<Record<number, string>> = { 401: 'Unauthorized', 403: 'Forbidden' };

function sourceValue(source: string, { headers, url = '/' }: IncomingMessage): string | undefined {
  const [, kind, name = ''] = /^\$request\.(header|querystring)\.(.+)$/.exec(source) ?? [];
  if (kind === 'header') return headers[name.toLowerCase()]?.toString() || undefined;
  if (kind === 'querystring')
    return new URL(url, 'http://stack').searchParams.get(name) ?? undefined;
  throw new Error(`an authorizer looks at ${source}, which npm run stack does not support`);
}

/** Whose signature it is, and whether that principal may call this API. */
function signedCaller(access: Access, request: IncomingMessage, body: Buffer, resource: string) {
  const { method = 'GET', url = '/', headers } = request;
  const credential = credentialOf({ method, url, headers });
  const known = credential && access.byKey(credential.accessKeyId);
  if (!credential || !known || credential.service !== 'execute-api' || credential.region !== REGION)
    return { status: 403 };
  if (!signedBy({ method, url, headers }, credential, known.keys, body)) return { status: 403 };
  try {
    access.check(known, { action: 'execute-api:Invoke', resource });
  } catch (error) {
    if (error instanceof AwsError) return { status: 403 };
    throw error;
  }
  const iam = {
    accessKey: known.keys.accessKeyId,
    accountId: ACCOUNT,
    callerId: known.keys.accessKeyId,
    cognitoIdentity: null,
    principalOrgId: null,
    userArn: known.arn,
    userId: known.keys.accessKeyId,
  };
  return { status: 200, authorizer: { iam } };
}

/** A function's own address. */
function serveUrl(resource: Resource, { access, host, fronts }: Parts): void {
  const { at, properties } = resource;
  const spec = host.find(text(properties['TargetFunctionArn']));
  if (!spec) throw new Error(`${at} leads to a function that is not there`);
  if (properties['AuthType'] !== 'NONE')
    throw new Error(`${at} asks for ${properties['AuthType']}, which is not supported`);
  const streams = properties['InvokeMode'] === 'RESPONSE_STREAM';
  const anybody = access.service('anybody');
  const context = { 'lambda:functionurlauthtype': 'NONE', 'lambda:invokedviafunctionurl': 'true' };
  fronts.serve(at, async (request, response) => {
    const body = await bodyUpTo(request, SYNC_BYTES);
    if (!body) return say(response, 413, 'Request Entity Too Large');
    try {
      for (const action of ['lambda:InvokeFunctionUrl', 'lambda:InvokeFunction'])
        access.check(anybody, { action, resource: spec.arn, context });
    } catch {
      return say(response, 403, 'Forbidden');
    }
    const path = (request.url ?? '/').replace(/\?.*$/s, '');
    const whole: Fields = eventOf(request, body, { routeKey: '$default', apiId: 'url', path });
    const event = Buffer.from(JSON.stringify(whole));
    let streaming: Promise<void> | undefined;
    const ended = host.invoke(spec, event, (answer) => {
      streaming = streamTo(response, answer.type, answer.body).catch(() => void response.destroy());
    });
    const { error, body: said } = await ended;
    if (streaming) return streaming;
    if (error) return say(response, 502, 'Internal Server Error');
    if (streams) throw new Error(`${spec.at} is behind an address that streams, and does not`);
    answerWith(response, said);
  });
}
