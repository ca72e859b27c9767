#!/usr/bin/env bash
# Private copies of the real services for tests, the load tester and development:
# plain processes of the calling user, on 127.0.0.1 only, started and stopped by PID.
#
#   services.sh install [SERVICE...]       install from Debian what is missing (as root or by sudo)
#   services.sh start SERVICE...           start; does not wait; one already up is left alone
#   services.sh wait SERVICE...            wait until each answers, then prepare it (database)
#   services.sh stop [SERVICE...]          TERM, after a deadline KILL; stopping twice is no error
#   services.sh kill9 SERVICE...           crash it
#   services.sh pause|resume SERVICE...    SIGSTOP, SIGCONT
#   services.sh wipe [SERVICE...]          kill it and delete its state
#   services.sh urls                       NAME=URL lines
#   services.sh rabbitmqctl ARGUMENT...    the command line tool, aimed at the private node
#   services.sh run [SERVICE...] -- COMMAND...
#                                          fresh services, the URLs as environment variables, COMMAND,
#                                          everything stopped on any exit; exits with COMMAND's code.
#                                          Services that are up already are used and left alone.
#                                          COMMAND gets no terminal to read from.
#   services.sh up [SERVICE...]            start, print the URLs, stop on Ctrl-C; keeps the data
#   services.sh guard [--wipe] SERVICE...  stop SERVICE... when standard input ends (the owner died);
#                                          --wipe: kill and delete the state
#
# Services: rabbitmq influxdb nginx victoria-metrics prometheus alertmanager mosquitto home-assistant
# (nginx is the InfluxDB v2 shape in front of influxdb). No names: the first three, what the tests
# share; for `stop` and `wipe` all. `install` also knows chromium, and without names installs that
# and the first three.
#
# Environment
#   SERVICES_DIR         all state (default: .services at the top of the repository)
#   SERVICES_PORT_BASE   first of 20 ports (default 25600). All stay below 32768, where the
#                        kernel's ephemeral range begins: a client reconnecting to an ephemeral
#                        port can connect to itself and keep the server from binding.
#   SERVICES_WAIT_S      deadline of `wait` for each service (default 90)
#   SERVICES_STOP_S      deadline of `stop` before KILL (default 15; for `run` 1)
#   RABBITMQ_CONSUMER_TIMEOUT_MS   consumer timeout (default: RabbitMQ's 1800000)
#   RABBITMQ_EXTRA_CONFIG_FILE     lines to add to RabbitMQ's configuration
#   SERVICES_RABBITMQ_NODE, SERVICES_RABBITMQ_COOKIE, SERVICES_RABBITMQ_EPMD_PORT
#                                  for nodes that are to form a cluster: the node's name before
#                                  the @ (default: services), one Erlang cookie for all, and the
#                                  port of the epmd of the first, which must be up
#   INFLUXDB_AUTH_ENABLED          true: authentication on, user admin, password admin
#   INFLUXDB_DATA_..., GOGC, GOMEMLIMIT   as InfluxDB itself reads them
#   PROMETHEUS_CONFIG_FILE, ALERTMANAGER_CONFIG_FILE   instead of the built-in configuration
#   HOME_ASSISTANT_VERSION         2024.3.3 (default; Python 3.11) or 2025.4.4 (Python 3.13)
#   HOME_ASSISTANT_CONFIG_FILE     YAML to add to the built-in configuration
#   XDG_CACHE_HOME                 Home Assistant is installed in ha-ingestor/ there (default ~/.cache)
#
# Port offsets
#    0 epmd                   4 rabbitmq distribution    8 victoria-metrics
#    1 rabbitmq AMQP          5 influxdb HTTP            9 prometheus
#    2 rabbitmq management    6 influxdb backup RPC     10 alertmanager
#    3 rabbitmq prometheus    7 nginx, InfluxDB v2      11 mosquitto
#   12-17 rabbitmqctl        18 home-assistant
#   19 never listened on here: whoever picks a free base binds it to keep the base for himself
set -euo pipefail

# Debian keeps daemons in directories that are not on every user's PATH.
PATH=$PATH:/usr/sbin:/sbin
SCRIPT=${BASH_SOURCE[0]}
# What Home Assistant is made from lies beside the script.
HOME_ASSISTANT_FILES=$(cd "$(dirname "$SCRIPT")" && pwd)/files/home-assistant
HOME_ASSISTANT_VERSION=${HOME_ASSISTANT_VERSION:-2024.3.3}
UV_VERSION=0.13.9
SERVICES_PORT_BASE=${SERVICES_PORT_BASE:-25600}
RABBITMQ_BIN=/usr/lib/rabbitmq/bin
DEFAULT_SERVICES=(rabbitmq influxdb nginx)
ALL_SERVICES=(rabbitmq influxdb nginx victoria-metrics prometheus alertmanager mosquitto home-assistant)
# Not in capitals: an exported variable of that name would be changed for COMMAND, too.
v2_token='test-token'
v2_org='test'
v2_bucket=home_assistant

