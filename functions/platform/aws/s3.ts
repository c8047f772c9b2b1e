import { S3Client } from '@aws-sdk/client-s3';
import type { Blobs } from '../ports.ts';
import { s3Blobs } from './blobs.ts';

export const openS3 = (bucket: string): Blobs => s3Blobs({ client: new S3Client({}), bucket });
