# A Docker engine of our own, for scripts that source this file: Debian's, unpacked and not installed,
# in namespaces of its own, so that nothing of it is left when it ends. Needs root and Debian 12.
#
#   directory=…                     where it is kept for the next time
#   start_engine [shared-network]   runs it; with its own network, or with this machine's, without
#                                   which a build reaches no package registry
#   stop_engine
#   docker …                        its client
#   until_true WHAT COMMAND…        waits; when it does not come true, calls show_failure and exits
# shellcheck shell=bash
set -euo pipefail
checks=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
engine=$directory/engine
# A stand-in says so in this label.
stand_in=ha-ingestor.stand-in
say() { printf '%s\n' "$*" >&2; }

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

# In its own namespaces of mounts and processes: when the first process of it ends, all do.
run_engine() { # own-network|shared-network
  export PATH=$engine/root/usr/sbin:$engine/root/usr/bin:$PATH
  export LD_LIBRARY_PATH=$engine/root/usr/lib/x86_64-linux-gnu
  export XTABLES_LIBDIR=$LD_LIBRARY_PATH/xtables
  mount --make-rprivate /
  mount -t proc proc /proc
  local options=()
  if [[ $1 == own-network ]]; then
    python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 1))'
  else
    # It must leave the network of the machine as it is.
    options=(--bridge none --iptables=false --ip-forward=false --ip-masq=false)
  fi
  exec dockerd --data-root "$engine/data" --exec-root "$engine/exec" --host "unix://$engine/docker.sock" \
    --pidfile "$engine/docker.pid" --exec-opt native.cgroupdriver=cgroupfs "${options[@]}"
}

docker() { "$engine/root/usr/bin/docker" --host "unix://$engine/docker.sock" "$@"; }

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

start_engine() {
  install_engine
  exec 8>"$engine/lock"
  flock --nonblock 8 || { say "another run uses $engine"; exit 1; }
  rm -rf "$engine/exec" "$engine/docker.pid" "$engine/docker.sock"
  local network=${1:-own-network} namespaces=(--mount --pid)
  [[ $network == shared-network ]] || namespaces+=(--net)
  unshare "${namespaces[@]}" --fork --kill-child bash -c \
    'directory=$1; source "$2"; run_engine "$3"' engine "$directory" "$checks/engine.sh" "$network" \
    >"$engine/log" 2>&1 8>&- &
  engine_pid=$!
  until_true "the engine answers" docker info
}

stop_engine() {
  [[ -n ${engine_pid:-} ]] || return 0
  kill -TERM "$(pgrep --parent "$engine_pid" --full dockerd)" 2>/dev/null || true
  wait "$engine_pid" 2>/dev/null || true
}

# An empty root of Debian packages, kept; prints where it is.
debian_root() { # NAME PACKAGE,PACKAGE…
  local root=$directory/$1 mark
  # Another list of packages is another root.
  mark=$root.$(printf '%s' "$2" | sha256sum | cut -c1-12)
  if [[ ! -e $mark ]]; then
    rm -rf "$root" "$root".*
    DEBOOTSTRAP_DIR=$engine/root/usr/share/debootstrap bash "$engine/root/usr/sbin/debootstrap" \
      --variant=minbase --include="$2" bookworm "$root" >"$directory/debootstrap.log" 2>&1 || {
      tail -n 5 "$directory/debootstrap.log" >&2
      exit 1
    }
    touch "$mark"
  fi
  printf '%s' "$root"
}