say() { printf 'services: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '/^# *services\.sh/,/^# Environment/p' "$SCRIPT" | sed 's/^# \{0,1\}//; $d' >&2; exit 2; }

if [[ ! $SERVICES_PORT_BASE =~ ^[1-9][0-9]{3,4}$ ]] || ((SERVICES_PORT_BASE < 1024 || SERVICES_PORT_BASE + 19 > 32767)); then
  die "SERVICES_PORT_BASE is '$SERVICES_PORT_BASE': it must be a number from 1024 to 32748"
fi
if [[ -z ${SERVICES_DIR:-} ]]; then
  # The script lies in common/test/services of the repository.
  SERVICES_DIR=$(cd "$(dirname "$SCRIPT")/../../.." && pwd)/.services
fi
mkdir -p "$SERVICES_DIR"
SERVICES_DIR=$(cd "$SERVICES_DIR" && pwd)
# Every process started here carries the directory in its environment: that is how a leftover is known.
export SERVICES_DIR SERVICES_PORT_BASE

port() { # NAME
  local offset
  case $1 in
    epmd) offset=0 ;; amqp) offset=1 ;; management) offset=2 ;; rabbitmq-prometheus) offset=3 ;;
    distribution) offset=4 ;; influxdb) offset=5 ;; influxdb-rpc) offset=6 ;; nginx) offset=7 ;;
    victoria-metrics) offset=8 ;; prometheus) offset=9 ;; alertmanager) offset=10 ;; mosquitto) offset=11 ;;
    ctl-min) offset=12 ;; ctl-max) offset=17 ;; home-assistant) offset=18 ;;
    *) die "no port is named '$1'" ;;
  esac
  printf '%d' $((SERVICES_PORT_BASE + offset))
}

check_names() {
  local name
  for name; do
    [[ " ${ALL_SERVICES[*]} " == *" $name "* ]] || die "no service is named '$name'; known: ${ALL_SERVICES[*]}"
  done
}

# --- install -------------------------------------------------------------------------------------

program() { # SERVICE -> the program it needs
  case $1 in
    rabbitmq) printf '%s/rabbitmq-server' "$RABBITMQ_BIN" ;; influxdb) printf influxd ;;
    alertmanager) printf prometheus-alertmanager ;; *) printf '%s' "$1" ;;
  esac
}

package() { # SERVICE -> the Debian package
  case $1 in
    rabbitmq) printf rabbitmq-server ;; nginx) printf nginx-light ;;
    alertmanager) printf prometheus-alertmanager ;; *) printf '%s' "$1" ;;
  esac
}

is_installed() {
  if [[ $1 == home-assistant ]]; then
    [[ -f $(home_assistant_environment)/complete ]]
  else
    command -v "$(program "$1")" >/dev/null
  fi
}

# --- Home Assistant's installation: from PyPI, by a lock file, kept outside of the tree -----------

home_assistant_lock() {
  local lock=$HOME_ASSISTANT_FILES/$HOME_ASSISTANT_VERSION.lock.txt
  [[ -f $lock ]] || die "HOME_ASSISTANT_VERSION is '$HOME_ASSISTANT_VERSION': there is no $lock"
  printf '%s' "$lock"
}

# Named after the lock file's content: another lock file is another environment.
home_assistant_environment() {
  local lock digest
  lock=$(home_assistant_lock)
  digest=$(sha256sum "$lock")
  printf '%s/ha-ingestor/home-assistant/%s-%s' "${XDG_CACHE_HOME:-$HOME/.cache}" "$HOME_ASSISTANT_VERSION" "${digest:0:12}"
}

# The newest Python of a version that runs, such as 3.11: from PATH, or pyenv's.
find_python() { # VERSION
  local candidate
  for candidate in "python$1" /usr/bin/python"$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
    if "$candidate" -c 'pass' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  return 1
}

