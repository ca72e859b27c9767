#!/usr/bin/env bash
# Runs every profile of docker-compose.yml for real. Prints a line for each thing that holds, and exits
# with 0 only if all do.
#
#   full, monitoring   an event in at one end, its point out at the other; four workers; Prometheus
#                      reads every part, and has its rules and its Alertmanager
#   dev                the producer alone, points in its own file
#   home               the centre of a fleet by TLS alone (deploy/compose.tls.yml), and a home that has
#                      nothing but the three files of docs/fleet.md; its events are points in the centre
#
# and down again each time, with nothing left.
#
# The images are STAND-INS under the names that the file uses, because no image registry can be
# asked: one root file system of Debian's packages, with our binaries of target/debug; RabbitMQ is
# Debian's 3.10 in the place of 4.1, InfluxDB is 1.6 behind nginx in the shape of the v2 API in the
# place of 2.7, Prometheus is 2.42 in the place of 3.5, Alertmanager 0.25 in the place of 0.28. Of
# GRAFANA Debian has no package: the profile monitoring runs without it (its dashboards' queries are
# made by `make alerts`). What is proven is the file (order, health, secrets, volumes, networks, limits
# as far as the kernel takes them, scaling), not those images.
#
# LIVE_IMAGES=dockerfile: our own images are those that dockerfile-live.sh built last in the same
# directory, in the place of target/debug in a root of Debian's.
#
# The engine is that of engine.sh. Needs root, Debian 12, curl, docker-compose (install.sh), and
# `cargo build -p producer -p worker -p loadtest`.
#
#   deploy/checks/compose-live.sh DIRECTORY      everything is kept there for the next time
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PATH=$(bash "$top/deploy/checks/install.sh" | paste -sd:):$PATH
directory=${1:?a directory for engine and images}
# shellcheck source=deploy/checks/engine.sh
source "$top/deploy/checks/engine.sh"

tag=latest
[[ ${LIVE_IMAGES:-} != dockerfile ]] || tag=dockerfile

# A deployment: its name, its profiles, its files and its secrets are what differs.
deployment=ha-ingestor profiles=full,monitoring files=$top/docker-compose.yml
secrets=$(mktemp -d)
compose() {
  env COMPOSE_FILE="$files" DOCKER_HOST="unix://$engine/docker.sock" COMPOSE_PROFILES="$profiles" \
    COMPOSE_PROJECT_NAME="$deployment" SECRETS_DIR="$secrets/$deployment" HOME_ASSISTANT_URL=http://live-home:8123 \
    INSTANCE_NAME="$deployment" PRODUCER_IMAGE="ha-ingestor/producer:$tag" WORKER_IMAGE="ha-ingestor/worker:$tag" \
    docker-compose --project-directory "$top" --env-file "$top/.env.example" "$@"
}

stop_all() {
  local status=$?
  trap '' INT TERM
  for container in $(docker ps --all --quiet 2>/dev/null); do
    docker rm --force --volumes "$container" >/dev/null 2>&1 || true
  done
  stop_engine
  rm -rf "$secrets"
  exit "$status"
}

show_failure() {
  compose ps --all >&2 || true
  compose logs --tail 30 >&2 || true
  compose ps --all --quiet | while read -r container; do
    docker inspect --format '{{.Name}} {{json .State.Health}}' "$container" >&2 || true
  done
}

# --- stand-in images -------------------------------------------------------------------------------

