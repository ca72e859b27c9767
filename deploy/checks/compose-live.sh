#!/usr/bin/env bash
# Runs docker-compose.yml for real, profile full: an event in at one end, its point out at the other,
# four workers, and down again. Prints a line for each, and exits with 0 only if all hold.
#
# The images are STAND-INS under the names that the file uses, because no image registry can be
# asked: one root file system of Debian's packages, with our binaries of target/debug; RabbitMQ is
# Debian's 3.10 in the place of 4.1, InfluxDB is 1.6 behind nginx in the shape of the v2 API in the
# place of 2.7. What is proven is the file (order, health, secrets, volumes, networks, limits as far
# as the kernel takes them, scaling), not those images.
#
# The engine is Debian's, unpacked and not installed, in namespaces of its own. Needs root, Debian 12,
# curl, docker-compose (deploy/checks/install.sh), and `cargo build -p producer -p worker -p loadtest`.
#
#   deploy/checks/compose-live.sh DIRECTORY      everything is kept there for the next time
#
# LIVE_TLS=1: with deploy/compose.tls.yml, so that nothing but amqps leads to the broker.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PATH=$(bash "$top/deploy/checks/install.sh" | paste -sd:):$PATH
directory=${1:?a directory for engine and images}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
engine=$directory/engine
say() { printf '%s\n' "$*" >&2; }

# --- the engine ------------------------------------------------------------------------------------