install_home_assistant() (
  environment=$(home_assistant_environment)
  lock=$(home_assistant_lock)
  mkdir -p "$(dirname "$environment")"
  # One at a time: two checkouts share the cache.
  exec {lock_fd}>"$environment.lock"
  flock "$lock_fd"
  [[ ! -f $environment/complete ]] || return 0
  python_version=3.11
  [[ $HOME_ASSISTANT_VERSION == 2024.* ]] || python_version=3.13
  python=$(find_python "$python_version") \
    || die "Home Assistant $HOME_ASSISTANT_VERSION needs Python $python_version, which is not here"
  log=$environment.log
  uv=$(command -v uv || true)
  if [[ -z $uv ]]; then
    uv=$(dirname "$environment")/uv-$UV_VERSION/bin/uv
    if [[ ! -x $uv ]]; then
      rm -rf "$(dirname "$environment")/uv-$UV_VERSION"
      { "$python" -m venv "$(dirname "$environment")/uv-$UV_VERSION" \
        && "$(dirname "$uv")/pip" install -q "uv==$UV_VERSION"; } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "uv, which installs Home Assistant, could not be installed from PyPI; all words are in $log \
(\`python3 -m venv\` needs Debian's package python3-venv)"
      }
    fi
  fi
  say "installing Home Assistant $HOME_ASSISTANT_VERSION from PyPI"
  rm -rf "$environment"
  { UV_PYTHON_DOWNLOADS=never "$uv" venv -q --python "$python" "$environment" \
    && "$uv" pip install -q --python "$environment/bin/python" -r "$lock"; } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "Home Assistant $HOME_ASSISTANT_VERSION could not be installed; all words are in $log"
  }
  touch "$environment/complete"
)

