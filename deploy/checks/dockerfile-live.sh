#!/usr/bin/env bash
# Builds every image of deploy/Dockerfile, from its own text, and looks at them: who runs in them, what
# is in them, whether their health check works, whether a change of a source makes the dependencies
# again. Prints a line for each, and exits with 0 only if all hold.
#
# The images that the Dockerfile starts FROM are STAND-INS under their names, because no image registry
# can be asked: the compiler's is a root of Debian's packages with the toolchain RUST_VERSION of this
# machine's rustup; the runtime's is the packages of which distroless/cc-debian12 consists, unpacked,
# with the user 65532: no shell, no package manager. Crates come from their registry. Wherever Docker
# Hub and gcr.io can be asked, `docker build` as the Dockerfile's head says takes the real ones.
#
# The engine is that of engine.sh, with this machine's network. Needs root, Debian 12, rustup, and 15 GB;
# the first run compiles everything for release.
#
#   deploy/checks/dockerfile-live.sh DIRECTORY      everything is kept there for the next time
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
directory=${1:?a directory for engine and images}
# shellcheck source=deploy/checks/engine.sh
source "$top/deploy/checks/engine.sh"
dockerfile=$top/deploy/Dockerfile
argument() { sed -n "s/^ARG $1=//p" "$dockerfile"; }
show_failure() { tail -n 20 "$engine/log" >&2; }
failed=0
holds() { # WHAT COMMAND...
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then
    printf 'holds: %s%s\n' "$what" "${said:+ ($said)}"
  else
    printf 'FAILED: %s: %s\n' "$what" "$said"
    failed=1
  fi
}

# --- stand-ins for what the Dockerfile starts from --------------------------------------------------

import() { # IMAGE DIRECTORY CHANGE...
  local image=$1 root=$2 changes=()
  shift 2
  for change in "$@" "LABEL $stand_in=of-debian-packages"; do changes+=(--change "$change"); done
  tar -C "$root" -c . | docker import "${changes[@]}" - "$image" >/dev/null
}

make_toolchain_image() {
  local image root toolchain
  image=rust:$(argument RUST_VERSION)-$(argument DEBIAN_RELEASE)
  ! docker image inspect "$image" >/dev/null 2>&1 || return 0
  root=$(debian_root toolchain gcc,libc6-dev,make,ca-certificates,curl)
  toolchain=$(argument RUST_VERSION).0
  rustup run "$toolchain" rustc --version >/dev/null 2>&1 || rustup toolchain install --profile minimal "$toolchain"
  mkdir -p "$root/usr/local/cargo/bin" "$root/usr/local/rustup/toolchains"
  cp -a "$(rustup run "$toolchain" rustc --print sysroot)" "$root/usr/local/rustup/toolchains/"
  cp -aL "$(command -v rustup)" "$root/usr/local/cargo/bin/rustup"
  for tool in cargo rustc rustdoc; do ln -sf rustup "$root/usr/local/cargo/bin/$tool"; done
  # Whom this machine trusts; and how it finds names is the engine's to tell.
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  printf 'version = "12"\nprofile = "minimal"\ndefault_toolchain = "%s"\n' \
    "$(basename "$(rustup run "$toolchain" rustc --print sysroot)")" >"$root/usr/local/rustup/settings.toml"
  import "$image" "$root" "ENV RUSTUP_HOME=/usr/local/rustup" "ENV CARGO_HOME=/usr/local/cargo" \
    "ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    "ENV RUST_VERSION=$toolchain"
}

