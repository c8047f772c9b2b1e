"""Where an artifact lies: its address, and the local path that the KFP SDK will look at."""
import os

# Source: kubeflow/pipelines sdk/python/kfp/dsl/types/artifact_types.py, _GCS_LOCAL_MOUNT_PREFIX and its like.
_MOUNTS = {"s3://": "/s3/", "gs://": "/gcs/", "minio://": "/minio/"}


def local_path(artifact, scratch):
    """The artifact's local path; sets `customPath` where the SDK's own choice cannot be written."""
    custom = artifact.get("customPath")
    if custom:
        return custom
    uri = artifact.get("uri", "")
    for scheme, mount in _MOUNTS.items():
        if uri.startswith(scheme):
            path = mount + uri[len(scheme):]
            if not _can_make(mount):
                path = os.path.join(scratch, path.lstrip("/"))
                artifact["customPath"] = path
            return path
    return uri


def _can_make(mount):
    try:
        os.makedirs(mount, exist_ok=True)
    except OSError:
        return False
    return os.access(mount, os.W_OK)


def make_parents(path):
    if path:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)


def is_remote(uri):
    return uri.startswith("s3://")


def split(uri):
    bucket, _, key = uri[len("s3://"):].partition("/")
    return bucket, key


class S3:
    """The few calls that a step needs; boto3 is only asked for where an address begins with s3://."""

    def __init__(self, client=None):
        self._client = client

    @property
    def client(self):
        if self._client is None:
            import boto3
            self._client = boto3.client("s3")
        return self._client

    def read(self, uri):
        bucket, key = split(uri)
        return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def write(self, uri, data):
        bucket, key = split(uri)
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def download(self, uri, path):
        """A key is a file; a prefix with keys below it is a folder. False if there is neither."""
        bucket, key = split(uri)
        prefix, found = key.rstrip("/") + "/", False
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key.rstrip("/"))
        for page in pages:
            for item in page.get("Contents", []):
                if item["Key"] == key:
                    target = path
                elif item["Key"].startswith(prefix) and not item["Key"].endswith("/"):
                    target = _below(path, item["Key"][len(prefix):])
                else:
                    continue
                make_parents(target)
                self.client.download_file(bucket, item["Key"], target)
                found = True
        return found

    def upload(self, path, uri):
        bucket, key = split(uri)
        if os.path.isfile(path):
            self.client.upload_file(path, bucket, key)
            return
        for folder, _, names in os.walk(path):
            for name in names:
                source = os.path.join(folder, name)
                if os.path.islink(source) or not os.path.isfile(source):
                    continue
                below = os.path.relpath(source, path).replace(os.sep, "/")
                self.client.upload_file(source, bucket, f"{key.rstrip('/')}/{below}")


def _below(root, relative):
    target = os.path.normpath(os.path.join(root, relative))
    if not target.startswith(os.path.normpath(root) + os.sep):
        raise ValueError(f"an object's key leaves its folder: {relative[:200]}")
    return target


def read_bytes(uri, s3):
    if is_remote(uri):
        return s3.read(uri)
    with open(uri, "rb") as file:
        return file.read()


def write_bytes(uri, data, s3):
    """Whole or not at all."""
    if is_remote(uri):
        return s3.write(uri, data)
    make_parents(uri)
    part = f"{uri}.{os.getpid()}.part"
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, uri)