# In a subshell, for its own EXIT trap.
install_services() (
  missing=()
  with_home_assistant=
  for name; do
    [[ $name == chromium ]] || check_names "$name"
    if is_installed "$name"; then
      continue
    elif [[ $name == home-assistant ]]; then
      with_home_assistant=1
    else
      missing+=("$(package "$name")")
    fi
  done
  command -v curl >/dev/null || missing+=(curl)
  if ((${#missing[@]} == 0)); then
    if [[ -n $with_home_assistant ]]; then
      install_home_assistant
    else
      say "installed already: $*"
    fi
    return
  fi
  command -v apt-get >/dev/null || die "apt-get is not here, so nothing was installed. Install these by hand \
(names of the Debian 12 packages), with their programs on PATH: ${missing[*]}"
  as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "not root and no sudo; as root run: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  # The packages would start their daemons on the default ports; this answer of Debian's forbids it.
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
  fi
  say "installing ${missing[*]}"
  apt_get=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  log=$SERVICES_DIR/install.log
  "${apt_get[@]}" update >"$log" 2>&1 || say "apt-get update failed; trying with the package lists that are here"
  if ! "${apt_get[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "apt-get could not install ${missing[*]}; the end of its words is above, all of them in $log"
  fi
  [[ -z $with_home_assistant ]] || install_home_assistant
)

# --- processes -----------------------------------------------------------------------------------

pid_file() { printf '%s/%s/pid' "$SERVICES_DIR" "$1"; }

# Sets process_state and process_started (ticks since boot) of PID. Fails if there is none.
# `kill -0` would call a zombie alive until its parent reaps it, and a PID can be another's by now.
read_process() {
  local line fields
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${line##*) }"
  process_state=${fields[0]} process_started=${fields[19]}
}

# Sets service_pid. Fails if the process that was started is gone. A zombie is gone once its threads
# are: until then it still holds its ports.
is_alive() {
  local started threads
  { read -r service_pid started <"$(pid_file "$1")"; } 2>/dev/null || return 1
  read_process "$service_pid" && [[ $process_started == "$started" ]] || return 1
  threads=("/proc/$service_pid/task"/*)
  [[ $process_state != [ZX] ]] || ((${#threads[@]} > 1))
}

# NAME COMMAND...: a process of its own session, so that Ctrl-C reaches its owner only.
launch() {
  local name=$1 process_state='' process_started=0
  shift
  (
    [[ -z ${guard_fd:-} ]] || exec {guard_fd}>&-
    cd "$SERVICES_DIR/$name" # crash dumps go to the working directory
    exec setsid "$@" >>output.log 2>&1 </dev/null
  ) &
  local pid=$!
  read_process "$pid" || true
  printf '%s %s\n' "$pid" "$process_started" >"$(pid_file "$name")"
}

accepts_connections() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

require_free_port() { # NAME...
  local name
  for name; do
    ! accepts_connections "$(port "$name")" || die "port $(port "$name") ($name) is taken by a process that \
was not started from $SERVICES_DIR; stop that one or set SERVICES_PORT_BASE"
  done
}

wait_until_gone() { # DEADLINE_SECONDS NAME...
  local deadline=$((SECONDS + $1)) name alive
  shift
  while :; do
    alive=
    for name; do ! is_alive "$name" || alive=1; done
    [[ -n $alive ]] || return 0
    ((SECONDS < deadline)) || return 1
    sleep 0.02
  done
}

send_signal() { # SIGNAL NAME...: to those that are alive
  local signal=$1 name
  shift
  for name; do ! is_alive "$name" || kill -s "$signal" "$service_pid" 2>/dev/null || true; done
}

# One thread of a process takes SIGSTOP and then stops the others: on a busy machine they run on for a
# moment, and a broker would still confirm.
pause_services() {
  local deadline=$((SECONDS + 10)) name running
  send_signal STOP "$@"
  while :; do
    running=
    for name; do
      is_alive "$name" || continue
      ! grep -qsE '^State:[[:space:]]+[^TtZX[:space:]]' "/proc/$service_pid/task"/*/status || running=$name
    done
    [[ -n $running ]] || return 0
    ((SECONDS < deadline)) || die "$running runs on after STOP"
    sleep 0.02
  done
}

kill_services() {
  send_signal KILL "$@"
  wait_until_gone 15 "$@" || die "still alive after KILL: $*"
}

# epmd goes with RabbitMQ but is a process of its own; a crash of RabbitMQ leaves it.
with_epmd() {
  names=("$@")
  [[ " $* " != *" rabbitmq "* ]] || names+=(epmd)
}

stop_services() {
  (($# > 0)) || return 0
  local names
  send_signal TERM "$@"
  send_signal CONT "$@" # a paused process takes no TERM
  wait_until_gone "${SERVICES_STOP_S:-15}" "$@" || kill_services "$@"
  with_epmd "$@"
  kill_services "${names[@]}"
  for name in "${names[@]}"; do rm -f "$(pid_file "$name")"; done
}

wipe_services() {
  (($# > 0)) || return 0
  local names name
  with_epmd "$@"
  kill_services "${names[@]}"
  for name in "${names[@]}"; do rm -rf "${SERVICES_DIR:?}/$name"; done
}

# --- the services --------------------------------------------------------------------------------

rabbitmq_environment() {
  local state=$SERVICES_DIR/rabbitmq
  mkdir -p "$state/home" "$state/data" "$state/log"
  # The Erlang cookie is read from HOME.
  export HOME=$state/home
  if [[ ! -f $HOME/.erlang.cookie ]]; then
    printf '%s' "${SERVICES_RABBITMQ_COOKIE:-services$SERVICES_PORT_BASE}" >"$HOME/.erlang.cookie"
    chmod 400 "$HOME/.erlang.cookie"
  fi
  : >"$state/environment.conf"
  export ERL_EPMD_PORT ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT RABBITMQ_CTL_DIST_PORT_MIN RABBITMQ_CTL_DIST_PORT_MAX
  ERL_EPMD_PORT=${SERVICES_RABBITMQ_EPMD_PORT:-$(port epmd)}
  RABBITMQ_DIST_PORT=$(port distribution)
  RABBITMQ_CTL_DIST_PORT_MIN=$(port ctl-min)
  RABBITMQ_CTL_DIST_PORT_MAX=$(port ctl-max)
  export RABBITMQ_NODENAME=${SERVICES_RABBITMQ_NODE:-services}@localhost RABBITMQ_CONF_ENV_FILE=$state/environment.conf
  export RABBITMQ_CONFIG_FILE=$state/rabbitmq.conf RABBITMQ_ADVANCED_CONFIG_FILE=$state/advanced.config
  export RABBITMQ_ENABLED_PLUGINS_FILE=$state/enabled_plugins
  export RABBITMQ_MNESIA_BASE=$state/data RABBITMQ_LOG_BASE=$state/log RABBITMQ_PID_FILE=$state/rabbitmq.pid
  # No busy waiting in the schedulers: the processor belongs to the programs under test, too.
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none'
  # Makes the start script exec the VM, so that the PID we record is the VM's: TERM stops it, KILL crashes it.
  export RUNNING_UNDER_SYSTEMD=true
  export ERL_CRASH_DUMP=$state/erl_crash.dump
  unset NOTIFY_SOCKET
}

start_epmd() {
  local attempt
  [[ -z ${SERVICES_RABBITMQ_EPMD_PORT:-} ]] || return 0
  ! is_alive epmd || return 0
  require_free_port epmd
  mkdir -p "$SERVICES_DIR/epmd"
  launch epmd epmd -port "$(port epmd)" -address 127.0.0.1
  for ((attempt = 0; attempt < 250; attempt++)); do
    ! accepts_connections "$(port epmd)" || return 0
    sleep 0.02
  done
  die "epmd does not answer; see $SERVICES_DIR/epmd/output.log"
}

# In a subshell: it exports a HOME that is not the user's.
start_rabbitmq() (
  state=$SERVICES_DIR/rabbitmq
  require_free_port amqp management rabbitmq-prometheus distribution
  rabbitmq_environment
  printf '[rabbitmq_management,rabbitmq_prometheus].\n' >"$state/enabled_plugins"
  cat >"$state/rabbitmq.conf" <<CONFIGURATION
listeners.tcp.1 = 127.0.0.1:$(port amqp)
management.tcp.ip = 127.0.0.1
management.tcp.port = $(port management)
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = $(port rabbitmq-prometheus)
log.file = rabbitmq.log
log.console = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 100MB
collect_statistics_interval = 1000
consumer_timeout = ${RABBITMQ_CONSUMER_TIMEOUT_MS:-1800000}
CONFIGURATION
  [[ -z ${RABBITMQ_EXTRA_CONFIG_FILE:-} ]] || cat "$RABBITMQ_EXTRA_CONFIG_FILE" >>"$state/rabbitmq.conf"
  # Milliseconds. Defaults, too slow for tests: a dead letter without a route is tried again after
  # 180000, a channel looks for timed out consumers every 60000, a quorum queue counts itself every 5000.
  cat >"$state/advanced.config" <<CONFIGURATION
[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000},
           {channel_tick_interval, 1000},
           {quorum_tick_interval, 1000}]}].
CONFIGURATION
  start_epmd
  launch rabbitmq "$RABBITMQ_BIN/rabbitmq-server"
)

is_ready_rabbitmq() {
  accepts_connections "$(port amqp)" && accepts_connections "$(port rabbitmq-prometheus)" \
    && http -u guest:guest "http://127.0.0.1:$(port management)/api/health/checks/local-alarms"
}

start_influxdb() {
  local state=$SERVICES_DIR/influxdb
  require_free_port influxdb influxdb-rpc
  cat >"$state/influxdb.conf" <<CONFIGURATION
reporting-disabled = true
bind-address = "127.0.0.1:$(port influxdb-rpc)"
[meta]
  dir = "$state/meta"
[data]
  dir = "$state/data"
  wal-dir = "$state/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:$(port influxdb)"
  auth-enabled = ${INFLUXDB_AUTH_ENABLED:-false}
  log-enabled = false
[continuous_queries]
  enabled = false
CONFIGURATION
  launch influxdb influxd -config "$state/influxdb.conf"
}

is_ready_influxdb() { http "http://127.0.0.1:$(port influxdb)/ping"; }

prepare_influxdb() {
  local query
  query="http://127.0.0.1:$(port influxdb)/query"
  if [[ ${INFLUXDB_AUTH_ENABLED:-false} == true ]]; then
    # The first user may be made without authentication; at the next start the answer is 401.
    http --data-urlencode "q=CREATE USER admin WITH PASSWORD 'admin' WITH ALL PRIVILEGES" "$query" || true
  fi
  http -u admin:admin --data-urlencode "q=CREATE DATABASE $v2_bucket" "$query" \
    || die "influxdb did not create the database $v2_bucket"
}

# The shape of the InfluxDB v2 API over InfluxDB 1.x: token, organisation, bucket, precision, error bodies.
# Documented at https://docs.influxdata.com/influxdb/v2/api/ under /api/v2/write and /health.
start_nginx() {
  local state=$SERVICES_DIR/nginx
  require_free_port nginx
  mkdir -p "$state/tmp"
  cat >"$state/nginx.conf" <<CONFIGURATION
# One process: a KILL then leaves no worker behind.
daemon off;
master_process off;
pid $state/nginx.pid;
error_log $state/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  default_type application/json;
  client_body_temp_path $state/tmp/body;
  proxy_temp_path $state/tmp/proxy;
  fastcgi_temp_path $state/tmp/fastcgi;
  uwsgi_temp_path $state/tmp/uwsgi;
  scgi_temp_path $state/tmp/scgi;
  client_max_body_size 50m;
  client_body_buffer_size 8m;
  keepalive_requests 1000000;
  map \$http_authorization \$is_authorized { default 0; "Token $v2_token" 1; "Bearer $v2_token" 1; }
  map \$arg_precision \$precision_v1 { default ""; "" n; ns n; us u; ms ms; s s; }
  # A bucket is a database, or database/retention-policy.
  map \$arg_bucket \$database { default \$arg_bucket; "~*^(?<before>.+?)(/|%2f)" \$before; }
  map \$arg_bucket \$retention_policy { default ""; "~*^.+?(/|%2f)(?<after>.+)$" \$after; }
  map \$upstream_status \$error_code {
    default "internal error"; 400 invalid; 401 unauthorized; 403 forbidden; 404 "not found";
    413 "request too large"; 503 unavailable;
  }
  upstream influxdb { server 127.0.0.1:$(port influxdb) max_fails=0; keepalive 16; }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Accept-Encoding "";
  # Read only by a database with authentication on.
  proxy_set_header Authorization "Basic YWRtaW46YWRtaW4=";
  proxy_read_timeout 300s;
  sub_filter_types application/json;
  server {
    listen 127.0.0.1:$(port nginx);
    error_page 401 @unauthorized;
    error_page 502 504 =503 @unavailable;
    location @unavailable { return 503 '{"code":"unavailable","message":"the database does not answer","name":"influxdb","status":"fail"}'; }
    location @unauthorized { return 401 '{"code":"unauthorized","message":"unauthorized access"}'; }
    location / { return 404 '{"code":"not found","message":"path not found"}'; }
    location = /ping { proxy_pass http://influxdb/ping; }
    # 200 only if the database answers: asked before the body is given.
    location = /health {
      error_page 500 =503 @unavailable;
      auth_request /ping;
      try_files /none @healthy;
    }
    location @healthy { return 200 '{"name":"influxdb","message":"ready for queries and writes","status":"pass","checks":[]}'; }
    location = /api/v2/write {
      if (\$request_method != POST) { return 405 '{"code":"method not allowed","message":"method not allowed"}'; }
      if (\$is_authorized = 0) { return 401; }
      if (\$arg_org != "$v2_org") { return 404 '{"code":"not found","message":"organization name \\\\"\$arg_org\\\\" not found"}'; }
      if (\$arg_bucket = "") { return 400 '{"code":"invalid","message":"bucket is required"}'; }
      if (\$precision_v1 = "") { return 400 '{"code":"invalid","message":"invalid precision; valid precision units are ns, us, ms, and s"}'; }
      sub_filter '{"error":' '{"code":"\$error_code","message":';
      set \$args "db=\$database&rp=\$retention_policy&precision=\$precision_v1";
      proxy_pass http://influxdb/write?\$args;
    }
    # The 1.x compatibility endpoint of InfluxDB 2.x.
    location = /query {
      if (\$is_authorized = 0) { return 401; }
      proxy_pass http://influxdb/query\$is_args\$args;
    }
  }
}
CONFIGURATION
  launch nginx nginx -p "$state/" -e "$state/error.log" -c "$state/nginx.conf"
}

is_ready_nginx() { accepts_connections "$(port nginx)"; }

start_victoria-metrics() {
  require_free_port victoria-metrics
  launch victoria-metrics victoria-metrics "-httpListenAddr=127.0.0.1:$(port victoria-metrics)" \
    "-storageDataPath=$SERVICES_DIR/victoria-metrics/data" -retentionPeriod=100y -search.latencyOffset=0s -loggerLevel=WARN
}

is_ready_victoria-metrics() { http "http://127.0.0.1:$(port victoria-metrics)/health"; }

start_prometheus() {
  local state=$SERVICES_DIR/prometheus
  require_free_port prometheus
  cat >"$state/prometheus.yml" <<CONFIGURATION
global: { scrape_interval: 1s, evaluation_interval: 1s }
alerting:
  alertmanagers: [{ static_configs: [{ targets: ["127.0.0.1:$(port alertmanager)"] }] }]
scrape_configs:
  - job_name: rabbitmq
    static_configs: [{ targets: ["127.0.0.1:$(port rabbitmq-prometheus)"] }]
CONFIGURATION
  launch prometheus prometheus "--config.file=$(realpath "${PROMETHEUS_CONFIG_FILE:-$state/prometheus.yml}")" \
    "--storage.tsdb.path=$state/data" "--web.listen-address=127.0.0.1:$(port prometheus)" \
    --web.enable-lifecycle --log.level=warn
}

is_ready_prometheus() { http "http://127.0.0.1:$(port prometheus)/-/ready"; }

start_alertmanager() {
  local state=$SERVICES_DIR/alertmanager
  require_free_port alertmanager
  cat >"$state/alertmanager.yml" <<CONFIGURATION
route: { receiver: none, group_wait: 1s }
receivers: [{ name: none }]
CONFIGURATION
  launch alertmanager prometheus-alertmanager "--config.file=$(realpath "${ALERTMANAGER_CONFIG_FILE:-$state/alertmanager.yml}")" \
    "--storage.path=$state/data" "--web.listen-address=127.0.0.1:$(port alertmanager)" --cluster.listen-address=
}

is_ready_alertmanager() { http "http://127.0.0.1:$(port alertmanager)/-/ready"; }

start_mosquitto() {
  local state=$SERVICES_DIR/mosquitto
  require_free_port mosquitto
  printf 'listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nuser %s\n' \
    "$(port mosquitto)" "$(id -un)" >"$state/mosquitto.conf"
  launch mosquitto mosquitto -c "$state/mosquitto.conf"
}

is_ready_mosquitto() { accepts_connections "$(port mosquitto)"; }

# The folder is new at the first start and after `wipe`; a restart finds its configuration, users
# and recorder as they were.
start_home-assistant() {
  local state=$SERVICES_DIR/home-assistant environment
  environment=$(home_assistant_environment)
  require_free_port home-assistant
  mkdir -p "$state/config"
  cp -r "$HOME_ASSISTANT_FILES/custom_components" "$state/config/"
  sed "s/@PORT@/$(port home-assistant)/" "$HOME_ASSISTANT_FILES/configuration.yaml" >"$state/config/configuration.yaml"
  [[ -z ${HOME_ASSISTANT_CONFIG_FILE:-} ]] \
    || cat "$HOME_ASSISTANT_CONFIG_FILE" >>"$state/config/configuration.yaml"
  # --skip-pip: everything is there, and nothing is fetched while tests run.
  launch home-assistant env "PATH=$environment/bin:$PATH" "VIRTUAL_ENV=$environment" \
    "$environment/bin/hass" --config "$state/config" --skip-pip
}

# Ready is: a user and a token are there, and Home Assistant says that it is running.
is_ready_home-assistant() {
  local url token=$SERVICES_DIR/home-assistant/token
  url=http://127.0.0.1:$(port home-assistant)
  if [[ ! -f $token ]]; then
    http "$url/api/onboarding" || return 1
    "$(home_assistant_environment)/bin/python" "$HOME_ASSISTANT_FILES/onboard.py" "$url" "$token" \
      || die "Home Assistant could not be set up"
  fi
  [[ $(curl --noproxy '*' -sf -m 5 -H "Authorization: Bearer $(<"$token")" "$url/api/config") == *'"state":"RUNNING"'* ]]
}

# --- all of them ---------------------------------------------------------------------------------

http() { curl --noproxy '*' -sf -m 5 -o /dev/null "$@"; }

start_services() {
  local name missing=()
  for name; do is_installed "$name" || missing+=("$name"); done
  command -v curl >/dev/null || missing+=(curl)
  ((${#missing[@]} == 0)) || die "not installed: ${missing[*]}; run \`make services-install\`"
  for name; do
    ! is_alive "$name" || continue
    mkdir -p "$SERVICES_DIR/$name"
    "start_$name"
  done
}

wait_services() {
  local name deadline
  for name; do
    deadline=$((SECONDS + ${SERVICES_WAIT_S:-90}))
    # Alive is asked first: an answer from a port says nothing of the process we started.
    until is_alive "$name" && "is_ready_$name"; do
      if ! is_alive "$name"; then
        tail -n 20 "$SERVICES_DIR/$name/output.log" >&2 || true
        die "$name is not running; its last words are above, its files in $SERVICES_DIR/$name"
      fi
      ((SECONDS < deadline)) || die "$name does not answer within ${SERVICES_WAIT_S:-90} s; see $SERVICES_DIR/$name"
      sleep 0.03
    done
    [[ $name != influxdb ]] || prepare_influxdb
  done
}

print_urls() {
  local host=127.0.0.1
  cat <<URLS
SERVICES_AMQP_URL=amqp://guest:guest@$host:$(port amqp)/%2f
SERVICES_RABBITMQ_MANAGEMENT_URL=http://$host:$(port management)
SERVICES_RABBITMQ_PROMETHEUS_URL=http://$host:$(port rabbitmq-prometheus)
SERVICES_INFLUXDB_URL=http://$host:$(port influxdb)
SERVICES_INFLUXDB_V2_URL=http://$host:$(port nginx)
SERVICES_INFLUXDB_TOKEN=$v2_token
SERVICES_INFLUXDB_ORG=$v2_org
SERVICES_INFLUXDB_BUCKET=$v2_bucket
SERVICES_VICTORIA_METRICS_URL=http://$host:$(port victoria-metrics)
SERVICES_PROMETHEUS_URL=http://$host:$(port prometheus)
SERVICES_ALERTMANAGER_URL=http://$host:$(port alertmanager)
SERVICES_MQTT_URL=mqtt://$host:$(port mosquitto)
SERVICES_HOME_ASSISTANT_URL=http://$host:$(port home-assistant)
SERVICES_HOME_ASSISTANT_TOKEN_FILE=$SERVICES_DIR/home-assistant/token
URLS
}

# Waits for the end of standard input: the kernel closes it for an owner that was killed, too.
# A line names the process group of a command to end with the owner; an empty one, none.
guard_services() {
  local wipe='' line group=''
  if [[ ${1:-} == --wipe ]]; then
    wipe=1
    shift
  fi
  check_names "$@"
  trap 'ended=1' INT TERM HUP
  ended=
  while [[ -z $ended ]] && read -r line; do group=$line; done
  trap '' INT TERM HUP
  end_group "$group"
  if [[ -z $wipe ]]; then
    stop_services "$@"
  else
    wipe_services "$@"
    rm -rf "$SERVICES_DIR/services.sh" "$SERVICES_DIR/files"
    rmdir --ignore-fail-on-non-empty "$SERVICES_DIR"
  fi
}

# Starts those of SERVICE... that are not up and sets up their end: traps for every way this script
# can end, and a guard process for the ways that run no trap.
own_services() { # fresh|keep SERVICE...
  local freshness=$1 name stop_s=15
  shift
  # State that the next `run` deletes is not worth the 6 s of RabbitMQ's good order.
  [[ $freshness != fresh ]] || stop_s=1
  owned=()
  for name; do is_alive "$name" || owned+=("$name"); done
  command_pid='' guard_fd=''
  trap 'release_services' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if ((${#owned[@]} > 0)); then
    exec {guard_fd}> >(exec env "SERVICES_STOP_S=${SERVICES_STOP_S:-$stop_s}" setsid bash "$SCRIPT" guard "${owned[@]}" >&2)
    guard_pid=$!
    [[ $freshness != fresh ]] || wipe_services "${owned[@]}"
    start_services "${owned[@]}"
  fi
  wait_services "$@"
}

end_group() { # PROCESS_GROUP, or nothing: TERM, after 10 s KILL
  [[ -n $1 ]] && kill -s TERM -- "-$1" 2>/dev/null || return 0
  local deadline=$((SECONDS + 10))
  while kill -0 -- "-$1" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.05; done
  kill -s KILL -- "-$1" 2>/dev/null || true
}

release_services() {
  local status=$?
  trap '' HUP INT TERM
  set +e
  end_group "$command_pid"
  if [[ -n $guard_fd ]]; then
    printf '\n' >&"$guard_fd"
    exec {guard_fd}>&-
    wait "$guard_pid"
  fi
  stop_services "${owned[@]}"
  exit "$status"
}

run_command() {
  local names=() line status=0
  while (($# > 0)) && [[ $1 != -- ]]; do
    names+=("$1")
    shift
  done
  (($# > 1)) || usage
  shift
  ((${#names[@]} > 0)) || names=("${DEFAULT_SERVICES[@]}")
  check_names "${names[@]}"
  own_services fresh "${names[@]}"
  while read -r line; do export "${line?}"; done < <(print_urls)
  export SERVICES_UP="${names[*]}"
  # Job control gives the command a process group, so that all of it can be ended with this script.
  set -m
  ([[ -z $guard_fd ]] || exec {guard_fd}>&-; exec "$@") </dev/null &
  command_pid=$!
  set +m
  [[ -z $guard_fd ]] || printf '%s\n' "$command_pid" >&"$guard_fd"
  wait "$command_pid" || status=$?
  exit "$status"
}

up() {
  (($# > 0)) || set -- "${DEFAULT_SERVICES[@]}"
  check_names "$@"
  own_services keep "$@"
  print_urls
  if ((${#owned[@]} == 0)); then
    say "all were up already; left alone"
    return
  fi
  say "up: ${owned[*]}; Ctrl-C stops them"
  wait "$guard_pid"
}

command=${1:-}
(($# == 0)) || shift
case $command in
  install)
    (($# > 0)) || set -- "${DEFAULT_SERVICES[@]}" chromium
    install_services "$@"
    ;;
  start | wait | kill9 | pause | resume)
    (($# > 0)) || usage
    check_names "$@"
    case $command in
      start) start_services "$@" ;;
      wait) wait_services "$@" ;;
      kill9) kill_services "$@" ;;
      pause) pause_services "$@" ;;
      resume) send_signal CONT "$@" ;;
    esac
    ;;
  stop | wipe)
    (($# > 0)) || set -- "${ALL_SERVICES[@]}"
    check_names "$@"
    "${command}_services" "$@"
    ;;
  guard) guard_services "$@" ;;
  urls) print_urls ;;
  rabbitmqctl)
    rabbitmq_environment
    exec "$RABBITMQ_BIN/rabbitmqctl" "$@"
    ;;
  run) run_command "$@" ;;
  up) up "$@" ;;
  *) usage ;;
esac