make_runtime_image() {
  local image root=$directory/runtime packages=$directory/runtime-packages
  image=$(sed -n 's/^FROM \([^ ]*\) AS runtime$/\1/p' "$dockerfile")
  ! docker image inspect "$image" >/dev/null 2>&1 || return 0
  rm -rf "$root" "$packages"
  mkdir -p "$root" "$packages"
  (cd "$packages" && apt-get -qq download base-files netbase tzdata libc6 libssl3 libgcc-s1 libgomp1 libstdc++6)
  for package in "$packages"/*.deb; do dpkg -x "$package" "$root"; done
  mkdir -p "$root/etc/ssl/certs" "$root/home/nonroot"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
  chown 65532:65532 "$root/home/nonroot"
  import "$image" "$root" "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" "USER 65532" "WORKDIR /home/nonroot"
}

# --- building --------------------------------------------------------------------------------------

# What the Dockerfile may read of the tree, as git has it, so that a file that is not committed to be
# there is missed here as it is missed elsewhere.
context=$(mktemp -d)
clean() {
  local status=$?
  trap '' INT TERM
  for container in $(docker ps --all --quiet 2>/dev/null); do docker rm --force --volumes "$container" >/dev/null || true; done
  stop_engine
  rm -rf "$context"
  exit "$status"
}
trap clean EXIT
trap 'exit 130' INT TERM
git -C "$top" ls-files -z | tar -C "$top" --null --files-from=- -c | tar -C "$context" -x

build() { # TARGET; the steps go to a file
  DOCKER_BUILDKIT=1 docker build --network host --progress plain --file "$context/deploy/Dockerfile" \
    --target "$1" --tag "ha-ingestor/$1:dockerfile" "$context" >"$directory/build-$1.log" 2>&1
}
must_build() {
  build "$1" || { tail -n 40 "$directory/build-$1.log" >&2; exit 1; }
  printf 'holds: docker build --target %s\n' "$1"
}

start_engine shared-network
say 'making stand-in images'
make_toolchain_image
make_runtime_image
for target in producer worker loadtest; do must_build "$target"; done

# --- looking ---------------------------------------------------------------------------------------

inspect() { docker image inspect --format "$2" "ha-ingestor/$1:dockerfile"; }
megabytes() {
  local all base
  all=$(inspect "$1" '{{.Size}}')
  base=$(docker image inspect --format '{{.Size}}' "$(sed -n 's/^FROM \([^ ]*\) AS runtime$/\1/p' "$dockerfile")")
  printf '%s MB, of which %s MB are the stand-in' "$((all / 1000000))" "$((base / 1000000))"
}
runs_as() {
  local user
  user=$(inspect "$1" '{{.Config.User}}')
  printf '%s' "$user"
  [[ $user == 65532:65532 ]]
}
has_no_shell() { ! docker run --rm --network host --entrypoint /bin/sh "ha-ingestor/$1:dockerfile" -c true; } 2>/dev/null
says_version() { docker run --rm --network none --read-only --cap-drop ALL "ha-ingestor/$1:dockerfile" --version; }
for target in producer worker loadtest; do
  holds "$target: size" megabytes "$target"
  holds "$target: runs as nobody in particular" runs_as "$target"
  holds "$target: no shell in it" has_no_shell "$target"
  holds "$target: starts, read-only and without capabilities" says_version "$target"
done

# A producer without anything around it: alive, and not ready.
docker run --detach --name live-health --network none --read-only --cap-drop ALL --volume /data \
  --env HOME_ASSISTANT_URL=http://127.0.0.1:1 --env HOME_ASSISTANT_TOKEN=none --env SINK=sqlite \
  ha-ingestor/producer:dockerfile >/dev/null
is_healthy() { [[ $(docker inspect --format '{{.State.Health.Status}}' live-health) == healthy ]]; }
until_true "producer: HEALTHCHECK of the image finds it healthy" is_healthy
writes_to_volume() {
  local files
  files=$(docker cp live-health:/data/. - | tar -t)
  grep spool.db <<<"$files" | head -n 1
  [[ $files == *spool.db* ]]
}
holds "producer: its user can write to the volume" writes_to_volume

printf '\n// A change.\n' >>"$context/common/core/event/src/lib.rs"
build dependencies || { tail -n 40 "$directory/build-dependencies.log" >&2; exit 1; }
dependencies_cached() {
  local step
  step=$(sed -n 's/^\(#[0-9]*\) \[dependencies .*cargo chef cook.*/\1/p' "$directory/build-dependencies.log" | head -n 1)
  [[ -n $step ]] && grep -q "^$step CACHED" "$directory/build-dependencies.log"
}
holds "a change of a source leaves the layer of the dependencies as it is" dependencies_cached
exit "$failed"