make_images() {
  local base
  base=$(debian_root base \
    rabbitmq-server,influxdb,nginx-light,curl,wget,ca-certificates,procps,prometheus,prometheus-alertmanager)
  # Another root is another image.
  local base_is
  base_is=$(cd "$directory" && echo base.*)
  [[ $(docker image inspect --format "{{index .Config.Labels \"$stand_in\"}}" live-base 2>/dev/null) == "$base_is" ]] \
    || tar -C "$base" -c . | docker import --change "LABEL $stand_in=$base_is" - live-base >/dev/null
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

  # As the official images: started by their file, as nobody, in a directory of theirs.
  for name in prometheus alertmanager; do
    local program=/usr/bin/prometheus image=prom/prometheus:v3.5.0
    [[ $name != alertmanager ]] || program=/usr/bin/prometheus-alertmanager image=prom/alertmanager:v0.28.1
    grep -q "image: $image$" "$top/docker-compose.yml" || { say "docker-compose.yml no longer names $image"; exit 1; }
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM live-base
RUN mkdir -p /$name && chown nobody:nogroup /$name
USER nobody
WORKDIR /$name
VOLUME /$name
ENTRYPOINT ["$program"]
DOCKERFILE
    docker build --quiet --tag "$image" "$context" >/dev/null
  done
}

# --- the runs --------------------------------------------------------------------------------------

trap stop_all EXIT
trap 'exit 130' INT TERM
start_engine
# The engine is ours alone; what an earlier run left must not count as left by this one.
for container in $(docker ps --all --quiet); do docker rm --force --volumes "$container" >/dev/null; done
docker volume prune --force >/dev/null
docker network prune --force >/dev/null
say 'making stand-in images'
make_images
chmod 755 "$secrets"

up() {
  compose up --detach --no-build "$@" || {
    show_failure
    exit 1
  }
}
# Home Assistant is simulated, in the deployment's own network.
start_home() {
  docker run --detach --name live-home --network "${deployment}_default" "ha-ingestor/loadtest:$tag" \
    home --listen 0.0.0.0:8123 --token live-token --rate 5 >/dev/null
}
down() {
  docker rm --force --volumes live-home >/dev/null 2>&1 || true
  compose down --volumes --timeout 40
  until_true "$profiles: down leaves no container and no volume" left
}
left() {
  local found
  found=$(compose ps --all --quiet; docker volume ls --quiet)
  [[ -z $found ]] || { echo "left: $found"; return 1; }
}
healthy() { # SERVICE COUNT
  local count
  count=$(compose ps --format json "$1" | grep -o '"Health":"healthy"' | wc -l)
  [[ $count == "$2" ]] || { echo "$count of $2 are healthy"; return 1; }
}
ask() { # URL; from beside the services
  docker run --rm --network "${deployment}_default" --entrypoint curl live-base -sf -G "$@"
}
points() { # [INSTANCE] stored so far
  local token
  token=$(<"$secrets/$deployment/influxdb_token")
  compose exec -T influxdb curl -sf -G -H "Authorization: Token $token" http://127.0.0.1:8086/query \
    --data-urlencode db=home_assistant \
    --data-urlencode "q=SELECT count(\"state\") FROM \"home_assistant_events\" WHERE \"instance\" = '${1:-$deployment}'" \
    | sed -n 's/.*,\([0-9]*\)\]\].*/\1/p'
}
more_points_than() { # COUNT [INSTANCE]
  local now
  now=$(points "${2:-}")
  [[ ${now:-0} -gt $1 ]] || { echo "${now:-0} points"; return 1; }
}

# full and monitoring.
RABBITMQ_SERIES=3 "$top/deploy/make-secrets.sh" "$secrets/$deployment" 2>/dev/null
chmod 755 "$secrets/$deployment"
printf live-token >"$secrets/$deployment/home_assistant_token"
say 'grafana: no package of Debian, so it does not run here'
services=(rabbitmq influxdb producer worker prometheus alertmanager)
up "${services[@]}"
start_home
for service in "${services[@]}"; do
  until_true "$service is healthy" healthy "$service" 1
done
until_true "events of Home Assistant are points in the database" more_points_than 0

up --scale worker=4 "${services[@]}"
consumers() {
  local found
  found=$(compose exec -T rabbitmq rabbitmqctl -q list_queues name consumers | awk '$1 == "ha.events" { print $2 }')
  [[ $found == "$1" ]] || { echo "$found consumers"; return 1; }
}
until_true "four workers are healthy" healthy worker 4
until_true "four workers consume ha.events" consumers 4
until_true "events go on to be stored" more_points_than "$(points)"

