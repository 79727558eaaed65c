#!/bin/sh
# Runs the command as a user that is not root, and gives that user the repository and the cache: Docker makes a missing
# folder of the host as root. A container that was started as another user (`--user`) runs its command at once.
set -eu

repository=${INGRAIN_REPOSITORY:-/repository}
cache=${HF_HOME:-/cache/huggingface}
image_user=1000

# Root of a user namespace (rootless Docker, Podman) is an ordinary user outside, who owns what is mounted.
read -r _ outside _ < /proc/self/uid_map
if [ "$(id -u)" != 0 ] || [ "$outside" != 0 ]; then
    exec "$@"
fi

# The user who owns what is mounted, so that a cache in somebody's home stays theirs.
user=$image_user group=$image_user
for folder in "$cache" "$repository"; do
    owner=$(stat -L -c %u "$folder" 2> /dev/null || echo 0)
    if [ "$owner" != 0 ] && [ "$owner" != "$image_user" ]; then
        user=$owner group=$(stat -L -c %g "$folder")
    fi
done

# Gives what belongs to root or to the image's user below some folders; other programs' folders stay as they are.
give() {
    find "$@" ! -user "$user" \( -user 0 -o -user "$image_user" \) -exec chown -h "$user:$group" {} +
}
mkdir -p "$repository" "$cache"
give "$repository/." "${cache%/*}/." -maxdepth 0
give "$cache/."
for part in triton models custom staging claims desired.json lock; do
    if [ -e "$repository/$part" ]; then
        give "$repository/$part"
    fi
done

exec setpriv --reuid "$user" --regid "$group" --clear-groups "$@"
