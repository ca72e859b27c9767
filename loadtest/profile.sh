#!/usr/bin/env bash
# Where the processor time of producer and worker goes under a steady load, by the crate of the
# function that runs: a table in Markdown. A function that the compiler put into another counts with
# the other. The load is loadtest's, with its own private services, which it stops.
#
#   loadtest/profile.sh [RATE [FOLDER]]     10000 events/s; programs of target/dist
set -euo pipefail

rate=${1:-10000}
folder=${2:-target/dist}
seconds=20
die() {
  echo "profile.sh: $*" >&2
  exit 1
}

command -v perf >/dev/null || die "perf is not here; in Debian: apt-get install linux-perf"
for program in loadtest producer worker; do
  [[ -x $folder/$program ]] || die "$folder/$program is not here; cargo build --profile dist -p $program"
done
made=$(mktemp -d)
load=
finish() {
  # It stops what it started.
  [[ -z $load ]] || kill -TERM "$load" 2>/dev/null || true
  wait
  rm -rf "$made"
}
trap finish EXIT
trap 'exit 1' INT TERM

"$folder/loadtest" run steady --workers 1 --rate "$rate" --seconds $((seconds + 15)) \
  >"$made/loadtest.log" 2>&1 &
load=$!

# The process of this name that the load tester started; it appears after the services.
process() {
  for ((tenth = 0; tenth < 900; tenth++)); do
    pgrep -P "$load" -x "$1" && return
    kill -0 "$load" 2>/dev/null || die "the load tester ended: $(tail -n 3 "$made/loadtest.log")"
    sleep 0.1
  done
  die "no $1 after 90 s: $(tail -n 3 "$made/loadtest.log")"
}
declare -A pids
pids[producer]=$(process producer)
pids[worker]=$(process worker)
# The beginning is none of a steady load.
sleep 8
# The software clock counts where a virtual machine has no counters; 997 is in step with nothing.
recorders=()
for role in producer worker; do
  perf record -q -e cpu-clock -F 997 -p "${pids[$role]}" -o "$made/$role.data" -- sleep "$seconds" \
    2>"$made/$role.log" &
  recorders+=("$!")
done
# One at a time: of several, wait tells only how the last one ended.
for recorder in "${recorders[@]}"; do
  wait "$recorder" || die "perf: $(cat "$made/producer.log" "$made/worker.log")"
done
wait "$load" || die "the run did not pass: $(tail -n 20 "$made/loadtest.log")"
load=

groups() {
  perf script -i "$made/$1.data" -F ip,sym,dso 2>/dev/null | awk -v role="$1" '
    function group(symbol, object) {
      if (object ~ /kernel|^\[k|\.ko/) {
        if (symbol ~ /tcp|sock|skb|inet|ip_|net|nf_|xmit|recv|send|loopback/) return "kernel: network"
        if (symbol ~ /sched|futex|epoll|wake|switch|hrtimer|timer|poll|idle|swap/) return "kernel: waking and sleeping"
        return "kernel: the rest"
      }
      if (symbol ~ /malloc|free|calloc|realloc/) return "allocator"
      if (symbol ~ /memmove|memcpy|memcmp|bcmp|memset|memchr/) return "copying and comparing bytes"
      if (symbol ~ /ZSTD|HUF_|FSE_|XXH/) return "zstd"
      if (symbol ~ /deflate|inflate|longest_match|compress_block|zlib|zng|adler|crc32/) return "gzip"
      rest = symbol
      while (match(rest, /[a-z_][a-z0-9_]*::/)) {
        crate = substr(rest, RSTART, RLENGTH - 2)
        if (crate !~ /^(core|std|alloc)$/) return crate
        rest = substr(rest, RSTART + RLENGTH)
        # A path of the standard library ends where the next type begins.
        if (match(rest, /[<( ]/)) rest = substr(rest, RSTART); else break
      }
      return symbol ~ /::/ ? "std" : "no crate (C)"
    }
    {
      object = $NF
      gsub(/[()]/, "", object)
      symbol = $0
      sub(/^ *[0-9a-f]+ /, "", symbol)
      sub(/ \([^()]*\)$/, "", symbol)
      print role "\t" group(symbol, object)
    }'
}

echo "$rate events/s for $seconds s, of each process's samples:"
echo
{
  groups producer
  groups worker
} | awk -F '\t' '
  { count[$1, $2]++; total[$1]++; seen[$2] }
  END {
    for (name in seen) {
      p = 100 * count["producer", name] / total["producer"]
      w = 100 * count["worker", name] / total["worker"]
      if (p < 1 && w < 1) { small_p += p; small_w += w; continue }
      printf "%.1f\t| %s | %.1f %% | %.1f %% |\n", p + w, name, p, w | "sort -rn | cut -f 2-"
    }
    close("sort -rn | cut -f 2-")
    printf "| below 1 %% in both | %.1f %% | %.1f %% |\n", small_p, small_w
    printf "| samples | %d | %d |\n", total["producer"], total["worker"]
  }' >"$made/rows"
echo "| code of | producer | worker |"
echo "|---|---:|---:|"
cat "$made/rows"