query() { ask http://prometheus:9090/api/v1/query --data-urlencode "query=$1" | sed -n 's/.*"value":\[[0-9.]*,"\([^"]*\)".*/\1/p'; }
gives() { # QUERY VALUE
  local found
  found=$(query "$1")
  [[ $found == "$2" ]] || { echo "$1 is ${found:-nothing}"; return 1; }
}
for job in producer:1 worker:4 rabbitmq:1 rabbitmq-node:1; do
  until_true "Prometheus reads ${job#*:} of the job ha-ingestor-${job%:*}" gives "sum(up{job=\"ha-ingestor-${job%:*}\"})" "${job#*:}"
done
until_true "Prometheus' rules have made the queue's depth" gives 'count(ha_ingestor:events_queue_messages)' 1
until_true "Prometheus has found Alertmanager" gives 'sum(prometheus_notifications_alertmanagers_discovered)' 1
rules_ok() { ask http://prometheus:9090/api/v1/rules | grep -q '"HaIngestorEventsLost"' && gives 'sum(prometheus_rule_evaluation_failures_total)' 0; }
until_true "Prometheus evaluates the alerts without a failure" rules_ok
down

# dev, with no secret but the token.
deployment=live-dev profiles=dev
mkdir "$secrets/$deployment"
printf live-token >"$secrets/$deployment/home_assistant_token"
up
start_home
until_true "dev: producer-inline is healthy" healthy producer-inline 1
stores_alone() {
  local written
  written=$(ask http://producer-inline:8100/metrics | sed -n 's/^ha_ingestor_sink_points_written_total\( \|{.*} \)//p')
  [[ ${written%.*} -gt 0 ]] || { echo "${written:-no} points"; return 1; }
}
until_true "dev: events of Home Assistant are points in its own file" stores_alone
down

# home: first the centre, as docs/fleet.md has it.
deployment=live-centre profiles=full files=$top/docker-compose.yml:$top/deploy/compose.tls.yml
HOMES=live-cottage RABBITMQ_TLS=1 HOMES_ADDRESS=broker.example:5671 RABBITMQ_SERIES=3 \
  "$top/deploy/make-secrets.sh" "$secrets/$deployment" 2>/dev/null
chmod 755 "$secrets/$deployment"
up --scale producer=0 --scale worker=2
until_true "home: the centre's workers are healthy" healthy worker 2
compose exec -T rabbitmq rabbitmqctl -q import_definitions <"$secrets/$deployment/rabbitmq_definitions-live-cottage.json"

deployment=live-cottage profiles=home files=$top/docker-compose.yml
mkdir "$secrets/$deployment"
cp "$secrets/live-centre/producer-live-cottage_amqp_url" "$secrets/$deployment/home_amqp_url"
cp "$secrets/live-centre/rabbitmq_tls_ca.crt" "$secrets/$deployment/"
printf live-token >"$secrets/$deployment/home_assistant_token"
up
start_home
# The way from the home to the centre.
docker network connect --alias broker.example live-cottage_default live-centre-rabbitmq-1
until_true "home: producer-home is healthy" healthy producer-home 1
deployment=live-centre profiles=full files=$top/docker-compose.yml:$top/deploy/compose.tls.yml
until_true "home: its events are points in the centre, by its name" more_points_than 0 live-cottage
encrypted() {
  local listed
  listed=$(compose exec -T rabbitmq rabbitmqctl -q list_connections ssl)
  [[ $listed == *true* && $listed != *false* ]] || { echo "$listed"; return 1; }
}
until_true "home: every connection to the broker is encrypted" encrypted
docker network disconnect live-cottage_default live-centre-rabbitmq-1
centre_down() { compose down --volumes --timeout 40; }
centre_down
deployment=live-cottage profiles=home files=$top/docker-compose.yml
down
say 'not run: grafana (no package of it here)'
