#!/bin/sh
# Writes the digest of the base image into the Dockerfile, and prints that of Triton's image for TRITON_TAG. Run it where
# Docker reaches the registries: scripts/pin-images.sh
set -eu
cd "$(dirname "$0")/.."

digest_of() {
    docker buildx imagetools inspect "$1" --format '{{.Manifest.Digest}}'
}

base=$(sed -n 's/^FROM \(python:[^ @]*\).*/\1/p' Dockerfile | head -n 1)
digest=$(digest_of "$base")
case $digest in
    sha256:*) ;;
    *) echo "No digest of $base: $digest" >&2; exit 1 ;;
esac
sed "s|^FROM $base\(@sha256:[0-9a-f]*\)\{0,1\} |FROM $base@$digest |" Dockerfile >Dockerfile.pinned
mv Dockerfile.pinned Dockerfile
echo "Dockerfile: $base@$digest"

tag=$(sed -n 's/.*tritonserver:${TRITON_TAG:-\([^}]*\)}.*/\1/p' docker-compose.yml | head -n 1)
echo "TRITON_TAG=$tag@$(digest_of "nvcr.io/nvidia/tritonserver:$tag")"