install_engine() {
  [[ ! -e $engine/complete ]] || return 0
  mkdir -p "$engine/packages"
  (cd "$engine/packages" && apt-get -qq download docker.io containerd runc iptables libip4tc2 libip6tc2 \
    libxtables12 libnetfilter-conntrack3 libnfnetlink0 tini debootstrap)
  for package in "$engine"/packages/*.deb; do dpkg -x "$package" "$engine/root"; done
  ln -sf xtables-nft-multi "$engine/root/usr/sbin/iptables"
  ln -sf xtables-nft-multi "$engine/root/usr/sbin/ip6tables"
  touch "$engine/complete"
}

# In its own namespaces of mounts, processes and networks: when the first process of it ends, all do.
run_engine() {
  export PATH=$engine/root/usr/sbin:$engine/root/usr/bin:$PATH
  export LD_LIBRARY_PATH=$engine/root/usr/lib/x86_64-linux-gnu
  export XTABLES_LIBDIR=$LD_LIBRARY_PATH/xtables
  mount --make-rprivate /
  mount -t proc proc /proc
  python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 1))'
  exec dockerd --data-root "$engine/data" --exec-root "$engine/exec" --host "unix://$engine/docker.sock" \
    --pidfile "$engine/docker.pid" --exec-opt native.cgroupdriver=cgroupfs
}
if [[ ${2:-} == engine ]]; then run_engine; fi

stop_all() {
  local status=$?
  trap '' INT TERM
  docker rm --force --volumes live-home >/dev/null 2>&1 || true
  compose down --volumes --timeout 20 >/dev/null 2>&1 || true
  [[ -z ${engine_pid:-} ]] || kill -TERM "$(pgrep --parent "$engine_pid" --full dockerd)" 2>/dev/null || true
  [[ -z ${engine_pid:-} ]] || wait "$engine_pid" 2>/dev/null || true
  rm -rf "$secrets"
  exit "$status"
}

docker() { "$engine/root/usr/bin/docker" --host "unix://$engine/docker.sock" "$@"; }
files=$top/docker-compose.yml
[[ ${LIVE_TLS:-} != 1 ]] || files+=:$top/deploy/compose.tls.yml
compose() {
  env COMPOSE_FILE="$files" DOCKER_HOST="unix://$engine/docker.sock" COMPOSE_PROFILES=full SECRETS_DIR="$secrets" \
    HOME_ASSISTANT_URL=http://live-home:8123 docker-compose --project-directory "$top" --env-file "$top/.env.example" "$@"
}

show_failure() {
  compose ps --all >&2 || true
  compose logs --tail 30 >&2 || true
  compose ps --all --quiet | while read -r container; do
    docker inspect --format '{{.Name}} {{json .State.Health}}' "$container" >&2 || true
  done
}

# Until COMMAND succeeds; fails after two minutes and shows what it said last.
until_true() { # WHAT COMMAND...
  local what=$1 deadline=$((SECONDS + 120)) said
  shift
  until said=$("$@" 2>&1); do
    if ((SECONDS > deadline)); then
      say "FAILED: $what: $said"
      show_failure
      exit 1
    fi
    sleep 0.5
  done
  printf 'holds: %s\n' "$what"
}

# --- stand-in images -------------------------------------------------------------------------------

make_images() {
  local base=$directory/base
  if [[ ! -e $directory/base.complete ]]; then
    rm -rf "$base"
    DEBOOTSTRAP_DIR=$engine/root/usr/share/debootstrap bash "$engine/root/usr/sbin/debootstrap" \
      --variant=minbase --include=rabbitmq-server,influxdb,nginx-light,curl,ca-certificates,procps \
      bookworm "$base" >"$directory/debootstrap.log" 2>&1 || {
      tail -n 5 "$directory/debootstrap.log" >&2
      exit 1
    }
    touch "$directory/base.complete"
  fi
  docker image inspect live-base >/dev/null 2>&1 || tar -C "$base" -c . | docker import - live-base >/dev/null
  local context=$directory/context
  rm -rf "$context"
  mkdir -p "$context"
  cp "$top"/target/debug/{producer,worker,loadtest} "$context/"
  for name in producer worker loadtest; do
    local port=8100
    [[ $name != worker ]] || port=8200
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM live-base
RUN mkdir /data && chown 65532:65532 /data
COPY $name /usr/local/bin/$name
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV ADMIN_ADDR=0.0.0.0:$port
ENTRYPOINT ["/usr/local/bin/$name"]
CMD ["run"]
DOCKERFILE
    docker build --quiet --tag "ha-ingestor/$name:latest" "$context" >/dev/null
  done

  cat >"$context/rabbitmq" <<'ENTRYPOINT'
#!/bin/sh
# As the official image: secrets and configuration are mounted, the plugins are enabled.
exec /usr/lib/rabbitmq/bin/rabbitmq-server
ENTRYPOINT
  cat >"$context/Dockerfile" <<'DOCKERFILE'
FROM live-base
COPY rabbitmq /usr/local/bin/entrypoint
RUN chmod 755 /usr/local/bin/entrypoint && rm -f /etc/rabbitmq/rabbitmq-env.conf \
  && mkdir -p /var/lib/rabbitmq /var/log/rabbitmq && chown -R rabbitmq:rabbitmq /var/lib/rabbitmq /var/log/rabbitmq
ENV HOME=/var/lib/rabbitmq PATH=/usr/lib/rabbitmq/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER rabbitmq
VOLUME /var/lib/rabbitmq
ENTRYPOINT ["/usr/local/bin/entrypoint"]
DOCKERFILE
  docker build --quiet --tag rabbitmq:4.1-management "$context" >/dev/null

  cat >"$context/influxdb" <<'ENTRYPOINT'
#!/bin/sh
# The variables of the official image, InfluxDB 1.x behind the shape of the v2 API that the tests use.
set -e
token=$(cat "$DOCKER_INFLUXDB_INIT_ADMIN_TOKEN_FILE")
sed "s|@TOKEN@|$token|; s|@ORG@|$DOCKER_INFLUXDB_INIT_ORG|" /etc/live-nginx.conf >/tmp/nginx.conf
printf '[meta]\ndir = "/var/lib/influxdb2/meta"\n[data]\ndir = "/var/lib/influxdb2/data"\nwal-dir = "/var/lib/influxdb2/wal"\n[http]\nbind-address = "127.0.0.1:8085"\nlog-enabled = false\n' >/tmp/influxdb.conf
influxd -config /tmp/influxdb.conf &
until curl -sf "http://127.0.0.1:8085/ping"; do sleep 0.2; done
curl -sf -o /dev/null --data-urlencode "q=CREATE DATABASE $DOCKER_INFLUXDB_INIT_BUCKET" http://127.0.0.1:8085/query
exec nginx -c /tmp/nginx.conf
ENTRYPOINT
  printf '#!/bin/sh\nexec curl -sf -o /dev/null http://127.0.0.1:8086/health\n' >"$context/influx"
  cat >"$context/nginx.conf" <<'NGINX'
daemon off;
pid /tmp/nginx.pid;
error_log /dev/stderr;
events {}
http {
  access_log off;
  default_type application/json;
  client_max_body_size 50m;
  map_hash_bucket_size 256;
  map $http_authorization $is_authorized { default 0; "Token @TOKEN@" 1; }
  map $arg_precision $precision_v1 { default ""; "" n; ns n; us u; ms ms; s s; }
  server {
    listen 8086;
    location = /health {
      proxy_pass http://127.0.0.1:8085/ping;
      proxy_intercept_errors on;
    }
    location = /api/v2/write {
      if ($is_authorized = 0) { return 401; }
      if ($arg_org != "@ORG@") { return 404; }
      set $args "db=$arg_bucket&precision=$precision_v1";
      proxy_pass http://127.0.0.1:8085/write?$args;
    }
    location = /query {
      if ($is_authorized = 0) { return 401; }
      proxy_pass http://127.0.0.1:8085/query$is_args$args;
    }
  }
}
NGINX
  cat >"$context/Dockerfile" <<'DOCKERFILE'
FROM live-base
COPY influxdb /usr/local/bin/entrypoint
COPY influx /usr/local/bin/influx
COPY nginx.conf /etc/live-nginx.conf
RUN chmod 755 /usr/local/bin/entrypoint /usr/local/bin/influx && mkdir -p /var/lib/influxdb2 /etc/influxdb2
ENTRYPOINT ["/usr/local/bin/entrypoint"]
DOCKERFILE
  docker build --quiet --tag influxdb:2.7 "$context" >/dev/null
}

# --- the run ---------------------------------------------------------------------------------------

install_engine
secrets=$(mktemp -d)
trap stop_all EXIT
trap 'exit 130' INT TERM
rm -rf "$engine/exec" "$engine/docker.pid" "$engine/docker.sock"
unshare --mount --net --pid --fork --kill-child bash "${BASH_SOURCE[0]}" "$directory" engine >"$engine/log" 2>&1 &
engine_pid=$!
until_true "the engine answers" docker info
# The engine is ours alone; what an earlier run left must not count as left by this one.
docker volume prune --force >/dev/null
say 'making stand-in images'
make_images

chmod 755 "$secrets"
RABBITMQ_TLS=${LIVE_TLS:-} RABBITMQ_SERIES=3 "$top/deploy/make-secrets.sh" "$secrets" 2>/dev/null
printf live-token >"$secrets/home_assistant_token"
compose up --detach --no-build || {
  show_failure
  exit 1
}
docker run --detach --name live-home --network ha-ingestor_default ha-ingestor/loadtest:latest \
  home --listen 0.0.0.0:8123 --token live-token --rate 5 >/dev/null

healthy() { # SERVICE COUNT
  local count
  count=$(compose ps --format json "$1" | grep -o '"Health":"healthy"' | wc -l)
  [[ $count == "$2" ]] || { echo "$count of $2 are healthy"; return 1; }
}
for service in rabbitmq influxdb producer worker; do until_true "$service is healthy" healthy "$service" 1; done

points() { # stored so far
  local token
  token=$(<"$secrets/influxdb_token")
  compose exec -T influxdb curl -sf -G -H "Authorization: Token $token" http://127.0.0.1:8086/query \
    --data-urlencode db=home_assistant \
    --data-urlencode 'q=SELECT count("state") FROM "home_assistant_events"' \
    | sed -n 's/.*,\([0-9]*\)\]\].*/\1/p'
}
more_points_than() {
  local now
  now=$(points)
  [[ ${now:-0} -gt $1 ]] || { echo "${now:-0} points"; return 1; }
}
until_true "events of Home Assistant are points in the database" more_points_than 0

compose up --detach --no-build --scale worker=4
consumers() {
  local found
  found=$(compose exec -T rabbitmq rabbitmqctl -q list_queues name consumers | awk '$1 == "ha.events" { print $2 }')
  [[ $found == "$1" ]] || { echo "$found consumers"; return 1; }
}
until_true "four workers are healthy" healthy worker 4
until_true "four workers consume ha.events" consumers 4
encrypted() {
  local listed
  listed=$(compose exec -T rabbitmq rabbitmqctl -q list_connections ssl)
  [[ $listed == *true* && $listed != *false* ]] || { echo "$listed"; return 1; }
}
[[ ${LIVE_TLS:-} != 1 ]] || until_true "every connection to the broker is encrypted" encrypted
until_true "events go on to be stored" more_points_than "$(points)"

docker rm --force --volumes live-home >/dev/null
compose down --volumes --timeout 40
left() {
  local found
  found=$(compose ps --all --quiet; docker volume ls --quiet)
  [[ -z $found ]] || { echo "left: $found"; return 1; }
}
until_true "down leaves no container and no volume" left
